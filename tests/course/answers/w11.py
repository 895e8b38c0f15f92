"""Wrong answers to notebook 11 that a check might take for right."""

import torch
import torch.nn.functional as F
from answers.a11 import right_4_repeated
from einops import rearrange, reduce
from torch import nn

from lvlib.models.common.conditioning import ResidualBlock3d


def wrong_1_standard_deviation_of_a_sample(x, cond_vector, weight):
    scale, shift = (cond_vector @ weight.T).chunk(2, -1)
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) * (1 + scale) + shift


def wrong_1_first_clip_for_all(x, cond_vector, weight):
    scale, shift = (cond_vector[:1] @ weight.T).chunk(2, -1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def wrong_1_mean_condition(x, cond_vector, weight):
    scale, shift = (cond_vector.mean(1, keepdim=True) @ weight.T).chunk(2, -1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def wrong_1_condition_without_gradient(x, cond_vector, weight):
    scale, shift = (cond_vector.detach() @ weight.T).chunk(2, -1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def wrong_1_weight_without_gradient(x, cond_vector, weight):
    scale, shift = (cond_vector @ weight.detach().T).chunk(2, -1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def wrong_1_statistics_without_gradient(x, cond_vector, weight):
    scale, shift = (cond_vector @ weight.T).chunk(2, -1)
    mean, std = x.mean(-1, keepdim=True).detach(), x.std(-1, keepdim=True, correction=0).detach()
    return (x - mean) / std * (1 + scale) + shift


def wrong_1_not_centred(x, cond_vector, weight):
    scale, shift = (cond_vector @ weight.T).chunk(2, -1)
    return F.rms_norm(x, x.shape[-1:]) * (1 + scale) + shift


def wrong_1_every_second_row(x, cond_vector, weight):
    changes = cond_vector @ weight.T
    return F.layer_norm(x, x.shape[-1:]) * (1 + changes[..., ::2]) + changes[..., 1::2]


def wrong_1_six_numbers(x, cond_vector, weight):
    changes = cond_vector @ weight.T
    return F.layer_norm(x, x.shape[-1:]) * (1 + changes[..., :6]) + changes[..., 6:]


def wrong_2_two_frames_each(actions, latent_frames):
    return torch.cat([actions[:, 0::2], actions[:, 1::2]], -1)


def wrong_2_one_clip(actions, latent_frames):
    return actions[0].reshape(1, latent_frames, -1)


def wrong_2_two_numbers_a_frame(actions, latent_frames):
    b, t, _ = actions.shape
    return actions.reshape(b, latent_frames, 2 * t // latent_frames)


def wrong_2_mean(actions, latent_frames):
    s = actions.shape[1] // latent_frames
    return reduce(actions.float(), "b (t s) a -> b t a", "mean", s=s).repeat(1, 1, s)


def wrong_2_no_gradient(actions, latent_frames):
    return actions.detach().reshape(len(actions), latent_frames, -1)


def wrong_2_float(actions, latent_frames):
    return actions.float().reshape(len(actions), latent_frames, -1)


def wrong_2_interleaved(actions, latent_frames):
    return rearrange(actions, "b (s t) a -> b t (a s)", t=latent_frames)


def wrong_2_a_list(actions, latent_frames):
    return [part.flatten(1) for part in actions.chunk(latent_frames, 1)]


class wrong_3_correction_without_gradient(ResidualBlock3d):
    def forward(self, x):
        return F.relu(self.shortcut(x) + self.correction(x).detach())


class wrong_3_shortcut_without_gradient(ResidualBlock3d):
    def forward(self, x):
        return F.relu(self.shortcut(x).detach() + self.correction(x))


class wrong_3_leaky(ResidualBlock3d):
    def forward(self, x):
        return F.leaky_relu(self.shortcut(x) + self.correction(x))


class wrong_3_gelu(ResidualBlock3d):
    def forward(self, x):
        return F.gelu(self.shortcut(x) + self.correction(x))


class wrong_3_difference(ResidualBlock3d):
    def forward(self, x):
        return F.relu(self.shortcut(x) - self.correction(x))


class wrong_3_corrected_shortcut(ResidualBlock3d):
    def forward(self, x):
        out = self.shortcut(x)
        return F.relu(out + self.correction(out if out.shape == x.shape else x) / 2)


class wrong_3_no_relu_where_it_halves(ResidualBlock3d):
    def forward(self, x):
        out = self.shortcut(x) + self.correction(x)
        return out.relu() if out.shape == x.shape else out


class wrong_3_input_in_place(ResidualBlock3d):
    def forward(self, x):
        correction = self.correction(x)
        out = self.shortcut(x)
        return out.add_(correction).relu_()


class wrong_3_norms_over_the_batch(ResidualBlock3d):
    def __init__(self, channels, width, stride):
        super().__init__(channels, width, stride)
        self.correction[1], self.correction[4] = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        nn.init.zeros_(self.correction[4].weight)


def wrong_4_two_frames(latents, actions, held, first, keep):
    kept = actions[:, 2 * first : 2 * (first + keep) - 1]
    new = held.expand(len(actions), actions.shape[1] - kept.shape[1], -1)
    return latents[:, first : first + keep], torch.cat([kept, new], 1)


def wrong_4_four_latent_frames(latents, actions, held, first, keep):
    s = actions.shape[1] // latents.shape[1]
    kept = actions[:, first * s : (first + keep) * s - 1]
    new = held.expand(len(actions), actions.shape[1] - kept.shape[1], -1)
    return latents[:, first : first + 4], torch.cat([kept, new], 1)


def wrong_4_from_two_on(latents, actions, held, first, keep):
    return right_4_repeated(latents, actions, held, 2, keep)


def wrong_4_one_clip(latents, actions, held, first, keep):
    s = actions.shape[1] // latents.shape[1]
    kept = actions[:1, first * s : (first + keep) * s - 1]
    new = held.expand(1, actions.shape[1] - kept.shape[1], -1)
    return latents[:, first : first + keep], torch.cat([kept, new], 1).expand_as(actions)


def wrong_4_one_action_too_few(latents, actions, held, first, keep):
    given, window = right_4_repeated(latents, actions, held, first, keep)
    window[:, max(keep * actions.shape[1] // latents.shape[1] - 2, 0)] = held
    return given, window


def wrong_4_window_in_place(latents, actions, held, first, keep):
    given, window = right_4_repeated(latents, actions, held, first, keep)
    actions.copy_(window)
    return given, actions


def wrong_4_float_latents(latents, actions, held, first, keep):
    given, window = right_4_repeated(latents, actions, held, first, keep)
    return given.float(), window


def wrong_4_no_actions_kept_from_the_start(latents, actions, held, first, keep):
    given, window = right_4_repeated(latents, actions, held, first, keep)
    return given, held.expand_as(window) if first == 0 else window


def wrong_4_shorter_window(latents, actions, held, first, keep):
    s = actions.shape[1] // latents.shape[1]
    kept = actions[:, first * s : (first + keep) * s - 1]
    return latents[:, first : first + keep], torch.cat([kept, held.expand(len(actions), 1, -1)], 1)


def wrong_1_no_epsilon(x, cond_vector, weight):
    centred = x - reduce(x, "b n d -> b n 1", "mean")
    normed = centred / centred.square().mean(-1, keepdim=True).sqrt()
    scale, shift = F.linear(cond_vector, weight).tensor_split(2, -1)
    return normed + normed * scale + shift


class wrong_3_at_most_30(ResidualBlock3d):
    def forward(self, x):
        return super().forward(x).clamp(0, 30)
