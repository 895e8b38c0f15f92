"""Wrong answers to notebook 10 that a check might take for right."""

import math

import torch
import torch.nn.functional as F
from answers.a10 import right_2_the_hint
from einops import rearrange


def _attended(attention, query, keys, values):
    return attention.join_heads(F.scaled_dot_product_attention(query, keys, values))


def _filled(attention, x, position, cache):
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position], cache.values[:, :, position] = key[:, :, 0], value[:, :, 0]
    return query


def wrong_1_local_is_ignored(attention, x, position, cache):
    query = _filled(attention, x, position, cache)
    pattern = attention.pattern
    seen = torch.arange(position % pattern.stride, position + 1, pattern.stride) if pattern else slice(position + 1)
    return _attended(attention, query, cache.keys[:, :, seen], cache.values[:, :, seen])


def wrong_1_stride_of_two(attention, x, position, cache):
    query = _filled(attention, x, position, cache)
    seen = torch.arange(position % 2, position + 1, 2) if attention.pattern else slice(position + 1)
    return _attended(attention, query, cache.keys[:, :, seen], cache.values[:, :, seen])


def wrong_1_local_part_alone(attention, x, position, cache):
    query = _filled(attention, x, position, cache)
    first = max(position + 1 - attention.pattern.local, 0) if attention.pattern else 0
    seen = slice(first, position + 1)
    return _attended(attention, query, cache.keys[:, :, seen], cache.values[:, :, seen])


def wrong_1_two_heads(attention, x, position, cache):
    query, key, value = rearrange(attention.qkv(x), "b n (p m d) -> p b m n d", p=3, m=2)
    cache.keys[:, :, position], cache.values[:, :, position] = key[:, :, 0], value[:, :, 0]
    seen = attention.pattern.seen(position) if attention.pattern else slice(position + 1)
    return _attended(attention, query, cache.keys[:, :, seen], cache.values[:, :, seen])


def wrong_1_no_scale(attention, x, position, cache):
    query = _filled(attention, x, position, cache)
    seen = attention.pattern.seen(position) if attention.pattern else slice(position + 1)
    return attention.join_heads((query @ cache.keys[:, :, seen].mT).softmax(-1) @ cache.values[:, :, seen])


def wrong_1_zeros_at_what_lies_ahead(attention, x, position, cache):
    query = _filled(attention, x, position, cache)
    scores = query @ cache.keys.mT / math.sqrt(query.shape[-1])
    seen = torch.zeros(cache.keys.shape[2], dtype=torch.bool)
    seen[attention.pattern.seen(position) if attention.pattern else slice(position + 1)] = True
    return attention.join_heads(scores.masked_fill(~seen, 0).softmax(-1) @ cache.values)


def wrong_1_clips_share_a_cache(attention, x, position, cache):
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position], cache.values[:, :, position] = key[0, :, 0], value[0, :, 0]
    seen = attention.pattern.seen(position) if attention.pattern else slice(position + 1)
    return _attended(attention, query, cache.keys[:, :, seen], cache.values[:, :, seen])


def wrong_1_forgets_what_it_did_not_read(attention, x, position, cache):
    query = _filled(attention, x, position, cache)
    seen = attention.pattern.seen(position) if attention.pattern else torch.arange(position + 1)
    keys, values = cache.keys[:, :, seen], cache.values[:, :, seen]
    cache.keys.zero_()[:, :, seen], cache.values.zero_()[:, :, seen] = keys, values
    return _attended(attention, query, keys, values)


def wrong_1_one_slot_early(attention, x, position, cache):
    query, key, value = attention.heads_of(x)
    slot = max(position - 1, 0)
    cache.keys[:, :, slot], cache.values[:, :, slot] = key[:, :, 0], value[:, :, 0]
    seen = attention.pattern.seen(position) if attention.pattern else slice(position + 1)
    return _attended(attention, query, cache.keys[:, :, seen], cache.values[:, :, seen])


def wrong_1_heads_not_joined(attention, x, position, cache):
    query = _filled(attention, x, position, cache)
    seen = attention.pattern.seen(position) if attention.pattern else slice(position + 1)
    return F.scaled_dot_product_attention(query, cache.keys[:, :, seen], cache.values[:, :, seen])


def wrong_2_exactly_k_codes(logits, top_k=None, top_p=None):
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1]))
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
    return right_2_the_hint(logits, None, top_p)


def wrong_2_codes_like_the_last_stay(logits, top_k=None, top_p=None):
    kept = right_2_the_hint(logits, top_k, top_p)
    least = kept.masked_fill(kept == -torch.inf, torch.inf).amin(-1, keepdim=True)
    return right_2_the_hint(logits, top_k).masked_fill(logits < least, -torch.inf)


def wrong_2_top_p_is_ignored(logits, top_k=None, top_p=None):
    return right_2_the_hint(logits, top_k)


def wrong_2_top_p_of_the_notebook(logits, top_k=None, top_p=None):
    return right_2_the_hint(logits, top_k, 0.9 if top_p else None)


def wrong_2_top_p_first(logits, top_k=None, top_p=None):
    return right_2_the_hint(right_2_the_hint(logits, None, top_p), top_k)


def wrong_2_one_row_alone(logits, top_k=None, top_p=None):
    kept = right_2_the_hint(logits, top_k, top_p)
    first = kept.reshape(-1, logits.shape[-1])[0] == -torch.inf
    return logits.masked_fill(first, -torch.inf)


def wrong_2_over_the_first_axis(logits, top_k=None, top_p=None):
    return right_2_the_hint(logits.movedim(0, -1), top_k, top_p).movedim(-1, 0)


def wrong_2_one_code_too_few(logits, top_k=None, top_p=None):
    if top_p is not None and top_p < 1:
        probs, order = right_2_the_hint(logits, top_k).softmax(-1).sort(descending=True)
        goes = probs.cumsum(-1) > top_p
        goes[..., 0] = False
        return right_2_the_hint(logits, top_k).masked_fill(goes.gather(-1, order.argsort(-1)), -torch.inf)
    return right_2_the_hint(logits, top_k)


def wrong_2_a_large_negative_number(logits, top_k=None, top_p=None):
    return right_2_the_hint(logits, top_k, top_p).clamp_min(-1e9)


def wrong_2_probabilities(logits, top_k=None, top_p=None):
    return right_2_the_hint(logits, top_k, top_p).softmax(-1)


def wrong_2_no_more_than_there_are(logits, top_k=None, top_p=None):
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    return right_2_the_hint(logits, None, top_p)


def wrong_2_in_place(logits, top_k=None, top_p=None):
    kept = right_2_the_hint(logits, top_k, top_p)
    logits.copy_(kept)
    return logits


def wrong_2_float32(logits, top_k=None, top_p=None):
    return right_2_the_hint(logits.float(), top_k, top_p)


def wrong_2_top_p_of_1_drops_codes(logits, top_k=None, top_p=None):
    kept = right_2_the_hint(logits, top_k, top_p)
    if top_p == 1:
        return kept.masked_fill(kept.softmax(-1) == 0, -torch.inf)
    return kept
