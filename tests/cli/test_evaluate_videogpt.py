"""lvlib evaluate on VideoGPT with random weights: figures against their definitions, and what is refused."""

import json

import numpy as np
import pytest
import torch
from small_runs import make_prior_run, make_videogpt_run

from lvlib.data import ClipSet, to_video
from lvlib.models.videogpt.prior import VideoGPTSampling
from lvlib.runs import load_model
from lvlib.runs.load import load_autoencoder

ABOUT = {"fps": 10, "classes": ["run", "jump", "sit", "lie", "7"]}


@pytest.fixture(scope="module")
def conditioned(tmp_path_factory):
    """A run whose prior is conditioned on the label and the actions."""
    root = tmp_path_factory.mktemp("runs")
    return make_videogpt_run(root / "conditioned", ABOUT, prior__classes="5", prior__actions="2")


@pytest.fixture(scope="module")
def framed(tmp_path_factory):
    """A run whose prior is given two frames."""
    return make_videogpt_run(tmp_path_factory.mktemp("runs") / "framed", ABOUT, prior__frames="2")


def test_the_likelihood_is_of_all_codes_given_what_the_clips_come_with(lvlib, conditioned, acted):
    status, out, errors = lvlib("evaluate", conditioned, "--data.root", acted, "--json")
    assert status == 0, errors
    report = json.loads(out)
    prior, autoencoder = load_model(conditioned)[1], load_autoencoder(conditioned)[1]
    splits = {split: [ClipSet(acted, split)[i] for i in range(n)] for split, n in (("train", 6), ("test", 3))}
    codes = {split: autoencoder.encode(to_video(np.stack([item["video"] for item in items])))
             for split, items in splits.items()}
    condition = {"label": torch.tensor([item["label"] for item in splits["test"]]),
                 "actions": torch.as_tensor(np.stack([item["actions"] for item in splits["test"]])).float()}
    with torch.no_grad():
        bits = prior.logits(codes["test"], condition).log_softmax(-1).gather(-1, codes["test"].flatten(1)[..., None])
    assert report["bits_per_dim"]["model"] == pytest.approx(-bits.mean().item() / np.log(2), rel=1e-5)
    probs = (np.bincount(codes["train"].flatten(), minlength=16) + 1) / (codes["train"].numel() + 16)
    test = codes["test"].numpy()
    assert report["bits_per_dim"]["marginal"] == pytest.approx(-np.log2(probs[test]).mean(), rel=1e-5)
    copied = report["copy_probability"]
    later = copied * (test[:, 1:] == test[:, :-1]) + (1 - copied) * probs[test[:, 1:]]
    mixed = np.concatenate([probs[test[:, :1]], later], 1)  # the first latent frame has none before it
    assert report["bits_per_dim"]["copy_baseline"] == pytest.approx(-np.log2(mixed).mean(), rel=1e-5)
    assert (report["condition"], report["given_frames"]) == (["label", "actions"], 0)
    assert "psnr" not in report  # of what? it is given no frames
    table = lvlib("evaluate", conditioned, "--data.root", acted)[1]
    assert "conditioned on label, actions; likelihood: exact" in table and "given" not in table


def test_pixels_of_a_prior_that_is_given_frames(lvlib, framed, acted):
    options = ["--json", "--seed", 3, "--metrics", "mse,psnr"]
    status, out, errors = lvlib("evaluate", framed, "--data.root", acted, *options)
    assert status == 0, errors
    report = json.loads(out)
    prior, autoencoder = load_model(framed)[1], load_autoencoder(framed)[1]
    video = to_video(np.stack([ClipSet(acted, "test")[i]["video"] for i in range(3)]))
    torch.manual_seed(3)
    sampled = autoencoder.decode(prior.sample(3, {"frames": video[:, :, :2]}, None, VideoGPTSampling()))
    reconstructed = autoencoder.decode(autoencoder.encode(video))
    repeated = video[:, :, 1:2].expand(-1, -1, 4, -1, -1)
    for whose, clips in ("model", sampled), ("repeat_last_frame", repeated), ("autoencoder", reconstructed):
        error = (clips - video)[:, :, 2:].square().flatten(1).mean(1)
        assert report["mse"][whose] == pytest.approx(error.mean().item(), rel=1e-4), whose
        assert report["psnr"][whose] == pytest.approx((10 * (4 / error).log10()).mean().item(), rel=1e-4), whose
    assert report["given_frames"] == 2
    table = lvlib("evaluate", framed, "--data.root", acted)[1]
    assert "frames 0 to 1 given, 2 to 3 scored" in table and "conditioned on frames; likelihood" in table


def test_what_cannot_be_evaluated_is_one_line(refused, conditioned, framed, acted, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("lvlib.runs.load_pipeline", None)  # the work begins with it

    def message(run, *arguments, root=acted) -> str:
        return refused("evaluate", run, "--data.root", root, *arguments)

    line = message(conditioned, "--metrics", "psnr")
    assert "psnr: a prior that is given no frames has no future to compare with; there are: bits_per_dim" in line
    assert "this prior is conditioned on 2 frames: leave --given-frames out, it cannot be 1" in message(
        framed, "--given-frames", 1)
    assert "the data has 100 classes, the prior 5" in message(conditioned, root=digits)
    assert "frames must be a multiple of 2, not 3" in message(framed / "autoencoder", "--data.frames", 3)
    assert "bits_per_dim draws no samples: leave --sampling.temperature out" in message(
        conditioned, "--sampling.temperature", 1)
    assert "an autoencoder draws no samples: leave --sampling.temperature out" in message(
        framed / "autoencoder", "--sampling.temperature", 1)
    assert "--sampling: temperature must be at least 1e-6 and finite, not 1e-40" in message(
        framed, "--sampling.temperature", 1e-40)
    assert "there are: temperature, top_k, top_p" in message(framed, "--sampling.noise", 1).replace("There", "there")
    assert "--condition.label cannot be set" in message(framed, "--condition.label", 1)
    assert "--seed must be from 0 to 2**63 - 1" in message(framed, "--seed", 10**20)
    assert "holds an autoencoder alone: leave --given-frames out" in message(
        framed / "autoencoder", "--given-frames", 1)


def test_a_prior_that_can_do_without_given_frames_is_scored_after_them(lvlib, conditioned, acted):
    """Given two frames, one latent frame: the likelihood is that of the codes of the other."""
    arguments = ["--data.root", acted, "--given-frames", 2, "--json", "--seed", 1]
    report = json.loads(lvlib("evaluate", conditioned, *arguments)[1])
    prior, autoencoder = load_model(conditioned)[1], load_autoencoder(conditioned)[1]
    items = [ClipSet(acted, "test")[i] for i in range(3)]
    video = to_video(np.stack([item["video"] for item in items]))
    condition = {"label": torch.tensor([item["label"] for item in items]),
                 "actions": torch.as_tensor(np.stack([item["actions"] for item in items])).float()}
    codes = autoencoder.encode(video)
    with torch.no_grad():
        nats = prior.nll(codes, condition)[:, 16:].mean().item()
    assert report["bits_per_dim"]["model"] == pytest.approx(nats / np.log(2), rel=1e-5)
    torch.manual_seed(1)
    given = autoencoder.encode(torch.cat([video[:, :, :2], video[:, :, 1:2], video[:, :, 1:2]], 2))[:, :1]
    sampled = autoencoder.decode(prior.sample(3, condition, given, VideoGPTSampling()))
    error = (sampled - video)[:, :, 2:].square().mean().item()
    assert report["mse"]["model"] == pytest.approx(error, rel=1e-4) and report["given_frames"] == 2


def test_labels_that_would_mean_other_classes_are_refused(refused, acted, tmp_path, monkeypatch):
    """The clips' classes are run, jump, sit, lie, 7."""
    monkeypatch.setattr("lvlib.runs.load_pipeline", None)
    for name, classes, words in (("exchanged", ["jump", "run", "sit", "lie", "7"], "0 is run in the data, and jump"),
                                 ("fewer", ["run", "jump", "sit", "lie"], "4 is 7 in the data, and missing")):
        run = make_videogpt_run(tmp_path / name, {"fps": 10, "classes": classes}, prior__classes="5")
        message = f"class {words} in what {run} learned from"
        assert message in refused("evaluate", run, "--data.root", acted)
        assert message in refused("sample", run, "--given", acted, "--n", 1, "--out", tmp_path / "out.mp4")


def test_clips_of_another_rate_are_refused_with_a_way_out(refused, acted, tmp_path, monkeypatch):
    """The clips have 10 frames a second."""
    monkeypatch.setattr("lvlib.runs.load_pipeline", None)
    half = make_prior_run(tmp_path / "half", fps=5.0, data__root=str(acted))
    assert f"{acted} gives 10 frames a second, {half} learned from 5: add --data.stride 2" in refused("evaluate", half)
    assert "convert it to that rate" in refused("evaluate", make_prior_run(tmp_path / "odd", fps=7.0),
                                               "--data.root", acted)
