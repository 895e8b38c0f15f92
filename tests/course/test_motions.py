"""Motions are read from paths as notebook 17's stories have them."""

import pytest
import torch

from lvlib.course.motions import motion_of
from lvlib.data.grammar import MOTIONS

STEPS = torch.arange(8)
STILL = torch.full((8,), 3)
JUMPS = torch.tensor([0, 2, 4, 2, 0, 2, 4, 2])


@pytest.mark.parametrize(("motion", "y", "x"), [
    ("right", STILL, STEPS), ("left", STILL, -STEPS), ("up", -STEPS, STILL), ("down", STEPS, STILL),
    ("bounce", JUMPS, STILL), ("still", STILL, STILL),
])
def test_each_motion_is_read_from_its_path(motion, y, x):
    assert MOTIONS[motion_of(y[None], x[None])] == motion


def test_the_longer_way_decides():
    paths = torch.stack([STEPS, 2 * STEPS]), torch.stack([2 * STEPS, STEPS])
    assert [MOTIONS[i] for i in motion_of(*paths)] == ["right", "down"]
