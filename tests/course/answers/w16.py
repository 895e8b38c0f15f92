"""Wrong answers to notebook 16 that a check might take for right."""

from dataclasses import dataclass

import torch

from lvlib.models.tats.interpolation import InterpolationCausal


@dataclass(frozen=True)
class wrong_1_anchors_are_causal(InterpolationCausal):
    def allows(self, query, key):
        return (self.is_anchor(key) & ~self.is_anchor(query)) | (key <= query) & (
            self.is_anchor(key) | ~self.is_anchor(query))


@dataclass(frozen=True)
class wrong_1_first_anchor_does_not_see_the_last(InterpolationCausal):
    def allows(self, query, key):
        last = key >= self.first + self.middle
        return (key < self.first) | (last & (query >= self.first)) | (~self.is_anchor(query) & (key <= query))


@dataclass(frozen=True)
class wrong_1_anchors_of_one_size(InterpolationCausal):
    def allows(self, query, key):
        end = self.first + self.middle
        last = (key >= end) & (key < end + self.first)
        return (key < self.first) | last | (~self.is_anchor(query) & (key <= query))


@dataclass(frozen=True)
class wrong_1_the_middle_sees_all_of_the_middle(InterpolationCausal):
    def allows(self, query, key):
        return self.is_anchor(key) | ~self.is_anchor(query) & (key >= self.first)


def wrong_2_last_anchor_sees_all(pattern, query, key):
    return pattern.is_anchor(key) | (key < query) | (key == query) & pattern.is_anchor(query)


def wrong_2_first_anchor_sees_the_middle(pattern, query, key):
    return pattern.is_anchor(key) | pattern.is_anchor(query) | (key <= query)


def wrong_2_right_mask_backwards(pattern, query, key):
    return pattern.allows(key, query) | pattern.is_anchor(key)


def wrong_3_from_the_end(outputs, pattern):
    return outputs[:, -pattern.first - pattern.middle - 1:-pattern.first - 1]


def wrong_3_rest_of_the_row(outputs, pattern):
    return outputs[:, pattern.first - 1:-pattern.first - 1]


def wrong_3_all_but_the_last(outputs, pattern):
    return outputs[:, :-1][:, :pattern.middle]


def wrong_4_views_of_the_first_clip(latents, every):
    return latents[:1].unfold(1, every + 1, every).movedim(-1, 2)


def wrong_4_space_turned(latents, every):
    return latents.unfold(1, every + 1, every).permute(0, 1, 4, 3, 2)


def wrong_4_last_stretch_padded(latents, every):
    t = latents.shape[1]
    short = -(t - 1) % every
    longer = torch.cat([latents, latents[:, -1:].expand(-1, short, -1, -1)], 1)
    return longer.unfold(1, every + 1, every).movedim(-1, 2)


def wrong_5_first_clip_alone(predict, codes, place, num_codes):
    changed = codes.clone()
    changed[0, place] = (codes[0, place] + 1) % num_codes
    return (predict(changed) - predict(codes)).abs().amax((0, 2))


def wrong_5_first_logit(predict, codes, place, num_codes):
    changed = codes.clone()
    changed[:, place] = (codes[:, place] + 1) % num_codes
    return (predict(changed) - predict(codes))[..., 0].abs().amax(0)


def wrong_5_whether_and_not_how_much(predict, codes, place, num_codes):
    changed = codes.clone()
    changed[:, place] = (codes[:, place] + 1) % num_codes
    return (predict(changed) != predict(codes)).float().amax((0, 2))


def wrong_5_last_code_stays(predict, codes, place, num_codes):
    changed = codes.clone()
    changed[:, place] = (codes[:, place] + 1).clamp(max=num_codes - 1)
    return (predict(changed) - predict(codes)).abs().amax((0, 2))


def wrong_5_codes_are_written_into(predict, codes, place, num_codes):
    before = predict(codes)
    codes[:, place] = (codes[:, place] + 1) % num_codes
    return (predict(codes) - before).abs().amax((0, 2))
