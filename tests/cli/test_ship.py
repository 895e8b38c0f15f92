"""A trained run becomes one of those that ship."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from lvlib.cli import reported, ship
from lvlib.runs.load import load_pipeline
from lvlib.runs.shipped import FOLDER


def test_a_prior_takes_half_the_room_and_its_autoencoder_stays_as_it_is(tmp_path):
    run = FOLDER / "tats-course"
    ship.main([str(run), "mine"], folder=tmp_path)
    old, new = load_pipeline(run), load_pipeline(tmp_path / "mine")  # which checks each file against its manifest
    for name, tensor in old.autoencoder.state_dict().items():
        assert torch.equal(new.autoencoder.state_dict()[name], tensor)
    for name, tensor in old.prior.state_dict().items():
        loaded = new.prior.state_dict()[name]
        assert loaded.dtype == tensor.dtype
        torch.testing.assert_close(loaded, tensor, rtol=1e-3, atol=1e-6)
    weights, = (tmp_path / "mine" / "checkpoints").glob("*/model.safetensors")
    assert {t.dtype for t in safetensors.torch.load_file(weights).values() if t.is_floating_point()} == {torch.float16}
    assert sorted(path.name for path in weights.parent.iterdir()) == ["manifest.json", "model.safetensors"]
    assert json.loads((weights.parent / "manifest.json").read_text())["step"] == 2000
    assert (tmp_path / "mine" / "config.json").read_bytes() == (run / "config.json").read_bytes()


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


def test_what_something_stands_on_is_as_it_was(tmp_path):
    """A refiner knows its prior by its checksum: halved, it would be another."""
    (tmp_path / "to").mkdir()
    ship.write_stage(FOLDER / "tats-course", tmp_path / "to", half=False)
    (old,), (new,) = (list((run / "checkpoints").glob("*/model.safetensors"))
                      for run in (FOLDER / "tats-course", tmp_path / "to"))
    assert new.read_bytes() == old.read_bytes()


@pytest.mark.parametrize("run", ["nothing", "."])
def test_what_is_no_run_ships_nothing(tmp_path, run, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reported(lambda: ship.main([run, "mine"], folder=tmp_path / "to")) == 2
    assert "run folder" in capsys.readouterr().err and not (tmp_path / "to").exists()
