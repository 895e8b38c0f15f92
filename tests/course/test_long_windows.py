"""The experiment of notebook 19: windows of long videos."""

import pytest
import torch

from lvlib.course import long_windows
from lvlib.course.long_windows import experiment, real_digits


def test_real_videos_come_back_after_24_frames_and_are_as_good_in_each_window():
    """A digit of 20 pixels has 12 of room on each side, 4 at a time."""
    video = real_digits(8, 64)
    assert video.shape == (8, 1, 64, 32, 32) and torch.equal(video[:, :, 24:48], video[:, :, :24])
    found = experiment("real", 0, videos=16, truth=32)
    assert len(found.distances) == 7 and found.distances[0] == pytest.approx(found.distances[3], rel=1e-3)
    assert max(found.distances) < 1.5 * min(found.distances)


def test_it_says_each_model_and_seed(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["long_windows", "--models", "real", "--seeds", "0", "1", "--videos", "4"])
    long_windows.main()
    first, second = capsys.readouterr().out.splitlines()
    assert "'seed': 0" in first and "'seed': 1" in second and first[:20] == second[:20]
