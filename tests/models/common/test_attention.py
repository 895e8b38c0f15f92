"""Attention over codes in raster order: loops for reference, masks by perturbation, steps that read what is filled."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from slow_lvt import random_
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.flop_counter import FlopCounterMode

from lvlib.models.common.attention import CausalAttention, GPTBlock, Sparse, attend
from lvlib.models.common.attention import mask as mask_of
from lvlib.models.common.conditioning import ConditionalNorm
from lvlib.models.common.flex import block_mask as block_mask_of
from lvlib.models.common.volume import AxialPositions
from lvlib.models.videogpt.sampling import cached_attention, row_cache

CPU = torch.device("cpu")
SHAPES = (3, 2, 2), (2, 3, 4), (4, 1, 3), (2, 2, 2, 2), (3, 1, 2, 2)  # (t, h, w), or (t, h, w, k) for 2 codebooks
PATTERNS = [(shape, local) for shape in SHAPES for local in (None, 1, 3, math.prod(shape[1:]) + 1)]


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    torch.manual_seed(0)


def places(shape):
    return list(product(*map(range, shape)))


def pattern(shape, local):
    return None if local is None else Sparse(local, math.prod(shape[1:]))


def who_sees_whom(shape, local):
    """From coordinates: bool (query, key). local None: all that come before."""
    order = places(shape)
    seen = np.zeros((len(order), len(order)), bool)
    for q, query in enumerate(order):
        for k, key in enumerate(order[:q + 1]):
            seen[q, k] = local is None or q - k < local or key[1:] == query[1:]
    return seen


def heads(n, d=8, dtype=torch.float64):
    return torch.randn(3, 2, 3, n, d, dtype=dtype)


@pytest.mark.parametrize("shape, local", [case for case in PATTERNS if case[1]])
def test_sparse_pattern_from_coordinates(shape, local):
    seen, n = who_sees_whom(shape, local), math.prod(shape)
    assert np.array_equal(mask_of(pattern(shape, local), n, CPU), seen)
    for q in range(n):
        assert pattern(shape, local).seen(q).tolist() == np.flatnonzero(seen[q]).tolist()


@pytest.mark.parametrize("shape, local", PATTERNS)
def test_a_position_sees_what_it_may_and_nothing_else(shape, local):
    n = math.prod(shape)
    layer, x = random_(CausalAttention(6, 2, pattern(shape, local))), torch.randn(1, n, 6, dtype=torch.float64)
    poked = layer(x + torch.eye(n, dtype=torch.float64)[:, :, None])  # (poked position, position, dim)
    changed = (poked - layer(x)).abs().amax(-1) > 1e-12
    assert np.array_equal(changed.T, who_sees_whom(shape, local))


@pytest.mark.parametrize("shape, local", PATTERNS)
def test_equals_loops_over_heads_and_positions(shape, local):
    layer, x = random_(CausalAttention(6, 2, pattern(shape, local))), torch.randn(2, math.prod(shape), 6).double()
    weight, out, bias = (p.detach().numpy() for p in (layer.qkv.weight, layer.out_proj.weight, layer.out_proj.bias))
    for clip, result in zip(x.numpy(), layer(x).detach().numpy(), strict=True):
        for position, sees in enumerate(who_sees_whom(shape, local)):
            joined = []
            for head in range(2):
                rows = slice(3 * head, 3 * head + 3)
                query = (weight[:6] @ clip[position])[rows]
                keys = [(weight[6:12] @ clip[j])[rows] for j in np.flatnonzero(sees)]
                values = [(weight[12:] @ clip[j])[rows] for j in np.flatnonzero(sees)]
                scores = np.exp([query @ key / math.sqrt(3) for key in keys])
                joined.extend(sum(s * value for s, value in zip(scores / scores.sum(), values, strict=True)))
            assert np.allclose(result[position], out @ np.array(joined) + bias, atol=1e-12)


def test_full_attention_equals_pytorchs():
    layer, x = CausalAttention(12, 3), torch.randn(2, 7, 12)
    peer = nn.MultiheadAttention(12, 3, bias=True, batch_first=True)
    peer.load_state_dict({"in_proj_weight": layer.qkv.weight, "in_proj_bias": torch.zeros(36),
                          "out_proj.weight": layer.out_proj.weight, "out_proj.bias": layer.out_proj.bias})
    expected, _ = peer(x, x, x, attn_mask=nn.Transformer.generate_square_subsequent_mask(7))
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("shape, local", [((3, 2, 2), 2), ((4, 8, 8), 20), ((2, 4, 4, 2), 5)])
def test_flex_attention_equals_the_mask(shape, local):
    """Not compiled, which takes a minute; on a GPU `attend` compiles it."""
    n, sparse = math.prod(shape), pattern(shape, local)
    query, key, value = heads(n, d=16, dtype=torch.float32)
    flexible = flex_attention(query, key, value, block_mask=block_mask_of(sparse.allows, n, CPU))
    assert torch.allclose(flexible, attend(query, key, value, sparse), atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("d", [16, 48, 64])
def test_on_a_gpu_sparse_attention_and_its_gradients_are_those_of_the_mask(d):
    sparse = Sparse(local=20, stride=64)
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        inputs = heads(256, d, torch.float32).to(device).requires_grad_()
        out = attend(*inputs, sparse)
        out.square().sum().backward()
        results.append((out.detach().cpu(), inputs.grad.cpu()))
    assert all(torch.allclose(a, b, atol=2e-2) for a, b in zip(*results, strict=True))  # TF32


@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_over_the_whole_clip_is_full_attention(shape):
    n = math.prod(shape)
    query, key, value = heads(n)
    full = attend(query, key, value, None)
    assert torch.allclose(attend(query, key, value, pattern(shape, n)), full, rtol=0, atol=1e-12)
    assert not torch.allclose(attend(query, key, value, pattern(shape, 1)), full, atol=1e-3)


@dataclass(frozen=True)
class Bidirectional:
    """Every position sees every other."""

    def allows(self, query, key):
        return torch.ones_like(query - key, dtype=torch.bool)


def test_a_pattern_may_look_ahead():
    layer, x = random_(CausalAttention(6, 2, Bidirectional())), torch.randn(2, 5, 6).double()
    query, key, value = layer.heads_of(x)
    everywhere = (query @ key.mT / math.sqrt(3)).softmax(-1) @ value
    assert torch.allclose(layer(x), layer.join_heads(everywhere), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape, local", PATTERNS)
def test_steps_equal_one_pass_and_read_only_what_is_filled(shape, local):
    n = math.prod(shape)
    block, x = random_(GPTBlock(6, 2, 10, pattern=pattern(shape, local))), torch.randn(2, n, 6).double()
    cache = row_cache(block.attention, 2, n)
    cache.keys.fill_(math.nan)
    cache.values.fill_(math.nan)
    with torch.no_grad():
        attentions = [partial(cached_attention, block.attention, position=i, cache=cache) for i in range(n)]
        steps = [block(x[:, i:i + 1], attention=attention) for i, attention in enumerate(attentions)]
        assert torch.allclose(torch.cat(steps, 1), block(x), rtol=0, atol=1e-12)


@torch.no_grad()
def flops_of_steps(layer, n):
    """Of each step, attention in plain matrix products so that they are counted."""
    cache, counts = row_cache(layer, 1, n), [0]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for position in range(n):
            cached_attention(layer, torch.randn(1, 1, 8), position, cache)
            counts.append(counter.get_total_flops())
    return np.diff(counts)


def test_work_of_a_step_grows_by_the_same_for_each_position_before():
    counts = flops_of_steps(CausalAttention(8, 2), 40)
    assert set(np.diff(counts)) == {2 * 2 * 8}  # a multiplication and an addition: query with key, weight with value
    assert counts[0] == 2 * (24 * 8 + 8 * 8) + 2 * 2 * 8


def test_work_of_a_sparse_step_does_not_grow_with_the_frame():
    counts = flops_of_steps(CausalAttention(8, 2, Sparse(local=5, stride=16)), 48)
    seen = [min(i + 1, 5) + i // 16 for i in range(48)]
    assert (counts - counts[0] == 2 * 2 * 8 * (np.array(seen) - 1)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_positions_are_sums_over_axes(shape):
    positions = AxialPositions(shape, 5)
    expected = [sum(table[i] for table, i in zip(positions.tables, place, strict=True)) for place in places(shape)]
    vectors = positions(shape)
    assert vectors.shape == (*shape, 5) and torch.allclose(vectors.flatten(0, -2), torch.stack(expected))
    assert torch.cdist(vectors.flatten(0, -2), vectors.flatten(0, -2)).fill_diagonal_(9).min() > 1e-3
    smaller = tuple(max(size - 1, 1) for size in shape)
    assert torch.equal(positions(smaller), vectors[tuple(map(slice, smaller))])
    with pytest.raises(ValueError, match=f"latent height must be at most {shape[1]}, where .* end, not {shape[1] + 1}"):
        positions((shape[0], shape[1] + 1, *shape[2:]))


def test_block_adds_attention_then_two_layers():
    block, x = random_(GPTBlock(6, 2, 10)), torch.randn(2, 5, 6).double()
    first, second = block.attention_norm.norm, block.hidden_norm.norm
    y = x + block.attention(F.layer_norm(x, (6,), first.weight, first.bias))
    inner, _, outer = block.hidden
    z = F.gelu(F.layer_norm(y, (6,), second.weight, second.bias) @ inner.weight.T + inner.bias)
    assert torch.allclose(block(x), y + z @ outer.weight.T + outer.bias, rtol=0, atol=1e-12)


def test_dropout_meets_all_that_a_block_adds():
    block, x = random_(GPTBlock(6, 2, 10, dropout=1.0)), torch.randn(2, 5, 6).double()
    assert torch.equal(block.train()(x), x) and not torch.allclose(block.eval()(x), x)


def test_a_norm_without_a_condition_is_layer_norm():
    norm, x = random_(ConditionalNorm(6)), torch.randn(2, 5, 6).double()
    assert torch.equal(norm(x), F.layer_norm(x, (6,), norm.norm.weight, norm.norm.bias))


@pytest.mark.parametrize("local", [None, 3])
def test_gradients_are_finite_behind_the_mask(local):
    layer = random_(CausalAttention(6, 2, pattern((3, 2, 2), local)))
    x = torch.randn(1, 12, 6).double().requires_grad_()
    layer(x)[:, 0].sum().backward()
    assert x.grad.isfinite().all() and x.grad[:, 0].any() and not x.grad[:, 1:].any()


@pytest.mark.parametrize("local", [None, 3])
def test_in_bfloat16(local):
    layer, x = random_(CausalAttention(32, 2, pattern((3, 2, 2), local))).float(), torch.randn(2, 12, 32)
    cache, exact = row_cache(layer, 2, 12), layer(x)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        rounded = layer(x)
        steps = torch.cat([cached_attention(layer, x[:, i:i + 1], i, cache) for i in range(12)], 1)
    for result in (rounded, steps):
        assert (result - exact).abs().mean() < 0.02 * exact.std()
