"""lvlib sample, on a prior whose weights are random: what it writes and prints, and what it refuses."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import make_prior_run

from lvlib.data import from_video, read_video, to_video, write_clip_set, write_video
from lvlib.data.tensors import as_channels
from lvlib.models.lvt.prior import LVTSampling
from lvlib.runs import load_model
from lvlib.runs.load import load_autoencoder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_prior_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def sample(lvlib, tmp_path):
    """Samples into an .npy: (what was written, what was printed)."""

    def go(run, given, *arguments) -> tuple[np.ndarray, str]:
        out = tmp_path / "out.npy"
        status, printed, errors = lvlib("sample", run, "--given", given, *arguments, "--out", out)
        assert status == 0, errors
        return np.load(out), printed

    return go


def scores(printed: str) -> list[tuple[float, float]]:
    """[(PSNR of the sample, of the baseline), ...] of the lines that have them."""
    return [(float(a), float(b)) for a, b in re.findall(r"([\d.]+) dB +([\d.]+) dB$", printed, re.MULTILINE)]


def psnr(frames: np.ndarray, true: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(frames.astype(float) - true).mean())


@pytest.mark.parametrize("given", [1, 3])
def test_samples_begin_with_the_clip_and_go_on_as_the_prior_does(run, sample, mp4, given):
    clips, printed = sample(run, mp4, "--given-frames", given, "--n", 3, "--seed", 7)
    true = read_video(mp4, frames=4, size=32)[0]
    assert clips.shape == (3, 4, 32, 32, 3) and clips.dtype == np.uint8
    np.testing.assert_array_equal(clips[:, :given], np.broadcast_to(true[:given], (3, given, 32, 32, 3)))

    (_, autoencoder), (_, prior) = load_autoencoder(run), load_model(run)
    torch.manual_seed(7)
    codes = prior.sample(3, {}, autoencoder.encode(to_video(true[:given])[None]), LVTSampling())
    np.testing.assert_array_equal(clips[:, given:], from_video(autoencoder.decode(codes))[:, given:].numpy())

    repeated = psnr(np.broadcast_to(true[given - 1], true[given:].shape), true[given:])
    for clip, (score, baseline) in zip(clips, scores(printed), strict=True):
        assert score == pytest.approx(psnr(clip[given:], true[given:]), abs=0.05)  # printed before it was rounded
        assert baseline == pytest.approx(repeated, abs=0.006)


def test_the_seed_and_the_temperature_decide(run, sample, mp4):
    first, again, other = (sample(run, mp4, "--n", 2, "--seed", seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first[0] != first[1]).any()
    cold = sample(run, mp4, "--n", 2, "--sampling.temperature", 1e-4)[0]
    np.testing.assert_array_equal(cold[0], cold[1])


def test_more_samples_than_go_together(run, sample, mp4, monkeypatch):
    monkeypatch.setattr("lvlib.evaluation.generate.BATCH", 2)
    clips, printed = sample(run, mp4, "--n", 5)
    assert len(clips) == len(scores(printed)) == 5
    assert len(np.unique(clips.reshape(5, -1), axis=0)) == 5


def test_each_of_a_data_set_s_clips_is_continued_once(run, digits, sample):
    clips, printed = sample(run, digits, "--n", 2)
    true = np.load(digits / "test" / "video.npy")
    np.testing.assert_array_equal(clips[:, 0], true[:, 0])
    for clip, original, (score, _) in zip(clips, true, scores(printed), strict=True):
        assert score == pytest.approx(psnr(clip[1:], original[1:]), abs=0.05)


def test_frames_of_a_folder_and_every_second_frame(run, sample, mp4, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, frame in enumerate(read_video(mp4, frames=7)[0]):
        Image.fromarray(frame).save(folder / f"{i}.png")
    clips, _ = sample(run, folder, "--given-frames", 3, "--n", 1, "--stride", 2)
    expected = read_video(mp4, frames=3, stride=2, size=32)[0]
    assert abs(clips[0, :3].astype(int) - expected).max() <= 1


def test_a_grey_prior_is_given_grey(sample, mp4, tmp_path):
    clips, _ = sample(make_prior_run(tmp_path / "grey", autoencoder__channels="1"), mp4, "--n", 1)
    np.testing.assert_array_equal(clips[0, :1], as_channels(read_video(mp4, frames=1, size=32)[0], 1))


@pytest.mark.parametrize("true", [True, False])
def test_strip_and_movie_show_the_true_clip_where_there_is_one(lvlib, run, mp4, tmp_path, true):
    clip = tmp_path / "clip.mp4"
    write_video(clip, read_video(mp4, frames=4 if true else 3)[0], fps=10)
    sizes = {}
    for suffix in (".png", ".gif", ".mp4"):
        out = tmp_path / f"out{suffix}"
        status, printed, _ = lvlib("sample", run, "--given", clip, "--given-frames", 2, "--n", 2, "--out", out)
        assert status == 0 and "2 samples of 4 frames, 0 to 1 given, 2 to 3 generated" in printed
        assert ("dB" in printed) == true and ("too few frames to compare" in printed) != true
        sizes[suffix] = Image.open(out).size if suffix == ".png" else read_video(out)[0].shape
    rows = 2 + true
    assert sizes[".png"][1] // 64 == rows
    assert sizes[".mp4"][0] == sizes[".gif"][0] == 4 and sizes[".mp4"][2] // 128 == rows
    assert read_video(tmp_path / "out.mp4")[1] == 10


def test_clips_of_another_rate_are_refused_with_a_way_out(refused, sample, mp4, tmp_path):
    """The clip has 10 frames a second."""
    out = ["--given", mp4, "--out", tmp_path / "out.npy"]
    half = make_prior_run(tmp_path / "half", fps=5.0)
    message = refused("sample", half, *out)
    assert "10 frames a second" in message and "learned from 5: add --stride 2" in message
    sample(half, mp4, "--stride", 2, "--n", 1)
    assert "convert it to that rate" in refused("sample", make_prior_run(tmp_path / "odd", fps=7.0), *out)
    sample(make_prior_run(tmp_path / "same", fps=9.99), mp4, "--n", 1)


def test_what_cannot_be_sampled_is_refused_before_any_work(refused, run, digits, mp4, tmp_path, monkeypatch):
    monkeypatch.setattr("lvlib.runs.load_pipeline", None)  # the work begins with it

    def message(*arguments, run=run, given=mp4, out="out.mp4") -> str:
        return refused("sample", run, "--given", given, "--out", tmp_path / out, *arguments)

    short = tmp_path / "short.mp4"
    write_video(short, read_video(mp4, frames=2)[0], fps=10)
    assert "short.mp4 is too short" in message("--given-frames", 3, given=short)
    assert "needs 3 frames, and it has 2" in message("--given-frames", 3, given=short)
    assert "needs 2 frames at stride 3, and it has 1" in message("--given-frames", 2, "--stride", 3, given=short)
    for frames in (0, 4, -1):
        assert f"--given-frames must be 1 to 3, not {frames}" in message("--given-frames", frames)
    assert "--n must be at least 1, not 0" in message("--n", 0)
    for temperature in "0.0", "nan", "inf":
        assert f"--sampling: temperature must be at least 1e-6 and finite, not {temperature}" in message(
            "--sampling.temperature", temperature)
    assert "--sampling.temperature takes a number (default: 1.0), not 'hot'" in message("--sampling.temperature", "hot")
    assert "--sampling.temperature takes a number (default: 1.0), not nothing" in message("--sampling.temperature")
    assert "unknown part in --prior.dim: 'prior'; there are: sampling, refiner_sampling" in message("--prior.dim", 8)
    assert "--stride must be at least 1" in message("--stride", 0)
    assert ".mp4 .gif .png .npy" in message(out="out.avi")
    assert "No such file" in message(given=tmp_path / "none.mp4")
    assert "has 2 test clips: --n must be at most that, not 4" in message(given=digits)
    assert "train a prior" in message(run=run / "autoencoder")
    assert "unknown run folder" in message(run=tmp_path / "nowhere")
    assert not list(tmp_path.glob("out*"))


def test_a_data_set_of_other_clips_is_refused(refused, run, digits, tmp_path):
    write_clip_set(tmp_path / "small", "small", {}, {"test": [{"video": np.zeros((4, 4, 16, 16, 1), np.uint8)}]}, fps=8)
    out = ["--out", tmp_path / "out.png"]
    message = refused("sample", run, "--given", tmp_path / "small", *out)
    assert "16 x 16 with 1 channels, the model's 32 x 32 with 3" in message
    assert "too few for 4 with stride 4" in refused("sample", run, "--given", digits, "--stride", 4, *out)


def test_a_run_without_its_weights_is_refused(refused, mp4, tmp_path):
    run = make_prior_run(tmp_path / "run")
    values = json.loads((run / "config.json").read_text())
    values["prior"]["dim"] = 32
    (run / "config.json").write_text(json.dumps(values))
    assert "of another model" in refused("sample", run, "--given", mp4, "--out", tmp_path / "out.mp4")
