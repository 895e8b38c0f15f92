"""Right answers to notebook 08 in other styles. The wrong ones: w08.py."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import nn

from lvlib.models.videogpt.axial_attention import AxialAttention, AxisAttention


def right_1_two_loops(position, layers):
    first = last = position
    for _, stride, padding in layers[::-1]:
        first = first * stride - padding
    for kernel, stride, padding in layers[::-1]:
        last = last * stride - padding + (kernel - 1)
    return first, last


def right_1_list(position, layers):
    seen = [position, position]
    for kernel, stride, padding in reversed(layers):
        seen = [seen[0] * stride - padding, seen[1] * stride - padding + kernel - 1]
    return seen


def right_1_recursion(position, layers):
    *before, (kernel, stride, padding) = layers
    first, last = position * stride - padding, position * stride - padding + kernel - 1
    return (first, last) if not before else (
        right_1_recursion(first, before)[0], right_1_recursion(last, before)[1])


def right_1_forwards(position, layers):
    step, first, width = 1, 0, 1
    for kernel, stride, padding in layers:
        first -= padding * step
        width += (kernel - 1) * step
        step *= stride
    return position * step + first, position * step + first + width - 1


def right_1_sets(position, layers):
    seen = {position}
    for kernel, stride, padding in reversed(layers):
        seen = {i * stride - padding + tap for i in (min(seen), max(seen)) for tap in range(kernel)}
    return min(seen), max(seen)


def right_1_numpy(position, layers):
    ends = np.array([position, position])
    for kernel, stride, padding in reversed(layers):
        ends = ends * stride - padding + np.array([0, kernel - 1])
    return tuple(ends)


def right_2_size_below_alone(size, downsample):
    for name, length, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        below = length // factor * factor or factor
        if length == 0 or length % factor:
            raise ValueError(f"{name} is {length}, but {below} would be fine")
    return tuple(length // factor for length, factor in zip(size, downsample, strict=True))


def right_2_nearest_alone(size, downsample):
    grid = []
    for name, length, factor in zip(["frames", "height", "width"], size, downsample, strict=True):
        nearest = max(1, round(length / factor)) * factor
        if nearest != length:
            raise ValueError(f"The {name} cannot be {length}. The nearest that fits {factor} is {nearest}.")
        grid.append(length // factor)
    return grid


def right_2_size_above_alone(size, downsample):
    for i, name in enumerate(("Frames", "Height", "Width")):
        if size[i] <= 0 or size[i] % downsample[i] != 0:
            above = math.ceil((size[i] + 1) / downsample[i]) * downsample[i]
            raise ValueError(f"{name}: {size} does not fit {downsample}; try {above}")
    return size[0] // downsample[0], size[1] // downsample[1], size[2] // downsample[2]


def right_2_divmod(size, downsample):
    names = "frames", "height", "width"
    pairs = [divmod(n, factor) for n, factor in zip(size, downsample, strict=True)]
    for name, (whole, rest), factor in zip(names, pairs, downsample, strict=True):
        if rest or not whole:
            fine = [n * factor for n in (whole, whole + 1) if n]
            raise ValueError(f"{name}: {rest} too many for a downsampling of {factor}, take {fine}")
    return tuple(whole for whole, _ in pairs)


def right_2_width_first(size, downsample):
    for name, n, factor in reversed(list(zip(("frames", "height", "width"), size, downsample, strict=True))):
        if not n or n % factor:
            raise ValueError(f"{name} {n}: use {max(n - n % factor, factor)} or {n - n % factor + factor}")
    t, h, w = (n // factor for n, factor in zip(size, downsample, strict=True))
    return t, h, w


def right_2_numpy_inside(size, downsample):
    rest = np.remainder(size, downsample)
    for name, length, factor, over in zip(("frames", "height", "width"), size, downsample, rest, strict=True):
        if over or length == 0:
            raise ValueError(f"{name} must be a multiple of {factor}, for example {length - over + factor}")
    return tuple(int(n) for n in np.floor_divide(size, downsample))


def right_3_explicit_softmax(axis, q, k, v):
    place = "bmthwd".index(axis)
    q, k, v = (x.movedim(place, -2) for x in (q, k, v))
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).movedim(-2, place)


def right_3_movedim(axis, q, k, v):
    place = {"t": 2, "h": 3, "w": 4}[axis]
    q, k, v = (x.movedim(place, 4) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).movedim(4, place)


def right_3_einsum(axis, q, k, v):
    other = {"t": "s h w", "h": "t s w", "w": "t h s"}[axis]
    scores = einsum(q, k, f"b m t h w d, b m {other} d -> b m t h w s") * q.shape[-1] ** -0.5
    return einsum(scores.softmax(-1), v, f"b m t h w s, b m {other} d -> b m t h w d")


def right_3_three_cases(axis, q, k, v):
    if axis == "w":
        return F.scaled_dot_product_attention(q, k, v)
    if axis == "h":
        return F.scaled_dot_product_attention(*(x.transpose(3, 4) for x in (q, k, v))).transpose(3, 4)
    q, k, v = (x.permute(0, 1, 3, 4, 2, 5) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).permute(0, 1, 4, 2, 3, 5)


def right_3_float64_inside(axis, q, k, v):
    lines = {"t": "(b h w) m t d", "h": "(b t w) m h d", "w": "(b t h) m w d"}[axis]
    sizes = dict(zip("bmthwd", q.shape, strict=True))
    q64, k64, v64 = (rearrange(x.double(), f"b m t h w d -> {lines}") for x in (q, k, v))
    out = ((q64 @ k64.mT) / q.shape[-1] ** 0.5).softmax(-1) @ v64
    return rearrange(out, f"{lines} -> b m t h w d", **sizes).to(q.dtype)


def right_3_loop_over_clips(axis, q, k, v):
    lines = {"t": "(h w) m t d", "h": "(t w) m h d", "w": "(t h) m w d"}[axis]
    _, _, t, h, w, _ = q.shape
    clips = []
    for clip in zip(q, k, v, strict=True):
        out = F.scaled_dot_product_attention(*(rearrange(x, f"m t h w d -> {lines}") for x in clip))
        clips.append(rearrange(out, f"{lines} -> m t h w d", t=t, h=h, w=w))
    return torch.stack(clips)


class right_4_loop(AxialAttention):
    def forward(self, x):
        out = torch.zeros_like(x)
        for attention in self.axes:
            out = out + attention(x)
        return out


class right_4_three(AxialAttention):
    def forward(self, x):
        w, h, t = self.axes
        return w(x) + h(x) + t(x)


class right_4_stack(AxialAttention):
    def forward(self, x):
        return torch.stack([attention(x) for attention in self.axes]).sum(0)


class right_4_whole(nn.Module):
    def __init__(self, dim, heads=2):
        super().__init__()
        self.axes = nn.ModuleList([AxisAttention(axis, dim, heads) for axis in ("w", "h", "t")])

    def forward(self, x):
        total = self.axes[0](x)
        for attention in self.axes[1:]:
            total += attention(x)
        return total


class right_4_mean_times_three(AxialAttention):
    def forward(self, x):
        return len(self.axes) * torch.stack([attention(x) for attention in self.axes], -1).mean(-1)


class right_4_indices(AxialAttention):
    def forward(self, x):
        return sum([self.axes[i](x) for i in range(len(self.axes))])


def right_5_by_hand(video, target, variance):
    return ((video - target) ** 2).mean() / variance


def right_5_sum(video, target, variance):
    return (video - target).square().sum() / (video.numel() * variance)


def right_5_scaled_first(video, target, variance):
    scale = math.sqrt(variance)
    return F.mse_loss(video / scale, target / scale)


def right_5_float64_inside(video, target, variance):
    return (F.mse_loss(video.double(), target.double()) / variance).to(video.dtype)


def right_5_mean_of_means(video, target, variance):
    return torch.stack([F.mse_loss(a, b) for a, b in zip(video, target, strict=True)]).mean() / variance


def right_5_norm(video, target, variance):
    error = (video - target).flatten()
    return error @ error / len(error) / variance


def right_3_softmax_by_hand(axis, q, k, v):
    place = "bmthwd".index(axis)
    q, k, v = (x.movedim(place, -2) for x in (q, k, v))
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).exp()
    return (weights @ v / weights.sum(-1, keepdim=True)).movedim(-2, place)


def wrong_2_three_axes_always(size, downsample):
    for length, factor in zip(size, downsample, strict=True):
        if length < 1 or length % factor:
            near = (length // factor + 1) * factor
            raise ValueError(f"frames, height or width: {length} is no multiple of {factor}, take {near}")
    return right_2_divmod(size, downsample)


def wrong_2_one_example_for_all(size, downsample):
    for axis, length, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        if length < 1 or length % factor:
            raise ValueError(f"{axis} {length} is no multiple of {factor}: take 16, 32 and 60")
    return right_2_divmod(size, downsample)
