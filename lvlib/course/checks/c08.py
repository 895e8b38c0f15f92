"""Checks of notebook 08: who sees whom, the sparse pattern, a step with a cache, keeping the likely codes."""

import torch
import torch.nn.functional as F
from einops import rearrange

from lvlib.course.exercises import exercise
from lvlib.models.common import attention
from lvlib.models.videogpt import prior as videogpt


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


@exercise("8.1", reference=who_sees_whom, wrong={
    "rows and columns have changed places": lambda layer, x: who_sees_whom(layer, x).T,
    "the result must be of type bool": lambda layer, x: who_sees_whom(layer, x).float(),
    "it must find out by changing the input": lambda layer, x: torch.ones(len(x), len(x)).tril().bool(),
    "a position can see itself, too": lambda layer, x: who_sees_whom(layer, x) & ~torch.eye(len(x)).bool(),
    "each copy must differ from x at one position alone": _one_after_the_other,
    "a change may be negative, too": lambda layer, x: (
        (layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])).amin(-1) > 1e-6).T,
    "channels may cancel each other": lambda layer, x: (
        (layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])).sum(-1).abs() > 1e-6).T,
})
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


@exercise("8.2", reference=attention.Sparse, wrong={
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
})
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
    for sizes in ((3, 8), (1, 4), (5, 3), (40, 8)):
        allowed = cls(*sizes).allows(position[:, None], position)
        expect(torch.equal(allowed, attention.Sparse(*sizes).allows(position[:, None], position)),
               f"not right for local {sizes[0]}, stride {sizes[1]}", look_at="the two conditions")


def _step(slots, write=(True, True), pattern=True):
    """A wrong `step`: attends to these slots of the cache; `write`: puts in the key, the value."""

    class CausalAttention(attention.CausalAttention):
        def step(self, x, position, cache):
            query, key, value = self.heads_of(x)
            keys, values = cache.keys.clone(), cache.values.clone()
            keys[:, :, position], values[:, :, position] = key[:, :, 0], value[:, :, 0]
            for buffer, filled, wanted in ((cache.keys, keys, write[0]), (cache.values, values, write[1])):
                if wanted:
                    buffer.copy_(filled)
            seen = slots(position)
            if pattern and self.pattern:
                seen = self.pattern.seen(position)
            attended = F.scaled_dot_product_attention(query, keys[:, :, seen], values[:, :, seen])
            return self.out_proj(rearrange(attended, "b m n d -> b n (m d)"))

    return CausalAttention


class _Exchanged(attention.CausalAttention):
    def heads_of(self, x):
        query, key, value = super().heads_of(x)
        return query, value, key

    def forward(self, x):
        query, value, key = self.heads_of(x)
        attended = attention.attend(query, key, value, self.pattern)
        return self.out_proj(rearrange(attended, "b m n d -> b n (m d)"))


class _FirstAlone(attention.CausalAttention):
    """`is_causal` with a single query: the mask's first row, in which there is the first slot and no other."""

    def step(self, x, position, cache):
        query, key, value = self.heads_of(x)
        cache.keys[:, :, position], cache.values[:, :, position] = key[:, :, 0], value[:, :, 0]
        attended = F.scaled_dot_product_attention(
            query, cache.keys[:, :, :position + 1], cache.values[:, :, :position + 1], is_causal=True)
        return self.out_proj(rearrange(attended, "b m n d -> b n (m d)"))


@exercise("8.3", reference=attention.CausalAttention, wrong={
    "it reads slots that are not filled yet": _step(lambda position: slice(None)),
    "a position sees itself, too": _step(lambda position: slice(max(position, 1))),
    "it forgets what came before": _step(lambda position: slice(position, position + 1)),
    "the key is not in the cache afterwards": _step(lambda position: slice(position + 1), write=(False, True)),
    "the value is not in the cache afterwards": _step(lambda position: slice(position + 1), write=(True, False)),
    "the sparse pattern makes no difference": _step(lambda position: slice(position + 1), pattern=False),
    "keys and values have changed places": _Exchanged,
    "it sees the first position alone": _FirstAlone,
})
@torch.no_grad()
def _(cls, expect):
    layer, x = cls(8, 2), torch.randn(3, 6, 8)
    cache, whole, steps = layer.cache(3, 6), layer(x), []
    cache.keys.fill_(float("nan"))
    cache.values.fill_(float("nan"))
    reference = attention.CausalAttention(8, 2)
    reference.load_state_dict(layer.state_dict())
    for i in range(6):
        out = layer.step(x[:, i:i + 1], i, cache)
        expect(out.shape == (3, 1, 8), "the result must be (b, 1, dim)", look_at="rearrange, then out_proj")
        _, key, value = reference.heads_of(x[:, i:i + 1])
        swapped = torch.equal(cache.keys[:, :, i], value[:, :, 0]) and torch.equal(cache.values[:, :, i], key[:, :, 0])
        expect(not swapped, "keys and values have changed places", look_at="query, key, value")
        expect(torch.equal(cache.keys[:, :, i], key[:, :, 0]), "the key is not in the cache afterwards",
               look_at="cache.keys[:, :, position] = ...")
        expect(torch.equal(cache.values[:, :, i], value[:, :, 0]), "the value is not in the cache afterwards",
               look_at="cache.values[:, :, position] = ...")
        expect(not out.isnan().any(), "it reads slots that are not filled yet", look_at="position + 1")
        itself, first, all_but = (_attended(reference, x, i, slots) for slots in (slice(i, i + 1), slice(1), slice(i)))
        expect(i == 0 or not torch.allclose(out, itself, atol=1e-5), "it forgets what came before",
               look_at="all slots up to this one")
        expect(i < 2 or not torch.allclose(out, first, atol=1e-5), "it sees the first position alone",
               look_at="no is_causal: it is made for as many queries as keys")
        expect(i < 2 or not torch.allclose(out, all_but, atol=1e-5), "a position sees itself, too",
               look_at="position or position + 1")
        steps.append(out)
    for i, out in enumerate(steps):
        expect(torch.allclose(out, whole[:, i:i + 1], atol=1e-5), f"step {i} differs from what forward gives there",
               look_at="attention, then out_proj")
    sparse, full = cls(8, 2, attention.Sparse(1, 2)), cls(8, 2)
    full.load_state_dict(sparse.state_dict())
    caches = sparse.cache(3, 6), full.cache(3, 6)
    steps = [torch.cat([one.step(x[:, i:i + 1], i, kept) for i in range(6)], 1)
             for one, kept in zip((sparse, full), caches, strict=True)]
    expect(not torch.allclose(*steps, atol=1e-5), "the sparse pattern makes no difference", look_at="pattern.seen")
    expect(torch.allclose(steps[0], sparse(x), atol=1e-5), "with a sparse pattern it differs from forward",
           look_at="pattern.seen(position)")


def _attended(layer, x, position, slots):
    """What a step would give that attends to these slots alone."""
    query, key, value = layer.heads_of(x)
    attended = F.scaled_dot_product_attention(query[:, :, position:position + 1], key[:, :, slots], value[:, :, slots])
    return layer.out_proj(rearrange(attended, "b m n d -> b n (m d)"))


def _nucleus(gone, after_top_k=True):
    """A wrong `keep_likely`: which codes go, from the sorted probabilities and their running sum."""

    def keep_likely(logits, top_k=None, top_p=None):
        cut = videogpt.keep_likely(logits, top_k)
        if top_p is None:
            return cut
        probs, order = (cut if after_top_k else logits).softmax(-1).sort(descending=True)
        going = gone(probs, probs.cumsum(-1), top_p)
        return cut.masked_fill(going.gather(-1, order.argsort(-1)), float("-inf"))

    return keep_likely


def _left_sorted(logits, top_k=None, top_p=None):
    if top_p is None:
        return videogpt.keep_likely(logits, top_k)
    probs = logits.softmax(-1).sort(descending=True).values
    return videogpt.keep_likely(logits, top_k).masked_fill(probs.cumsum(-1) - probs >= top_p, float("-inf"))


@exercise("8.4", reference=videogpt.keep_likely, wrong={
    "the likeliest code must always stay": _nucleus(lambda probs, total, top_p: total >= top_p),
    "the code that reaches top_p stays, too": _nucleus(lambda probs, total, top_p: (total > top_p) & (
        total > probs)),
    "top_p keeps more than it needs": _nucleus(lambda probs, total, top_p: total - probs - probs >= top_p),
    "the mask is still in sorted order": _left_sorted,
    "top_p looks at what top_k has left": _nucleus(lambda probs, total, top_p: total - probs >= top_p,
                                                   after_top_k=False),
    "top_k keeps k codes": lambda logits, top_k=None, top_p=None: videogpt.keep_likely(
        logits, top_k and top_k + 1, top_p),
    "codes that go get minus infinity": lambda logits, top_k=None, top_p=None: videogpt.keep_likely(
        logits, top_k, top_p).nan_to_num(neginf=0.0),
    "by default all codes stay": lambda logits, top_k=5, top_p=0.9: videogpt.keep_likely(logits, top_k, top_p),
})
def _(fn, expect):
    logits = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log()
    expect(torch.equal(fn(logits), logits), "by default all codes stay", look_at="None means no limit")
    kept = fn(logits, top_k=2)
    expect(kept.shape == logits.shape, "the shape must stay", look_at="masked_fill")
    expect(kept[2] == float("-inf"), "codes that go get minus infinity", look_at='float("-inf")')

    def stay(**options):
        return (fn(logits, **options) > float("-inf")).nonzero()[:, 0].tolist()

    expect(stay(top_k=2) == [1, 3] and stay(top_k=1) == [1], "top_k keeps k codes", look_at="topk, and < or <=")
    expect(stay(top_k=9) == [0, 1, 2, 3, 4], "top_k may be more than there are codes", look_at="min")
    expect(1 in stay(top_p=0.2) or stay(top_p=0.2) != [], "the likeliest code must always stay",
           look_at="the sum *before* a code")
    expect(stay(top_p=0.2) != [0], "the mask is still in sorted order", look_at="order.argsort(-1)")
    expect(stay(top_p=0.6) != [1], "the code that reaches top_p stays, too", look_at="the sum *before* a code")
    expect(stay(top_p=0.6) == [1, 3], "top_p keeps more than it needs", look_at="the sum *before* a code")
    expect(stay(top_k=3, top_p=0.8) == [1, 3], "top_p looks at what top_k has left",
           look_at="the probabilities after top_k, which add up to 1 again")
    rows = torch.randn(4, 3, 20)
    for options in ({"top_k": 4}, {"top_p": 0.5}, {"top_k": 7, "top_p": 0.8}):
        expect(torch.equal(fn(rows, **options), videogpt.keep_likely(rows, **options)),
               f"not right for logits of shape (4, 3, 20) and {options}", look_at="the last axis")
