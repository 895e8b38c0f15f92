"""Attention with relative biases: nested loops for the bias, a softmax by hand, masks by perturbation, steps."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from slow_lvt import attention, random_

from lvlib.models.lvt.relative_attention import Attention, Block, RelativeBias
from lvlib.models.lvt.sampling import attention_step, block_step, slice_cache

KINDS = "query-key", "key", "relative"
SHAPE = 2, 3, 4
PLACES = list(product(*map(range, SHAPE)))


def close(a, b):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), rtol=0, atol=1e-11)


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    torch.manual_seed(0)


def layer(kind, causal, heads=3, shape=SHAPE):
    return random_(Attention(10, heads, 4, shape, kind, causal))


def inputs(batch=2):
    return torch.randn(batch, len(PLACES), 10, dtype=torch.float64)


def test_a_new_head_prefers_one_neighbour_in_its_frame_and_the_first_four_look_back():
    bias = RelativeBias((2, 5, 5), 4)().reshape(4, 2, 25, 2, 25)[:, 1, 12].reshape(4, 2, 5, 5)  # query in the middle
    assert [tuple(int(x) for x in torch.unravel_index(head.argmax(), head.shape)) for head in bias] == [
        (1, 2, 1), (1, 1, 2), (1, 1, 1), (1, 1, 3)]


def test_bias_in_nested_loops():
    """Of the query's position less the key's, one table an axis, added up."""
    relative = random_(RelativeBias(SHAPE, 3))
    bias = relative()
    for m, (q, query), (k, key) in product(range(3), enumerate(PLACES), enumerate(PLACES)):
        parts = [table[m, query[axis] - key[axis] + SHAPE[axis] - 1] for axis, table in enumerate(relative.tables)]
        assert close(bias[m, q, k], sum(parts))


def test_axes_add_up():
    """Each table alone gives a bias that looks at its axis alone; together they give the sum."""
    relative = random_(RelativeBias(SHAPE, 2))
    tables, whole, parts = [table.data.clone() for table in relative.tables], relative().detach(), []
    for axis in range(3):
        for other, table in enumerate(relative.tables):
            table.data = tables[other] * (other == axis)
        parts.append(relative().detach())
        by_axis = parts[-1].reshape(2, *SHAPE, *SHAPE).movedim((1 + axis, 4 + axis), (1, 2)).flatten(3)
        assert torch.equal(by_axis, by_axis[..., :1].expand_as(by_axis)) and by_axis.any()
    assert close(whole, sum(parts))


def test_every_distance_has_its_own_number():
    relative = random_(RelativeBias((1, 3, 5), 2))
    assert [tuple(table.shape) for table in relative.tables] == [(2, 1), (2, 5), (2, 9)]
    relative().sum().backward()
    pairs = [[size - abs(d) for d in range(1 - size, size)] for size in (1, 3, 5)]  # of positions at each distance
    for size, table, count in zip((1, 3, 5), relative.tables, pairs, strict=True):
        expected = torch.tensor(count, dtype=torch.float64) * (15 // size) ** 2
        assert close(table.grad, expected.expand(2, -1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_equals_a_softmax_by_hand(kind, causal):
    attend, x = layer(kind, causal), inputs()
    for row, clip in zip(attend(x), x.numpy(), strict=True):
        assert close(row, np.array(attention(list(clip), attend, SHAPE, kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_with_zero_scores_attention_is_the_mean_of_what_it_may_see(kind):
    attend, x = layer(kind, causal=True), inputs()
    value = attend.in_proj(x)[..., :12]
    for table in attend.relative.tables:
        table.data.zero_()
    attend.in_proj.weight.data[12:] = 0
    means = value.cumsum(1) / torch.arange(1, 25)[:, None]
    assert close(attend(x), attend.out_proj(means))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_position_reaches_itself_and_later_ones_if_causal_and_else_all(kind, causal):
    attend, x = layer(kind, causal), inputs(1)
    changed = x + torch.eye(24)[:, :, None] * torch.randn(10)
    change = (attend(changed) - attend(x)).abs().amax(-1)  # (changed position, position)
    seen = torch.ones(24, 24).triu() if causal else torch.ones(24, 24)
    assert torch.equal(change > 1e-12, seen.bool())


@pytest.mark.parametrize("kind, looks_at_content", [("query-key", True), ("key", True), ("relative", False)])
def test_what_the_weights_of_a_kind_depend_on(kind, looks_at_content):
    """Linear in the input if they look at distances alone; the same for all queries, but for the distance, in "key"."""
    attend, x, y = layer(kind, causal=False), inputs(), inputs()
    assert close(attend(x + y), attend(x) + attend(y)) != looks_at_content
    for table in attend.relative.tables:
        table.data.zero_()
    alike = attend(x) - attend(x)[:, :1]
    assert (alike.abs().max() < 1e-12) == (kind != "query-key")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pieces", [[1] * 24, [24], [5, 1, 1, 7, 10], [23, 1]])
def test_steps_with_a_cache_equal_one_pass(kind, pieces):
    block, x = random_(Block(10, 3, 4, SHAPE, kind, causal=True)), inputs()
    whole, cache, bias, start = block(x), slice_cache(block.attention, 2), block.attention.bias(), 0
    for piece in pieces:
        rows = slice(start, start + piece)
        assert close(block_step(block, x[:, rows], rows, cache, bias), whole[:, rows])
        start = rows.stop


def test_two_caches_do_not_mix():
    block, x = random_(Block(10, 3, 4, SHAPE, "query-key", causal=True)), inputs()
    (first, second), bias = (slice_cache(block.attention, 2) for _ in range(2)), block.attention.bias()
    block_step(block, x[:, :8], slice(0, 8), first, bias)
    block_step(block, -x[:, :8], slice(0, 8), second, bias)
    assert close(block_step(block, x[:, 8:9], slice(8, 9), first, bias), block(x)[:, 8:9])


def test_block_adds_attention_then_two_layers():
    block, x = random_(Block(10, 3, 4, SHAPE, "query-key", causal=False)), inputs()
    norm = torch.nn.functional.layer_norm
    first, second = (norm_.weight for norm_ in (block.attention_norm, block.hidden_norm))
    y = x + block.attention(norm(x, (10,), first, block.attention_norm.bias))
    inner, _, outer = block.hidden
    z = norm(y, (10,), second, block.hidden_norm.bias) @ inner.weight.T + inner.bias
    assert close(block(x), y + z.clamp(min=0) @ outer.weight.T + outer.bias)


@pytest.mark.parametrize("kind, matrices, vectors", [("query-key", 4, 0), ("key", 3, 1), ("relative", 2, 0)])
def test_weights_of_a_kind(kind, matrices, vectors):
    """Values and the output, then keys, then queries; "key" has one vector a head instead of queries."""
    tables = 3 * sum(2 * size - 1 for size in SHAPE)
    count = sum(weight.numel() for weight in layer(kind, causal=False).parameters())
    assert count == tables + matrices * 10 * 12 + vectors * 12


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_behind_the_mask(kind):
    attend, x = layer(kind, causal=True), inputs().requires_grad_()
    attend(x)[:, 0].sum().backward()  # sees one position: all others weigh exp(-inf)
    assert all(weight.grad.isfinite().all() for weight in [x, *attend.parameters()] if weight.grad is not None)
    assert x.grad[:, 0].any() and not x.grad[:, 1:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16(kind):
    attend, x = layer(kind, causal=True).float(), inputs().float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded, cache, bias = attend(x), slice_cache(attend, 2), attend.bias()
        steps = torch.cat([attention_step(attend, x[:, i:i + 1], slice(i, i + 1), cache, bias) for i in range(24)], 1)
    scale = attend(x).std()
    assert (rounded - attend(x)).abs().mean() < 0.02 * scale and (steps - attend(x)).abs().mean() < 0.02 * scale


def test_the_scale_of_scores_does_not_grow_with_the_width_of_a_head():
    for width in (4, 64):
        attend = Attention(256, 2, width, (1, 1, 64), "query-key", causal=False)
        value, key, query = attend.heads_of(torch.randn(4, 64, 256))
        weights = torch.zeros(4, 2, 64, 64) + torch.eye(64)
        mean = attend.attend(query, key, weights, attend.bias())  # values one-hot: what comes out are the weights
        by_hand = (query @ key.mT / math.sqrt(width) + attend.bias()).softmax(-1)
        assert torch.allclose(mean, by_hand, atol=1e-6)
