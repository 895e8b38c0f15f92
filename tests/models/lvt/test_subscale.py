"""Subscale order against nested loops: each position once, in the paper's order, told what came before and no more."""

import itertools
import math
from functools import cache

import pytest
import torch

from lvlib.models.lvt.subscale import (
    UNKNOWN,
    context,
    generation_order,
    inverse_order,
    slice_numbers,
    slice_offset,
    slice_shape,
    take_slice,
    visible,
    window_reach,
)

CASES = [  # (shape, factor): the paper's three types, and shapes and factors without any symmetry
    ((4, 4, 4), (2, 2, 2)),
    ((6, 4, 4), (6, 1, 1)),
    ((3, 4, 6), (1, 2, 2)),
    ((8, 4, 2), (4, 2, 2)),
    ((4, 2, 4), (4, 2, 2)),  # one frame a slice, and several slices a frame
    ((4, 6, 5), (2, 3, 5)),
    ((6, 2, 3), (3, 1, 3)),
    ((2, 3, 5), (1, 1, 1)),
    ((2, 3, 4), (2, 3, 4)),
]
by_case = pytest.mark.parametrize("shape, factor", CASES, ids=str)


def steps(shape, factor):
    """(slice number, (t, h, w)) of each step, by six nested loops. LVT, section 3.2."""
    (n_t, n_h, n_w), (s_t, s_h, s_w) = shape, factor
    found, number = [], 0
    for a in range(s_t):
        for b in range(s_h):
            for c in range(s_w):
                for t in range(a, n_t, s_t):
                    for h in range(b, n_h, s_h):
                        for w in range(c, n_w, s_w):
                            found.append((number, (t, h, w)))
                number += 1
    return found


@cache
def owner(shape, factor):
    """{(t, h, w): number of its slice}."""
    return {position: number for number, position in steps(shape, factor)}


@by_case
def test_the_order_is_the_nested_loops(shape, factor):
    _, n_h, n_w = shape
    raster = [(t * n_h + h) * n_w + w for _, (t, h, w) in steps(shape, factor)]
    order = generation_order(shape, factor)
    assert order.dtype == torch.int64 and order.tolist() == raster


@by_case
def test_the_inverse_says_when(shape, factor):
    order = generation_order(shape, factor)
    when = inverse_order(order)
    assert [int(when[position]) for position in order] == list(range(math.prod(shape)))
    assert torch.equal(order[when], torch.arange(math.prod(shape)))


def test_the_inverse_of_any_permutation():
    order = torch.randperm(1000)
    assert torch.equal(order[inverse_order(order)], torch.arange(1000))
    assert torch.equal(inverse_order(order)[order], torch.arange(1000))


@by_case
def test_offsets_one_by_one_and_as_tensors(shape, factor):
    offsets = list(itertools.product(*map(range, factor)))
    assert [slice_offset(number, factor) for number in range(len(offsets))] == offsets
    assert torch.stack(slice_offset(torch.arange(len(offsets)), factor), 1).tolist() == [list(o) for o in offsets]


@by_case
def test_each_position_is_in_exactly_one_slice(shape, factor):
    volume = torch.arange(math.prod(shape)).reshape(1, *shape)
    parts = [take_slice(volume, number, factor) for number in range(math.prod(factor))]
    assert all(part.shape[1:] == slice_shape(shape, factor) for part in parts)
    assert torch.cat([part.flatten() for part in parts]).sort().values.tolist() == list(range(math.prod(shape)))


@by_case
def test_slices_one_after_the_other_are_the_order(shape, factor):
    volume = torch.randn(2, *shape, 3)
    in_order = volume.flatten(1, 3)[:, generation_order(shape, factor)]
    parts = [take_slice(volume, number, factor).flatten(1, 3) for number in range(math.prod(factor))]
    assert torch.equal(torch.cat(parts, 1), in_order)


@by_case
def test_slice_numbers_by_loop(shape, factor):
    numbers = slice_numbers(shape, factor)
    assert {position: int(numbers[position]) for position in owner(shape, factor)} == owner(shape, factor)


def test_a_slice_is_a_view():
    volume = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    take_slice(volume, 5, (2, 2, 2)).fill_(7)
    assert torch.equal(volume[0] == 7, slice_numbers((4, 4, 4), (2, 2, 2)) == 5)


@by_case
@pytest.mark.parametrize("prime_frames", [0, 1, 2])
def test_visible_by_loop(shape, factor, prime_frames):
    numbers = torch.randint(math.prod(factor), (5,))
    seen = visible(shape, factor, numbers, prime_frames)
    assert seen.dtype == torch.bool and seen.shape == (5, *shape)
    for one, number in zip(seen, numbers.tolist(), strict=True):
        for position, its in owner(shape, factor).items():
            assert bool(one[position]) == (its < number or position[0] < prime_frames)


@by_case
def test_nothing_is_visible_that_comes_later_in_the_order(shape, factor):
    when = inverse_order(generation_order(shape, factor)).reshape(shape)
    for number in range(math.prod(factor)):
        seen = visible(shape, factor, torch.tensor([number]))[0]
        own = when[slice_numbers(shape, factor) == number]
        assert not seen.any() or when[seen].max() < own.min()
        assert int(seen.sum()) == int(own.min())  # all that is earlier


def windows(seen, shape, factor):
    """{index of the slice's position: window (flat list)} of one clip's context, cut as a convolution does it."""
    size = [before + 1 + after for before, after in window_reach(shape, factor)]
    n = slice_shape(shape, factor)
    expected = tuple((count - 1) * step + width for count, step, width in zip(n, factor, size, strict=True))
    assert seen.shape == expected  # not an entry too many or too few for the stride
    cut = {}
    for index in itertools.product(*map(range, n)):
        parts = (slice(i * step, i * step + width) for i, step, width in zip(index, factor, size, strict=True))
        cut[index] = seen[tuple(parts)].flatten().tolist()
    return cut


@by_case
@pytest.mark.parametrize("prime_frames", [0, 1, 2])
def test_windows_hold_what_lies_around_and_is_visible(shape, factor, prime_frames):
    volume = torch.arange(math.prod(shape)).reshape(1, *shape, 1)
    reach = window_reach(shape, factor)
    for number in range(math.prod(factor)):
        seen = context(volume, torch.tensor([number]), factor, prime_frames)[0, ..., 0]
        for index, window in windows(seen, shape, factor).items():
            centre = [o + s * i for o, s, i in zip(slice_offset(number, factor), factor, index, strict=True)]
            around = itertools.product(*(range(c - before, c + after + 1)
                                         for c, (before, after) in zip(centre, reach, strict=True)))
            expected = []
            for place in around:
                known = place in owner(shape, factor) and (
                    owner(shape, factor)[place] < number or place[0] < prime_frames)
                expected.append(int(volume[(0, *place, 0)]) if known else -1)
            assert window == expected


@by_case
@pytest.mark.parametrize("prime_frames", [0, 1, 2])
def test_windows_miss_nothing_that_is_visible(shape, factor, prime_frames):
    volume = torch.arange(math.prod(shape)).reshape(1, *shape, 1)
    for number in slice_numbers(shape, factor)[prime_frames:].unique().tolist():  # slices with something to predict
        met = set()
        for window in windows(context(volume, torch.tensor([number]), factor, prime_frames)[0, ..., 0],
                              shape, factor).values():
            met.update(window)
        seen = {int(volume[(0, *place, 0)]) for place, its in owner(shape, factor).items()
                if its < number or place[0] < prime_frames}
        assert met - {-1} == seen


@pytest.mark.parametrize("factor, reach", [
    ((16, 1, 1), ((15, 0), (0, 0), (0, 0))),
    ((1, 2, 2), ((0, 0), (1, 1), (1, 1))),
    ((4, 2, 2), ((3, 3), (1, 1), (1, 1))),
])
def test_reach_of_the_three_types(factor, reach):
    """To the next position of the slice on both sides, and not ahead where all frames ahead come later."""
    assert window_reach((16, 16, 16), factor) == reach


def test_each_clip_of_a_batch_has_the_context_of_its_own_slice():
    shape, factor = (8, 4, 4), (4, 2, 2)
    volume, numbers = torch.randint(100, (16, *shape, 3)), torch.randperm(16)
    together = context(volume, numbers, factor, 1)
    alone = [context(volume[i:i + 1], numbers[i:i + 1], factor, 1) for i in range(16)]
    assert torch.equal(together, torch.cat(alone))
    assert together.min() == UNKNOWN


def test_context_leaves_the_codes_as_they_are():
    volume = torch.randint(9, (2, 4, 4, 4, 2))
    before = volume.clone()
    context(volume, torch.tensor([0, 7]), (2, 2, 2))
    assert torch.equal(volume, before)


def test_single_frame_sees_every_earlier_frame():
    """The official kernel has three taps on earlier frames (notebook 05)."""
    volume = torch.arange(16).reshape(1, 16, 1, 1, 1)
    seen = context(volume, torch.tensor([15]), (16, 1, 1))
    assert seen.flatten().tolist() == [*range(15), -1]


@pytest.mark.parametrize("factor, message", [
    ((3, 2, 2), "subscale factor 3 does not divide the 16 latent positions in time: take one of 1, 2, 4, 8, 16"),
    ((4, 5, 2), "subscale factor 5 does not divide the 12 latent positions in height: take one of 1, 2, 3, 4, 6, 12"),
    ((4, 2, 10), "subscale factor 10 does not divide the 8 latent positions in width: take one of 1, 2, 4, 8"),
    ((0, 2, 2), "subscale factor 0 does not divide the 16 latent positions in time: take one of 1, 2, 4, 8, 16"),
    ((4, 2, -2), "subscale factor -2 does not divide the 8 latent positions in width: take one of 1, 2, 4, 8"),
    ((32, 1, 1), "subscale factor 32 does not divide the 16 latent positions in time: take one of 1, 2, 4, 8, 16"),
])
def test_a_factor_that_does_not_divide(factor, message):
    for function in (slice_shape, generation_order):
        with pytest.raises(ValueError) as raised:
            function((16, 12, 8), factor)
        assert str(raised.value) == message
