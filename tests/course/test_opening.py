"""The README's moving picture."""

from pathlib import Path

import av
import numpy as np
import torch

from lvlib.course import opening

PICTURE = Path(__file__).parents[2] / "images/five_systems.gif"


def test_it_is_of_five_systems_and_small_enough_for_a_page():
    assert PICTURE.stat().st_size < 2_000_000
    with av.open(str(PICTURE)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    one = opening.panel("LVT", torch.zeros(4, 1, 16, 32, 32))
    assert len(frames) == opening.FRAMES == len(one)
    assert frames[0].shape[:2] == (one.shape[1], 5 * one.shape[2])
    assert all((before != after).any() for before, after in zip(frames, frames[1:], strict=False))


def test_shorter_clips_begin_again_and_each_has_its_place():
    video = torch.full((4, 1, 16, 32, 32), -1.0)
    video[3, :, 1] = 1  # the last clip is white in its second frame
    panel = opening.panel("a", video)
    lit = [i for i in range(opening.FRAMES) if (panel[i, -10, -10] == 255).all()]
    assert lit == [1, 17, 33] and (panel[1, -10, 10] == 0).all()


def test_it_is_drawn_from_what_each_system_makes(tmp_path, monkeypatch):
    asked = []
    made = {name: lambda name=name: asked.append(name) or torch.rand(4, 1, 16, 16, 16) * 2 - 1
            for name in opening.SYSTEMS}
    monkeypatch.setattr(opening, "SYSTEMS", made)
    opening.main([str(tmp_path / "a.gif")])
    assert asked == ["LVT", "VideoGPT", "TATS", "MeBT", "PVDM"]
    with av.open(str(tmp_path / "a.gif")) as file:
        assert np.prod(next(file.decode(video=0)).to_ndarray(format="rgb24").shape) > 100_000
