"""Systems that lvlib does not know go through all of it: each is one file with its configurations, added to the table.

No other file knows of them: what a command needs, it finds in the contract (`lvlib.stages`).
"""

import ast
import json
import re
from pathlib import Path

import masked
import numpy as np
import planes
import pytest
import told
import torch
from made_up import NAMES, STANDS_ON
from torch import nn

import lvlib as package
from lvlib.cli import main
from lvlib.configs import CONFIGS
from lvlib.data import write_video
from lvlib.reports.describe import training_bytes

LVLIB = Path(package.__file__).parent


def test_each_is_one_file_of_under_150_lines():
    for file in masked, planes, told:
        assert len(Path(file.__file__).read_text(encoding="utf-8").splitlines()) < 150


def test_nothing_outside_of_models_and_configs_asks_for_a_class_of_models_or_configurations():
    """No isinstance, and no comparison of types: a new system would take the branch of another in silence."""
    names = re.compile(r"(Config|VQVAE|VideoGPT|LatentVideoTransformer|LVT|Codebook|Quantizer)")
    found = []
    for path in LVLIB.rglob("*.py"):
        if path.relative_to(LVLIB).parts[0] in ("models", "configs") or "checks" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
                found += [f"{path}: {ast.unparse(node)}"] if names.search(ast.unparse(node.args[1])) else []
    assert not found


def test_configs_lists_them(lvlib):
    listed = lvlib("configs")
    assert all(name in listed for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_describe(name, lvlib):
    report = json.loads(lvlib("describe", name, "--json"))
    assert report["trains"] == CONFIGS[name].config.stage
    assert report["parameters"][report["trains"]] > 0 and report["training_memory_mb"] >= (name == "masked")
    shape = [4, 8 * 8 + 2 * 4 * 8] if "planes" in name else [2, 4, 4]
    assert report["latent_shape"] == shape and report["tokens"] == (128 if "planes" in name else 32)


def test_the_parameters_of_each_part_are_counted(lvlib):
    parts = {"encoder": 4 * (3 * 16 + 1), "decoder": 3 * (12 * 16) + 3, "discriminator": 4 * (3 * 16 + 1) + 4 + 1}
    named = {f"autoencoder.{part}": count for part, count in parts.items()}
    for name in "planes-gan", "planes":  # trained, and stood on
        counted = json.loads(lvlib("describe", name, "--json"))["parameters"]
        assert {part: counted[part] for part in counted if "prior" not in part} == {
            "autoencoder": sum(parts.values()), **named}


def test_frozen_weights_take_memory_without_gradients_and_running_means():
    model, clips = planes.gan.build(), (torch.zeros(1, 3, 4, 32, 32),)
    before = training_bytes(model, clips, planes.gan.training)
    model.unused = nn.Linear(10, 100, bias=False).requires_grad_(False)
    assert training_bytes(model, clips, planes.gan.training) - before == 4 * 1000


@pytest.mark.parametrize("name", NAMES)
def test_train_and_resume(name, runs):
    log = [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4 and (runs / name / "checkpoints/00000004/model.safetensors").exists()


@pytest.mark.parametrize("name", ["planes-gan", "masked", "told"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name, runs, data, tmp_path):
    below = [STANDS_ON[name][0], str(runs / STANDS_ON[name][1])] if name in STANDS_ON else []
    assert main(["train", name, "--out", str(tmp_path / "whole"), "--data.root", str(data), "--device", "cpu",
                 "--training.checkpoint_every", "1", "--training.steps", "4", *below]) == 0
    file = "checkpoints/00000004/model.safetensors"
    assert (tmp_path / "whole" / file).read_bytes() == (runs / name / file).read_bytes()


@pytest.mark.parametrize("name, options", [
    ("masked", ["--sampling.rounds", "2", "--sampling.noise", "0", "--condition.label", "jump"]),
    ("masked", ["--given", "DATA", "--given-frames", "2"]),
    ("planes", ["--sampling.steps", "2", "--frames", "8"]),
    ("planes-refiner", []),
    ("told", ["--given", "DATA", "--sampling.temperature", "0.5"]),
])
def test_sample(name, options, runs, data, lvlib, tmp_path):
    options = [data if option == "DATA" else option for option in options]
    for out in ("one.npy", "two.npy", "clips.png"):
        lvlib("sample", runs / name, "--n", "2", "--seed", "3", "--out", tmp_path / out, *options)
    one, two = np.load(tmp_path / "one.npy"), np.load(tmp_path / "two.npy")
    if name == "planes-refiner":  # it is the refiner's own steps that change what comes
        lvlib("sample", runs / name, "--n", "2", "--seed", "3", "--out", tmp_path / "few.npy",
              "--refiner_sampling.steps", "1")
        assert (np.load(tmp_path / "few.npy") != one).any()
    assert one.shape == (2, 8 if "--frames" in options else 4, 32, 32, 3) and (one == two).all()
    if "--given" in options:
        from lvlib.data import ClipSet

        assert all((one[i, :2] == ClipSet(data, "test")[i]["video"][:2]).all() for i in range(2))


def test_sets_of_samples_are_scored_whatever_the_system(runs, data, capsys):
    def report(*arguments):
        assert main(["evaluate", str(runs / "planes"), "--data.root", str(data), "--split", "train", "--json",
                     "--sampling.steps", "2", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    assert report()["scores"] == ["frechet_course"]
    long = report("--metrics", "fvd_windows,ccs,ends_color", "--protocol.frames", "8", "--protocol.real_frames", "4",
                  "--protocol.window", "4", "--protocol.every", "2")
    assert len(long["frechet_windows_course"]["model"]) == 3 and long["ccs_course"]["model"][0] == 1
    assert long["frames"] == 8 and len(long["ccs_course"]["real"]) == 1


@pytest.mark.parametrize("arguments, line", [
    (["sample", "RUNS/masked", "--sampling.rounds", "0"], "--sampling: rounds must be at least 1"),
    (["sample", "RUNS/masked", "--sampling.temperature", "1"], "temperature"),
    (["sample", "RUNS/planes", "--condition.label", "1"], "not conditioned on anything"),
    (["sample", "RUNS/planes", "--given", "DATA"], "cannot go on from a clip"),
    (["sample", "RUNS/masked", "--frames", "8"], "makes clips of 4 frames, not of 8"),
    (["sample", "RUNS/planes-gan"], "cannot sample"),
    (["evaluate", "RUNS/planes", "--data.root", "DATA", "--metrics", "bits_per_dim"], "has no likelihood"),
    (["evaluate", "RUNS/planes", "--data.root", "DATA"], "at least 4 real clips"),
    (["sample", "RUNS/planes", "--refiner_sampling.steps", "2"], "no refiner"),
    (["sample", "RUNS/planes-refiner", "--refiner_sampling.steps", "0"], "--refiner_sampling: steps must be"),
    (["train", "planes-refiner", "--prior", "RUNS/masked", "--data.root", "DATA"], "of the class"),
    (["train", "planes", "--autoencoder", "RUNS/masked-vqvae", "--data.root", "DATA"], "of the class"),
    (["train", "planes-refiner", "--data.root", "DATA"], "give --prior RUN"),
])
def test_what_does_not_fit_is_refused_in_one_line(arguments, line, runs, data, tmp_path, capsys):
    places = {"RUNS": str(runs), "DATA": str(data)}
    arguments = [re.sub("RUNS|DATA", lambda match: places[match[0]], argument) for argument in arguments]
    out = ["--out", str(tmp_path / "out.npy")] if arguments[0] != "evaluate" else []
    assert main([*arguments, *out]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lvlib: error: ") and errors.count("\n") == 1 and line in errors
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("name", ["masked", "planes", "planes-refiner", "planes-gan"])
def test_reconstruct(name, runs, lvlib, tmp_path):
    write_video(tmp_path / "in.gif", np.random.default_rng(0).integers(256, size=(6, 32, 32, 3), dtype=np.uint8))
    printed = lvlib("reconstruct", runs / name, tmp_path / "in.gif", "--out", tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").shape == (6, 32, 64, 3) and "PSNR" in printed


@pytest.mark.parametrize("name, scores", [
    ("masked-vqvae", {"psnr", "mse", "usage", "perplexity"}), ("planes-gan", {"psnr", "mse"}),
    ("masked", {"bits_per_dim"}), ("told", {"bits_per_dim"}),
])
def test_evaluate(name, scores, runs, data, lvlib):
    report = json.loads(lvlib("evaluate", runs / name, "--data.root", data, "--json"))
    assert scores == {"psnr", "mse", "usage", "perplexity", "bits_per_dim"} & set(report)
    if name == "masked":
        assert report["likelihood"] == "bound" and set(report["bits_per_dim"]) == {"model", "copy_baseline", "marginal"}


@pytest.mark.parametrize("name", ["told", "planes-refiner"])
def test_bench(name, lvlib):
    report = json.loads(lvlib("bench", name, "--json"))
    stages = set(CONFIGS[name].config.stages)
    assert set(report["train_step_cpu_s"]) == set(report["sample_cpu_s"]) == set(report["peak_memory_mb"]) == stages
    assert all(value > 0 for value in report["train_step_cpu_s"].values())
