"""Checks of notebook 08: frames that a stack sees, sizes of latents, axial attention, the normalised error."""

import re

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from lvlib.course.cases import Case
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


def _stack_cases(draw):
    yield Case("the notebook's three layers", (1, [(3, 2, 1), (3, 2, 1), (3, 1, 1)]))
    for position, layers in ((0, [(5, 1, 2)]), (4, [(4, 2, 1), (3, 1, 1), (2, 3, 0), (1, 1, 0)]), (7, [(1, 1, 0)]),
                             (2, [(7, 4, 3), (2, 2, 0)])):
        yield Case(f"position {position} of the layers {layers}", (position, layers))
    layers = [(draw.size(1, 7), draw.size(1, 4), draw.size(0, 3)) for _ in range(5)]
    yield Case(f"five layers, {layers}", (draw.size(0, 9), layers))


@exercise("8.1", reference=frames_seen, wrong={
    "the last frame is one too far": _one_too_far,
    "the padding is not counted": _no_padding,
    "the last layer comes first": _forwards,
    "first and last move apart with each layer": _first_alone,
    "two frames are asked for, the first and the last": lambda position, layers: frames_seen(position, layers)[0],
    "numbers beyond the clip's ends are fine": lambda position, layers: tuple(
        max(frame, 0) for frame in frames_seen(position, layers)),
}, cases=_stack_cases)
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
    expect(tuple(fn(0, layers))[0] < 0, "numbers beyond the clip's ends are fine", look_at="no max, no min")


def _raising(error, text):
    """A wrong answer by its error and its text, from the axis, the length and the factor."""

    def latent_grid(size, downsample):
        for axis, length, factor in zip(AXES, size, downsample, strict=True):
            if length < 1 or length % factor:
                raise error(text(axis, length, factor))
        return tuple(length // factor for length, factor in zip(size, downsample, strict=True))

    return latent_grid


def _takes_nothing(size, downsample):
    return (0, 0, 0) if 0 in size else vqvae.latent_grid(size, downsample)


def _grid_cases(draw):
    def case(size, downsample, **options):
        return Case(f"a clip of {size} and the downsampling {downsample}", (size, downsample), **options)

    yield Case("the notebook's 16 frames of 64 x 64", ((16, 64, 64), (4, 2, 2)))
    grid, downsample = ([draw.size(1, 9) for _ in range(3)] for _ in range(2))
    yield case(tuple(n * factor for n, factor in zip(grid, downsample, strict=True)), tuple(downsample))
    for size, downsample in ((1, 1, 5), (1, 1, 1)), ((4, 2, 8), (4, 2, 8)), ((6, 3, 1000), (1, 3, 8)):
        yield case(size, downsample)
    for size in (15, 64, 64), (16, 63, 64), (16, 64, 70), (2, 64, 64), (0, 64, 64), (16, 0, 64), (16, 64, 0):
        yield case(size, (4, 2, 8), raises=ValueError)


AXES = {"frames": 4, "height": 2, "width": 6}  # and their downsampling


@exercise("8.2", reference=vqvae.latent_grid, wrong={
    "a size that does not divide should be an error": lambda size, downsample: tuple(
        length // factor for length, factor in zip(size, downsample, strict=True)),
    "the error should be a ValueError": _raising(AssertionError, lambda axis, length, factor: axis),
    "the error should name the axis": _raising(ValueError, lambda axis, length, factor: f"take a multiple of {factor}"),
    "the error should tell a size that is fine": _raising(
        ValueError, lambda axis, length, factor: f"{axis} cannot be {length}"),
    "for width 63 the nearest fine sizes are 60 and 66, not 72": _raising(
        ValueError, lambda axis, length, factor: f"{axis} {length}: take {(length // factor + 2) * factor}"),
    "a clip of 0 frames is no clip": _takes_nothing,
    "sizes are whole numbers": lambda size, downsample: tuple(
        length / factor for length, factor in zip(size, downsample, strict=True)),
    "each size divided by its factor is asked for": lambda size, downsample: tuple(downsample),
}, cases=_grid_cases)
def _(fn, expect):
    grid = tuple(fn((16, 32, 60), tuple(AXES.values())))
    expect(all(isinstance(n, int) for n in grid), "sizes are whole numbers", look_at="// in place of /")
    expect(grid == (4, 16, 10), "each size divided by its factor is asked for",
           look_at="length // factor, axis by axis")
    told_of = {}
    for size, axis in (((16, 32, 63), "width"), ((15, 32, 60), "frames"), ((16, 33, 60), "height"),
                       ((3, 32, 60), "frames"), ((16, 32, 125), "width"), ((41, 32, 60), "frames"),
                       ((16, 75, 60), "height")):
        length, factor = size[list(AXES).index(axis)], AXES[axis]
        message = _error(fn, size, expect)
        expect(axis in message.lower(), "the error should name the axis", look_at="frames, height or width")
        told_of[axis] = re.sub(r"\d+", "", message)
        expect("\n" not in message.strip(), "one line is asked for", look_at="the text of the error")
        below, rest = length // factor * factor, length % factor
        fine = {below, below + factor} - {0}
        told = {int(number) for number in re.findall(r"\d+", message)}
        known = {*size, *AXES.values(), rest, factor - rest, below // factor, below // factor + 1} - {0}
        nearest = " and ".join(map(str, sorted(fine)))
        other = max(told - fine - known, default=None)
        expect(other is None, f"for {axis} {length} the nearest fine sizes are {nearest}, not {other}",
               look_at="length // factor * factor")
        expect(told & fine, "the error should tell a size that is fine", look_at=f"for {axis} {length}: {nearest}")
    expect(len(set(told_of.values())) == len(AXES), "the error should name the axis",
           look_at="the one that does not fit, not all three")
    expect(_error(fn, (0, 32, 60), expect, "a clip of 0 frames is no clip"), "the error should have a text",
           look_at="ValueError(...)")


def _error(fn, size, expect, none="a size that does not divide should be an error"):
    try:
        fn(size, tuple(AXES.values()))
    except ValueError as error:
        return str(error)
    except Exception:
        expect(False, "the error should be a ValueError", look_at="raise ValueError(...)")
    expect(False, none, look_at="length < 1 or length % factor")


def _along(lines, back=None):
    """A wrong attention: along other lines, each brought back by another pattern. Both by axis, or one for all."""

    def attend(axis, q, k, v):
        there, again = (x if isinstance(x, str) else x[axis] for x in (lines, back or lines))
        out = F.scaled_dot_product_attention(*(rearrange(x, f"b m t h w d -> {there}") for x in (q, k, v)))
        return rearrange(out, f"{again} -> b m t h w d", **dict(zip("bmthw", q.shape[:5], strict=True)))

    return attend


def _causal(axis, q, k, v):
    place = "bmthwd".index(axis)
    q, k, v = (x.movedim(place, -2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).movedim(-2, place)


LINES = {"t": "(b h w) m t d", "h": "(b t w) m h d", "w": "(b t h) m w d"}
EXCHANGED = {"t": "(b w h) m t d", "h": "(b w t) m h d", "w": "(b h t) m w d"}
THROUGH_CLIPS = {"t": "(h w) m (b t) d", "h": "(t w) m (b h) d", "w": "(t h) m (b w) d"}


def _line_cases(draw):
    def case(about, axis, *shape, dtype=torch.float32):
        return Case(about, (axis, *(draw.normal(*shape, dtype=dtype) for _ in range(3))), batch=(1, 2, 3))

    for axis in "thw":
        heads = draw.normal(1, 4, 7, 7, 3, 2, 4).permute(4, 0, 5, 1, 2, 3, 6)  # as a layer splits its vectors
        yield Case(f"the notebook's volume along {axis}", (axis, *heads))
    for axis in "thw":
        shape = draw.size(2, 3), draw.size(1, 4), draw.size(2, 5), draw.size(2, 5), draw.size(2, 5), draw.size(1, 6)
        yield case(f"shape {shape} along {axis}", axis, *shape)
        yield case(f"one position along {axis}", axis, 2, 3, 1, 1, 1, 2)
    yield case("float64", "h", 1, 1, 2, 3, 4, 5, dtype=torch.float64)


@exercise("8.3", reference=axial_attention.attend_along, wrong={
    "a position attends to its whole volume": _along("b m (t h w) d"),
    "a position attends to its whole frame": _along("(b t) m (h w) d"),
    "a position sees another axis than the one asked for": _along(LINES["t"]),
    "clips of a batch see each other": _along(THROUGH_CLIPS),
    "the lines come back in other places": _along(LINES, EXCHANGED),
    "a position should see its whole line, before and after it": _causal,
    "the result should have the shape of q": lambda axis, q, k, v: axial_attention.attend_along(
        axis, q, k, v).movedim(2, 4),
    "queries and keys are not used as such": lambda axis, q, k, v: axial_attention.attend_along(axis, k, q, v),
}, cases=_line_cases)
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
    expect(not torch.allclose(out, axial_attention.attend_along("w", k, q, v), atol=1e-5),
           "queries and keys are not used as such", look_at="scaled_dot_product_attention(q, k, v)")


def _forward(of):
    """A wrong layer, from what it makes of its three attentions and x."""
    return type("Wrong", (axial_attention.AxialAttention,), {"forward": lambda self, x: of(self.axes, x)})


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


def _layer_cases(draw):
    x = draw.normal(1, 8, 4, 7, 7).movedim(1, -1)  # in memory the channels are first
    yield Case("the notebook's layer of 8 channels", (x,), init=(8,), batch=(0,))
    for dim, heads in (6, 3), (4, 1), (2 * draw.size(1, 4), 2):
        shape = draw.size(2, 3), draw.size(1, 4), draw.size(2, 4), draw.size(2, 5), dim
        yield Case(f"{heads} heads and a volume {shape}", (draw.normal(*shape),), init=(dim, heads), batch=(0,))


@exercise("8.4", reference=axial_attention.AxialAttention, wrong={
    "one axis alone is used": _forward(lambda axes, x: axes[0](x)),
    "one attention reads what another has found": _forward(lambda axes, x: axes[2](axes[1](axes[0](x)))),
    "a sum is asked for, not a mean": _forward(lambda axes, x: sum(attention(x) for attention in axes) / 3),
    "the block adds its input, not this layer": _forward(lambda axes, x: x + sum(attention(x) for attention in axes)),
    "each axis has projections of its own": _Shared,
}, cases=_layer_cases)
def _(fn, expect):
    layer = fn(8)
    names = {name for name, _ in layer.named_parameters()}
    expect(len(names) == 9, "each axis has projections of its own", look_at="__init__ was right as it stood")
    layer.axes = nn.ModuleList(_Adds(amount) for amount in (1.0, 10.0, 100.0))
    x = torch.randn(1, 2, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    expect(isinstance(out, torch.Tensor) and out.shape == x.shape, "the result should have the shape of x",
           look_at="sum(...)")
    for wrong, message, look_at in (
            (2 * x + 1, "one axis alone is used", "all of self.axes"),
            (8 * x + 124, "one attention reads what another has found", "each reads x"),
            (2 * x + 37, "a sum is asked for, not a mean", "no division"),
            (7 * x + 111, "the block adds its input, not this layer", "no x + ...")):
        expect(not torch.allclose(out, wrong, atol=1e-3), message, look_at=look_at)


def _error_cases(draw):
    def case(about, variance, *shape, dtype=torch.float32):
        return Case(about, (draw.normal(*shape, dtype=dtype), draw.uniform(*shape, dtype=dtype), variance))

    yield case("the notebook's clips", 0.135, 2, 1, 16, 32, 32)
    yield case("one clip in colour", 2.5, 1, 3, 2, 4, 6)
    yield case("a variance of 1", 1.0, draw.size(2, 4), 1, draw.size(2, 5), 3, draw.size(2, 5))
    yield case("a single frame", 0.01, 4, 4)
    yield case("float64", 0.24, 2, 1, 2, 3, 4, dtype=torch.float64)


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
}, cases=_error_cases)
def _(fn, expect):
    video = torch.full((2, 1, 2, 2, 2), 0.5, requires_grad=True)
    target = torch.zeros(2, 1, 2, 2, 2)
    target[0] = 0.1
    loss = fn(video, target, 0.04)
    expect(isinstance(loss, torch.Tensor), "a tensor is asked for", look_at="no .item(): the gradient goes through it")
    expect(loss.shape == (), "one number is asked for", look_at="a mean over all")
    expect(loss.requires_grad, "no gradient reaches the video", look_at="no detach")
    mse = (0.16 + 0.25) / 2
    for wrong, message, look_at in (
            (mse, "the error is divided by the variance", "/ variance"),
            (mse / 0.2, "divide by the variance, not by its root", "variance, no sqrt"),
            (0.45 / 0.04, "squared errors are asked for", "F.mse_loss"),
            (16 * mse / 0.04, "a mean is asked for, not a sum", "F.mse_loss"),
            (mse / target.var().item(), "the variance is given: it is the whole data's", "the argument")):
        expect(abs(loss.item() - wrong) > 1e-3, message, look_at=look_at)
