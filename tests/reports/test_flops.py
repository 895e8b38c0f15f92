"""Operations of fused attention on the CPU, for which torch's counter has no entry, against the same attention written
out with matrix products, which it does count."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from lvlib.cli.arguments import override
from lvlib.configs import named_config
from lvlib.reports.bench import count_flops, random_inputs

SIZES = [(1, 1, 4, 4, 8), (2, 4, 16, 16, 32), (3, 2, 7, 19, 8)]  # clips, heads, queries, keys, width of a head


def tensors(clips: int, heads: int, queries: int, keys: int, dim: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(clips, heads, n, dim, requires_grad=True) for n in (queries, keys, keys)]


def allowed(kind: str, queries: int, keys: int) -> torch.Tensor | None:
    if kind == "all":
        return None
    return torch.ones(queries, keys).tril().bool() if kind == "causal" else torch.rand(queries, keys) > -1


def fused(query, key, value, kind: str) -> torch.Tensor:
    if kind == "causal":
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed(kind, query.shape[2], key.shape[2]))


def written_out(query, key, value, kind: str) -> torch.Tensor:
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    mask = allowed(kind, query.shape[2], key.shape[2])
    scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ value


def torch_counts(work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", ["all", "causal", "mask"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_attention_is_counted_as_its_products(size, kind):
    """Two forward: scores, and averages. Five backward: the scores anew, and the gradients of what they came from, of
    the averages' weights, and of the values. Written out there are four, as the scores are still there. As if no
    position was masked, in both."""
    clips, heads, queries, keys, dim = size
    product = 2 * clips * heads * queries * keys * dim  # two operations for each multiplication
    one, other = (attention(*tensors(*size), kind) for attention in (fused, written_out))
    torch.testing.assert_close(one, other)

    assert count_flops(lambda: fused(*tensors(*size), kind)) == 2 * product
    assert count_flops(lambda: written_out(*tensors(*size), kind)) == 2 * product
    assert count_flops(lambda: fused(*tensors(*size), kind).sum().backward()) == (2 + 5) * product
    assert count_flops(lambda: written_out(*tensors(*size), kind).sum().backward()) == (2 + 4) * product
    assert torch_counts(lambda: fused(*tensors(*size), kind).sum().backward()) == 0


def test_a_step_of_videogpt_is_what_a_count_by_hand_finds():
    """Layers, and the attention that was left out: over a quarter of what there is with as many codes as here."""
    fields = {"prior.layers": ["2"], "prior.dropout": ["0"], "data.frames": ["8"], "training.batch": ["2"]}
    config = override(named_config("bench-videogpt"), fields)
    n, dim, hidden, num_codes = 2 * 16 * 16, 192, 768, 256
    model, inputs = config.build(), random_inputs(config)
    layers = 2 * n * (2 * (3 * dim * dim + dim * dim + 2 * dim * hidden) + dim * num_codes)
    attention = 2 * n * n * dim  # one product of all heads together, in one layer
    found = count_flops(lambda: model.loss(*inputs)[0].backward())
    assert found == 2 * (3 * layers + 2 * (2 + 5) * attention)
    missed = found - torch_counts(lambda: model.loss(*inputs)[0].backward())
    assert missed == 2 * 2 * (2 + 5) * attention > found / 4
