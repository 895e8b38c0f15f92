"""The clips of notebooks: what is asked for, from the sets that the course has."""

import numpy as np
import torch

from lvlib.course.clips import doom_walks, one_digit
from lvlib.data import MovingDigits, to_video, write_clip_set


def test_one_digit_of_any_class_or_of_one():
    video, labels = one_digit(6, 4, size=32, seed=3)
    same = MovingDigits(6, 4, size=32, digits=1, seed=3).batch(slice(0, 6))
    assert torch.equal(video, to_video(torch.tensor(same["video"]))) and labels.tolist() == same["label"].tolist()
    threes, labels = one_digit(5, 4, label=3, size=32)
    assert threes.shape == (5, 1, 4, 32, 32) and labels.tolist() == [3] * 5
    assert len({clip.sum().item() for clip in threes}) == 5


def test_walks_are_the_beginnings_of_episodes(tmp_path, monkeypatch):
    monkeypatch.setenv("LVLIB_DATA", str(tmp_path))
    random = np.random.default_rng(0)
    episodes = {"video": random.integers(0, 256, (3, 20, 8, 8, 3), np.uint8),
                "actions": random.random((3, 20, 3), np.float32)}
    write_clip_set(tmp_path / "doom", "vizdoom", {}, {"train": [episodes]}, fps=8.75, per_frame=("video", "actions"))
    video, held = doom_walks(2, 6)
    assert np.array_equal(video, episodes["video"][:2, :6]) and np.array_equal(held, episodes["actions"][:2, :6])
    assert len(doom_walks(9, 6)[0]) == 3


def test_without_walks_it_says_how_they_are_made_and_digits_stand_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LVLIB_DATA", str(tmp_path))
    video, held = doom_walks(2, 6)
    assert video.shape == (2, 6, 64, 64, 3) and video.dtype == torch.uint8
    assert held.shape == (2, 6, 3) and not held.any()
    assert "lvlib data vizdoom" in capsys.readouterr().out
