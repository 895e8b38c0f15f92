"""lvlib sample with a prior that makes clip after clip: from nothing, after given clips, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from small_runs import make_pvdm_run

from lvlib.data import from_video, read_video, write_clip_set
from lvlib.data.tensors import as_channels
from lvlib.models.pvdm.samplers import DiffusionSampling
from lvlib.runs import load_pipeline

STEPS = ("--sampling.steps", 3, "--sampling.next_steps", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_pvdm_run(tmp_path_factory.mktemp("runs") / "pvdm")


@pytest.fixture
def sample(lvlib, tmp_path):
    """Samples into an .npy: (what was written, what was printed)."""

    def go(run, *arguments) -> tuple[np.ndarray, str]:
        out = tmp_path / "out.npy"
        status, printed, errors = lvlib("sample", run, *STEPS, *arguments, "--out", out)
        assert status == 0, errors
        return np.load(out), printed

    return go


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A data set of 3 test clips of 12 grey frames."""
    root, random = tmp_path_factory.mktemp("data") / "clips", np.random.default_rng(0)
    part = [{"video": random.integers(256, size=(3, 12, 16, 16, 1), dtype=np.uint8)}]
    write_clip_set(root, "made up", {}, {split: part for split in ("train", "val", "test")}, fps=10)
    return root, part[0]["video"]


@pytest.mark.parametrize("frames", [None, 4, 12])
def test_clip_after_clip_from_nothing(run, sample, frames):
    asked = ("--frames", frames) if frames else ()
    video, _ = sample(run, "--n", 2, "--seed", 3, *asked)
    assert video.shape == (2, frames or 4, 16, 16, 1) and (video[0] != video[1]).any()
    pipeline = load_pipeline(run)
    torch.manual_seed(3)
    latents = pipeline.prior.sample(2, {}, None, DiffusionSampling(steps=3, next_steps=2), (frames or 4) // 4)
    np.testing.assert_array_equal(video, from_video(pipeline.autoencoder.decode(latents)).numpy())


@pytest.mark.parametrize("given, frames", [((), 8), ((), 12), (("--given-frames", 8), 12)])
def test_a_video_goes_on(run, sample, mp4, given, frames):
    video, printed = sample(run, "--n", 2, "--given", mp4, *given, "--frames", frames)
    n = given[1] if given else 4
    true = as_channels(read_video(mp4, frames=frames, size=16)[0], 1)
    assert video.shape == (2, frames, 16, 16, 1) and f"0 to {n - 1} given" in printed
    for made in video:
        np.testing.assert_array_equal(made[:n], true[:n])
    assert (video[0, n:] != video[1, n:]).any()


def test_each_clip_of_a_data_set_goes_on(run, sample, clips):
    root, true = clips
    video, printed = sample(run, "--n", 3, "--given", root, "--frames", 12)
    np.testing.assert_array_equal(video[:, :4], true[:, :4])
    assert printed.count(" dB ") == 3


@pytest.mark.parametrize("arguments, message", [
    (("--given", "CLIP"), "this prior goes on from frames in steps of 4, and some are left to make: --frames must be "
                          "a multiple of 4, 8 or more"),
    (("--given", "DATA", "--frames", 4), "--frames must be a multiple of 4, 8 or more"),
    (("--given", "CLIP", "--frames", 8, "--given-frames", 3), "--given-frames must be a multiple of 4 from 4 to 4, "
                                                              "not 3"),
    (("--given", "CLIP", "--frames", 8, "--given-frames", 8), "--given-frames must be a multiple of 4 from 4 to 4, "
                                                              "not 8"),
    (("--given", "CLIP", "--frames", 8, "--given-last", 4), "this prior goes on from first frames alone"),
    (("--frames", 6), "frames must be a multiple of 4, 4 or more, not 6"),
    (("--frames", 2), "frames must be a multiple of 4, 4 or more, not 2"),
    (("--frames", 0), "--frames must be at least 1, not 0"),
    (("--given", "DATA", "--frames", 16), "clips"),
    (("--sampling.steps", 1001), "steps must be 1 to 1000, not 1001"),
    (("--frames", 8, "--sampling.next_steps", 1001), "next_steps must be 1 to 1000, not 1001"),
    (("--sampling.steps", 0), "steps must be at least 1, not 0"), (("--sampling.next_steps", -1), "next_steps must be"),
    (("--sampling.steps", "2.5"), "sampling.steps"), (("--sampling.steps", "many"), "sampling.steps"),
    (("--sampling.eta", 1.5), "eta must be"), (("--sampling.eta", "nan"), "eta must be"),
    (("--sampling.eta", -0.5), "eta must be"), (("--sampling.guidance", -1), "guidance must be at least 0"),
    (("--sampling.guidance", "inf"), "guidance must be"), (("--sampling.guidance", "nan"), "guidance must be"),
    (("--sampling.sampler", "euler"), "--sampling.sampler takes one of ddim, ancestral"),
    (("--sampling.variance", "none"), "--sampling.variance takes one of posterior, beta"),
    (("--sampling.clamp", "perhaps"), "sampling.clamp"), (("--sampling.top_k", 5), "top_k"),
    (("--condition.label", 3), "label"),
])
def test_what_it_cannot_make_is_one_line(run, refused, mp4, clips, tmp_path, arguments, message):
    stands_for = {"CLIP": mp4, "DATA": clips[0]}
    words = [stands_for.get(argument, argument) for argument in arguments]
    assert message in refused("sample", run, *words, "--out", tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


def test_a_model_of_single_clips_and_one_of_clips_after_another(refused, sample, mp4, tmp_path):
    """Each refuses what it never learned, before it samples."""
    alone = make_pvdm_run(tmp_path / "alone", prior__conditional="0")
    after = make_pvdm_run(tmp_path / "after", prior__conditional="1")
    out = ("--out", tmp_path / "out.npy")
    assert sample(alone, "--n", 1)[0].shape[1] == 4
    assert sample(after, "--n", 1, "--given", mp4, "--frames", 8)[0].shape[1] == 8
    (tmp_path / "out.npy").unlink()
    assert "this model learned clips alone (conditional 0)" in refused("sample", alone, "--frames", 8, *out)
    for frames in (), ("--frames", 8):
        assert "goes on from given frames: add --given CLIP" in refused("sample", after, *frames, *out)
    assert "--frames must be a multiple of 4, 8 or more" in refused("sample", after, "--given", mp4, *out)
    assert not (tmp_path / "out.npy").exists()


def test_steps_that_are_not_taken_need_not_fit(refused, sample, mp4, tmp_path):
    """One clip has no next ones, and after a given one there is no first."""
    run = make_pvdm_run(tmp_path / "short", prior__timesteps="10", prior__betas="0.1 0.9")
    assert sample(run, "--n", 1, "--sampling.next_steps", 20)[0].shape[1] == 4
    assert sample(run, "--n", 1, "--given", mp4, "--frames", 8, "--sampling.next_steps", 5)[0].shape[1] == 8
    out = "--out", tmp_path / "new.npy"
    assert "next_steps must be 1 to 10, not 20" in refused("sample", run, "--frames", 8, "--sampling.steps", 3, *out)
    assert "steps must be 1 to 10, not 100" in refused("sample", run, *out)
    few = ("--data.size", 16, "--autoencoder.size", 16, "--autoencoder.width", 16, "--prior.width", 8,
           "--prior.heads", 2, "--training.batch", 1, "--prior.timesteps", 10, "--prior.betas", 0.1, 0.9)
    assert "steps must be 1 to 10, not 100" in refused("bench", "pvdm-course", "--stage", "prior", *few)


def test_it_is_scored_as_it_goes_on_from_clips(run, lvlib, refused, clips):
    root, _ = clips
    asked = ("evaluate", run, "--data.root", root, "--clips", 2, "--metrics", "psnr", "--given-frames", 4, *STEPS)
    assert "--protocol.frames must be a multiple of 4, 8 or more" in refused(*asked)
    status, printed, errors = lvlib(*asked, "--protocol.frames", 8, "--json")
    assert status == 0, errors
    assert json.loads(printed)["frames"] == 8


def test_each_clip_of_a_long_video_is_told_its_actions(sample, refused, tmp_path):
    run = make_pvdm_run(tmp_path / "told", prior__actions="2")
    np.save(tmp_path / "actions.npy", np.random.default_rng(0).integers(2, size=(12, 2)))
    video, _ = sample(run, "--n", 1, "--frames", 12, "--condition.actions", tmp_path / "actions.npy")
    np.save(tmp_path / "others.npy", np.concatenate([np.load(tmp_path / "actions.npy")[:8], np.ones((4, 2))]))
    other, _ = sample(run, "--n", 1, "--frames", 12, "--condition.actions", tmp_path / "others.npy")
    np.testing.assert_array_equal(video[:, :8], other[:, :8])
    assert (video[:, 8:] != other[:, 8:]).any()
    assert "actions" in refused("sample", run, "--n", 1, "--frames", 12, "--out", tmp_path / "new.npy")


def test_clips_too_short_for_two_in_a_row_say_why(run, refused, tmp_path):
    video = np.zeros((2, 6, 16, 16, 1), np.uint8)
    write_clip_set(tmp_path / "short", "made up", {}, {split: [{"video": video}] for split in ("train", "val")}, fps=10)
    sizes = [word for part in ("data", "autoencoder") for word in (f"--{part}.frames", 4, f"--{part}.size", 16)]
    said = refused("train", "pvdm-course", *sizes, "--autoencoder", run / "autoencoder", "--out", tmp_path / "new",
                   "--data.root", tmp_path / "short", "--prior.width", 8, "--prior.heads", 2)
    assert "6 frames, too few for 8 with stride 1 (this prior learns from several clips of 4 frames in a row" in said
