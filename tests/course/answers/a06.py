"""Right answers to notebook 06 in other styles. The wrong ones: w06.py."""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange, repeat
from torch import nn

from lvlib.models.lvt.layers import CodeHeads
from lvlib.models.lvt.relative_attention import RelativeBias


def right_1_written(kernel):
    mask = torch.zeros(kernel, dtype=torch.bool)
    mask.view(-1)[: mask.numel() // 2] = True
    return mask


def right_1_loop(kernel):
    mask, centre = torch.zeros(kernel).bool(), tuple(n // 2 for n in kernel)
    for tap in itertools.product(*(range(n) for n in kernel)):
        mask[tap] = tap < centre
    return mask


def right_1_three_cases(kernel):
    t, h, w = (torch.arange(n) - n // 2 for n in kernel)
    t, h, w = t[:, None, None], h[None, :, None], w[None, None, :]
    return (t < 0) | ((t == 0) & (h < 0)) | ((t == 0) & (h == 0) & (w < 0))


def right_1_slices(kernel):
    t, h, w = (n // 2 for n in kernel)
    mask = torch.zeros(kernel, dtype=torch.bool)
    mask[:t] = mask[t, :h] = mask[t, h, :w] = True
    return mask


def right_1_numpy_inside(kernel):
    taps = np.arange(np.prod(kernel)).reshape(kernel)
    return torch.from_numpy(taps < taps[tuple(n // 2 for n in kernel)])


def right_1_list(kernel):
    half = math.prod(kernel) // 2
    return torch.tensor([True] * half + [False] * (half + 1)).view(*kernel)


def right_2_pytorchs_own(query, key, value, bias):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])


def right_2_einsum(query, key, value, bias):
    scores = einsum(query, key, "b m q d, b m k d -> b m q k") * query.shape[-1] ** -0.5
    return einsum(F.softmax(scores + bias, dim=3), value, "b m q k, b m k d -> b m q d")


def right_2_scaled_query(query, key, value, bias):
    scores = torch.matmul(query / query.shape[3] ** 0.5, key.transpose(-2, -1))
    return torch.matmul(torch.softmax(scores + bias[None], -1), value)


def right_2_exp(query, key, value, bias):
    scores = (query @ key.transpose(2, 3) / math.sqrt(key.shape[-1]) + bias).exp()
    return scores @ value / scores.sum(-1, keepdim=True)


def right_2_float64_inside(query, key, value, bias):
    scores = query.double() @ key.double().mT / math.sqrt(key.size(-1)) + bias.double()
    return (scores.softmax(-1) @ value.double()).to(query.dtype)


def right_2_loop(query, key, value, bias):
    clips = []
    for q, k, v in zip(query, key, value, strict=True):
        heads = [(q[m] @ k[m].T / q.shape[-1] ** 0.5 + bias[m]).softmax(1) @ v[m] for m in range(len(bias))]
        clips.append(torch.stack(heads))
    return torch.stack(clips)


class right_3_indices(RelativeBias):
    def forward(self):
        sizes = [(table.shape[1] + 1) // 2 for table in self.tables]
        places = torch.cartesian_prod(*(torch.arange(n) for n in sizes))
        bias = 0
        for axis, (table, n) in enumerate(zip(self.tables, sizes, strict=True)):
            place = places[:, axis]
            bias = bias + table[:, place[:, None] - place[None, :] + n - 1]
        return bias


class right_3_kronecker(RelativeBias):
    def forward(self):
        t, h, w = (self.by_distance(table) for table in self.tables)
        one_t, one_h, one_w = (torch.ones_like(square[0]) for square in (t, h, w))
        return torch.stack([
            torch.kron(torch.kron(a, one_h), one_w)
            + torch.kron(torch.kron(one_t, b), one_w)
            + torch.kron(torch.kron(one_t, one_h), c)
            for a, b, c in zip(t, h, w, strict=True)
        ])


class right_3_repeat(RelativeBias):
    def forward(self):
        t, h, w = map(self.by_distance, self.tables)
        sizes = {"t": t.shape[1], "h": h.shape[1], "w": w.shape[1]}
        sizes |= {"t2": t.shape[1], "h2": h.shape[1], "w2": w.shape[1]}

        def spread(square, q, k):
            others = {axis: n for axis, n in sizes.items() if axis not in (q, k)}
            return repeat(square, f"m {q} {k} -> m (t h w) (t2 h2 w2)", **others)

        return spread(t, "t", "t2") + spread(h, "h", "h2") + spread(w, "w", "w2")


class right_3_reshape(RelativeBias):
    def forward(self):
        t, h, w = [self.by_distance(table) for table in self.tables]
        heads, n = len(t), t.shape[1] * h.shape[1] * w.shape[1]
        bias = t[:, :, None, None, :, None, None] + h[:, None, :, None, None, :, None]
        return (bias + w[:, None, None, :, None, None]).reshape(heads, n, n)


class right_3_loop(RelativeBias):
    def forward(self):
        t, h, w = (self.by_distance(table) for table in self.tables)
        places = list(itertools.product(range(t.shape[1]), range(h.shape[1]), range(w.shape[1])))
        rows = [torch.stack([t[:, a, x] + h[:, b, y] + w[:, c, z] for x, y, z in places], -1) for a, b, c in places]
        return torch.stack(rows, 1)


class right_3_own_weights(nn.Module):
    def __init__(self, shape, heads):
        super().__init__()
        self.tables = nn.ParameterList(nn.Parameter(torch.zeros(heads, 2 * n - 1)) for n in shape)

    def forward(self):
        t, h, w = (self.by_distance(table) for table in self.tables)
        bias = t[:, :, None, None, :, None, None] + h[:, None, :, None, None, :, None] + w[:, None, None, :, None, None]
        return rearrange(bias, "m t h w a b c -> m (t h w) (a b c)")

    def by_distance(self, table):
        n = (table.shape[1] + 1) // 2
        return torch.stack([table[:, q : q + n].flip(1) for q in range(n)], 1)


class right_4_loop(CodeHeads):
    def forward(self, x, codes):
        logits = []
        for k in range(codes.shape[-1]):
            logits.append(self.one(k, x, codes[..., :k]))
        return torch.stack(logits, dim=-2)


class right_4_written(CodeHeads):
    def forward(self, x, codes):
        logits = x.new_empty(*codes.shape, self.out[0].out_features)
        for k in range(len(self.hidden)):
            logits[..., k, :] = self.one(k, x, codes[..., :k])
        return logits


class right_4_cat(CodeHeads):
    def forward(self, x, codes):
        return torch.cat([self.one(k, x, codes[..., 0:k])[..., None, :] for k in range(len(self.out))], -2)


class right_4_enumerate(CodeHeads):
    def forward(self, x, codes):
        parts = [self.one(k, x, codes.narrow(-1, 0, k)) for k, _ in enumerate(self.out)]
        return rearrange(parts, "k ... c -> ... k c")


class right_4_without_one(CodeHeads):
    def forward(self, x, codes):
        logits = [self.out[0](self.hidden[0](x).relu())]
        for k in range(1, len(self.out)):
            hidden = self.hidden[k](x) + self.earlier[k - 1](codes[..., :k])
            logits.append(self.out[k](F.relu(hidden)))
        return torch.stack(logits, -2)


class right_4_moved_axis(CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x, codes[..., :k]) for k in range(len(self.out))]).movedim(0, -2)
