# Never edit this file: `python -m lvlib.course build` makes it from solutions/06_attention_and_one_slice.py.
"""Layers of LVT's prior: a convolution that cannot see ahead, codes and places as vectors, vectors
as codes.

LVT, section 3.2. Codes are int64 (..., k), one of each codebook.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.volume import Triple


def earlier_taps(kernel: Triple) -> Tensor:
    """bool, the kernel's shape (odd sizes): True at taps that come before the centre in raster
    order."""
    taps = math.prod(kernel)
    return (torch.arange(taps) < taps // 2).reshape(kernel)


class MaskedConv3d(nn.Conv3d):
    """A 3x3x3 convolution that sees only positions before its own. (b, channels, t, h, w), size
    unchanged."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__(channels, out_channels, 3, padding=1)
        self.register_buffer("mask", earlier_taps(self.kernel_size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(x, self.weight * self.mask, self.bias, padding=1)


class CodeEmbedding(nn.Module):
    """The sum of the k codes' vectors at each position: int64 (..., k) -> (..., dim)."""

    def __init__(self, num_codes: int, codebooks: int, dim: int):
        super().__init__()
        # one table after the other
        self.table = nn.Parameter(torch.randn(codebooks * num_codes, dim))
        self.register_buffer("first_rows", num_codes * torch.arange(codebooks), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        rows = (codes + self.first_rows).flatten(0, -2)
        return F.embedding_bag(rows, self.table, mode="sum").unflatten(0, codes.shape[:-1])


def sinusoid(shape: Triple, dim: int) -> Tensor:
    """(t*h*w, dim): for each axis waves of falling frequency, a third of the channels each; the
    rest stays 0."""
    waves = dim // 6
    frequency = 10000 ** (-torch.arange(waves) / max(waves, 1))
    grid = torch.cartesian_prod(*(torch.arange(size).float() for size in shape))
    angle = (grid[..., None] * frequency).flatten(1)
    return F.pad(torch.cat([angle.sin(), angle.cos()], -1), (0, dim - 6 * waves))


class CodeHeads(nn.Module):
    """Predicts the k codes of a position one by one, each from the position's vector and the codes
    before it."""

    def __init__(self, num_codes: int, codebooks: int, dim: int):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(dim, dim) for _ in range(codebooks))
        self.earlier = nn.ModuleList(CodeEmbedding(num_codes, k, dim) for k in range(1, codebooks))
        self.out = nn.ModuleList(nn.Linear(dim, num_codes) for _ in range(codebooks))

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """Vectors (..., dim) and the codes (..., k) there -> logits (..., k, num_codes)."""
        return torch.stack([self.one(k, x, codes[..., :k]) for k in range(len(self.out))], -2)

    def one(self, k: int, x: Tensor, earlier: Tensor) -> Tensor:
        """Logits (..., num_codes) of code k, given the k codes before it: earlier (..., k)."""
        hidden = self.hidden[k](x)
        if k:
            hidden = hidden + self.earlier[k - 1](earlier)
        return self.out[k](hidden.relu())
