"""Right answers to notebook 10 in other styles. The wrong ones: w10.py."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange


def right_1_mask_over_all_slots(attention, x, position, cache):
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position : position + 1] = key
    cache.values[:, :, position : position + 1] = value
    slots = torch.arange(cache.keys.shape[2])
    seen = slots <= position
    if attention.pattern:
        seen = attention.pattern.allows(torch.tensor(position), slots)
    return attention.join_heads(F.scaled_dot_product_attention(query, cache.keys, cache.values, attn_mask=seen[None]))


def right_1_explicit_softmax(attention, x, position, cache):
    query, cache.keys[:, :, [position]], cache.values[:, :, [position]] = attention.heads_of(x)
    seen = attention.pattern.seen(position) if attention.pattern else torch.arange(position + 1)
    keys, values = cache.keys[:, :, seen], cache.values[:, :, seen]
    weights = (query @ keys.mT / math.sqrt(query.shape[-1])).softmax(-1)
    return attention.join_heads(weights @ values)


def right_1_two_branches(attention, x, position, cache):
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position] = key.squeeze(2)
    cache.values[:, :, position] = value.squeeze(2)
    if attention.pattern is None:
        keys, values = cache.keys[:, :, : position + 1], cache.values[:, :, : position + 1]
    else:
        seen = attention.pattern.seen(position)
        keys, values = cache.keys.index_select(2, seen), cache.values.index_select(2, seen)
    return attention.join_heads(F.scaled_dot_product_attention(query, keys, values))


def right_1_float64_inside(attention, x, position, cache):
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position], cache.values[:, :, position] = key[:, :, 0], value[:, :, 0]
    seen = attention.pattern.seen(position) if attention.pattern else slice(0, position + 1)
    scores = query.double() @ cache.keys[:, :, seen].double().mT * query.shape[-1] ** -0.5
    return attention.join_heads((scores.softmax(-1) @ cache.values[:, :, seen].double()).to(x.dtype))


def right_1_joins_by_itself(attention, x, position, cache):
    query, key, value = rearrange(attention.qkv(x), "b 1 (p m d) -> p b m 1 d", p=3, m=attention.heads)
    cache.keys[:, :, position] = key[:, :, 0]
    cache.values[:, :, position] = value[:, :, 0]
    seen = attention.pattern.seen(position) if attention.pattern else slice(position + 1)
    out = F.scaled_dot_product_attention(query, cache.keys[:, :, seen], cache.values[:, :, seen])
    return attention.out_proj(out.transpose(1, 2).flatten(2))


def right_1_loop_over_slots(attention, x, position, cache):
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position] = key[:, :, 0]
    cache.values[:, :, position] = value[:, :, 0]
    total, norm = 0, 0
    for i in attention.pattern.seen(position).tolist() if attention.pattern else range(position + 1):
        score = (query[:, :, 0] * cache.keys[:, :, i]).sum(-1, keepdim=True) / math.sqrt(query.shape[-1])
        total, norm = total + score.exp() * cache.values[:, :, i], norm + score.exp()
    return attention.join_heads((total / norm)[:, :, None])


def right_2_the_hint(logits, top_k=None, top_p=None):
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values.amin(-1, keepdim=True)
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None and top_p < 1:
        probs, order = logits.softmax(-1).sort(descending=True)
        goes = probs.cumsum(-1) - probs >= top_p
        logits = logits.masked_fill(goes.gather(-1, order.argsort(-1)), -torch.inf)
    return logits


def right_2_scatter(logits, top_k=None, top_p=None):
    out = logits.clone()
    if top_k:
        k = min(top_k, out.size(-1))
        out[out < out.sort(descending=True).values[..., k - 1 : k]] = float("-inf")
    if top_p and top_p != 1:
        order = out.argsort(-1, descending=True)
        probs = F.softmax(out, -1).gather(-1, order)
        stays = torch.cat([torch.zeros_like(probs[..., :1]), probs.cumsum(-1)[..., :-1]], -1) < top_p
        out = torch.full_like(out, float("-inf")).scatter(-1, order, out.gather(-1, order).where(stays, -math.inf))
    return out


def right_2_float64_inside(logits, top_k=None, top_p=None):
    keep = torch.ones_like(logits, dtype=torch.bool)
    wide = logits.double()
    if top_k is not None and top_k < logits.shape[-1]:
        keep = wide >= wide.kthvalue(logits.shape[-1] - top_k + 1, dim=-1, keepdim=True).values
    if top_p is not None and top_p < 1:
        probs, order = torch.where(keep, wide, -torch.inf).softmax(-1).sort(dim=-1, descending=True)
        stays = probs.cumsum(-1) - probs < top_p
        keep = keep & torch.zeros_like(keep).scatter(-1, order, stays)
    return torch.where(keep, logits, -torch.inf)


def right_2_row_by_row(logits, top_k=None, top_p=None):
    rows = []
    for row in logits.reshape(-1, logits.shape[-1]):
        row = row.clone()
        if top_k is not None and top_k < len(row):
            row[row < row.sort().values[-top_k]] = -math.inf
        if top_p is not None and top_p < 1:
            probs, total = row.softmax(0).double(), 0.0
            for i in probs.argsort(descending=True).tolist():
                if total >= top_p:
                    row[i] = -math.inf
                total += probs[i].item()
        rows.append(row)
    return torch.stack(rows).reshape(logits.shape)


def right_2_added_mask(logits, top_k=None, top_p=None):
    if top_k is not None:
        least = torch.topk(logits, min(top_k, logits.shape[-1]), dim=-1)[0][..., -1, None]
        logits = logits + torch.zeros_like(logits).masked_fill(logits < least, -math.inf)
    if top_p is not None and top_p < 1:
        sorted_logits, order = torch.sort(logits, dim=-1, descending=True)
        total = sorted_logits.softmax(-1).cumsum(-1)
        goes = F.pad(total[..., :-1], (1, 0)) >= top_p
        logits = logits + torch.zeros_like(logits).masked_fill(goes.gather(-1, order.argsort(-1)), -math.inf)
    return logits


def right_2_numpy_inside(logits, top_k=None, top_p=None):
    values = logits.numpy().astype(np.float64)
    if top_k is not None:
        least = np.sort(values, -1)[..., [-min(top_k, values.shape[-1])]]
        values = np.where(values < least, -np.inf, values)
    if top_p is not None and top_p < 1:
        probs = np.exp(values - values.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        order = np.argsort(-probs, -1, kind="stable")
        ordered = np.take_along_axis(probs, order, -1)
        goes = np.take_along_axis(ordered.cumsum(-1) - ordered >= top_p, order.argsort(-1), -1)
        values = np.where(goes, -np.inf, values)
    return logits.where(torch.from_numpy(np.isfinite(values)), -torch.inf)
