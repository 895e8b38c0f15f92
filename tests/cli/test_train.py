"""The command line as a user would drive it: make data, train, stop, go on, compress a real file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lvlib.configs import named_config
from lvlib.data import ClipSet, read_video, write_video
from lvlib.errors import UserError
from lvlib.runs.latents import standing_on
from lvlib.runs.shipped import run_folder
from lvlib.training.checkpoint import load_tensors, steps_saved

SMALL = ["--autoencoder.hidden", "8", "--autoencoder.residual_hidden", "4", "--autoencoder.codes", "16",
         "--data.size", "32", "--training.batch", "4", "--training.checkpoint_every", "5"]


@pytest.fixture
def train(lvlib, digits, tmp_path):
    def run(*arguments, config="lvt-frames-course", out=tmp_path / "run", root=digits):
        return lvlib("train", config, "--out", out, "--data.root", root, *SMALL, *arguments)

    return run


@pytest.fixture
def refused_training(train):
    """A training that must fail: status 2, and one line after what the progress bar may have left."""

    def run(*arguments, **options) -> str:
        status, _, errors = train(*arguments, **options)
        assert status == 2
        *before, line = errors.strip().splitlines()
        assert line.startswith("lvlib: error: ") and "Traceback" not in errors
        return line.removeprefix("lvlib: error: ")

    return run


def test_train_go_on_and_reconstruct(lvlib, train, mp4, tmp_path):
    run = tmp_path / "run"
    status, out, _ = train("--training.steps", "7")
    assert status == 0 and "7 steps taken, 7 in all" in out
    assert steps_saved(run) == [5, 7]
    config = json.loads((run / "config.json").read_text())
    assert (config["name"], config["autoencoder"]["hidden"], config["training"]["steps"]) == ("lvt-frames-course", 8, 7)

    status, out, _ = train("--training.steps", "12")
    assert status == 0 and "5 steps taken, 12 in all" in out
    status, _, _ = train("--training.steps", "12", out=tmp_path / "at once")
    assert status == 0
    stopped, whole = (load_tensors(tmp_path / name, 12, "model.safetensors") for name in ("run", "at once"))
    for name in whole:
        torch.testing.assert_close(stopped[name], whole[name], rtol=0, atol=0)
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == 12 and "val_loss" in logged[-1]

    side_by_side = tmp_path / "side_by_side.mp4"
    status, out, _ = lvlib("reconstruct", run, mp4, "--out", side_by_side)
    assert status == 0
    assert read_video(side_by_side)[0].shape == (80, 32, 64, 3)
    assert float(re.search(r"PSNR ([\d.]+) dB", out)[1]) > 3


def test_training_makes_reconstructions_better(lvlib, train, mp4, tmp_path):
    """On the mp4 itself, through a folder of videos; measured on the pixels that were written."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "b"):
        write_video(folder / f"{name}.mp4", read_video(mp4)[0], fps=10)
    psnr = {}
    for steps in (1, 120):
        run = tmp_path / f"run{steps}"
        assert train("--training.steps", steps, out=run, root=folder)[0] == 0
        _, out, _ = lvlib("reconstruct", run, mp4, "--out", tmp_path / "out.npy")
        left, right = np.split(np.load(tmp_path / "out.npy").astype(float), 2, axis=2)
        psnr[steps] = 10 * np.log10(255**2 / np.square(left - right).mean())
        # The printed number is that of the float reconstruction, before it is rounded to 256 levels.
        assert float(re.search(r"PSNR ([\d.]+) dB", out)[1]) == pytest.approx(psnr[steps], abs=0.05)
    assert psnr[120] > psnr[1] + 4


def test_precision_is_short_for_a_field(train, tmp_path):
    assert train("--training.steps", "2", "--precision", "bf16-mixed")[0] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["precision"] == "bf16-mixed"


def test_a_run_of_another_config_is_refused(train, refused_training):
    assert train("--training.steps", "2")[0] == 0
    assert "lvt-frames-course" in refused_training("--training.steps", "4", config="lvt-frames-bair")
    assert "autoencoder.codes" in refused_training("--training.steps", "4", "--autoencoder.codes", "32")
    assert "training.seed" in refused_training("--training.steps", "4", "--training.seed", "1")
    assert train("--training.steps", "4", "--training.log_every", "1")[0] == 0


def test_a_damaged_checkpoint_is_refused_and_kept(train, refused_training, tmp_path):
    assert train("--training.steps", "7")[0] == 0
    model = tmp_path / "run" / "checkpoints" / "00000007" / "model.safetensors"
    cut = model.read_bytes()[:1000]
    model.write_bytes(cut)
    message = refused_training("--training.steps", "9")
    assert "model.safetensors" in message and "step 5" in message
    assert model.read_bytes() == cut and steps_saved(tmp_path / "run") == [5, 7]


def test_data_that_the_model_cannot_take_is_found_before_training(lvlib, refused_training, digits, tmp_path):
    grey = tmp_path / "grey"
    assert lvlib("data", "moving_digits", "--out", grey, "--train", "2", "--val", "1", "--test", "1", "--frames", "4",
                 "--size", "32", "--grey")[0] == 0
    assert "1 channels, the model takes 3: set --autoencoder.channels 1" in refused_training(root=grey)
    assert "32 x 32, not 64" in refused_training("--data.size", "64")
    assert "multiples of 4" in refused_training("--data.size", "30")
    assert "too few" in refused_training("--data.frames", "9")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("config", ["tats-vqgan-course", "pvdm-autoencoder-course"])
def test_a_perceptual_network_that_is_not_there_is_said_before_the_run_begins(refused, digits, tmp_path, config):
    said = refused("train", config, "--out", tmp_path / "new", "--data.root", digits, "--data.frames", 4,
                   "--autoencoder.perceptual", "nosuch.pt", "--autoencoder.channels", 3,
                   *(["--autoencoder.frames", 4] if "pvdm" in config else []))
    assert "unknown perceptual network 'nosuch.pt'" in said and not (tmp_path / "new").exists()


def test_a_folder_without_data_is_refused(lvlib, refused, refused_training, tmp_path, mp4):
    assert "--data.root" in refused("train", "lvt-frames-course", "--out", tmp_path / "run")
    assert "nowhere" in refused_training(root=tmp_path / "nowhere")
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "half.mp4").write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
    (cut / "notes.mp4").write_text("no video")
    message = refused_training(root=cut)
    assert "no usable video" in message and "cut off" in message


def test_a_damaged_data_set_is_refused(refused_training, digits, tmp_path):
    broken = tmp_path / "broken"
    (broken / "train").mkdir(parents=True)
    (broken / "meta.json").write_bytes((digits / "meta.json").read_bytes())
    assert "missing or damaged" in refused_training(root=broken)
    (broken / "meta.json").write_text("{")
    assert "is damaged" in refused_training(root=broken)


def test_what_is_missing_or_wrong_on_the_line_is_said(refused, digits, tmp_path):
    out = ["--out", tmp_path / "run", "--data.root", digits]
    assert "required: --out" in refused("train", "lvt-frames-course")
    assert "required: CONFIG" in refused("train", *out)
    assert "did you mean lvt-frames-bair?" in refused("train", "lvt-frame-bair", *out)
    assert "--devices and --nodes must be at least 1" in refused("train", "bench-lvt", *out, "--devices", "0")
    assert "invalid int value: 'two'" in refused("train", "bench-lvt", *out, "--devices", "two")
    assert "unrecognized arguments: --steps 3" in refused("train", "bench-lvt", *out, "--steps", "3")
    for precision, given in ("fp8", "'fp8'"), ("", "nothing"):
        message = refused("train", "bench-lvt", *out, "--precision", precision)
        assert "--training.precision takes one of 32-true, bf16-mixed, 16-mixed" in message and message.endswith(given)
    assert "did you mean train?" in refused("trian")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_things_is_no_run(refused_training, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    assert "holds something that is no run" in refused_training(out=tmp_path / "thesis")
    assert "is a file" in refused_training(out=tmp_path / "thesis" / "thesis.tex")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_data_sets_are_listed_and_their_mistakes_are_one_line(lvlib, refused, digits, tmp_path):
    status, out, _ = lvlib("data", "--list")
    assert status == 0 and "moving_digits" in out and "video_folder" in out
    assert "did you mean moving_digits?" in refused("data", "moving_digit", "--out", tmp_path / "d")
    assert "--out" in refused("data", "moving_digits")
    assert "required: NAME" in refused("data")
    assert "holds something else" in refused("data", "moving_digits", "--out", digits, "--seed", "9")
    assert len(ClipSet(digits)) == 6
    status, out, _ = lvlib("data", "moving_digits", "--help")
    assert status == 0 and "--frames" in out


def test_as_a_process(digits, mp4, tmp_path):
    """The real thing once: exit statuses, streams, and two processes that train together."""
    command = tmp_path / "command.py"
    command.write_text("import sys\nfrom lvlib.cli import main\nsys.exit(main())\n")

    def run(*arguments) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run([sys.executable, command, *map(str, arguments)], env=environment, capture_output=True,
                              text=True)

    trained = run("train", "lvt-frames-course", "--out", tmp_path / "run", "--data.root", digits, *SMALL,
                  "--training.steps", "3", "--devices", "2")
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("3 steps taken, 3 in all") == 1
    wrong = run("reconstruct", tmp_path / "run", tmp_path / "none.mp4", "--out", tmp_path / "out.mp4")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("lvlib: error: ") and wrong.stderr.count("\n") == 1


def test_the_fields_of_another_autoencoder_are_named_as_they_are_typed():
    config, other = named_config("tats-course"), run_folder("tats-doom-course") / "autoencoder"
    with pytest.raises(UserError, match="--autoencoder.residual_blocks 1 1 --autoencoder.downsample 2 4 4 "):
        standing_on(config, other)
