"""The experiment of notebook 19: windows of long videos."""

import ast
from dataclasses import asdict

import pytest
import torch

from lvlib.course import long_windows
from lvlib.course.long_windows import draw_windows, experiment
from lvlib.course.plane_diffusion import digits


def test_real_videos_come_back_after_24_frames_and_are_as_good_in_each_window():
    """A digit of 20 pixels has 12 of room on each side."""
    video = digits(8, 64, "test", 0)
    assert video.shape == (8, 1, 64, 32, 32) and torch.equal(video[:, :, 24:48], video[:, :, :24])
    found = experiment("real", 0, videos=16, truth=32)
    assert len(found.distances) == 7 and found.distances[0] == pytest.approx(found.distances[3], rel=1e-3)
    assert max(found.distances) < 1.5 * min(found.distances)


def test_it_says_each_model_and_seed(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["long_windows", "--models", "real", "--seeds", "0", "1", "--videos", "4"])
    long_windows.main()
    printed = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [asdict(experiment("real", seed, 4)) for seed in (0, 1)]
    assert printed[0]["distances"] != printed[1]["distances"]


def test_a_model_writes_the_digits_in_turn(monkeypatch):
    asked = []

    class Real:
        def generate(self, n, condition, frames):
            asked.append((condition["label"].tolist(), frames))
            return digits(n, frames, "test", 1)

    monkeypatch.setattr(long_windows, "load_pipeline", lambda name: Real())
    made = experiment("any", 0, videos=12, frames=32)
    assert asked == [([*range(10), 0, 1], 32)] and made.distances == experiment("real", 0, 12, 32).distances


def test_the_figure_shows_the_change():
    ax = draw_windows({"real": [3.0, 3.0], "a": [5.0, 9.0]}).axes[0]
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0, 0], [0, 4]]
    assert ax.lines[1].get_xdata().tolist() == [0, 8] and ax.lines[0].get_linestyle() == ":"
