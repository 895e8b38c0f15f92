"""Checks of notebook 10: a step with a cache, keeping the likely codes."""

import torch
import torch.nn.functional as F

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.common import attention
from lvlib.models.common.kv_cache import KVCache
from lvlib.models.videogpt import sampling


def _attended(layer, query, keys, values):
    return layer.join_heads(F.scaled_dot_product_attention(query, keys, values))


def _step(slots, write=(True, True), pattern=True):
    """A wrong step: attends to these slots of the cache; `write`: puts in the key, the value."""

    def cached_attention(layer, x, position, cache):
        query, key, value = layer.heads_of(x)
        keys, values = cache.keys.clone(), cache.values.clone()
        keys[:, :, position], values[:, :, position] = key[:, :, 0], value[:, :, 0]
        for buffer, filled, wanted in ((cache.keys, keys, write[0]), (cache.values, values, write[1])):
            if wanted:
                buffer.copy_(filled)
        seen = layer.pattern.seen(position) if pattern and layer.pattern else slots(position)
        return _attended(layer, query, keys[:, :, seen], values[:, :, seen])

    return cached_attention


def _exchanged(layer, x, position, cache):
    query, value, key = layer.heads_of(x)
    cache.keys[:, :, position], cache.values[:, :, position] = key[:, :, 0], value[:, :, 0]
    seen = layer.pattern.seen(position) if layer.pattern else slice(position + 1)
    return _attended(layer, query, cache.values[:, :, seen], cache.keys[:, :, seen])


def _first_alone(layer, x, position, cache):
    """`is_causal` with a single query: the mask's first row, in which there is the first slot and no other."""
    query, key, value = layer.heads_of(x)
    cache.keys[:, :, position], cache.values[:, :, position] = key[:, :, 0], value[:, :, 0]
    keys, values = cache.keys[:, :, :position + 1], cache.values[:, :, :position + 1]
    return layer.join_heads(F.scaled_dot_product_attention(query, keys, values, is_causal=True))


def _step_cases(draw):
    def case(about, b, heads, width, n, position, pattern=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw.size(0, 9999))  # the layer draws its weights itself
            layer = attention.CausalAttention(heads * width, heads, pattern)
        cache = KVCache(*(draw.normal(b, heads, n, width) for _ in range(2)))  # what lies ahead is of another clip
        x = draw.normal(b, 3, heads * width)[:, 1:2]
        return Case(about, (layer, x, position, cache), gradients=False, writes=(3,))

    yield case("the notebook's row of 256 codes", 1, 4, 16, 256, 37)
    for position in 0, 1, 5:
        yield case(f"position {position} of 6", 3, 2, 4, 6, position)
    b, heads, width, n = draw.size(1, 4), draw.size(3, 5), draw.size(1, 6), draw.size(9, 12)
    yield case(f"{b} clips and {heads} heads of width {width}", b, heads, width, n, draw.size(2, 8))
    for local, stride in (1, 2), (3, 4), (draw.size(1, 3), draw.size(3, 5)), (1, 50):
        yield case(f"a pattern of local {local} and stride {stride}", 2, 2, 3, 16, 13, attention.Sparse(local, stride))


@exercise("10.1", reference=sampling.cached_attention, wrong={
    "it reads slots that are not filled yet": _step(lambda position: slice(None)),
    "a position sees itself, too": _step(lambda position: slice(max(position, 1))),
    "it forgets what came before": _step(lambda position: slice(position, position + 1)),
    "the key is not in the cache afterwards": _step(lambda position: slice(position + 1), write=(False, True)),
    "the value is not in the cache afterwards": _step(lambda position: slice(position + 1), write=(True, False)),
    "the sparse pattern makes no difference": _step(lambda position: slice(position + 1), pattern=False),
    "keys and values have changed places": _exchanged,
    "it sees the first position alone": _first_alone,
}, cases=_step_cases)
@torch.no_grad()
def _(fn, expect):
    layer, x = attention.CausalAttention(8, 2), torch.randn(3, 6, 8)
    cache = sampling.row_cache(layer, 3, 6)
    cache.keys.fill_(99.0)
    cache.values.fill_(99.0)
    for i in range(6):
        out = fn(layer, x[:, i:i + 1], i, cache)
        expect(out.shape == (3, 1, 8), "the result must be (b, 1, dim)", look_at="attention.join_heads")
        _, key, value = layer.heads_of(x[:, i:i + 1])
        swapped = torch.equal(cache.keys[:, :, i], value[:, :, 0]) and torch.equal(cache.values[:, :, i], key[:, :, 0])
        expect(not swapped, "keys and values have changed places", look_at="query, key, value")
        expect(torch.equal(cache.keys[:, :, i], key[:, :, 0]), "the key is not in the cache afterwards",
               look_at="cache.keys[:, :, position] = ...")
        expect(torch.equal(cache.values[:, :, i], value[:, :, 0]), "the value is not in the cache afterwards",
               look_at="cache.values[:, :, position] = ...")
        expect(out.abs().max() < 9, "it reads slots that are not filled yet", look_at="position + 1")
        itself, first, all_but = (_given(layer, x, i, slots) for slots in (slice(i, i + 1), slice(1), slice(i)))
        expect(i == 0 or not torch.allclose(out, itself, atol=1e-5), "it forgets what came before",
               look_at="all slots up to this one")
        expect(i < 2 or not torch.allclose(out, first, atol=1e-5), "it sees the first position alone",
               look_at="no is_causal: it is made for as many queries as keys")
        expect(i < 2 or not torch.allclose(out, all_but, atol=1e-5), "a position sees itself, too",
               look_at="position or position + 1")
    sparse, full = attention.CausalAttention(8, 2, attention.Sparse(1, 2)), attention.CausalAttention(8, 2)
    full.load_state_dict(sparse.state_dict())
    caches = [sampling.row_cache(one, 3, 6) for one in (sparse, full)]
    steps = [torch.cat([fn(one, x[:, i:i + 1], i, kept) for i in range(6)], 1)
             for one, kept in zip((sparse, full), caches, strict=True)]
    expect(not torch.allclose(*steps, atol=1e-5), "the sparse pattern makes no difference", look_at="pattern.seen")


def _given(layer, x, position, slots):
    """What a step would give that attends to these slots alone."""
    query, key, value = layer.heads_of(x)
    return _attended(layer, query[:, :, position:position + 1], key[:, :, slots], value[:, :, slots])


def _nucleus(gone, after_top_k=True):
    """A wrong `keep_likely`: which codes go, from the sorted probabilities and their running sum."""

    def keep_likely(logits, top_k=None, top_p=None):
        cut = sampling.keep_likely(logits, top_k)
        if top_p is None:
            return cut
        probs, order = (cut if after_top_k else logits).softmax(-1).sort(descending=True)
        going = gone(probs, probs.cumsum(-1), top_p)
        return cut.masked_fill(going.gather(-1, order.argsort(-1)), float("-inf"))

    return keep_likely


def _left_sorted(logits, top_k=None, top_p=None):
    if top_p is None:
        return sampling.keep_likely(logits, top_k)
    probs = logits.softmax(-1).sort(descending=True).values
    return sampling.keep_likely(logits, top_k).masked_fill(probs.cumsum(-1) - probs >= top_p, float("-inf"))


def _with_its_like(logits, top_k=None, top_p=None):
    kept = sampling.keep_likely(logits, top_k, top_p)
    least = kept.masked_fill(kept == float("-inf"), float("inf")).amin(-1, keepdim=True)
    return sampling.keep_likely(logits, top_k).masked_fill(logits < least, float("-inf"))


def _exactly_k(logits, top_k=None, top_p=None):
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1]))
        logits = torch.full_like(logits, float("-inf")).scatter(-1, best.indices, best.values)
    return sampling.keep_likely(logits, None, top_p)


def _logit_cases(draw):
    def case(about, logits, **options):
        return Case(about, (logits,), options, gradients=False)

    row = draw.normal(3, 256)
    for options in {"top_p": 0.9}, {"top_k": 50}, {}, {"top_k": 50, "top_p": 0.9}:
        yield case(f"the notebook's 256 codes and {options}", 3 * row, **options)
    k, p = draw.size(3, 7), draw.size(30, 95) / 100
    for shape in (20,), (1, 8), (2, 3, draw.size(8, 30)):
        for options in {"top_k": k}, {"top_p": p}, {"top_k": k, "top_p": p}:
            yield case(f"shape {shape} and {options}", draw.normal(*shape), **options)
    yield case("one code", draw.normal(2, 1), top_k=3, top_p=0.5)
    yield case("as many codes as there are", draw.normal(2, 5), top_k=5)
    yield case("a top_p below the likeliest", draw.normal(5, 6), top_p=1e-8)
    far = torch.tensor([0.0, -200.0, 1.0, -90.0])
    yield case("a top_p of 1, and codes of no probability", far, top_p=1.0)
    yield case("a top_p of 1 after top_k", far, top_k=3, top_p=1.0)
    yield case("codes as likely as the last of the top_k", torch.tensor([2.0, 1.0, 3.0, 1.0, 0.0, 1.0]), top_k=3)
    yield case("float64", draw.normal(2, 9, dtype=torch.float64), top_k=6, top_p=0.7)


@exercise("10.2", reference=sampling.keep_likely, wrong={
    "the likeliest code must always stay": _nucleus(lambda probs, total, top_p: total >= top_p),
    "the code that reaches top_p stays, too": _nucleus(lambda probs, total, top_p: (total > top_p) & (
        total > probs)),
    "top_p keeps more than it needs": _nucleus(lambda probs, total, top_p: total - probs - probs >= top_p),
    "the mask is still in sorted order": _left_sorted,
    "top_p looks at what top_k has left": _nucleus(lambda probs, total, top_p: total - probs >= top_p,
                                                   after_top_k=False),
    "top_k keeps k codes": lambda logits, top_k=None, top_p=None: sampling.keep_likely(
        logits, top_k and top_k + 1, top_p),
    "codes that go get minus infinity": lambda logits, top_k=None, top_p=None: sampling.keep_likely(
        logits, top_k, top_p).nan_to_num(neginf=0.0),
    "by default all codes stay": lambda logits, top_k=5, top_p=0.9: sampling.keep_likely(logits, top_k, top_p),
    "of equal codes top_p keeps the fewest that reach it": _with_its_like,
    "codes as likely as the last of top_k stay, too": _exactly_k,
}, cases=_logit_cases)
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
    ties = torch.tensor([0.1, 0.3, 0.3, 0.3]).log()
    expect((fn(ties, top_k=2) > float("-inf")).sum() == 3, "codes as likely as the last of top_k stay, too",
           look_at="compare with the least of topk")
    expect((fn(torch.zeros(4), top_p=0.5) > float("-inf")).sum() == 2,
           "of equal codes top_p keeps the fewest that reach it", look_at="choose by place in the sorted order")
