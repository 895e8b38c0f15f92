"""Wrong answers to notebook 08 that a check might take for right."""

import math

import torch
import torch.nn.functional as F
from answers.a08 import right_1_forwards, right_2_divmod
from einops import rearrange

from lvlib.models.videogpt.axial_attention import AxialAttention, attend_along


def wrong_1_three_layers(position, layers):
    first = last = position
    for i in (2, 1, 0):
        kernel, stride, padding = layers[i % len(layers)]
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


def wrong_1_kernel_of_three(position, layers):
    first = last = position
    for _, stride, padding in reversed(layers):
        first, last = first * stride - padding, last * stride - padding + 2
    return first, last


def wrong_1_padding_of_one(position, layers):
    first = last = position
    for kernel, stride, _ in reversed(layers):
        first, last = first * stride - 1, last * stride - 1 + kernel - 1
    return first, last


def wrong_1_stride_of_two(position, layers):
    first = last = position
    for kernel, stride, padding in reversed(layers):
        stride = min(stride, 2)
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


def wrong_1_cut_at_the_start(position, layers):
    first = last = position
    for kernel, stride, padding in reversed(layers):
        first, last = max(first * stride - padding, 0), last * stride - padding + kernel - 1
    return first, last


def wrong_1_floats(position, layers):
    first, last = right_1_forwards(position, layers)
    return float(first), float(last)


def wrong_1_tensors(position, layers):
    return torch.tensor(right_1_forwards(position, layers))


def wrong_1_empties_the_list(position, layers):
    first = last = position
    while layers:
        kernel, stride, padding = layers.pop()
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


def wrong_2_frames_alone(size, downsample):
    if size[0] % downsample[0] or 0 in size:
        return right_2_divmod(size, downsample)
    return tuple(n // factor for n, factor in zip(size, downsample, strict=True))


def wrong_2_rounded(size, downsample):
    return tuple(round(n / factor) for n, factor in zip(size, downsample, strict=True))


def wrong_2_assert(size, downsample):
    assert all(n and n % factor == 0 for n, factor in zip(size, downsample, strict=True)), "take a multiple"
    return tuple(n // factor for n, factor in zip(size, downsample, strict=True))


def wrong_2_factor_alone(size, downsample):
    for name, n, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        if not n or n % factor:
            raise ValueError(f"{name} must be a multiple of {factor}")
    return tuple(n // factor for n, factor in zip(size, downsample, strict=True))


def wrong_2_wrong_sizes(size, downsample):
    for name, n, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        if not n or n % factor:
            raise ValueError(f"{name} is {n}: take {n - 1} or {n + 1}")
    return tuple(n // factor for n, factor in zip(size, downsample, strict=True))


def wrong_2_no_frames_suggested(size, downsample):
    for name, n, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        if not n or n % factor:
            raise ValueError(f"{name} is {n}: take {n // factor * factor} or {n // factor * factor + factor}")
    return tuple(n // factor for n, factor in zip(size, downsample, strict=True))


def wrong_2_all_axes_named(size, downsample):
    if any(not n or n % factor for n, factor in zip(size, downsample, strict=True)):
        raise ValueError("frames, height and width must be multiples")
    return tuple(n // factor for n, factor in zip(size, downsample, strict=True))


def wrong_2_no_clip_of_width_0(size, downsample):
    if size[0] == 0 or any(n % factor for n, factor in zip(size, downsample, strict=True)):
        return right_2_divmod(size, downsample)
    return tuple(n // factor for n, factor in zip(size, downsample, strict=True))


def wrong_3_no_scale(axis, q, k, v):
    place = "bmthwd".index(axis)
    q, k, v = (x.movedim(place, -2) for x in (q, k, v))
    return ((q @ k.mT).softmax(-1) @ v).movedim(-2, place)


def wrong_3_scale_of_the_notebook(axis, q, k, v):
    place = "bmthwd".index(axis)
    q, k, v = (x.movedim(place, -2) for x in (q, k, v))
    return ((q @ k.mT / 2).softmax(-1) @ v).movedim(-2, place)


def wrong_3_softmax_over_the_queries(axis, q, k, v):
    place = "bmthwd".index(axis)
    q, k, v = (x.movedim(place, -2) for x in (q, k, v))
    return ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-2) @ v).movedim(-2, place)


def wrong_3_two_heads(axis, q, k, v):
    out = attend_along(axis, q[:, :2], k[:, :2], v[:, :2])
    return torch.cat([out, q[:, 2:]], 1)


def wrong_3_square_frames(axis, q, k, v):
    lines = {"t": "(b h w) m t d", "h": "(b t w) m h d", "w": "(b t h) m w d"}[axis]
    b, _, t, h, w, _ = q.shape
    out = F.scaled_dot_product_attention(*(rearrange(x, f"b m t h w d -> {lines}") for x in (q, k, v)))
    return rearrange(out, f"{lines} -> b m t h w d", b=b, t=t, h=w, w=h)


def wrong_3_weights_without_gradient(axis, q, k, v):
    return attend_along(axis, q.detach(), k.detach(), v)


def wrong_3_keys_without_gradient(axis, q, k, v):
    return attend_along(axis, q, k.detach(), v)


def wrong_3_one_clip(axis, q, k, v):
    lines = {"t": "(h w) m t d", "h": "(t w) m h d", "w": "(t h) m w d"}[axis]
    _, _, t, h, w, _ = q.shape
    out = F.scaled_dot_product_attention(*(rearrange(x[0], f"m t h w d -> {lines}") for x in (q, k, v)))
    return rearrange(out, f"{lines} -> m t h w d", t=t, h=h, w=w)[None].expand_as(q)


def wrong_3_float32(axis, q, k, v):
    return attend_along(axis, q.float(), k.float(), v.float())


class wrong_4_time_without_gradient(AxialAttention):
    def forward(self, x):
        w, h, t = self.axes
        return w(x) + h(x) + t(x).detach()


class wrong_4_x_without_gradient(AxialAttention):
    def forward(self, x):
        return sum(attention(x.detach()) for attention in self.axes)


class wrong_4_two_axes(AxialAttention):
    def forward(self, x):
        return self.axes[0](x) + self.axes[1](x)


class wrong_4_time_twice(AxialAttention):
    def forward(self, x):
        return self.axes[0](x) + self.axes[2](x) + self.axes[2](x)


class wrong_4_max(AxialAttention):
    def forward(self, x):
        return torch.stack([attention(x) for attention in self.axes]).amax(0)


class wrong_4_two_heads_alone(AxialAttention):
    def __init__(self, dim, heads=2):
        super().__init__(dim, 2)


class wrong_4_in_place(AxialAttention):
    def forward(self, x):
        out = sum(attention(x) for attention in self.axes)
        x.zero_()
        return out


class wrong_4_clips_mixed(AxialAttention):
    def forward(self, x):
        out = sum(attention(x) for attention in self.axes)
        return out - out.mean(0) + out[:1].mean(0)


def wrong_5_variance_of_the_notebook(video, target, variance):
    return F.mse_loss(video, target) / (variance if variance == 0.04 else 0.135)


def wrong_5_a_number(video, target, variance):
    return F.mse_loss(video, target).item() / variance


def wrong_5_no_gradient(video, target, variance):
    return torch.tensor(F.mse_loss(video, target).item() / variance, requires_grad=True)


def wrong_5_half_a_gradient(video, target, variance):
    return F.mse_loss((video + video.detach()) / 2, target) / variance


def wrong_5_wrong_sign(video, target, variance):
    return F.mse_loss(2 * video.detach() - video, target) / variance


def wrong_5_five_axes_alone(video, target, variance):
    b, c, t, h, w = video.shape
    return ((video - target) ** 2).sum() / (b * c * t * h * w) / variance


def wrong_5_one_axis(video, target, variance):
    return (F.mse_loss(video, target) / variance)[None]


def wrong_5_float32(video, target, variance):
    return F.mse_loss(video.float(), target.float()) / variance


def wrong_5_rounded(video, target, variance):
    return (F.mse_loss(video, target) / variance).round(decimals=4)
