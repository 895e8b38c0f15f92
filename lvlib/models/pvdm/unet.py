# Never edit this file: `python -m lvlib.course build` makes it from solutions/22_triplane_diffusion.py.
"""One 2D U-Net for three planes, and attention across them. PVDM, section 3.2, Table 6."""

import math
from collections.abc import Callable
from functools import partial
from itertools import groupby

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.pvdm.timesformer import attend_all

Planes = list[Tensor]  # each (b, channels, rows, columns)


def step_vector(t: Tensor, dim: int) -> Tensor:
    """Steps (b,) as waves of `dim / 2` lengths: (b, dim). Ho et al. 2020."""
    rates = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = t[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


class TimedBlock(nn.Module):
    """x plus two 3x3 convolutions, told the step in between: x (b, channels, rows, columns), vector
    (b, dim) -> (b, width, rows, columns). The correction begins at zero."""

    def __init__(self, channels: int, width: int, dim: int):
        super().__init__()
        self.into = nn.Sequential(nn.GroupNorm(groups_of(channels), channels), nn.SiLU(),
                                  nn.Conv2d(channels, width, 3, padding=1))
        self.told = nn.Sequential(nn.SiLU(), nn.Linear(dim, width))
        self.out = nn.Sequential(nn.GroupNorm(groups_of(width), width), nn.SiLU(),
                                 nn.Conv2d(width, width, 3, padding=1))
        nn.init.zeros_(self.out[-1].weight)
        nn.init.zeros_(self.out[-1].bias)
        self.skip = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        correction = self.into(x) + self.told(vector)[:, :, None, None]
        return self.skip(x) + self.out(correction)


def groups_of(channels: int) -> int:
    """Of a GroupNorm: 32, or fewer, so that each has 3 channels or more. A group of one channel
    would take out again what `TimedBlock` adds to all its positions: the step."""
    return max(n for n in (1, 2, 4, 8, 16, 32) if channels % n == 0 and (n == 1 or channels >= 3 * n))


class PositionAttention(nn.Module):
    """x plus attention among its positions: (b, channels, n) -> the same. Begins at zero."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups_of(channels), channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        parts = rearrange(self.qkv(self.norm(x)), "b (p m d) n -> p b m n d", p=3, m=self.heads)
        attended = attend_all(*parts)
        return x + self.out(rearrange(attended, "b m n d -> b (m d) n"))


def across_planes(attention: nn.Module, planes: Planes) -> Planes:
    """Attention among the positions of all planes together: each (b, c, rows, columns) -> the same
    shapes. attention: (b, c, n) -> (b, c, n). Section 3.2."""
    joined = attention(torch.cat([plane.flatten(2) for plane in planes], 2))
    parts = joined.split([plane[0, 0].numel() for plane in planes], 2)
    return [part.view_as(plane) for part, plane in zip(parts, planes, strict=True)]


def each_plane(layer: nn.Module, planes: Planes, *others: Planes) -> Planes:
    """layer(plane, its others) of each plane: those of one shape in one batch."""
    found = []
    for _, group in groupby(zip(planes, *others, strict=True), key=lambda parts: parts[0].shape):
        columns = list(zip(*group, strict=True))
        found += layer(*map(torch.cat, columns)).chunk(len(columns[0]))
    return found


class UNetLevel(nn.Module):
    """A block of each plane, attention within each, and attention across them."""

    def __init__(self, channels: int, width: int, dim: int, heads: int, across: int):
        super().__init__()
        self.block = TimedBlock(channels, width, dim)
        self.within = PositionAttention(width, heads)
        self.across = nn.Sequential(*(PositionAttention(width, heads) for _ in range(across)))

    def forward(self, planes: Planes, vectors: Planes) -> Planes:
        planes = each_plane(self.block, planes, vectors)
        planes = each_plane(lambda x: self.within(x.flatten(2)).view_as(x), planes)
        return across_planes(self.across, planes) if len(self.across) else planes


def way_down(width: int, widths: list[int], blocks: int,
             level: Callable) -> tuple[nn.ModuleList, list[int]]:
    """Levels, and between them convolutions that halve rows and columns; and the channels after
    each layer, the first convolution's among them."""
    layers, here, channels = nn.ModuleList(), width, [width]
    for i, there in enumerate(widths):
        for _ in range(blocks):
            layers.append(level(here, there))
            here = there
            channels.append(here)
        if i < len(widths) - 1:
            layers.append(nn.Conv2d(here, here, 3, 2, 1))
            channels.append(here)
    return layers, channels


def way_up(widths: list[int], blocks: int, skips: list[int], level: Callable) -> nn.ModuleList:
    """The same backwards: each level also reads what a layer of the way down has given, of so many
    channels, the last one first."""
    layers, here, skips = nn.ModuleList(), widths[-1], list(skips)
    for i, there in reversed(list(enumerate(widths))):
        for _ in range(blocks + 1):
            layers.append(level(here + skips.pop(), there))
            here = there
        if i:
            layers.append(nn.Conv2d(here, here, 3, padding=1))
    return layers


class TriplaneUNet(nn.Module):
    """Predicts the noise in three planes by one U-Net: each of them by the same weights, told which
    plane it is (ours: without that the two of motion could be swapped). PVDM, section 3.2.

    channels: of a plane. width, multipliers: channels of the levels, each half as large as the one
    before. across: attention layers over all planes after each block. actions: numbers that are
    known of each frame; the planes of motion are told each row's, the plane of content their mean.
    """

    def __init__(self, channels: int, width: int = 128, multipliers: tuple[int, ...] = (1, 2, 4),
                 blocks: int = 2, heads: int = 8, across: int = 2, actions: int = 0):
        super().__init__()
        dim, widths = 4 * width, [width * factor for factor in multipliers]
        level = partial(UNetLevel, dim=dim, heads=heads, across=across)
        self.width = width
        self.step = nn.Sequential(nn.Linear(width, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.plane = nn.Embedding(3, dim)
        self.actions = nn.Linear(actions, width) if actions else None
        self.first = nn.Conv2d(2 * channels, width, 3, padding=1)
        self.down, skips = way_down(width, widths, blocks, level)
        self.middle = level(widths[-1], widths[-1])
        self.last_middle = TimedBlock(widths[-1], widths[-1], dim)
        self.up = way_up(widths, blocks, skips, level)
        self.out = nn.Sequential(nn.GroupNorm(groups_of(widths[0]), widths[0]), nn.SiLU(),
                                 nn.Conv2d(widths[0], channels, 3, padding=1))

    def forward(self, planes: Planes, before: Planes, t: Tensor,
                actions: Tensor | None = None) -> Planes:
        """planes, noisy, and those of the clip before, zeros where there is none: each (b, channels,
        rows, columns); t int64 (b,); actions (b, frames, a) -> the noise, shapes as of planes."""
        vector = self.step(step_vector(t, self.width))
        vectors = [vector + which for which in self.plane.weight]
        x = [self.first(torch.cat(pair, 1)) for pair in zip(planes, before, strict=True)]
        if self.actions:
            told = self.actions(actions).movedim(-1, 1)[..., None]
            x = [x[0] + told.mean(2, keepdim=True), *(plane + told for plane in x[1:])]
        kept = [x]
        for layer in self.down:
            x = layer(x, vectors) if isinstance(layer, UNetLevel) else each_plane(layer, x)
            kept.append(x)
        x = each_plane(self.last_middle, self.middle(x, vectors), vectors)
        for layer in self.up:
            if isinstance(layer, UNetLevel):
                pairs = zip(x, kept.pop(), strict=True)
                x = layer([torch.cat(pair, 1) for pair in pairs], vectors)
            else:
                sizes = [plane.shape[2:] for plane in kept[-1]]
                x = [F.interpolate(plane, size) for plane, size in zip(x, sizes, strict=True)]
                x = each_plane(layer, x)
        return each_plane(self.out, x)
