"""lvlib evaluate on VideoGPT with random weights: figures against their definitions, and what is refused."""

import json

import numpy as np
import pytest
import torch
from small_runs import make_prior_run, make_videogpt_run

from lvlib.data import ClipSet, to_video
from lvlib.runs.load import load_autoencoder, load_model

ABOUT = {"fps": 10, "classes": ["run", "jump", "sit", "lie", "7"]}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run whose prior is told the label and the actions."""
    return make_videogpt_run(tmp_path_factory.mktemp("runs") / "told", ABOUT, prior__classes="5", prior__actions="2")


@pytest.fixture(scope="module")
def framed(tmp_path_factory):
    """A run whose prior is given two frames."""
    return make_videogpt_run(tmp_path_factory.mktemp("runs") / "framed", ABOUT, prior__frames="2")


def test_the_likelihood_is_of_all_codes_given_what_the_clips_come_with(lvlib, told, acted):
    status, out, errors = lvlib("evaluate", told, "--data.root", acted, "--json")
    assert status == 0, errors
    report = json.loads(out)
    prior, autoencoder = load_model(told)[1], load_autoencoder(told)
    splits = {split: [ClipSet(acted, split)[i] for i in range(n)] for split, n in (("train", 6), ("test", 3))}
    codes = {split: autoencoder.encode(to_video(np.stack([item["video"] for item in items])))
             for split, items in splits.items()}
    condition = {"label": torch.tensor([item["label"] for item in splits["test"]]),
                 "actions": torch.as_tensor(np.stack([item["actions"] for item in splits["test"]])).float()}
    with torch.no_grad():
        bits = prior.logits(codes["test"], condition).log_softmax(-1).gather(-1, codes["test"].flatten(1)[..., None])
    assert report["bits_per_dim"]["model"] == pytest.approx(-bits.mean().item() / np.log(2), rel=1e-5)
    chance = (np.bincount(codes["train"].flatten(), minlength=16) + 1) / (codes["train"].numel() + 16)
    test = codes["test"].numpy()
    assert report["bits_per_dim"]["marginal"] == pytest.approx(-np.log2(chance[test]).mean(), rel=1e-5)
    copied = report["copy_probability"]
    later = copied * (test[:, 1:] == test[:, :-1]) + (1 - copied) * chance[test[:, 1:]]
    mixed = np.concatenate([chance[test[:, :1]], later], 1)  # the first latent frame has none before it
    assert report["bits_per_dim"]["copy_baseline"] == pytest.approx(-np.log2(mixed).mean(), rel=1e-5)
    assert (report["told"], report["prime_frames"]) == (["label", "actions"], 0)
    assert "psnr" not in report  # of what? it is given no frames
    table = lvlib("evaluate", told, "--data.root", acted)[1]
    assert "the prior is told label, actions; bits_per_dim is of all codes" in table and "given" not in table


def test_pixels_of_a_prior_that_is_given_frames(lvlib, framed, acted):
    asked = ["--json", "--seed", 3, "--metrics", "mse,psnr"]
    status, out, errors = lvlib("evaluate", framed, "--data.root", acted, *asked)
    assert status == 0, errors
    report = json.loads(out)
    prior, autoencoder = load_model(framed)[1], load_autoencoder(framed)
    video = to_video(np.stack([ClipSet(acted, "test")[i]["video"] for i in range(3)]))
    torch.manual_seed(3)
    sampled = autoencoder.decode(prior.sample(3, {"frames": video[:, :, :2]}))
    reconstructed = autoencoder.decode(autoencoder.encode(video))
    repeated = video[:, :, 1:2].expand(-1, -1, 4, -1, -1)
    for whose, clips in ("model", sampled), ("repeat_last_frame", repeated), ("autoencoder", reconstructed):
        error = (clips - video)[:, :, 2:].square().flatten(1).mean(1)
        assert report["mse"][whose] == pytest.approx(error.mean().item(), rel=1e-4), whose
        assert report["psnr"][whose] == pytest.approx((10 * (4 / error).log10()).mean().item(), rel=1e-4), whose
    assert report["prime_frames"] == 2
    table = lvlib("evaluate", framed, "--data.root", acted)[1]
    assert "frames 0 to 1 given, 2 to 3 scored" in table and "the prior is told frames" in table


def test_what_cannot_be_evaluated_is_one_line(refused, told, framed, acted, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("lvlib.runs.load.load_autoencoder", None)  # the work begins with it

    def message(run, *arguments, root=acted) -> str:
        return refused("evaluate", run, "--data.root", root, *arguments)

    assert "unknown metric of a prior that is given no frames: 'psnr'; there are: bits_per_dim" in message(
        told, "--metrics", "psnr")
    assert "this prior is given no frames: leave --prime-frames out" in message(told, "--prime-frames", 2)
    assert "conditioned on 2 frames: leave --prime-frames out, it cannot be 1" in message(framed, "--prime-frames", 1)
    assert "the data has 100 classes, the prior 5" in message(told, root=digits)
    assert "frames must be a multiple of 2, not 3" in message(framed / "autoencoder", "--data.frames", 3)
    assert "bits_per_dim draws no samples: leave --temperature out" in message(told, "--temperature", 1)
    assert "--temperature must be at least 1e-6, not 1e-40" in message(framed, "--temperature", 1e-40)
    assert "--seed must be from 0 to 2**63 - 1" in message(framed, "--seed", 10**20)
    for option in "--prime-frames", "--temperature":
        assert f"draws no samples: leave {option} out" in message(told / "autoencoder", option, 1)


def test_labels_that_would_mean_other_classes_are_refused(refused, acted, tmp_path, monkeypatch):
    """The clips' classes are run, jump, sit, lie, 7."""
    monkeypatch.setattr("lvlib.runs.load.load_autoencoder", None)
    for name, classes, words in (("exchanged", ["jump", "run", "sit", "lie", "7"], "0 is run in the data, and jump"),
                                 ("fewer", ["run", "jump", "sit", "lie"], "4 is 7 in the data, and missing")):
        run = make_videogpt_run(tmp_path / name, {"fps": 10, "classes": classes}, prior__classes="5")
        message = f"class {words} in what {run} learned from"
        assert message in refused("evaluate", run, "--data.root", acted)
        assert message in refused("sample", run, "--prime", acted, "--n", 1, "--out", tmp_path / "out.mp4")


def test_clips_of_another_rate_are_refused_with_a_way_out(refused, acted, tmp_path, monkeypatch):
    """The clips have 10 frames a second."""
    monkeypatch.setattr("lvlib.runs.load.load_autoencoder", None)
    half = make_prior_run(tmp_path / "half", fps=5.0, data__root=str(acted))
    assert f"{acted} gives 10 frames a second, {half} learned from 5: add --data.stride 2" in refused("evaluate", half)
    assert "convert it to that rate" in refused("evaluate", make_prior_run(tmp_path / "odd", fps=7.0),
                                               "--data.root", acted)
