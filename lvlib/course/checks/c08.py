"""Checks of notebook 08: frames that a stack sees, sizes of latents, axial attention, the normalised error."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from lvlib.course.exercises import exercise
from lvlib.models.videogpt import axial_attention, vqvae


def frames_seen(position, layers):
    first = last = position
    for kernel, stride, padding in reversed(layers):
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last


def _forwards(position, layers):
    return frames_seen(position, layers[::-1])


def _no_padding(position, layers):
    return frames_seen(position, [(kernel, stride, 0) for kernel, stride, _ in layers])


def _one_too_far(position, layers):
    first = last = position
    for kernel, stride, padding in reversed(layers):
        first, last = first * stride - padding, last * stride - padding + kernel
    return first, last


def _first_alone(position, layers):
    first, _ = frames_seen(position, layers)
    return first, first + layers[0][0] - 1


@exercise("8.1", reference=frames_seen, wrong={
    "the last frame is one too far": _one_too_far,
    "the padding is not counted": _no_padding,
    "the last layer comes first": _forwards,
    "first and last move apart with each layer": _first_alone,
    "two frames are asked for, the first and the last": lambda position, layers: frames_seen(position, layers)[0],
    "numbers beyond the clip's ends are fine": lambda position, layers: tuple(
        max(frame, 0) for frame in frames_seen(position, layers)),
})
def _(fn, expect):
    answer = fn(5, [(3, 2, 1)])
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "two frames are asked for, the first and the last",
           look_at="return first, last")
    expect(tuple(answer) != (9, 12), "the last frame is one too far", look_at="kernel - 1")
    expect(tuple(answer) != (10, 12), "the padding is not counted", look_at="i * stride - padding")
    expect(tuple(answer) == (9, 11), "output 5 of kernel 3, stride 2, padding 1 sees inputs 9 to 11",
           look_at="5 * 2 - 1 is the first")
    layers = [(3, 2, 1), (4, 2, 1), (3, 1, 1)]
    answer = tuple(fn(5, layers))
    expect(answer != _forwards(5, layers), "the last layer comes first", look_at="reversed(layers)")
    expect(answer[1] - answer[0] == 16, "first and last move apart with each layer", look_at="keep both, move both")
    expect(answer == frames_seen(5, layers), "the first frame is off", look_at="first * stride - padding")
    expect(tuple(fn(0, layers)) == frames_seen(0, layers), "numbers beyond the clip's ends are fine",
           look_at="no max, no min")


def _unnamed(size, downsample):
    if any(length < 1 or length % factor for length, factor in zip(size, downsample, strict=True)):
        raise ValueError("the downsampling does not divide the clip: take a multiple of it")
    return tuple(length // factor for length, factor in zip(size, downsample, strict=True))


def _no_way_out(size, downsample):
    for axis, length, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        if length < 1 or length % factor:
            raise ValueError(f"{axis} cannot be {length}")
    return _unnamed(size, downsample)


def _asserts(size, downsample):
    assert not any(length % factor for length, factor in zip(size, downsample, strict=True))
    return _unnamed(size, downsample)


def _takes_nothing(size, downsample):
    return (0, 0, 0) if 0 in size else vqvae.latent_grid(size, downsample)


@exercise("8.2", reference=vqvae.latent_grid, wrong={
    "a size that does not divide should be an error": lambda size, downsample: tuple(
        length // factor for length, factor in zip(size, downsample, strict=True)),
    "the error should be a ValueError": _asserts,
    "the error should name the axis": _unnamed,
    "the error should tell a size that is fine": _no_way_out,
    "a clip of 0 frames is no clip": _takes_nothing,
    "sizes are whole numbers": lambda size, downsample: tuple(
        length / factor for length, factor in zip(size, downsample, strict=True)),
    "each size divided by its factor is asked for": lambda size, downsample: tuple(downsample),
})
def _(fn, expect):
    grid = tuple(fn((16, 32, 64), (4, 2, 8)))
    expect(all(isinstance(n, int) for n in grid), "sizes are whole numbers", look_at="// in place of /")
    expect(grid == (4, 16, 8), "each size divided by its factor is asked for", look_at="length // factor, axis by axis")
    for size, axis, near in (((15, 32, 64), "frames", "16"), ((16, 33, 64), "height", "34"),
                             ((16, 32, 60), "width", "64")):
        message = _error(fn, size, expect)
        expect(axis in message.lower(), "the error should name the axis", look_at="frames, height or width")
        expect(near in message, "the error should tell a size that is fine",
               look_at=f"for {axis} {size[('frames', 'height', 'width').index(axis)]} one is {near}")
        expect("\n" not in message.strip(), "one line is asked for", look_at="the text of the error")
    try:
        fn((0, 32, 64), (4, 2, 8))
    except ValueError:
        return
    expect(False, "a clip of 0 frames is no clip", look_at="length < 1")


def _error(fn, size, expect):
    try:
        fn(size, (4, 2, 8))
    except ValueError as error:
        return str(error)
    except Exception:
        expect(False, "the error should be a ValueError", look_at="raise ValueError(...)")
    expect(False, "a size that does not divide should be an error", look_at="length % factor")


def _full(axis, q, k, v):
    out = F.scaled_dot_product_attention(*(x.flatten(2, 4) for x in (q, k, v)))
    return out.reshape(q.shape)


def _frame(axis, q, k, v):
    t = q.shape[2]
    q, k, v = (rearrange(x, "b m t h w d -> (b t) m (h w) d") for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v)
    return rearrange(out, "(b t) m (h w) d -> b m t h w d", t=t, h=v.shape[2] // 5)


def _causal(axis, q, k, v):
    place = "bmthwd".index(axis)
    q, k, v = (x.movedim(place, -2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).movedim(-2, place)


def _across(axis, q, k, v):
    """Attends along the axis, but brings the lines back in another order of their places."""
    lines = {"t": "(b h w) m t d", "h": "(b t w) m h d", "w": "(b t h) m w d"}[axis]
    back = {"t": "(b w h) m t d", "h": "(b w t) m h d", "w": "(b h t) m w d"}[axis]
    b, _, t, h, w, _ = q.shape
    out = F.scaled_dot_product_attention(*(rearrange(x, f"b m t h w d -> {lines}") for x in (q, k, v)))
    return rearrange(out, f"{back} -> b m t h w d", b=b, t=t, h=h, w=w)


def _mixes_clips(axis, q, k, v):
    lines = {"t": "(h w) m (b t) d", "h": "(t w) m (b h) d", "w": "(t h) m (b w) d"}[axis]
    b, _, t, h, w, _ = q.shape
    out = F.scaled_dot_product_attention(*(rearrange(x, f"b m t h w d -> {lines}") for x in (q, k, v)))
    return rearrange(out, f"{lines} -> b m t h w d", b=b, t=t, h=h, w=w)


@exercise("8.3", reference=axial_attention.attend_along, wrong={
    "a position attends to its whole volume": _full,
    "a position attends to its whole frame": _frame,
    "a position sees another axis than the one asked for": lambda axis, q, k, v: axial_attention.attend_along(
        "t", q, k, v),
    "clips of a batch see each other": _mixes_clips,
    "the lines come back in other places": _across,
    "a position should see its whole line, before and after it": _causal,
    "the result should have the shape of q": lambda axis, q, k, v: axial_attention.attend_along(
        axis, q, k, v).movedim(2, 4),
    "queries and keys are not used as such": lambda axis, q, k, v: axial_attention.attend_along(axis, k, q, v),
})
def _(fn, expect):
    shape = (2, 2, 3, 4, 5, 6)
    q, k, v = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    spot = (1, 0, 2, 1, 3)  # a clip, a head and a position
    poked = v.clone()
    poked[spot] += 1
    for axis, place in (("t", 2), ("h", 3), ("w", 4)):
        out = fn(axis, q, k, v)
        expect(isinstance(out, torch.Tensor) and out.shape == shape, "the result should have the shape of q",
               look_at="(b, m, t, h, w, d)")
        changed = ((fn(axis, q, k, poked) - out).abs().amax(-1) > 1e-6).nonzero()
        expect((changed[:, 0] == 1).all(), "clips of a batch see each other", look_at="b belongs to the batch")
        expect((changed[:, 1] == 0).all(), "heads see each other", look_at="m stays an axis of its own")
        count = len(changed)
        expect(count != 60, "a position attends to its whole volume", look_at="length t, or h, or w")
        expect(count != 20, "a position attends to its whole frame", look_at="the other two axes belong to the batch")
        elsewhere = [i for i in (2, 3, 4) if i != place and len(changed[:, i].unique()) > 1]
        expect(not elsewhere, "a position sees another axis than the one asked for",
               look_at=f'for "{axis}" the length of a line is {axis}')
        on_its_line = all((changed[:, i] == spot[i]).all() for i in (2, 3, 4) if i != place)
        expect(on_its_line, "the lines come back in other places", look_at="the same pattern in both directions")
        expect(count == shape[place], "a position should see its whole line, before and after it",
               look_at="scaled_dot_product_attention without a mask")
    expect(torch.allclose(out, axial_attention.attend_along("w", q, k, v), atol=1e-5),
           "queries and keys are not used as such", look_at="scaled_dot_product_attention(q, k, v)")


class _One(axial_attention.AxialAttention):
    def forward(self, x):
        return self.axes[0](x)


class _InTurn(axial_attention.AxialAttention):
    def forward(self, x):
        for attention in self.axes:
            x = attention(x)
        return x


class _Mean(axial_attention.AxialAttention):
    def forward(self, x):
        return sum(attention(x) for attention in self.axes) / 3


class _Residual(axial_attention.AxialAttention):
    def forward(self, x):
        return x + super().forward(x)


class _Shared(axial_attention.AxialAttention):
    def __init__(self, dim, heads=2):
        super().__init__(dim, heads)
        for attention in self.axes:
            attention.qkv = self.axes[0].qkv


class _Adds(nn.Module):
    """A stand-in for attention along one axis."""

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, x):
        return 2 * x + self.amount


@exercise("8.4", reference=axial_attention.AxialAttention, wrong={
    "one axis alone is used": _One,
    "one attention reads what another has found": _InTurn,
    "a sum is asked for, not a mean": _Mean,
    "the block adds its input, not this layer": _Residual,
    "each axis has projections of its own": _Shared,
})
def _(fn, expect):
    layer = fn(8)
    names = {name for name, _ in layer.named_parameters()}
    expect(len(names) == 9, "each axis has projections of its own", look_at="__init__ was right as it stood")
    layer.axes = nn.ModuleList(_Adds(amount) for amount in (1.0, 10.0, 100.0))
    x = torch.randn(1, 2, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    expect(isinstance(out, torch.Tensor) and out.shape == x.shape, "the result should have the shape of x",
           look_at="sum(...)")
    expect(not torch.allclose(out, 2 * x + 1, atol=1e-4), "one axis alone is used", look_at="all of self.axes")
    expect(not torch.allclose(out, 8 * x + 124, atol=1e-3), "one attention reads what another has found",
           look_at="each reads x")
    expect(not torch.allclose(out, 2 * x + 37, atol=1e-3), "a sum is asked for, not a mean", look_at="no division")
    expect(not torch.allclose(out, 7 * x + 111, atol=1e-3), "the block adds its input, not this layer",
           look_at="no x + ...")
    expect(torch.allclose(out, 6 * x + 111, atol=1e-3), "this is not the sum of the three", look_at="sum(...)")


@exercise("8.5", reference=vqvae.normalized_mse, wrong={
    "a tensor is asked for": lambda video, target, variance: F.mse_loss(video, target).item() / variance,
    "one number is asked for": lambda video, target, variance: ((video - target) ** 2).flatten(1).mean(1) / variance,
    "the error is divided by the variance": lambda video, target, variance: F.mse_loss(video, target),
    "divide by the variance, not by its root": lambda video, target, variance: (
        F.mse_loss(video, target) / variance**0.5),
    "squared errors are asked for": lambda video, target, variance: (video - target).abs().mean() / variance,
    "a mean is asked for, not a sum": lambda video, target, variance: ((video - target) ** 2).sum() / variance,
    "the variance is given: it is the whole data's": lambda video, target, variance: (
        F.mse_loss(video, target) / target.var()),
    "no gradient reaches the video": lambda video, target, variance: F.mse_loss(video.detach(), target) / variance,
})
def _(fn, expect):
    video = torch.full((2, 1, 2, 2, 2), 0.5, requires_grad=True)
    target = torch.zeros(2, 1, 2, 2, 2)
    target[0] = 0.1
    loss = fn(video, target, 0.04)
    expect(isinstance(loss, torch.Tensor), "a tensor is asked for", look_at="no .item(): the gradient goes through it")
    expect(loss.shape == (), "one number is asked for", look_at="a mean over all")
    expect(loss.requires_grad, "no gradient reaches the video", look_at="no detach")
    mse = (0.16 + 0.25) / 2
    error = loss.item()
    expect(abs(error - mse) > 1e-4, "the error is divided by the variance", look_at="/ variance")
    expect(abs(error - mse / 0.2) > 1e-4, "divide by the variance, not by its root", look_at="variance, no sqrt")
    expect(abs(error - 0.45 / 0.04) > 1e-3, "squared errors are asked for", look_at="F.mse_loss")
    expect(abs(error - 16 * mse / 0.04) > 1e-2, "a mean is asked for, not a sum", look_at="F.mse_loss")
    expect(abs(error - mse / target.var().item()) > 1e-2, "the variance is given: it is the whole data's",
           look_at="the argument")
    expect(abs(error - mse / 0.04) < 1e-4, "this is not MSE / variance", look_at="F.mse_loss(...) / variance")
