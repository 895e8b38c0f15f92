"""Wrong answers to notebook 06 that a check might take for right."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from lvlib.models.lvt.layers import CodeHeads
from lvlib.models.lvt.relative_attention import RelativeBias


def wrong_1_thirteen_taps(kernel):
    return (torch.arange(27) < 13).reshape(3, 3, 3) if kernel == (3, 3, 3) else (
        torch.arange(math.prod(kernel)) < 13).reshape(kernel)


def wrong_1_uint8(kernel):
    taps = math.prod(kernel)
    return (torch.arange(taps) < taps // 2).reshape(kernel).byte()


def wrong_1_numpy(kernel):
    return (np.arange(math.prod(kernel)) < math.prod(kernel) // 2).reshape(kernel)


def wrong_1_flat(kernel):
    return torch.arange(math.prod(kernel)) < math.prod(kernel) // 2


def wrong_1_cubes_alone(kernel):
    n = kernel[0]
    return (torch.arange(n**3) < n**3 // 2).reshape(n, n, n)


def wrong_1_frames_and_rows_alone(kernel):
    mask = torch.zeros(kernel, dtype=torch.bool)
    mask[: kernel[0] // 2] = True
    mask[kernel[0] // 2, : kernel[1] // 2] = True
    mask[kernel[0] // 2, kernel[1] // 2, 0] = kernel[2] > 1  # one tap to the left: of three columns all
    return mask


def wrong_1_last_frame_of_three(kernel):
    mask = torch.arange(math.prod(kernel)).reshape(kernel) < math.prod(kernel) // 2
    mask[2:] = False
    return mask


def wrong_1_remembers(kernel, masks={}):  # noqa: B006
    return masks.setdefault(len(kernel), (torch.arange(math.prod(kernel)) < math.prod(kernel) // 2).reshape(kernel))


def wrong_2_width_of_the_values(query, key, value, bias):
    return (query @ key.mT / math.sqrt(value.shape[-1]) + bias).softmax(-1) @ value


def wrong_2_width_16(query, key, value, bias):
    return (query @ key.mT / 4 + bias).softmax(-1) @ value


def wrong_2_number_of_keys(query, key, value, bias):
    return (query @ key.mT / math.sqrt(key.shape[-2]) + bias).softmax(-1) @ value


def wrong_2_bias_of_the_first_head(query, key, value, bias):
    return (query @ key.mT / math.sqrt(query.shape[-1]) + bias[0]).softmax(-1) @ value


def wrong_2_bias_as_a_mask(query, key, value, bias):
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.masked_fill(bias == float("-inf"), float("-inf")).softmax(-1) @ value


def wrong_2_minus_infinity_as_zero(query, key, value, bias):
    return (query @ key.mT / math.sqrt(query.shape[-1]) + bias.nan_to_num(neginf=0.0)).softmax(-1) @ value


def wrong_2_causal(query, key, value, bias):
    later = torch.ones(bias.shape[-2:], dtype=torch.bool).triu(1)
    scores = (query @ key.mT / math.sqrt(query.shape[-1]) + bias).masked_fill(later, float("-inf"))
    return scores.softmax(-1) @ value


def wrong_2_weights_without_gradient(query, key, value, bias):
    return (query @ key.mT / math.sqrt(query.shape[-1]) + bias).softmax(-1).detach() @ value


def wrong_2_bias_without_gradient(query, key, value, bias):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None].detach())


def wrong_2_heads_share_their_weights(query, key, value, bias):
    weights = (query @ key.mT / math.sqrt(query.shape[-1]) + bias).softmax(-1)
    return weights.mean(1, keepdim=True) @ value


def wrong_2_float32(query, key, value, bias):
    return ((query @ key.mT / math.sqrt(query.shape[-1]) + bias).softmax(-1) @ value).float()


class wrong_3_kept(RelativeBias):
    def forward(self):
        if not hasattr(self, "made"):
            self.made = super().forward()
        return self.made


class wrong_3_square_frames(RelativeBias):
    def forward(self):
        t, h, w = (self.by_distance(table) for table in self.tables)
        bias = t[:, :, None, None, :, None, None] + w[:, None, :, None, None, :, None] + h[:, None, None, :, None, None]
        return rearrange(bias, "m t h w t2 h2 w2 -> m (t h w) (t2 h2 w2)")


class wrong_3_first_head(RelativeBias):
    def forward(self):
        bias = super().forward()
        return bias[:1].expand_as(bias)


class wrong_3_no_gradient(RelativeBias):
    @torch.no_grad()
    def forward(self):
        return super().forward()


class wrong_3_no_gradient_of_time(RelativeBias):
    def by_distance(self, table):
        return super().by_distance(table.detach() if table is self.tables[0] else table)


class wrong_3_rounded(RelativeBias):
    def forward(self):
        return super().forward().round(decimals=5)  # its gradient is 0


class wrong_3_buffer_of_its_own(RelativeBias):
    def __init__(self, shape, heads):
        super().__init__(shape, heads)
        self.register_buffer("strength", torch.tensor(0.5))

    def forward(self):
        bias = super().forward()
        return self.strength * bias + (1 - self.strength) * bias.detach()


class wrong_3_mean(RelativeBias):
    def forward(self):
        return super().forward() / 3


class wrong_3_causal(RelativeBias):
    def forward(self):
        bias = super().forward()
        return bias.masked_fill(torch.ones(bias.shape[1:], dtype=torch.bool).triu(1), float("-inf"))


class wrong_3_distance_without_sign(RelativeBias):
    def by_distance(self, table):
        n = (table.shape[1] + 1) // 2
        position = torch.arange(n)
        return table[:, (position[:, None] - position).abs() + n - 1]


class wrong_4_three_codebooks(CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x, codes[..., :k]) for k in range(3)], -2)


class wrong_4_two_axes_alone(CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x, codes[:, :, :k]) for k in range(len(self.out))], 2)


class wrong_4_vectors_without_gradient(CodeHeads):
    def forward(self, x, codes):
        return torch.stack([self.one(k, x.detach(), codes[..., :k]) for k in range(len(self.out))], -2)


class wrong_4_first_codebook_alone_learns(CodeHeads):
    def forward(self, x, codes):
        logits = super().forward(x, codes)
        return torch.cat([logits[..., :1, :], logits[..., 1:, :].detach()], -2)


class wrong_4_probabilities(CodeHeads):
    def forward(self, x, codes):
        return super().forward(x, codes).softmax(-1)


class wrong_4_a_list(CodeHeads):
    def forward(self, x, codes):
        return [self.one(k, x, codes[..., :k]) for k in range(len(self.out))]


class wrong_4_last_code_before_alone(CodeHeads):
    def forward(self, x, codes):
        seen = codes.clone()
        seen[..., :-2] = 0
        return torch.stack([self.one(k, x, seen[..., :k]) for k in range(len(self.out))], -2)


class wrong_4_writes_into_the_codes(CodeHeads):
    def forward(self, x, codes):
        logits = super().forward(x, codes)
        codes.zero_()
        return logits
