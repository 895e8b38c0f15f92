"""Checks of notebook 09: who sees whom, the sparse pattern."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.common import attention


def who_sees_whom(layer, x):
    n = len(x)
    change = layer(x + torch.eye(n)[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 1e-6).T


def _one_after_the_other(layer, x):
    """Never puts back what it has changed."""
    poked, columns = x.clone(), []
    for j in range(len(x)):
        poked[j] += 1
        columns.append((layer(poked[None]) - layer(x[None]))[0].abs().amax(-1) > 1e-6)
    return torch.stack(columns, 1)


def _sums(weights):
    """A layer that takes fixed sums of its input, every second channel negative: (b, n, dim) -> (b, n, dim)."""
    return lambda x: weights @ x * (-1.0) ** torch.arange(x.shape[-1])


@dataclass(frozen=True)
class _Mixer:
    """A layer that needs a batch: fixed sums over positions, and over channels where their weights are given."""

    weights: Tensor
    channels: Tensor | None = None

    def __call__(self, x):
        mixed = torch.einsum("ij, bjd -> bid", self.weights.to(x.dtype), x)
        return mixed if self.channels is None else mixed @ self.channels.to(x.dtype)


def _attends(x):
    """The notebook's: each position to itself and those before it."""
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)


def _layer_cases(draw):
    def case(about, layer, n, dim, dtype=torch.float32):
        return Case(about, (layer, draw.normal(n, dim, dtype=dtype)), gradients=False)

    def some(n):
        return (draw.uniform(n, n) < 0.4) * draw.normal(n, n).sign()

    yield case("the notebook's causal attention of 10 positions", _attends, 10, 4)
    n = draw.size(7, 12)
    yield case(f"{n} positions", _Mixer(some(n)), n, draw.size(2, 5))
    yield case("one position", _Mixer(torch.ones(1, 1)), 1, 3)
    yield case("one channel", _Mixer(some(5)), 5, 1)
    yield case("a layer that reads the last channel alone", _Mixer(some(6), torch.tensor([[0.0], [0.0], [1.0]])), 6, 3)
    last = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    yield case("a layer that writes into the last channel alone", _Mixer(some(6), last), 6, 2)
    against = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    yield case("a layer whose channels change against each other", _Mixer(some(6), against), 6, 2)
    yield case("changes of 8e-6", _Mixer(some(5) * 8e-6), 5, 4)
    yield case("changes that are too small to count", _Mixer(some(5) * 2e-8), 5, 4)
    yield case("float64", _Mixer(some(4)), 4, 3, torch.float64)


@exercise("9.1", reference=who_sees_whom, wrong={
    "rows and columns have changed places": lambda layer, x: who_sees_whom(layer, x).T,
    "the result must be of type bool": lambda layer, x: who_sees_whom(layer, x).float(),
    "it must find out by changing the input": lambda layer, x: torch.ones(len(x), len(x)).tril().bool(),
    "a position can see itself, too": lambda layer, x: who_sees_whom(layer, x) & ~torch.eye(len(x)).bool(),
    "each copy must differ from x at one position alone": _one_after_the_other,
    "a change may be negative, too": lambda layer, x: (
        (layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])).amin(-1) > 1e-6).T,
    "channels may cancel each other": lambda layer, x: (
        (layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])).sum(-1).abs() > 1e-6).T,
}, cases=_layer_cases)
def _(fn, expect):
    x, causal = torch.randn(6, 4), torch.ones(6, 6).tril()
    seen = fn(_sums(causal), x)
    expect(seen.shape == (6, 6), "the shape must be (n, n)", look_at="a row for each output, a column for each input")
    expect(seen.dtype == torch.bool, "the result must be of type bool", look_at="a comparison gives one")
    expect(not torch.equal(seen, causal.T.bool()), "rows and columns have changed places", look_at="a row is an output")
    falls, rises = fn(lambda x: -causal @ x, x), fn(lambda x: causal @ x, x)
    expect(falls.any() or not rises.any(), "a change may be negative, too", look_at="abs()")
    expect(seen.any() or not rises.any(), "channels may cancel each other", look_at="the largest change of any channel")
    for sees in (causal, torch.eye(6), torch.ones(6, 6), torch.eye(6).roll(1, 0), torch.eye(6).roll(-2, 0)):
        found = fn(_sums(sees), x)
        expect(torch.equal(sees, causal) or not torch.equal(found, causal.bool()),
               "it must find out by changing the input", look_at="this layer is not causal")
        expect((found | ~sees.bool() | ~torch.eye(6).bool()).all(), "a position can see itself, too",
               look_at="the diagonal")
        expect((found | ~sees.bool()).all(), "a change of the input is not found", look_at="> 1e-6, on any channel")
        expect(not (found & ~sees.bool()).any(), "each copy must differ from x at one position alone",
               look_at="start from x again each time")


def _pattern(allows):
    return type("Sparse", (attention.Sparse,), {"allows": allows})


def _behind(rule):
    """A wrong pattern, by how far the key lies behind the query, the local codes, and the stride."""
    return _pattern(lambda self, query, key: rule(query - key, self.local, self.stride))


def _pattern_cases(draw):
    def case(about, local, stride, query, key, **options):
        return Case(about, (query, key), init=(local, stride), method="allows", gradients=False, **options)

    places = torch.arange(256)
    yield case("the notebook's position 227 of 256, local 20 and stride 64", 20, 64, torch.tensor(227), places)
    sizes = (1, 1), (1, 4), (5, 3), (40, 8), (8, 8), (draw.size(2, 9), draw.size(2, 9))
    position = torch.arange(33)
    for local, stride in sizes:
        yield case(f"all pairs, local {local} and stride {stride}", local, stride, position[:, None], position)
    yield case("int32 of the shapes (n, 1) and (n,)", 3, 7, position.int()[:, None], position.int())
    yield case("one query and one key", 2, 4, torch.tensor(9), torch.tensor(1))
    query, key = (draw.integers(0, 40, 2, 3) for _ in range(2))
    yield case("pairs of shape (2, 3)", draw.size(1, 6), draw.size(2, 6), query, key)
    for position in 0, 5, draw.size(20, 40):
        yield Case(f"what position {position} looks at", (position,), init=(3, 4), method="seen", gradients=False)


@exercise("9.2", reference=attention.Sparse, wrong={
    "it sees what lies ahead": _behind(lambda behind, local, stride: (behind < local) | (behind % stride == 0)),
    "the position itself must be visible": _behind(lambda behind, local, stride: (behind > 0) & (
        (behind < local) | (behind % stride == 0))),
    "one of the two is enough, local or strided": _behind(lambda behind, local, stride: (behind >= 0) & (
        (behind < local) & (behind % stride == 0))),
    "the codes just before are missing": _behind(lambda behind, local, stride: (behind >= 0) & (behind % stride == 0)),
    "the same place in earlier frames is missing": _behind(lambda behind, local, stride: (behind >= 0) & (
        behind < local)),
    "the stride counts back from the query": _pattern(lambda self, query, key: (query >= key) & (
        (query - key < self.local) | (key % self.stride == 0))),
    "`local` counts the position itself": _behind(lambda behind, local, stride: (behind >= 0) & (
        (behind <= local) | (behind % stride == 0))),
}, cases=_pattern_cases)
def _(cls, expect):
    pattern, position = cls(local=3, stride=8), torch.arange(32)
    seen = pattern.allows(torch.tensor(20), position)
    expect(seen.shape == (32,) and seen.dtype == torch.bool, "the result must be bool, one for each key",
           look_at="comparisons joined with & and |")
    expect(not seen[21:].any(), "it sees what lies ahead", look_at="a key must not be ahead of the query")
    expect(seen[20], "the position itself must be visible", look_at="0 behind")
    local, strided = bool(seen[18:20].all()), bool(seen[4] and seen[12])
    expect(local or strided or seen.sum() > 1, "one of the two is enough, local or strided", look_at="| instead of &")
    expect(local, "the codes just before are missing", look_at="fewer than `local` behind")
    expect(strided or not seen[8], "the stride counts back from the query", look_at="behind % stride, not key % stride")
    expect(strided, "the same place in earlier frames is missing", look_at="a multiple of `stride` behind")
    expect(not seen[17], "`local` counts the position itself", look_at="< or <=")
    expect(cls.__hash__ and cls(3, 8) == pattern and hash(cls(3, 8)) == hash(pattern),
           "two patterns of the same numbers are equal", look_at="@dataclass(frozen=True) stays above the class")
