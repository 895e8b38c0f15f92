# Never edit this file: `python -m lvlib.course build` makes it from solutions/18_masked_video_modelling.py.
"""Which codes of a clip are hidden. MeBT, section 3.3."""

import math
import random

import torch
from torch import Tensor


def hide_smallest(scores: Tensor, count: int) -> Tensor:
    """Hides the `count` places of each clip with the smallest scores: (b, n) -> bool (b, n), True
    where hidden; of equal ones the first."""
    places = scores.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, places, True)


def places_of(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the context and the hidden places, each in order: bool (b, n) -> int64
    (b, n - m), (b, m). Raises ValueError unless all clips hide the same number."""
    counts = hidden.sum(1)
    if counts.min() != counts.max():
        raise ValueError("all clips must hide the same number of codes, not "
                         f"{counts.min()} to {counts.max()}")
    order = hidden.byte().argsort(dim=1, stable=True)
    return order.split([hidden.shape[1] - int(counts[0]), int(counts[0])], 1)


def random_split(clips: int, n: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same for `count` of n places, drawn for each clip: int64 (clips, n - count),
    (clips, count)."""
    order = torch.rand(clips, n, device=device).argsort(1)
    return order[:, count:].sort(1).values, order[:, :count].sort(1).values


def random_count(n: int) -> int:
    """How many of n codes a step hides: a share of (0, 1], each as likely, rounded up (3.3)."""
    return math.ceil((1 - random.random()) * n)
