"""lvlib sample with a window that slides: what it refuses, and what buttons do."""

from dataclasses import replace

import numpy as np
import pytest
from small_runs import save_run

from lvlib.cli.arguments import override
from lvlib.configs import named_config

SMALL = {"data.size": "32", "data.frames": "4", "autoencoder.downsample": "2 8 8", "autoencoder.hidden": "8",
         "autoencoder.codes": "16", "autoencoder.code_dim": "8", "autoencoder.disc_hidden": "2", "prior.dim": "16",
         "prior.heads": "2", "prior.layers": "1", "prior.hidden": "16", "prior.actions": "2"}


@pytest.fixture
def told_buttons(tmp_path):
    """The run folder of a small prior with random weights."""
    config = override(named_config("bench-tats"), {name: value.split() for name, value in SMALL.items()})
    save_run(tmp_path / "run", "bench-tats", config, {})
    save_run(tmp_path / "run" / "autoencoder", "bench-tats", replace(config, prior=None), {})
    return tmp_path / "run"


def test_a_context_as_long_as_the_window_is_refused(refused, tmp_path):
    message = refused("sample", "tats-course", "--condition.label", "3", "--out", tmp_path / "out.mp4",
                      "--sampling.context", 4)
    assert "context must be 1 to 3, less than the window, not 4" in message


def save(file, values):
    np.save(file, np.array(values, np.float32))
    return file


@pytest.mark.parametrize("frames", [4, 10])
def test_buttons_have_a_row_for_each_frame_however_many(told_buttons, lvlib, tmp_path, frames):
    made = []
    for number, row in enumerate(([1, 0], [0, 1])):
        file = save(tmp_path / f"{number}.npy", [row] * frames)
        lvlib("sample", told_buttons, "--condition.actions", file, "--n", 2, "--frames", frames, "--out",
              tmp_path / "out.npy")
        made.append(np.load(tmp_path / "out.npy"))
    assert made[0].shape == (2, frames, 32, 32, 3) and (made[0] != made[1]).any()


def test_buttons_that_are_more_than_pressed_or_missing_are_refused(told_buttons, refused, tmp_path):
    out = "--out", tmp_path / "out.npy"
    twice = save(tmp_path / "twice.npy", [[2, 0]] * 4)
    message = refused("sample", told_buttons, "--condition.actions", twice, *out)
    assert "actions must be from 0, not pressed, to 1, pressed; got 0 to 2" in message
    few = save(tmp_path / "few.npy", [[1, 0]] * 3)
    assert "must be 4 x 2: a row for each of the video's 4 frames" in refused(
        "sample", told_buttons, "--condition.actions", few, *out)
    assert "give --condition.actions FILE.npy, of 4 x 2 numbers" in refused("sample", told_buttons, *out)
