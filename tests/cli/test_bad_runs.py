"""Runs whose autoencoder was exchanged, and models that make no numbers: one line, status 2, and no file."""

import json
import shutil

import pytest
import torch
from small_runs import make_prior_run

from lvlib.models.lvt.frame_vqvae import FrameVQVAE
from lvlib.models.lvt.prior import LatentVideoTransformer
from lvlib.training.checkpoint import MODEL, Checkpoint, load_tensors, save_checkpoint
from lvlib.training.run import newest_weights


@pytest.fixture
def run(tmp_path):
    """A prior's run that says which autoencoder it learned from."""
    run = make_prior_run(tmp_path / "runs" / "run")
    about = json.loads((run / "config.json").read_text())
    about["latents"] = {"autoencoder": newest_weights(run / "autoencoder").sha256}
    (run / "config.json").write_text(json.dumps(about))
    return run


@pytest.fixture
def lines(refused, mp4, digits, tmp_path):
    """What each command that needs all of a run says of it."""

    def say(run) -> list[str]:
        out = tmp_path / "out" / "out.mp4"
        said = [refused("sample", run, "--given", mp4, "--out", out), refused("reconstruct", run, mp4, "--out", out),
                refused("evaluate", run, "--data.root", digits)]
        assert not out.exists() and not (out.parent.exists() and list(out.parent.iterdir()))
        return said

    return say


def test_an_exchanged_autoencoder_is_refused(run, lines, tmp_path):
    kept = run / "autoencoder"
    tensors = load_tensors(kept, 5, MODEL)
    tensors["decoder.0.bias"] += 1
    shutil.rmtree(kept / "checkpoints")
    save_checkpoint(kept, Checkpoint(5, tensors, None, {}, {}), keep=1)
    assert all(f"{kept} is not what {run} stands on: it holds other weights" in line for line in lines(run))

    shutil.rmtree(kept)
    shutil.copytree(make_prior_run(tmp_path / "other", autoencoder__residual_hidden="6") / "autoencoder", kept)
    words = f"{kept} is not what {run} stands on: their configurations of the autoencoder differ"
    assert all(words in line for line in lines(run))


def test_a_missing_or_looped_autoencoder_is_refused(run, lines):
    kept = run / "autoencoder"
    shutil.rmtree(kept)
    assert all(f"no such run folder: {kept}" in line for line in lines(run))
    try:
        kept.symlink_to(run)
    except OSError:
        pytest.skip("links need a right on Windows")
    words = f"{kept} must be the run of the autoencoder, and is that of the prior"
    assert all(words in line for line in lines(run))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_no_numbers_are_refused(run, lines, refused, digits, monkeypatch, value):
    monkeypatch.setattr(FrameVQVAE, "decode", lambda self, codes: torch.full((len(codes), 3, codes.shape[1], 32, 32),
                                                                             value))
    words = "what the model makes is not finite: its weights are of no use"
    assert all(words in line for line in lines(run))
    assert words in refused("evaluate", run / "autoencoder", "--data.root", digits)


def test_likelihoods_that_are_no_numbers_are_refused(run, refused, lvlib, digits, mp4, tmp_path, monkeypatch):
    monkeypatch.setattr(LatentVideoTransformer, "scores", lambda self, latents, *_: {
        "bits_per_dim": torch.full((len(latents),), float("nan"))})
    assert "bits_per_dim of model is not a number: the model's output is not finite" in refused(
        "evaluate", run, "--data.root", digits, "--metrics", "bits_per_dim")
    tensors = load_tensors(run, 5, MODEL)
    tensors |= {name: torch.full_like(value, 3e38) for name, value in tensors.items() if "code_heads.out" in name}
    save_checkpoint(run, Checkpoint(6, tensors, None, {}, {}), keep=1)
    assert "the model makes probabilities that are not finite" in refused(
        "sample", run, "--given", mp4, "--out", tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_more_samples_than_fit_the_memory_are_refused(run, refused, mp4, tmp_path):
    for n in 10**12, 10**30:
        message = refused("sample", run, "--given", mp4, "--n", n, "--out", tmp_path / "out.mp4")
        assert f"a video of {n} samples" in message and "of memory are needed" in message


@pytest.mark.parametrize("part, field, message", [
    ("prior", "encoder_layers", "more than 20,000 layers and weights"), ("prior", "dim", "a number is too large"),
    ("autoencoder", "codes", "these sizes make a model whose weights take more than"), ("data", "size", "a clip would"),
])
def test_sizes_of_a_run_from_elsewhere(run, refused, mp4, tmp_path, part, field, message):
    """config.json asks for what no machine holds."""
    for folder in run, run / "autoencoder":
        about = json.loads((folder / "config.json").read_text())
        if part in about:
            about[part][field] = 4 * 10**11
        (folder / "config.json").write_text(json.dumps(about))
    line = refused("sample", run, "--given", mp4, "--out", tmp_path / "out.mp4")
    assert message in line or "of memory are needed" in line or "out of memory" in line
