"""What the paths of notebook 17's digits show."""

import torch
from torch import Tensor

from lvlib.data.grammar import MOTIONS


def motion_of(y: Tensor, x: Tensor) -> Tensor:
    """Which of `MOTIONS` paths are, int64 (n,): from where they are in the first half of their frames and in the second
    one; and where that is the same, from whether they go up and down.

    y, x: rows, downwards, and columns, (n, t) each, any numbers.
    """
    half = y.shape[1] // 2
    down, right = ((place[:, half:] - place[:, :half]).float().mean(1) for place in (y, x))
    across = torch.where(right > 0, MOTIONS.index("right"), MOTIONS.index("left"))
    along = torch.where(down > 0, MOTIONS.index("down"), MOTIONS.index("up"))
    stays = torch.where(y.float().std(1) > 1, MOTIONS.index("bounce"), MOTIONS.index("still"))
    moves = torch.where(right.abs() > down.abs(), across, along)
    return torch.where(torch.maximum(right.abs(), down.abs()) > 0.8, moves, stays)
