"""Training VideoGPT as a user would: conditions are kept beside the codes, and what does not fit is one line."""

import json
import shutil

import numpy as np
import pytest
from small_runs import SMALL_PRIOR, SMALL_VIDEOGPT

from lvlib.cli import main
from lvlib.data import ClipSet, write_clip_set
from lvlib.training import load_run
from lvlib.training.checkpoint import folder_of, steps_saved


def words(fields: dict[str, str]) -> list[str]:
    return [word for name, value in fields.items() for word in (f"--{name}", *value.split())]


@pytest.fixture(scope="module")
def autoencoder(acted, tmp_path_factory):
    run = tmp_path_factory.mktemp("autoencoder") / "run"
    assert main(["train", "videogpt-vqvae-bair", "--out", str(run), "--data.root", str(acted), *words(SMALL_VIDEOGPT),
                 "--training.steps", "1", "--training.batch", "2"]) == 0
    return run


@pytest.fixture
def arguments(acted, autoencoder, tmp_path):
    def make(*more, out="run", root=acted, config="bench-videogpt") -> list:
        return ["train", config, "--out", tmp_path / out, "--data.root", root, "--autoencoder", autoencoder,
                *words(SMALL_VIDEOGPT | SMALL_PRIOR), "--training.batch", 2, "--training.checkpoint_every", 2,
                "--training.steps", 4, *more]

    return make


ALL = ["--prior.classes", 5, "--prior.actions", 2, "--prior.frames", 1]


def test_train_with_all_conditions_and_go_on(lvlib, arguments, acted, tmp_path):
    run = tmp_path / "run"
    assert lvlib(*arguments(*ALL))[0] == 0
    assert steps_saved(run) == [2, 4]
    for split, n in ("train", 6), ("val", 2):
        kept = {name: np.load(run / "latents" / f"{split}.{name}.npy") for name in ("label", "actions", "frames")}
        for i in range(n):
            item = ClipSet(acted, split)[i]
            assert kept["label"][i] == item["label"]
            np.testing.assert_array_equal(kept["actions"][i], item["actions"])
            np.testing.assert_array_equal(kept["frames"][i], item["video"][:1])
    about = load_run(run)
    assert about["classes"] == ["run", "jump", "sit", "lie", "7"] and about["fps"] == 10
    assert about["latents"]["condition"] == {"label": 5, "actions": 2, "frames": 1}

    shutil.rmtree(folder_of(run, 4))
    written = (run / "latents" / "train.npy").stat().st_mtime_ns
    assert lvlib(*arguments(*ALL))[0] == 0
    assert (run / "latents" / "train.npy").stat().st_mtime_ns == written  # nothing was encoded again
    assert lvlib(*arguments(*ALL, out="whole"))[0] == 0
    one, two = ((folder_of(tmp_path / name, 4) / "model.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == two
    assert "val_bits_per_dim" in json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def test_latents_without_the_prior_s_conditions_are_made_again(lvlib, arguments, refused, acted, tmp_path):
    """As they are for other labels of the same videos; but never under a training that has begun."""
    run = tmp_path / "run"

    def made(*more, **options) -> list[str]:
        for name in "checkpoints", "tensorboard":  # as if training had never begun
            shutil.rmtree(run / name, ignore_errors=True)
        for name in "config.json", "metrics.jsonl":
            (run / name).unlink(missing_ok=True)
        assert lvlib(*arguments(*more, "--training.steps", 1, **options))[0] == 0
        return sorted(path.name for path in (run / "latents").glob("train*"))

    assert made() == ["train.npy"]
    assert made("--prior.classes", 5) == ["train.label.npy", "train.npy"]
    others = change(acted, tmp_path / "others", label=lambda label: (label + 1) % 5)
    made("--prior.classes", 5, root=others)
    np.testing.assert_array_equal(np.load(run / "latents" / "train.label.npy"), (np.arange(6) + 1) % 5)
    assert "latents.train_clips" in refused(*arguments("--prior.classes", 5, "--training.steps", 1))
    assert made() == ["train.npy"]


def change(root, out, classes: bool = True, **fields):
    """A copy of a data set with fields changed by functions, or without those that are None."""
    splits = {}
    for split in ("train", "val", "test"):
        arrays = {path.stem: np.load(path) for path in (root / split).glob("*.npy")}
        kept = {name: fields.get(name, lambda value: value) for name in arrays}
        splits[split] = [{name: make(arrays[name]) for name, make in kept.items() if make}]
    write_clip_set(out, "changed", {}, splits, fps=10, per_frame=("video", "actions"),
                   classes=["run", "jump", "sit", "lie", "7"] if classes else [])
    return out


@pytest.mark.parametrize("changes, line", [
    ({"label": None, "classes": False}, "clips of train: they have no label, and the prior is conditioned on one of 5 "
     "classes: take data with classes (videos in a folder for each), or set --prior.classes 0"),
    ({"actions": None}, "clips of train: they have no actions, and the prior is conditioned on 2 numbers a "
     "frame: take data with actions, or set --prior.actions 0"),
    ({"actions": lambda a: a[..., :1]}, "clips of train: the actions are 4 x 1 numbers, and must be 4 x 2: a row for "
     "each of the video's 4 frames, 2 numbers a row"),
], ids=["no label", "no actions", "another width"])
def test_data_that_does_not_fit_is_one_line_before_training(refused, arguments, acted, tmp_path, changes, line):
    data = change(acted, tmp_path / "data", **changes)
    assert refused(*arguments(*ALL, root=data)) == line
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_label_out_of_range_is_found_while_the_clips_are_encoded(lvlib, arguments, acted, tmp_path):
    """The data does not say how many classes it has."""
    data = change(acted, tmp_path / "data", label=lambda label: label + 4 * (label == 4), classes=False)
    status, _, errors = lvlib(*arguments(*ALL, root=data))
    line = "lvlib: error: clip 4 of train: the label is 8, and the prior's classes are 0 to 4"
    assert status == 2 and errors.splitlines()[-1] == line and "Traceback" not in errors
    assert not (tmp_path / "run" / "latents").exists() and not (tmp_path / "run" / "config.json").exists()


def test_a_configuration_that_does_not_fit_is_one_line(refused, arguments, tmp_path):
    assert "the data has 5 classes, the prior 4: set --prior.classes 5" in refused(*arguments("--prior.classes", 4))
    assert "frames must be fewer than the 4 of a clip, not 5" in refused(*arguments("--prior.frames", 5))
    assert "--prior.attention takes one of full, sparse" in refused(*arguments("--prior.attention", "half"))
    line = refused("train", "lvt-bair-nc1", *arguments()[2:6], "--autoencoder", arguments()[7])
    assert "is of the class VideoVQVAE, and this configuration stands on a FrameVQVAE" in line
    assert not (tmp_path / "run").exists()


def test_an_autoencoder_stops_early_by_its_rebuilt_clips(lvlib, acted, tmp_path):
    """It learns at a rate at which nothing changes: no score after the first is lower."""
    arguments = ["train", "videogpt-vqvae-bair", "--out", tmp_path / "run", "--data.root", acted,
                 *words(SMALL_VIDEOGPT), "--training.batch", 2, "--training.validate_every", 2,
                 "--training.learning_rate", 1e-30, "--autoencoder.restart", 0, "--autoencoder.decay", 0.999999]
    early = "--training.early_stopping"
    assert lvlib(*arguments, "--training.steps", 2)[0] == 0  # without; what it begins goes on with
    status, out, _ = lvlib(*arguments, "--training.steps", 30, early, 2)
    last = steps_saved(tmp_path / "run")[-1]
    assert status == 0 and last < 30
    assert f"{last - 2} steps taken, {last} in all: val_r_frechet_course was lowest at step {last - 4}, " in out
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_r_frechet_course" in line] == list(range(4, last + 1, 2))
    assert all("loss" in line for line in lines[-1:])
    status, out, _ = lvlib(*arguments, "--training.steps", last + 2, early, 0)  # and without again
    assert status == 0 and f"2 steps taken, {last + 2} in all\n" in out
    status, _, errors = lvlib(*arguments, "--training.steps", 40, "--i3d", "i3d.pt")
    assert status == 2 and "--i3d is for --training.early_stopping of an autoencoder of clips: leave it out" in errors
