"""Checks of notebook 06: taps before the centre, attention, the bias of distances, code by code."""

import math

import torch
from einops import rearrange

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.lvt import layers, relative_attention


def _taps(kernel):
    return torch.arange(torch.Size(kernel).numel()).reshape(kernel)


def _below(size):
    return torch.arange(size) < size // 2


def _kernel_cases(draw):
    yield Case("the notebook's kernel of 3 x 3 x 3", ((3, 3, 3),))
    for kernel in (1, 1, 1), (1, 1, 3), (3, 5, 1), (5, 1, 3), tuple(1 + 2 * draw.size(0, 4) for _ in range(3)):
        yield Case(f"a kernel of {kernel}", (kernel,))


@exercise("6.1", reference=layers.earlier_taps, wrong={
    "the centre itself is visible": lambda kernel: _taps(kernel) <= _taps(kernel).numel() // 2,
    "these are the taps after the centre": lambda kernel: _taps(kernel) > _taps(kernel).numel() // 2,
    "frames before are known whole": lambda kernel: layers.earlier_taps(kernel) & (
        (torch.arange(kernel[1]) <= kernel[1] // 2)[:, None] & torch.ones(kernel[2], dtype=torch.bool)),
    "what comes before in the same frame is known, too": lambda kernel: (
        (torch.arange(kernel[0]) < kernel[0] // 2)[:, None, None].expand(kernel)),
    "rows below come later": lambda kernel: _below(kernel[0])[:, None, None] | _below(kernel[1])[:, None] | _below(
        kernel[2]),
    "it should work for a kernel of any odd size": lambda kernel: _taps(kernel) < 13,
    "the mask must be of type bool": lambda kernel: layers.earlier_taps(kernel).float(),
}, cases=_kernel_cases)
def _(fn, expect):
    mask = fn((3, 3, 3))
    expect(mask.dtype == torch.bool, "the mask must be of type bool", look_at="a comparison gives one")
    expect(mask.shape == (3, 3, 3), "the mask must have the kernel's shape", look_at="reshape(kernel)")
    expect(not mask[1, 1, 1], "the centre itself is visible", look_at="< or <=")
    expect(not (mask[2].all() and mask[1, 1, 2]), "these are the taps after the centre",
           look_at="which side is earlier")
    expect(mask[0].all(), "frames before are known whole", look_at="raster order: frames come first")
    expect(mask[1, 0].all() and mask[1, 1, 0], "what comes before in the same frame is known, too",
           look_at="the row above, and the position to the left")
    expect(not mask[1, 2].any(), "rows below come later", look_at="the column counts only within the same row")
    expect(not mask[2].any(), "later frames come later", look_at="raster order: frames come first")
    for kernel in ((3, 3, 3), (1, 1, 3), (3, 5, 1)):
        expect(torch.equal(fn(kernel), layers.earlier_taps(kernel)), "it should work for a kernel of any odd size",
               look_at="how many taps the kernel has")


def attention(query, key, value, bias):
    return (query @ key.mT / math.sqrt(query.shape[-1]) + bias).softmax(-1) @ value


def _weighted(weights):
    """A wrong attention: from scores (..., q, k), bias and the width of a head to weights."""
    return lambda query, key, value, bias: weights(query @ key.mT, bias, query.shape[-1]) @ value


def _attention_cases(draw):
    def case(about, b, heads, q, k, d, width, dtype=torch.float32, hidden=()):
        bias = draw.normal(heads, q, k, dtype=dtype)
        for i, j in hidden:
            bias[..., i, j] = float("-inf")
        inputs = (draw.normal(b, heads, n, size, dtype=dtype) for n, size in ((q, d), (k, d), (k, width)))
        return Case(about, (*inputs, bias), batch=(0, 1, 2))

    later = [(i, j) for i in range(10) for j in range(i + 1, 10)]
    yield case("the notebook's 2 clips, 4 heads and 10 positions", 2, 4, 10, 10, 16, 16, hidden=later)
    query, key = (draw.normal(1, 6, 8, 4).transpose(1, 2) for _ in range(2))  # in memory a position's heads together
    places = torch.eye(6).expand(1, 8, 6, 6)
    yield Case("the weights of a layer, values of another width", (query, key, places, draw.normal(8, 6, 6)))
    yield case("one clip, one head, one query and one key", 1, 1, 1, 1, 3, 3)
    sizes = draw.size(1, 3), draw.size(2, 5), draw.size(2, 9), draw.size(2, 9), draw.size(2, 32)
    yield case("{} clips, {} heads, {} queries and {} keys of width {}".format(*sizes), *sizes, sizes[-1])
    yield case("float64", 2, 3, 4, 5, 6, 6, torch.float64)
    yield case("two pairs that are hidden", 3, 2, 5, 7, 8, 8, hidden=[(0, 0), (4, 2)])


@exercise("6.2", reference=attention, wrong={
    "the scores are not divided by the square root of d": _weighted(
        lambda scores, bias, d: (scores + bias).softmax(-1)),
    "the scores are divided by d, not by its square root": _weighted(
        lambda scores, bias, d: (scores / d + bias).softmax(-1)),
    "the bias makes no difference": _weighted(lambda scores, bias, d: (scores / math.sqrt(d)).softmax(-1)),
    "the bias must not be divided": _weighted(lambda scores, bias, d: ((scores + bias) / math.sqrt(d)).softmax(-1)),
    "the bias is added after softmax": _weighted(lambda scores, bias, d: (scores / math.sqrt(d)).softmax(-1) + bias),
    "the weights of a query must add up to 1": _weighted(
        lambda scores, bias, d: (scores / math.sqrt(d) + bias).softmax(-2)),
    "softmax is missing": _weighted(lambda scores, bias, d: scores / math.sqrt(d) + bias),
    "queries and keys have changed places": lambda query, key, value, bias: attention(key, query, value, bias),
}, cases=_attention_cases)
def _(fn, expect):
    def inputs(q, k, d):
        query, key, value = torch.randn(2, 3, q, d), torch.randn(2, 3, k, d), torch.randn(2, 3, k, d)
        return query, key, value, torch.randn(3, q, k)

    query, key, value, bias = inputs(5, 5, 4)
    out, none, scores = fn(query, key, value, bias), torch.zeros(3, 5, 5), query @ key.mT
    expect(out.shape == query.shape, "the shape must be (b, heads, q, d)", look_at="@")
    ones = fn(query, key, torch.ones(2, 3, 5, 4), none)
    plain = fn(query, key, value, none)
    for wrong, message, look_at in (
            (scores.softmax(-1), "the scores are not divided by the square root of d", "math.sqrt(d)"),
            ((scores / 4).softmax(-1), "the scores are divided by d, not by its square root", "math.sqrt(d)"),
            (scores / 2, "softmax is missing", "softmax over the keys"),
            ((scores / 2).softmax(-2), "the weights of a query must add up to 1", "softmax over the last axis"),
            ((scores.mT / 2).softmax(-1), "queries and keys have changed places", "query @ key.mT")):
        expect(not torch.allclose(plain, wrong @ value, atol=1e-5), message, look_at=look_at)
    expect(torch.allclose(ones, torch.ones_like(ones), atol=1e-5), "the weights of a query must add up to 1",
           look_at="softmax over the last axis")
    expect(not torch.allclose(out, plain, atol=1e-5), "the bias makes no difference", look_at="+ bias, before softmax")
    half = attention(query, key, value, bias / 2)
    expect(not torch.allclose(out, half, atol=1e-5), "the bias must not be divided", look_at="the brackets")
    after = plain + bias @ value
    expect(not torch.allclose(out, after, atol=1e-5), "the bias is added after softmax", look_at="softmax comes last")


class _KeyMinusQuery(relative_attention.RelativeBias):
    def forward(self):
        return super().forward().mT


class _Product(relative_attention.RelativeBias):
    def forward(self):
        t, h, w = (self.by_distance(table) for table in self.tables)
        bias = t[:, :, None, None, :, None, None] * h[:, None, :, None, None, :, None]
        return rearrange(bias * w[:, None, None, :, None, None], "m t h w t2 h2 w2 -> m (t h w) (t2 h2 w2)")


class _Interleaved(relative_attention.RelativeBias):
    def forward(self):
        n = [(table.shape[1] + 1) // 2 for table in self.tables]
        bias = super().forward().unflatten(1, n).unflatten(4, n)
        return rearrange(bias, "m t h w t2 h2 w2 -> m (w h t) (w2 h2 t2)")


class _TwoAxes(relative_attention.RelativeBias):
    def forward(self):
        with torch.no_grad():
            self.tables[0].zero_()
        return super().forward()


def _bias_cases(draw):
    yield Case("the notebook's slice of 2 x 6 x 6 and 1 head", init=((2, 6, 6), 1), redrawn=True)
    yield Case("tables as they begin", init=((2, 3, 4), 9))
    for shape, heads in ((1, 4, 3), 2), ((3, 1, 2), 4), ((1, 1, 1), 1), (tuple(draw.size(2, 4) for _ in range(3)), 3):
        yield Case(f"shape {shape} and {heads} heads", init=(shape, heads), redrawn=True)


@exercise("6.3", reference=relative_attention.RelativeBias, wrong={
    "queries and keys are exchanged": _KeyMinusQuery,
    "the three axes must be added": _Product,
    "positions are not in raster order": _Interleaved,
    "the distance in time does not count": _TwoAxes,
}, cases=_bias_cases)
def _(cls, expect):
    module = cls((2, 3, 4), 2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for table in module.tables:
            table.copy_(torch.randn(table.shape, generator=generator))
    t, h, w = (table.detach().clone() for table in module.tables)
    bias = module()
    expect(bias.shape == (2, 24, 24), "the result must be (heads, n, n) with n = t*h*w", look_at="rearrange")

    def close(value, expected):
        return torch.allclose(value, expected, atol=1e-5)

    # distance 0 is in the middle of each table
    expect(not close(bias[:, 5, 5], t[:, 1] * h[:, 2] * w[:, 3]), "the three axes must be added", look_at="+")
    expect(not close(bias[:, 12, 0], h[:, 2] + w[:, 3]), "the distance in time does not count", look_at="table 0")
    later = t[:, 2] + h[:, 2] + w[:, 3]  # the query one frame after the key
    right = t[:, 1] + h[:, 2] + w[:, 4]  # one column after the key
    true = relative_attention.RelativeBias.forward(module)
    moved = close(bias.flatten(1).sort().values, true.flatten(1).sort().values)
    expect(close(bias[:, 1, 0], right) or close(bias[:, 0, 1], right) or not moved, "positions are not in raster order",
           look_at="(t h w) in both triples")
    expect(moved, "the values are wrong", look_at="the sum of three entries, one from each axis's table")
    expect(close(bias[:, 1, 0], right) and close(bias[:, 12, 0], later), "queries and keys are exchanged",
           look_at="rows are queries")


class _SeesTheNext(layers.CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x, codes[..., :k + 1]) for k in range(len(self.out))], -2)


class _SeesItself(layers.CodeHeads):
    def forward(self, x, codes):
        shifted = torch.cat([codes[..., 1:], codes[..., :1]], -1)
        return torch.stack([self.one(k, x, shifted[..., :k]) for k in range(len(self.out))], -2)


class _SeesNothing(layers.CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x, torch.zeros_like(codes[..., :k])) for k in range(len(self.out))], -2)


class _OneTooFew(layers.CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x, codes[..., :max(k - 1, 0)]) for k in range(len(self.out))], -2)


class _CodesFirst(layers.CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x, codes[..., :k]) for k in range(len(self.out))], 0)


class _FirstHead(layers.CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(0, x, codes[..., :0]) for _ in self.out], -2)


def _heads_cases(draw):
    def case(about, num_codes, codebooks, dim, *grid):
        inputs = draw.normal(*grid, dim), draw.integers(0, num_codes, *grid, codebooks)
        return Case(about, inputs, init=(num_codes, codebooks, dim), batch=(0, 1))

    yield case("the notebook's one codebook of 128", 128, 1, 64, 2, 16)
    yield case("four codebooks of 8", 8, 4, 6, 2, 3)
    n, k = draw.size(2, 9), draw.size(2, 3)
    yield case(f"{k} codebooks of {n}", n, k, draw.size(2, 7), 1, 5)
    yield case("a grid", 5, 3, 4, 2, 2, 3, 4)
    yield case("no axis but the batch", 3, 2, 4, 3)


@exercise("6.4", reference=layers.CodeHeads, wrong={
    "code k may see k codes, no more": _SeesTheNext,
    "a code may not see itself": _SeesItself,
    "a code must see those before it": _SeesNothing,
    "a code must see those before it, all of them": _OneTooFew,
    "the shape must be (..., k, codes)": _CodesFirst,
    "each codebook has a network of its own": _FirstHead,
}, cases=_heads_cases)
def _(cls, expect):
    torch.manual_seed(0)
    heads = cls(num_codes=5, codebooks=3, dim=8)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    x, codes = torch.randn(2, 4, 8), torch.randint(5, (2, 4, 3))
    looked_at = {}

    class Spied(cls):
        def one(self, k, x, earlier):
            looked_at[k] = earlier.shape[-1]
            return super().one(k, x, codes[..., :k])

    Spied(num_codes=5, codebooks=3, dim=8)(x, codes)
    expect(all(seen <= k for k, seen in looked_at.items()), "code k may see k codes, no more", look_at="codes[..., :k]")
    expect(all(seen >= k for k, seen in looked_at.items()), "a code must see those before it, all of them",
           look_at="codes[..., :k]")
    with torch.no_grad():
        logits = heads(x, codes)
        expect(logits.shape == (2, 4, 3, 5), "the shape must be (..., k, codes)", look_at="torch.stack(..., -2)")
        expect(not torch.allclose(logits[..., 0, :], logits[..., 1, :]), "each codebook has a network of its own",
               look_at="one(k, ...)")
        sees = torch.zeros(3, 3, dtype=torch.bool)  # [code changed, code predicted]
        for changed in range(3):
            poked = codes.clone()
            poked[..., changed] = (poked[..., changed] + 1) % 5
            sees[changed] = (heads(x, poked) != logits).any(-1).flatten(0, 1).any(0)
        expect(not sees.tril().any(), "a code may not see itself", look_at="codes[..., :k]")
        expect(sees[0, 1] and sees[0, 2] and sees[1, 2], "a code must see those before it", look_at="codes[..., :k]")
