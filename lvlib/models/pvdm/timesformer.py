# Never edit this file: `python -m lvlib.course build` makes it from solutions/20_triplane.py.
"""TimeSformer, a transformer over patches that looks along time, then within each frame. PVDM,
section 3.2; layers and sizes are the official code's."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def rotary_angles(positions: Tensor, dim: int) -> Tensor:
    """The angle by which each pair of numbers of a vector of size `dim` is turned at each position:
    (n,) -> (n, dim / 2), from one radian a step down to 1 / 10,000. The official code's in time."""
    rates = 10_000 ** -torch.linspace(0, 1, dim // 2, device=positions.device)
    return positions[:, None] * rates


def space_angles(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """The same for the places of a frame: half of the pairs turn with the row, half with the
    column. (height * width, dim / 2). Ours: the official code has other rates here."""
    rows = rotary_angles(torch.arange(height, device=device), dim // 2)
    columns = rotary_angles(torch.arange(width, device=device), dim // 2)
    return torch.cat([rows.repeat_interleave(width, 0), columns.repeat(height, 1)], 1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turns each pair (x[..., i], x[..., i + d / 2]) by its angle: x (..., n, d), angles
    (n, d / 2) -> (..., n, d). The product of two turned vectors then depends on how far apart they
    are alone."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def attend_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each query looks at all keys: (b, heads, n or m, d) -> (b, heads, n, d)."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # The CPU's kernel takes three to seven times as long in bf16, torch 2.13.
        scores = query @ key.transpose(-1, -2) * query.shape[-1]**-0.5
        return scores.softmax(-1) @ value
    query, key, value = (x.contiguous() for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value)


class RotaryAttention(nn.Module):
    """Multi-head attention of everybody to everybody: (b, n, width) -> (b, n, width). angles
    (n, head_dim / 2): of the positions, None for vectors that carry theirs."""

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width)

    def forward(self, x: Tensor, angles: Tensor | None = None) -> Tensor:
        query, key, value = rearrange(self.qkv(x), "b n (p m d) -> p b m n d", p=3, m=self.heads)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        attended = attend_all(query, key, value)
        return self.out(rearrange(attended, "b m n d -> b n (m d)"))


class GatedFeedForward(nn.Module):
    """Two linear layers, with half of the hidden numbers as gates of the other half: (..., width)
    -> (..., width). Official code (GEGLU, Shazeer 2020)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.into, self.out = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        values, gates = self.into(x).chunk(2, -1)
        return self.out(values * F.gelu(gates))


class DividedBlock(nn.Module):
    """Attention along time at each place, then within each frame, then two linear layers, each
    added to its input. PVDM, section 3.2."""

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.time = RotaryAttention(width, heads, head_dim)
        self.space = RotaryAttention(width, heads, head_dim)
        self.feed_forward = GatedFeedForward(width, 4 * width)

    def forward(self, x: Tensor, time_angles: Tensor, space_angles: Tensor) -> Tensor:
        """x (b, t, n, width), n the places of a frame; angles of t and of n positions."""
        b, t = x.shape[:2]
        along = rearrange(self.norms[0](x), "b t n d -> (b n) t d")
        x = x + rearrange(self.time(along, time_angles), "(b n) t d -> b t n d", b=b)
        within = rearrange(self.norms[1](x), "b t n d -> (b t) n d")
        x = x + rearrange(self.space(within, space_angles), "(b t) n d -> b t n d", t=t)
        return x + self.feed_forward(self.norms[2](x))


class TimeSformer(nn.Module):
    """Some layers of it: (b, t, h, w, width) -> the same shape, for any t, h, w."""

    def __init__(self, width: int, layers: int, heads: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.blocks = nn.ModuleList(DividedBlock(width, heads, head_dim) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        _, t, h, w, _ = x.shape
        time = rotary_angles(torch.arange(t, device=x.device), self.head_dim)
        space = space_angles(h, w, self.head_dim, x.device)
        x = x.flatten(2, 3)
        for block in self.blocks:
            x = block(x, time, space)
        return x.unflatten(2, (h, w))
