"""Checks of notebook 04: bits of a grid of codes, the sliced quantizer, the joint code."""

import math

import torch
from torch import nn

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.common import quantize


def _grid_cases(draw):
    yield Case("the notebook's grid of 8 x 8 x 4 and 32 codes", ((8, 8, 4), 32))
    yield Case("the notebook's codes of a clip", (torch.Size((16, 16, 16, 4)), 128))
    for shape, num_codes in (((16, 16, 16, 4), 512), ((4, 4), 8), ((7,), 10), ((3, 5, 2), draw.size(3, 900)),
                             ((2, 3, 1, 1, 2), draw.size(3, 900)), ((4, 9), 1)):
        yield Case(f"shape {shape} and {num_codes} codes", (shape, num_codes))


@exercise("4.1", reference=quantize.code_bits, wrong={
    "a code out of K costs log2 K bits": lambda latent_shape, num_codes: math.prod(latent_shape) * math.log(num_codes),
    "the number of codes is the product of the shape": lambda latent_shape, num_codes: (
        sum(latent_shape) * math.log2(num_codes)),
    "bits need not be whole numbers": lambda latent_shape, num_codes: (
        math.prod(latent_shape) * math.ceil(math.log2(num_codes))),
    "the codebooks are not counted": lambda latent_shape, num_codes: math.prod(latent_shape[:3]) * math.log2(num_codes),
}, cases=_grid_cases)
def _(fn, expect):
    bits = fn((2, 3, 4), 8)
    expect(abs(bits - 24 * math.log(8)) > 1e-6, "a code out of K costs log2 K bits", look_at="math.log2")
    expect(abs(bits - 9 * 3) > 1e-6, "the number of codes is the product of the shape", look_at="math.prod")
    expect(abs(bits - 72) < 1e-6, "24 codes of 3 bits are 72 bits", look_at="the hint")
    expect(abs(fn((2, 3), 10) - 6 * math.log2(10)) < 1e-6, "bits need not be whole numbers", look_at="no rounding")
    expect(abs(fn((2, 3, 4, 5), 8) - 360) < 1e-6, "the codebooks are not counted",
           look_at="the product over the whole shape")


class _Halves(nn.Module):
    """A stand-in for a codebook whose answer is known: rounds down, its code is what it was built with."""

    def __init__(self, code):
        super().__init__()
        self.code = code

    def forward(self, z):
        codes = torch.full(z.shape[:-1], self.code)
        loss = torch.tensor(float(self.code))
        return z.floor(), codes, loss, {"perplexity": loss * 10}


class _CodesFirst(quantize.SlicedQuantizer):
    def forward(self, z):
        q, codes, loss, metrics = super().forward(z)
        return q, codes.movedim(-1, 0), loss, metrics


class _SumOfLosses(quantize.SlicedQuantizer):
    def forward(self, z):
        q, codes, loss, metrics = super().forward(z)
        return q, codes, loss * len(self.codebooks), metrics


class _FirstForAll(quantize.SlicedQuantizer):
    def __init__(self, codebooks):
        super().__init__([codebooks[0]] * len(codebooks))


class _Interleaved(quantize.SlicedQuantizer):
    def forward(self, z):
        n = len(self.codebooks)
        parts = [codebook(z[..., i::n]) for i, codebook in enumerate(self.codebooks)]
        _, codes, loss, metrics = super().forward(z)
        return torch.cat([part[0] for part in parts], -1), codes, loss, metrics


def _quantizer_cases(draw):
    def case(about, codebooks, z):
        return Case(about, (z,), init=(codebooks,))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.size(0, 9999))  # codebooks draw their codes themselves
        ema, gradient = quantize.EMACodebook, quantize.GradientCodebook
        grid = draw.normal(2, 1, 64, 8, 8).movedim(2, -1)  # as an encoder leaves it
        yield case("the notebook's four codebooks of 32", [ema(32, 16) for _ in range(4)], grid)
        yield case("one codebook", [gradient(5, 4)], draw.normal(3, 4))
        yield case("two codebooks", [gradient(5, 3), gradient(7, 3)], draw.normal(1, 2, 6))
        n, width = draw.size(3, 5), draw.size(1, 5)
        yield case(f"{n} codebooks of vectors of {width}", [gradient(4, width) for _ in range(n)],
                   draw.normal(2, 3, n * width))
        yield case("three that learn by counting", [ema(4, 2, first_batch=False) for _ in range(3)], draw.normal(9, 6))
        yield Case("lookup", (draw.integers(0, 5, 2, 3, 2),), init=([gradient(5, 3), gradient(5, 3)],), method="lookup")


@exercise("4.2", reference=quantize.SlicedQuantizer, wrong={
    "codes should be (..., n): the codebook last": _CodesFirst,
    "the loss should be the mean of the slices' losses": _SumOfLosses,
    "each slice has its own codebook": _FirstForAll,
    "the channels come back in another order": _Interleaved,
}, cases=_quantizer_cases)
def _(fn, expect):
    quantizer = fn([_Halves(1), _Halves(2), _Halves(6)])
    z = torch.arange(2 * 5 * 12).reshape(2, 5, 12) + 0.5
    result = quantizer(z)
    expect(isinstance(result, tuple | list) and len(result) == 4, "four results are asked for",
           look_at="quantized, codes, loss, metrics")
    q, codes, loss, metrics = result
    expect(isinstance(metrics, dict), "metrics should be one dict", look_at="one mean for each name")
    expect(codes.shape == (2, 5, 3), "codes should be (..., n): the codebook last", look_at="torch.stack(..., -1)")
    expect(codes[0, 0].tolist() == [1, 2, 6], "each slice has its own codebook",
           look_at="zip the codebooks with the slices")
    expect(q.shape == z.shape and torch.equal(q, z.floor()), "the channels come back in another order",
           look_at="z.chunk(n, -1) and torch.cat(..., -1)")
    expect(torch.isclose(loss, torch.tensor(3.0)), "the loss should be the mean of the slices' losses",
           look_at="torch.stack(losses).mean()")
    expect(set(metrics) == {"perplexity"} and float(metrics["perplexity"]) == 30,
           "metrics should be the means over the codebooks", look_at="one mean for each name")


def _combination_cases(draw):
    yield Case("the notebook's two codebooks of 32", (draw.integers(0, 32, 64, 8, 8, 4)[..., :2], 32))
    for shape, num_codes in (((9, 4), 3), ((5, 3), draw.size(5, 99)), ((2, 3, 4, 4, 4), 8), ((1, 1), 7), ((6, 5), 128)):
        codes = draw.integers(0, num_codes, *shape)
        yield Case(f"codes {shape}, each below {num_codes}", (codes, num_codes), batch=(0,))
    yield Case("numbers that float32 cannot hold", (512 - draw.integers(1, 9, 5, 4), 512))


def joint_code(codes, num_codes):
    number = torch.zeros_like(codes[..., 0])
    for digit in codes.unbind(-1):
        number = number * num_codes + digit
    return number


@exercise("4.3", reference=joint_code, wrong={
    "different combinations get the same number": lambda codes, num_codes: codes.sum(-1),
    "the first codebook's digit should be the highest": lambda codes, num_codes: joint_code(codes.flip(-1), num_codes),
    "the base is the number of codes": lambda codes, num_codes: joint_code(codes, 10),
    "one number for each position is asked for": lambda codes, num_codes: joint_code(codes, num_codes)[..., None],
}, cases=_combination_cases)
def _(fn, expect):
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    numbers = fn(every, 3)
    expect(numbers.shape == (81,), "one number for each position is asked for", look_at="the last axis goes away")
    expect(len(numbers.unique()) == 81, "different combinations get the same number", look_at="digits of a number")
    expect(int(numbers.max()) == 80, "the base is the number of codes", look_at="multiply by num_codes")
    expect(numbers.tolist() == list(range(81)), "the first codebook's digit should be the highest",
           look_at="from left to right")
