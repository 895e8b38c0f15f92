"""Training a prior as a user would: on the latents of an autoencoder's run, stopped, resumed, and got wrong."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from lvlib.data import ClipSet, read_video, to_video
from lvlib.data.latents import write_latents
from lvlib.runs import latents as runs_latents
from lvlib.runs import load_model
from lvlib.runs.load import load_autoencoder
from lvlib.runs.shipped import FOLDER
from lvlib.training import load_run
from lvlib.training.checkpoint import folder_of, load_tensors, steps_saved

LATENTS = ["--autoencoder.codes", "16", "--autoencoder.codebooks", "2", "--data.size", "32"]
SMALL = [*LATENTS, "--data.frames", "4", "--training.batch", "4", "--training.checkpoint_every", "3",
         "--training.optimizer", "rmsprop", "--training.schedule", "cosine", "--training.warmup", "2",
         "--training.ema_decay", "0.9", "--training.steps", "6",
         "--prior.dim", "12", "--prior.embedding_dim", "6", "--prior.heads", "2", "--prior.head_dim", "4",
         "--prior.encoder_layers", "1", "--prior.decoder_layers", "1", "--prior.subscale", "4", "2", "1"]


@pytest.fixture(scope="session")
def frames(digits, tmp_path_factory) -> Path:
    """The run of an autoencoder: two codebooks of 16."""
    from lvlib.cli import main

    run = tmp_path_factory.mktemp("frames") / "run"
    assert main(["train", "lvt-frames-course", "--out", str(run), "--data.root", str(digits), *LATENTS,
                 "--autoencoder.hidden", "8", "--autoencoder.residual_hidden", "4", "--training.steps", "20"]) == 0
    return run


def arguments(out, root, *more, config="bench-lvt") -> list[str]:
    return ["train", config, "--out", out, "--data.root", root, *SMALL, *more]


@pytest.fixture
def train(lvlib, digits, tmp_path):
    def run(*more, out=tmp_path / "run", root=digits, config="bench-lvt"):
        return lvlib(*arguments(out, root, *more, config=config))

    return run


@pytest.fixture
def refused_training(train, tmp_path):
    """A training that must fail: status 2, one line; and what was in the run folder is there as it was."""

    def run(*more, out=tmp_path / "run", **options) -> str:
        before = content(out)
        status, _, errors = train(*more, out=out, **options)
        assert status == 2
        assert errors.startswith("lvlib: error: ") and errors.count("\n") == 1, errors
        assert content(out) == before
        return errors.removeprefix("lvlib: error: ")

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "lock" not in path.name}


def test_train_go_on_and_load(lvlib, train, frames, digits, tmp_path, mp4):
    run = tmp_path / "run"
    status, out, errors = train("--autoencoder", frames)
    assert status == 0 and "6 steps taken, 6 in all" in out and "latents of train" in errors
    assert steps_saved(run) == [3, 6]
    config, model = load_model(run)
    assert (config.prior.subscale, config.autoencoder.hidden) == ((4, 2, 1), 8)  # 8 is the autoencoder's, not set
    assert type(model).__name__ == "LatentVideoTransformer" and not model.training
    assert load_run(run)["fps"] == ClipSet(digits).fps

    shutil.rmtree(folder_of(run, 6))
    written = (run / "latents" / "train.npy").stat().st_mtime_ns
    for given in [], ["--autoencoder", frames]:  # both ways to go on
        assert train(*given)[0] == 0
    assert (run / "latents" / "train.npy").stat().st_mtime_ns == written  # nothing was encoded again
    assert train("--autoencoder", frames, out=tmp_path / "whole")[0] == 0
    for name in ("model.safetensors", "ema.safetensors"):
        assert (folder_of(run, 6) / name).read_bytes() == (folder_of(tmp_path / "whole", 6) / name).read_bytes()
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert "val_bits_per_dim" in logged[-1] and 0 < logged[-1]["learning_rate"] < 1e-4

    shutil.move(frames, tmp_path / "elsewhere")
    try:  # the run alone is enough
        clip = to_video(ClipSet(digits)[2]["video"])[None]
        codes = load_autoencoder(run)[1].encode(clip)
        assert torch.equal(codes[0], torch.as_tensor(np.load(run / "latents" / "train.npy")[2]).long())
        assert model.loss(codes, {})[0].isfinite()
        status, out, _ = lvlib("reconstruct", run, mp4, "--out", tmp_path / "out.npy")
        assert status == 0 and np.load(tmp_path / "out.npy").shape == (80, 32, 64, 3)
    finally:
        shutil.move(tmp_path / "elsewhere", frames)


def test_what_the_run_keeps_is_the_newest_checkpoint_of_the_autoencoder(train, frames, tmp_path):
    assert train("--autoencoder", frames)[0] == 0
    kept = tmp_path / "run" / "autoencoder"
    assert {path.name for path in kept.iterdir()} == {"config.json", "checkpoints"} and steps_saved(kept) == [20]
    newest = load_tensors(frames, 20, "model.safetensors")
    for name, tensor in load_autoencoder(tmp_path / "run")[1].state_dict().items():
        assert torch.equal(tensor, newest[name])


def test_a_shipped_model_by_its_name_on_frames_of_another_size(train, tmp_path):
    """It was trained on 64x64, and takes 32x32 as well."""
    shipped = ["--autoencoder", "lvt-frames-course", "--autoencoder.codes", "128", "--autoencoder.codebooks", "4"]
    assert train(*shipped, "--training.steps", "1")[0] == 0
    assert np.load(tmp_path / "run" / "latents" / "val.npy").shape == (2, 4, 8, 8, 4)


def test_on_a_folder_of_videos(train, frames, tmp_path, mp4):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "b"):
        shutil.copy(mp4, folder / f"{name}.mp4")
    assert train("--autoencoder", frames, root=folder)[0] == 0
    assert np.load(tmp_path / "run" / "latents" / "train.npy").shape == (20, 4, 8, 8, 2)
    assert load_run(tmp_path / "run")["fps"] == 10
    images = tmp_path / "images"
    for name in ("a", "b"):
        (images / name).mkdir(parents=True)
        for t, frame in enumerate(read_video(mp4)[0][:8]):
            Image.fromarray(frame).save(images / name / f"{t}.png")
    assert train("--autoencoder", frames, root=images, out=tmp_path / "second")[0] == 0
    assert load_run(tmp_path / "second")["fps"] is None


def test_weights_without_the_optimizers_state_are_not_trained_further(train, lvlib, frames, digits, tmp_path):
    assert train("--autoencoder", frames)[0] == 0
    kept = tmp_path / "run" / "autoencoder"
    before = content(kept)
    status, _, errors = lvlib("train", "lvt-frames-course", "--out", kept, "--data.root", digits, *LATENTS,
                              "--autoencoder.hidden", "8", "--autoencoder.residual_hidden", "4",
                              "--training.steps", "30")
    assert status == 2 and "holds weights without the optimizer's state" in errors
    assert content(kept) == before


def test_killed_while_it_encodes(frames, digits, train, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text("import os, sys\nfrom lvlib.cli import main\nfrom lvlib.data import latents\n"
                      "latents.sha256 = lambda path: os.kill(os.getpid(), 9)\nmain(sys.argv[1:])\n")
    run = tmp_path / "run"
    command = [sys.executable, script, *arguments(run, digits, "--autoencoder", frames)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run(list(map(str, command)), env=environment, capture_output=True)
    assert killed.returncode == -9
    assert not (run / "latents").exists() and list(run.rglob("train.npy"))
    status, _, errors = train()  # the autoencoder is in the run already
    assert status == 0, errors
    assert train("--autoencoder", frames, out=tmp_path / "whole")[0] == 0
    assert list(run.rglob("train.npy")) == [run / "latents" / "train.npy"]
    for name in ("latents/train.npy", "checkpoints/00000006/model.safetensors"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_latents_of_other_clips_are_made_again_before_training_and_refused_after(lvlib, train, refused_training, frames,
                                                                              digits, tmp_path):
    run, others = tmp_path / "run", tmp_path / "others"
    assert lvlib("data", "moving_digits", "--out", others, "--train", "6", "--val", "2", "--test", "2", "--frames", "4",
                 "--size", "32", "--seed", "1")[0] == 0
    assert train("--autoencoder", frames)[0] == 0
    first = np.load(run / "latents" / "train.npy")
    message = refused_training(root=others)
    assert "latents.train_clips" in message and "start another run folder" in message
    moved = shutil.copytree(digits, tmp_path / "moved")
    assert train(root=moved)[0] == 0  # the same clips in another place
    (run / "config.json").unlink()
    shutil.rmtree(run / "checkpoints")
    for name in ("metrics.jsonl", "tensorboard", "autoencoder"):  # as if training had never begun
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert train("--autoencoder", frames, root=others)[0] == 0
    assert (np.load(run / "latents" / "train.npy") != first).any()


def test_damaged_latents_are_refused_and_made_again_once_deleted(train, refused_training, frames, tmp_path):
    assert train("--autoencoder", frames)[0] == 0
    file = tmp_path / "run" / "latents" / "train.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")  # out of range
    assert "latents are damaged; delete that folder" in refused_training().replace(f" in {file.parent}", "")
    shutil.rmtree(file.parent)
    assert train()[0] == 0 and np.load(file).max() < 16


def test_which_autoencoder(train, refused_training, refused, frames, digits, tmp_path):
    assert "give --autoencoder RUN, a run folder or a shipped model (there is none)" in refused_training()
    line = refused("train", "lvt-course", "--out", tmp_path / "none", "--data.root", digits)
    assert line.endswith("a shipped model (lvt-course/autoencoder)")
    message = refused_training("--autoencoder", "lvt-frames-curse")
    assert "lvt-frames-curse" in message and "did you mean lvt-frames-course?" in message
    (tmp_path / "empty").mkdir()
    assert "not a run folder" in refused_training("--autoencoder", tmp_path / "empty")
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    shutil.copy(frames / "config.json", untrained)
    assert "no checkpoint yet" in refused_training("--autoencoder", untrained)
    broken = shutil.copytree(frames, tmp_path / "broken")
    (folder_of(broken, 20) / "manifest.json").write_text("{")
    assert "damaged checkpoint" in refused_training("--autoencoder", broken)
    line = ["train", "lvt-frames-course", "--out", tmp_path / "run", "--data.root", digits]
    assert "lvt-frames-course trains autoencoder, which stands on nothing: leave --autoencoder out" in refused(
        *line, "--autoencoder", frames)
    assert "this configuration has no prior" in refused(*line, "--prior.attention", "key")
    assert not (tmp_path / "run").exists()
    assert train("--autoencoder", frames)[0] == 0
    message = refused_training("--autoencoder", tmp_path / "run", out=tmp_path / "second")
    assert f"is the run of a prior, not of an autoencoder; one is in {tmp_path / 'run' / 'autoencoder'}" in message
    message = refused_training("--autoencoder", "tats-between-course", out=tmp_path / "second")
    assert f"one is in {Path('tats-between-course', 'prior', 'autoencoder')}" in message.replace(f"{FOLDER}/", "")
    assert train("--autoencoder", tmp_path / "run" / "autoencoder", out=tmp_path / "second")[0] == 0


def test_a_run_goes_on_with_its_own_autoencoder_alone(lvlib, train, refused_training, frames, tmp_path, digits):
    assert train("--autoencoder", frames)[0] == 0
    other = shutil.copytree(frames, tmp_path / "other")
    assert lvlib("train", "lvt-frames-course", "--out", other, "--data.root", digits, *LATENTS, "--autoencoder.hidden",
                 "8", "--autoencoder.residual_hidden", "4", "--training.steps", "21")[0] == 0
    message = refused_training("--autoencoder", other)
    assert "learns from another autoencoder than" in message and "leave --autoencoder out" in message


def test_an_autoencoder_of_another_shape(refused_training, frames):
    given = ["--autoencoder", frames]
    message = refused_training("--autoencoder", "lvt-frames-course")
    assert "--autoencoder.codes is 16, but the autoencoder" in message and "has 128" in message
    assert "--autoencoder.hidden is 64, but" in refused_training(*given, "--autoencoder.hidden", "64")


def test_an_autoencoder_that_the_configuration_does_not_expect(refused, frames, digits, tmp_path):
    message = refused("train", "bench-lvt", "--out", tmp_path / "run", "--data.root", digits, "--data.size", "32",
                      "--data.frames", "4", "--autoencoder", frames)
    assert "makes 4 x 8 x 8 x 2 codes of a clip, each one of 16;" in message
    assert "learns 4 x 8 x 8 x 4 codes of a clip, each one of 128:" in message
    assert not (tmp_path / "run").exists()


def test_sizes_that_do_not_fit_are_found_before_anything_is_encoded(lvlib, refused_training, frames, tmp_path):
    def refused_with(*more):
        return refused_training("--autoencoder", frames, *more)

    message = refused_with("--prior.subscale", "4", "3", "1")
    assert "subscale factor 3 does not divide the 8 latent positions in height" in message and "1, 2, 4, 8" in message
    assert "prime_frames must be below the 4 frames" in refused_with("--prior.prime_frames", "4")
    assert "4 frames, too few for 8" in refused_with("--data.frames", "8", "--prior.subscale", "8", "1", "1")
    assert "32 x 32, not 64" in refused_with("--data.size", "64")
    assert "takes one of query-key, key, relative" in refused_with("--prior.attention", "keys")
    assert "takes an integer and an integer and an integer" in refused_with("--prior.subscale", "4")
    grey = tmp_path / "grey"
    assert lvlib("data", "moving_digits", "--out", grey, "--train", "2", "--val", "1", "--test", "1", "--frames", "4",
                 "--size", "32", "--grey")[0] == 0
    message = refused_training("--autoencoder", frames, root=grey)
    assert "have 1 channels, the model takes 3: give another autoencoder" in message
    assert not (tmp_path / "run").exists()


def test_another_configuration_is_refused_before_it_encodes_again(train, refused_training, frames, tmp_path):
    assert train("--autoencoder", frames)[0] == 0
    shutil.rmtree(tmp_path / "run" / "latents")
    assert "prior.attention" in refused_training("--prior.attention", "key")
    assert "training.steps = 6, not 7" in refused_training("--training.steps", "7")  # a cosine's steps are fixed
    assert "bench-lvt" in refused_training(config="lvt-bair")


def test_one_process_encodes_while_the_others_wait(train, frames, tmp_path, monkeypatch):
    """The other one is a thread, that holds the lock as if it encoded, until the training waits for it."""
    held, waiting, done = threading.Event(), threading.Event(), threading.Event()

    def encode():
        with FileLock(tmp_path / "run" / "latents.lock"):
            held.set()
            waiting.wait()
            done.set()

    class Watched(FileLock):
        def __enter__(self):
            waiting.set()
            return super().__enter__()

    (tmp_path / "run").mkdir()
    other = threading.Thread(target=encode)
    other.start()
    held.wait()
    written = []
    monkeypatch.setattr(runs_latents, "FileLock", Watched)
    monkeypatch.setattr(runs_latents, "write_latents", lambda *a: written.append(done.is_set()) or write_latents(*a))
    assert train("--autoencoder", frames, "--training.steps", "1")[0] == 0
    other.join()
    assert written == [True]


def test_help_lists_the_fields_of_a_prior(lvlib):
    status, out, _ = lvlib("train", "lvt-bair", "--help")
    words = " ".join(out.split())
    assert status == 0 and "--autoencoder RUN" in words
    assert "--prior.subscale INT INT INT" in words and "--prior.attention {query-key,key,relative}" in words
