"""Right answers to notebook 09 in other styles. The wrong ones: w09.py."""

from dataclasses import dataclass

import torch
from einops import repeat

from lvlib.models.common.attention import Sparse


def right_1_loop(layer, x):
    n, before = len(x), layer(x[None])[0]
    seen = torch.zeros(n, n, dtype=torch.bool)
    for j in range(n):
        poked = x.clone()
        poked[j] += 1
        seen[:, j] = (layer(poked[None])[0] - before).abs().amax(-1) > 1e-6
    return seen


def right_1_both_loops(layer, x):
    n, seen = len(x), []
    for i in range(n):
        row = []
        for j in range(n):
            poked = x.clone()
            poked[j] = poked[j] - 3
            row.append(bool(((layer(poked[None]) - layer(x[None]))[0, i].abs() > 1e-6).any()))
        seen.append(row)
    return torch.tensor(seen)


def right_1_random_changes(layer, x):
    n = len(x)
    copies = repeat(x, "n d -> b n d", b=n).clone()
    copies[torch.arange(n), torch.arange(n)] += torch.randn_like(x)
    return ((layer(copies) - layer(x[None])).abs() > 1e-6).any(-1).T


def right_1_channel_by_channel(layer, x):
    n, seen = len(x), torch.zeros(len(x), len(x), dtype=torch.bool)
    for channel in range(x.shape[1]):
        poked = x.repeat(n, 1, 1)
        poked[:, :, channel] += torch.eye(n, dtype=x.dtype)
        seen |= ((layer(poked) - layer(x[None])).abs().amax(-1) > 1e-6).T
    return seen


def right_1_whole_copies(layer, x):
    n = len(x)
    copies = x.expand(n, -1, -1)
    change = layer(copies + torch.eye(n).unsqueeze(-1)) - layer(copies)
    return change.abs().max(dim=2).values.gt(1e-6).transpose(0, 1)


def right_1_stack(layer, x):
    before = layer(x.unsqueeze(0))
    one = torch.eye(len(x))
    columns = [(layer((x + row[:, None])[None]) - before).abs().amax((0, 2)) > 1e-6 for row in one]
    return torch.stack(columns, dim=1)


def right_1_without_gradient(layer, x):
    with torch.no_grad():
        change = layer(x + 2 * torch.eye(x.size(0)).view(len(x), len(x), 1)) - layer(x[None])
        return (change.abs() > 1e-6).any(dim=-1).t()


@dataclass(frozen=True)
class right_2_where(Sparse):
    def allows(self, query, key):
        behind = query - key
        near = torch.where(behind < self.local, True, behind % self.stride == 0)
        return torch.where(behind < 0, False, near)


@dataclass(frozen=True)
class right_2_logical(Sparse):
    def allows(self, query, key):
        near = torch.logical_or(query - key < self.local, torch.remainder(query - key, self.stride) == 0)
        return torch.logical_and(query >= key, near)


@dataclass(frozen=True)
class right_2_either(Sparse):
    def allows(self, query, key):
        local = (key <= query) & (key > query - self.local)
        strided = (key <= query) & ((query - key) % self.stride == 0)
        return local | strided


@dataclass(frozen=True)
class right_2_whole:
    local: int
    stride: int

    def allows(self, query, key):
        strides = (query - key) // self.stride
        return (query >= key) & ((query - key <= self.local - 1) | (strides * self.stride == query - key))

    def seen(self, position):
        return torch.tensor([i for i in range(position + 1) if self.allows(torch.tensor(position), torch.tensor(i))])


@dataclass(frozen=True)
class right_2_same_place(Sparse):
    def allows(self, query, key):
        behind = query - key
        return ((query % self.stride == key % self.stride) | (behind < self.local)) & ~(behind < 0)


@dataclass(frozen=True)
class right_2_nonzero(Sparse):
    def allows(self, query, key):
        behind = query - key
        return (behind >= 0) * ((behind < self.local) + (behind % self.stride == 0))

    def seen(self, position):
        return self.allows(torch.as_tensor(position), torch.arange(position + 1)).nonzero().flatten()
