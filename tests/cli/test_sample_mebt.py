"""lvlib sample with a prior that fills any part of a clip: what lies between given first and last frames."""

import re

import numpy as np
import pytest
import torch
from small_runs import make_mebt_run, make_videogpt_run

from lvlib.data import from_video, read_video, to_video, write_clip_set, write_video
from lvlib.data.tensors import as_channels
from lvlib.models.mebt.decoding import MeBTSampling
from lvlib.runs import load_pipeline


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_mebt_run(tmp_path_factory.mktemp("runs") / "mebt")


@pytest.fixture
def sample(lvlib, tmp_path):
    """Samples into an .npy: (what was written, what was printed)."""

    def go(run, *arguments) -> tuple[np.ndarray, str]:
        out = tmp_path / "out.npy"
        status, printed, errors = lvlib("sample", run, *arguments, "--sampling.steps", 8, "--out", out)
        assert status == 0, errors
        return np.load(out), printed

    return go


def grey(mp4) -> np.ndarray:
    """The first 16 frames as the model sees them: uint8 (16, 16, 16, 1)."""
    return as_channels(read_video(mp4, frames=16, size=16)[0], 1)


@pytest.mark.parametrize("first, last", [(4, 4), (8, 4), (4, 8)])
def test_the_ends_stay_and_what_lies_between_is_the_prior_s(run, sample, mp4, first, last):
    video, printed = sample(run, "--given", mp4, "--given-frames", first, "--given-last", last, "--n", 3, "--seed", 5)
    true, end = grey(mp4), 16 - last
    assert video.shape == (3, 16, 16, 16, 1)
    for sampled in video:
        np.testing.assert_array_equal(sampled[:first], true[:first])
        np.testing.assert_array_equal(sampled[end:], true[end:])
    assert len(np.unique(video[:, first:end].reshape(3, -1), axis=0)) > 1

    pipeline, clip = load_pipeline(run), to_video(true)[None]
    held = clip.clone()
    held[:, :, :end] = clip[:, :, end:end + 1]  # stands in for what comes before the last frames
    ends = [pipeline.autoencoder.encode_start(clip[:, :, :first], 16), pipeline.autoencoder.encode(held)[:, end // 4:]]
    places = [*range(first // 4), *range(end // 4, 4)]
    torch.manual_seed(5)
    codes = pipeline.prior.sample(3, {}, torch.cat(ends, 1), MeBTSampling(steps=8), places=places)
    made = from_video(pipeline.autoencoder.decode(codes)).numpy()
    np.testing.assert_array_equal(video[:, first:end], made[:, first:end])

    share = np.arange(1, end - first + 1)[:, None, None, None] / (end - first + 1)
    faded = true[first - 1] * (1 - share) + true[end] * share
    rival = 10 * np.log10(255**2 / np.square(faded - true[first:end]).mean())
    assert f"beside it that of a crossfade from frame {first - 1} to frame {end}:" in printed
    assert float(re.findall(r"([\d.]+) dB$", printed, re.MULTILINE)[0]) == pytest.approx(rival, abs=0.02)
    assert f"0 to {first - 1} and {end} to 15 given, {first} to {end - 1} generated" in printed


def test_a_data_set_s_clips_are_each_filled(sample, tmp_path):
    root = tmp_path / "digits"
    true, labels = np.random.default_rng(0).integers(256, size=(3, 16, 16, 16, 1), dtype=np.uint8), np.arange(3)
    clips, names = [{"video": true, "label": labels}], [*"0123456789"]
    write_clip_set(root, "made up", {}, {split: clips for split in ("train", "val", "test")}, fps=10, classes=names)
    run = make_mebt_run(tmp_path / "told", {"classes": names}, prior__classes="10")
    video, printed = sample(run, "--given", root, "--given-last", 4, "--n", 2)
    assert video.shape == (2, 16, 16, 16, 1) and printed.count(" dB ") == 2
    ends = [*range(4), *range(12, 16)]
    np.testing.assert_array_equal(video[:, ends], true[:2, ends])


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_the_file_to_look_at_says_which_frames_are_given(run, lvlib, mp4, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    status, printed, _ = lvlib("sample", run, "--given", mp4, "--given-last", 4, "--n", 1, "--out", out)
    assert status == 0 and out.exists()
    assert "1 sample of 16 frames, 0 to 3 and 12 to 15 given, 4 to 11 generated" in printed


def test_from_nothing_too(run, sample):
    video, _ = sample(run, "--n", 2)
    assert video.shape == (2, 16, 16, 16, 1) and (video[0] != video[1]).any()


@pytest.mark.parametrize("arguments, message", [
    (("--given-last", 4), "--given-last is of a clip to begin with: add --given CLIP, or leave it out"),
    (("--given", "CLIP", "--given-last", 6), "must be multiples of 4, 12 or less together, not 4 and 6"),
    (("--given", "CLIP", "--given-last", -4), "must be multiples of 4, 12 or less together, not 4 and -4"),
    (("--given", "CLIP", "--given-frames", 8, "--given-last", 8),
     "must be multiples of 4, 12 or less together, not 8 and 8: the prior's clips have 16 frames, 4 for one latent "
     "frame"),
    (("--given", "CLIP", "--given-last", 4, "--sampling.steps", 33),
     "steps and one_by_one must be 32 or less together"),
    (("--given", "CLIP", "--given-last", 4, "--sampling.revise_parts", 33, "--sampling.revise_rounds", 1),
     "revise_parts must be 1 to 32, the codes that are drawn, not 33"),
])
def test_what_cannot_be_filled_is_one_line(run, refused, mp4, tmp_path, arguments, message):
    arguments = [mp4 if argument == "CLIP" else argument for argument in arguments]
    if "--sampling.revise_parts" in arguments:
        arguments += ["--sampling.steps", 4]
    assert message in refused("sample", run, *arguments, "--out", tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


def test_a_clip_that_is_too_short(run, refused, mp4, tmp_path):
    short = tmp_path / "short.mp4"
    write_video(short, read_video(mp4)[0][:15], fps=10)
    out = tmp_path / "out.npy"
    assert "is too short: --given-last 4 takes the last frames of a clip of 16 frames, and it has 15" in refused(
        "sample", run, "--given", short, "--given-last", 4, "--out", out)
    assert "16 frames at stride 8, and it has 10" in refused(
        "sample", run, "--given", mp4, "--given-last", 4, "--stride", 8, "--out", out)


def test_a_prior_that_goes_on_from_first_frames_alone(refused, mp4, tmp_path):
    other = make_videogpt_run(tmp_path / "videogpt")
    assert "this prior goes on from first frames alone: it cannot be given the last ones of a clip, too" in refused(
        "sample", other, "--given", mp4, "--given-frames", 2, "--given-last", 2, "--out", tmp_path / "out.npy")


def test_describe_says_the_same_each_time(lvlib):
    assert lvlib("describe", "mebt-digits") == lvlib("describe", "mebt-digits")
