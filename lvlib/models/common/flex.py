# Never edit this file: `python -m lvlib.course build` makes it from solutions/10_writing_clips.py.
"""Sparse attention on a GPU, which skips the blocks of the mask where nothing is allowed."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=8)
def block_mask(allows: Callable[[Tensor, Tensor], Tensor], n: int, device: torch.device):
    """Which blocks of the (n, n) pairs `allows(query, key)` leaves, for FlexAttention."""
    from torch.nn.attention.flex_attention import create_block_mask

    def rule(clip: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return allows(query, key)

    return create_block_mask(rule, None, None, n, n, device)


@lru_cache(maxsize=1)
def compiled():
    """FlexAttention, compiled: only then it is fast."""
    from torch.nn.attention import flex_attention as flex

    return torch.compile(flex.flex_attention)


def flex_attend(query: Tensor, key: Tensor, value: Tensor,
                allows: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Averages of the values that `allows(query position, key position)`. All (b, heads, n, d)."""
    blocks = block_mask(allows, query.shape[2], query.device)
    return compiled()(query, key, value, block_mask=blocks)
