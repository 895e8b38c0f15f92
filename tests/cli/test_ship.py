"""A trained run becomes one of those that ship."""

import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lvlib.cli import reported, ship
from lvlib.runs.load import load_pipeline, runs_down_from
from lvlib.runs.shipped import FOLDER
from lvlib.training.checkpoint import Checkpoint, load_tensors, save_checkpoint
from lvlib.training.run import load_run, newest_weights


def in_full_precision(run: Path, to: Path) -> Path:
    """A copy of a shipped run whose weights are fp32 and need it, as those that `lvlib train` writes."""
    stages = list(runs_down_from(run))
    shutil.copytree(run, to)
    checksums = {}
    for stage, _ in reversed(stages):
        here = to / stage.relative_to(run)
        old = newest_weights(here)
        tensors = load_tensors(here, old.step, old.name)
        shutil.rmtree(here / "checkpoints")
        full = {name: tensor.float() * (1 + 1e-5) if tensor.is_floating_point() else tensor
                for name, tensor in tensors.items()}
        save_checkpoint(here, Checkpoint(old.step, full, None, None, {}), keep=1)
        checksums[old.sha256] = newest_weights(here).sha256
        config = (here / "config.json").read_text()
        for before, after in checksums.items():
            config = config.replace(before, after)
        (here / "config.json").write_text(config)
    return to


@pytest.mark.parametrize("name", ["tats-course", "pvdm-course", "tats-between-course"])
def test_all_stages_take_half_the_room_and_know_each_other(tmp_path, name):
    run = in_full_precision(FOLDER / name, tmp_path / "run")
    ship.main([str(run), "mine"], folder=tmp_path)
    old, new = load_pipeline(run), load_pipeline(tmp_path / "mine")  # which checks all checksums
    for stage in old.config.stages:
        loaded, rtol = getattr(new, stage).state_dict(), 1e-3 if stage == "autoencoder" else 5e-3
        for tensor_name, tensor in getattr(old, stage).state_dict().items():
            assert loaded[tensor_name].dtype == tensor.dtype
            torch.testing.assert_close(loaded[tensor_name], tensor, rtol=rtol, atol=1e-6)
    for weights in (tmp_path / "mine").rglob("model.safetensors"):
        kinds = {t.dtype for t in safetensors.torch.load_file(weights).values() if t.is_floating_point()}
        assert kinds == {torch.float16 if weights.parts[-4] == "autoencoder" else torch.bfloat16}
        assert sorted(path.name for path in weights.parent.iterdir()) == ["manifest.json", "model.safetensors"]
    assert load_run(tmp_path / "mine") | {"latents": None} == load_run(run) | {"latents": None}


def test_what_is_in_half_precision_stays_as_it_is(tmp_path):
    """So that a model can be shipped again: under another name, for instance."""
    first, second = tmp_path / "one", tmp_path / "two"
    for run, name in (FOLDER / "tats-course", "one"), (first, "two"):
        ship.main([str(run), name], folder=tmp_path)
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert len(files) == 7
    for file in files:
        assert (second / file).read_bytes() == (first / file).read_bytes(), file


def test_a_prior_that_was_not_trained_in_bf16_is_in_fp16(tmp_path):
    run = in_full_precision(FOLDER / "tats-course", tmp_path / "run")
    settings = run / "config.json"
    settings.write_text(settings.read_text().replace("bf16-mixed", "32-true"))
    ship.main([str(run), "mine"], folder=tmp_path)
    weights, = (tmp_path / "mine/checkpoints").rglob("model.safetensors")
    assert {tensor.dtype for tensor in safetensors.torch.load_file(weights).values()} == {torch.float16}


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "bad name\n", "/tmp/x"])
def test_a_name_is_a_plain_one(tmp_path, name, capsys):
    assert reported(lambda: ship.main([str(FOLDER / "tats-course"), name], folder=tmp_path / "to")) == 2
    assert "NAME must be small letters and digits, with - between words" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_without_its_log_is_refused(tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(FOLDER / "tats-course", run)
    (run / "metrics.jsonl").unlink()
    assert reported(lambda: ship.main([str(run), "mine"], folder=tmp_path / "to")) == 2
    assert "has no metrics.jsonl" in capsys.readouterr().err and not (tmp_path / "to").exists()


@pytest.mark.parametrize("run", ["nothing", "."])
def test_what_is_no_run_ships_nothing(tmp_path, run, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reported(lambda: ship.main([run, "mine"], folder=tmp_path / "to")) == 2
    assert "run folder" in capsys.readouterr().err and not (tmp_path / "to").exists()
