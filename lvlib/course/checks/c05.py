"""Checks of notebook 05: the offset of a slice, the order, what a slice may see."""

import itertools
import math

import torch
from einops import rearrange

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.lvt import subscale


def _number_cases(draw):
    yield Case("the notebook's slices of the factor (4, 2, 2)", (torch.arange(16), (4, 2, 2)))
    yield Case("the notebook's slice 5", (5, (4, 2, 2)), loose=True)
    for factor in (2, 3, 5), (1, 1, 1), (draw.size(2, 4), draw.size(2, 4), draw.size(5, 7)), (16, 1, 1), (1, 4, 1):
        number = math.prod(factor) - 1
        yield Case(f"slice {number} of the factor {factor}", (number, factor), loose=True)
        yield Case(f"all slices of the factor {factor}", (torch.arange(number + 1), factor))
    yield Case("numbers (2, 3)", (draw.integers(0, 24, 2, 3), (2, 3, 4)))


@exercise("5.1", reference=subscale.slice_offset, wrong={
    "c should run fastest, then b, then a": lambda number, factor: (
        number % factor[0], number // factor[0] % factor[1], number // (factor[0] * factor[1])),
    "the offset should be (a, b, c)": lambda number, factor: subscale.slice_offset(number, factor)[::-1],
    "an offset stays below its step": lambda number, factor: (
        number // (factor[1] * factor[2]), number // factor[2], number % factor[2]),
    "offsets are whole numbers": lambda number, factor: (
        number / (factor[1] * factor[2]), number / factor[2] % factor[1], number % factor[2]),
    "a tensor of numbers should give tensors": lambda number, factor: (
        subscale.slice_offset(int(torch.as_tensor(number).flatten()[0]), factor)),
}, cases=_number_cases)
def _(fn, expect):
    for factor in ((4, 2, 2), (2, 3, 5)):
        every = list(itertools.product(*map(range, factor)))
        answers = [tuple(fn(number, factor)) for number in range(len(every))]
        expect(all(len(answer) == 3 for answer in answers), "three numbers are asked for", look_at="(a, b, c)")
        expect(all(int(x) == x for answer in answers for x in answer), "offsets are whole numbers",
               look_at="// in place of /")
        answers = [tuple(map(int, answer)) for answer in answers]
        expect(answers != [offset[::-1] for offset in every], "the offset should be (a, b, c)", look_at="a is time")
        expect(max(b for _, b, _ in answers) < factor[1] or max(a for a, _, _ in answers) >= factor[0],
               "an offset stays below its step", look_at="% s_h for b")
        expect(answers == every, "c should run fastest, then b, then a",
               look_at="slice 1 of the factor (4, 2, 2) starts at (0, 0, 1), slice 4 at (1, 0, 0)")
    several = fn(torch.arange(30), (2, 3, 5))
    expect(all(isinstance(x, torch.Tensor) and x.shape == (30,) for x in several),
           "a tensor of numbers should give tensors", look_at="// and % work on both")
    expect(torch.stack(tuple(several), 1).tolist() == [list(offset) for offset in every],
           "a tensor of numbers should give the same as its numbers", look_at="// and % alone")


def _ordered(target):
    """An order by the axes of `target`, e.g. "(t h w a b c)"; the numbers inside a slice are t, h, w."""
    def order(shape, factor):
        (t, h, w), (a, b, c) = subscale.slice_shape(shape, factor), factor
        raster = torch.arange(t * h * w * a * b * c)
        return rearrange(raster, f"(t a h b w c) -> {target}", t=t, a=a, h=h, b=b, w=w, c=c)
    return order


def _blocks(shape, factor):
    (t, h, w), (a, b, c) = subscale.slice_shape(shape, factor), factor
    raster = torch.arange(t * h * w * a * b * c)
    return rearrange(raster, "(a t b h c w) -> (a b c t h w)", t=t, a=a, h=h, b=b, w=w, c=c)


def _volume_cases(draw):
    factor = (draw.size(1, 3), draw.size(2, 3), draw.size(1, 3))
    shape = (factor[0] * draw.size(1, 3), factor[1] * draw.size(2, 4), factor[2] * draw.size(1, 3))
    yield Case("the notebook's volume and the factor (4, 2, 2)", ((8, 8, 8), (4, 2, 2)))
    for sizes, steps in (((6, 4, 8), (3, 2, 4)), ((16, 4, 4), (16, 1, 1)), ((2, 3, 5), (1, 1, 1)),
                         ((2, 3, 5), (2, 3, 5)), (shape, factor)):
        yield Case(f"shape {sizes} and factor {steps}", (sizes, steps))
    for steps in (3, 1, 1), (1, 3, 1), (1, 1, 4), (8, 1, 1):
        about = f"shape (4, 4, 6) and factor {steps}, which does not divide it"
        yield Case(about, ((4, 4, 6), steps), raises=ValueError)


@exercise("5.2", reference=subscale.generation_order, wrong={
    "this is raster order": lambda shape, factor: torch.arange(shape[0] * shape[1] * shape[2]),
    "one slice should be finished before the next begins": _ordered("(t h w a b c)"),
    "this is the inverse": lambda shape, factor: subscale.inverse_order(subscale.generation_order(shape, factor)),
    "a slice takes every s-th position, not a block": _blocks,
    "the slices come in another order": _ordered("(c b a t h w)"),
    "the positions of a slice should come in raster order": _ordered("(a b c w h t)"),
    "one axis is asked for": _ordered("a b c t h w"),
}, cases=_volume_cases)
def _(fn, expect):
    shape, factor = (6, 4, 8), (3, 2, 4)
    order = fn(shape, factor)
    right = subscale.generation_order(shape, factor)
    numbers = subscale.slice_numbers(shape, factor).flatten()
    expect(isinstance(order, torch.Tensor) and order.dtype == torch.int64, "an int64 tensor is asked for",
           look_at="torch.arange")
    expect(order.ndim == 1, "one axis is asked for", look_at="(a b c t h w), in brackets")
    expect(len(order) == 192 and torch.equal(order.sort().values, torch.arange(192)),
           "each position should come exactly once", look_at="the number of positions is t * h * w")
    expect(not torch.equal(order, torch.arange(192)), "this is raster order", look_at="rearrange")
    expect(not torch.equal(order, subscale.inverse_order(right)), "this is the inverse",
           look_at="entry i is the position that comes i-th; rearrange the raster indices")
    expect(not torch.equal(order, _blocks(shape, factor)), "a slice takes every s-th position, not a block",
           look_at="a frame number is t * s_t + a: (t a), not (a t)")
    came = numbers[order]
    changes = int((came[1:] != came[:-1]).sum())
    expect(changes == 23, "one slice should be finished before the next begins", look_at="a, b, c move slowest")
    expect(bool((came[1:] >= came[:-1]).all()), "the slices come in another order", look_at="a b c, c the fastest")
    expect(torch.equal(order, right), "the positions of a slice should come in raster order", look_at="then t h w")
    expect(torch.equal(fn((4, 2, 2), (4, 1, 1)), torch.arange(16)), "single frame should be raster order",
           look_at="use the factor for every axis")


def _seen(earlier, prime_frames, primed=lambda frame, n: frame < n):
    """bool from earlier (b, t, h, w) and the first frames."""
    return earlier | primed(torch.arange(earlier.shape[1]), prime_frames)[:, None, None]


def _number(shape, factor):
    return subscale.slice_numbers(shape, factor)


def _visible_cases(draw):
    def case(shape, factor, numbers, **options):
        given = f", prime_frames={options['prime_frames']}" if options else ""
        about = f"shape {shape}, factor {factor}, slices {numbers}{given}"
        return Case(about, (shape, factor, torch.tensor(numbers)), options, batch=(2,))

    every = Case("the notebook's 16 slices of the factor (4, 2, 2)", ((16, 16, 16), (4, 2, 2), torch.arange(16)))
    yield every
    yield case((16, 4, 4), (16, 1, 1), [0, 9, 15], prime_frames=1)
    factor = (2, draw.size(1, 3), draw.size(2, 3))
    shape = (2 * draw.size(1, 3), factor[1] * draw.size(1, 3), factor[2] * draw.size(1, 3))
    yield case((6, 4, 2), (3, 2, 1), [4, 0, 5, 2, 1, 3])
    yield case((4, 2, 2), (4, 2, 1), [3], prime_frames=2)
    yield case((4, 2, 3), (2, 1, 3), [5, 0], prime_frames=4)
    yield case((3, 2, 2), (1, 2, 2), [3, 1, 2, 0, 1], prime_frames=3)
    yield case(shape, factor, draw.integers(0, math.prod(factor), 4).tolist(), prime_frames=draw.size(0, shape[0]))


@exercise("5.3", reference=subscale.visible, wrong={
    "a slice should not be told its own codes": lambda shape, factor, numbers, prime_frames=0: _seen(
        _number(shape, factor) <= numbers[:, None, None, None], prime_frames),
    "later slices are seen": lambda shape, factor, numbers, prime_frames=0: _seen(
        _number(shape, factor) != numbers[:, None, None, None], prime_frames),
    "earlier slices are hidden where they lie in later frames": lambda shape, factor, numbers, prime_frames=0: _seen(
        (_number(shape, factor) < numbers[:, None, None, None])
        & (torch.arange(shape[0])[:, None, None]
           <= subscale.slice_offset(numbers, factor)[0][:, None, None, None]), prime_frames),
    "priming frames should be seen by every slice": lambda shape, factor, numbers, prime_frames=0: (
        _number(shape, factor) < numbers[:, None, None, None]),
    "earlier slices should be seen after the priming frames, too": (
        lambda shape, factor, numbers, prime_frames=0: (_number(shape, factor) < numbers[:, None, None, None])
        & (torch.arange(shape[0]) < prime_frames)[:, None, None] if prime_frames
        else _number(shape, factor) < numbers[:, None, None, None]),
    "one frame too many is taken for given": lambda shape, factor, numbers, prime_frames=0: _seen(
        _number(shape, factor) < numbers[:, None, None, None], prime_frames,
        lambda frame, n: (frame <= n) & (n > 0)),
    "each clip has a slice of its own": lambda shape, factor, numbers, prime_frames=0: _seen(
        (_number(shape, factor) < numbers[0]).expand(len(numbers), -1, -1, -1), prime_frames),
}, cases=_visible_cases)
def _(fn, expect):
    shape, factor = (6, 4, 2), (3, 2, 1)
    own, numbers = subscale.slice_numbers(shape, factor), torch.tensor([4, 0, 5, 3, 2, 1])
    seen = fn(shape, factor, numbers)
    expect(isinstance(seen, torch.Tensor) and seen.dtype == torch.bool, "a bool tensor is asked for",
           look_at="a comparison gives one")
    expect(seen.shape == (6, *shape), "the shape should be (b, t, h, w)", look_at="numbers[:, None, None, None]")
    expect(any(not torch.equal(one, seen[0]) for one in seen), "each clip has a slice of its own",
           look_at="compare with all numbers, not with one")
    for one, number in zip(seen, numbers, strict=True):
        expect(not one[own == number].any(), "a slice should not be told its own codes", look_at="< in place of <=")
        expect(not one[own > number].any(), "later slices are seen", look_at="only smaller numbers are written")
        expect(one[own < number].all(), "earlier slices are hidden where they lie in later frames",
               look_at="what counts is when a code is written, not its frame")
    seen = fn(shape, factor, numbers, 2)
    expect(all(one[2:][own[2:] < number].all() for one, number in zip(seen, numbers, strict=True)),
           "earlier slices should be seen after the priming frames, too", look_at="or, not and")
    expect(seen[:, :2].all(), "priming frames should be seen by every slice", look_at="earlier | primed")
    expect(not seen[1, 2:].any(), "one frame too many is taken for given", look_at="frames 0 .. prime_frames - 1")
    expect(torch.equal(seen, subscale.visible(shape, factor, numbers, 2)), "later slices are seen",
           look_at="priming frames and earlier slices, nothing else")
