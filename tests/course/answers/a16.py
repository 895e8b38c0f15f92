"""Right answers to notebook 16 in other styles. The wrong ones: w16.py."""

from dataclasses import dataclass

import torch
from einops import rearrange

from lvlib.models.tats.interpolation import InterpolationCausal


@dataclass(frozen=True)
class right_1_where(InterpolationCausal):
    def allows(self, query, key):
        before = torch.where(self.is_anchor(query), False, key <= query)
        return torch.where(self.is_anchor(key), True, before)


@dataclass(frozen=True)
class right_1_numbers(InterpolationCausal):
    def allows(self, query, key):
        end = self.first + self.middle
        among = (query >= self.first) & (query < end) & (key >= self.first) & (query >= key)
        return (key < self.first) | (key >= end) | among


@dataclass(frozen=True)
class right_1_what_is_forbidden(InterpolationCausal):
    def allows(self, query, key):
        hidden = ~self.is_anchor(key) & (self.is_anchor(query) | (key > query))
        return ~hidden


@dataclass(frozen=True)
class right_1_whole:
    first: int
    middle: int

    def is_anchor(self, place):
        return torch.logical_or(place < self.first, place > self.first + self.middle - 1)

    def allows(self, query, key):
        inside = torch.logical_not(self.is_anchor(query))
        return torch.logical_or(self.is_anchor(key), torch.logical_and(inside, torch.le(key, query)))


def right_2_where(pattern, query, key):
    return torch.where(query < key, pattern.is_anchor(key), torch.ones_like(query - key, dtype=torch.bool))


def right_2_numbers(pattern, query, key):
    return (key < pattern.first) | (key <= query) | (key >= pattern.first + pattern.middle)


def right_3_narrow(outputs, pattern):
    return outputs.narrow(1, pattern.first - 1, pattern.middle)


def right_3_index_select(outputs, pattern):
    return outputs.index_select(1, torch.arange(pattern.middle) + pattern.first - 1)


def right_3_shifted_first(outputs, pattern):
    after = outputs.roll(1, 1)
    return after[:, pattern.first:pattern.first + pattern.middle]


def right_3_mask(outputs, pattern):
    place = torch.arange(outputs.shape[1]) + 1
    return outputs[:, (place >= pattern.first) & (place < pattern.first + pattern.middle)]


def right_3_loop(outputs, pattern):
    return torch.stack([outputs[:, pattern.first - 1 + i] for i in range(pattern.middle)], 1)


def right_4_loop(latents, every):
    starts = range(0, latents.shape[1] - every, every)
    return torch.stack([latents[:, start:start + every + 1] for start in starts], 1)


def right_4_table(latents, every):
    gaps = (latents.shape[1] - 1) // every
    return latents[:, every * torch.arange(gaps)[:, None] + torch.arange(every + 1)]


def right_4_joined(latents, every):
    gaps = (latents.shape[1] - 1) // every
    begun = latents[:, :gaps * every].unflatten(1, (gaps, every))
    ends = latents[:, every::every]
    return torch.cat([begun, ends[:, :, None]], 2)


def right_4_rearranged(latents, every):
    return rearrange(latents.unfold(1, every + 1, every), "b s h w t -> b s t h w").contiguous()


def right_5_loop_over_clips(predict, codes, place, num_codes):
    changed = codes.clone()
    for clip in changed:
        clip[place] = clip[place] + 1 if clip[place] + 1 < num_codes else 0
    return (predict(changed) - predict(codes)).abs().max(2).values.max(0).values


def right_5_added(predict, codes, place, num_codes):
    one = (torch.arange(codes.shape[1]) == place).long()
    difference = predict((codes + one) % num_codes) - predict(codes)
    return torch.maximum(difference, -difference).flatten(2).permute(1, 0, 2).flatten(1).amax(1)


def right_5_index_copy(predict, codes, place, num_codes):
    before = predict(codes)
    other = codes.index_copy(1, torch.tensor([place]), (codes[:, place:place + 1] + 1) % num_codes)
    return torch.linalg.vector_norm(predict(other) - before, torch.inf, (0, 2))


def right_5_both_at_once(predict, codes, place, num_codes):
    changed = codes.clone()
    changed[:, place] += 1
    changed[:, place] %= num_codes
    after, before = predict(torch.cat([changed, codes])).chunk(2)
    return (after - before).abs().amax((0, 2))
