"""Right answers to notebook 11 in other styles. The wrong ones: w11.py."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import nn

from lvlib.models.common.conditioning import ResidualBlock3d


def right_1_by_hand(x, cond_vector, weight):
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    scale, shift = (cond_vector @ weight.T).split(x.shape[-1], dim=-1)
    return x * (1 + scale) + shift


def right_1_two_products(x, cond_vector, weight):
    dim = x.shape[-1]
    scale = torch.einsum("bnc,dc->bnd", cond_vector, weight[:dim])
    shift = torch.einsum("bnc,dc->bnd", cond_vector, weight[dim:])
    return torch.addcmul(shift, F.layer_norm(x, [dim]), scale + 1)


def right_1_float64_inside(x, cond_vector, weight):
    changes = cond_vector.double() @ weight.double().T
    scale, shift = rearrange(changes, "b n (two d) -> two b n d", two=2)
    return (F.layer_norm(x.double(), x.shape[-1:]) * (1 + scale) + shift).to(x.dtype)


def right_1_module(x, cond_vector, weight):
    norm = nn.LayerNorm(x.shape[-1], elementwise_affine=False, dtype=x.dtype)
    scale, shift = torch.chunk(torch.matmul(cond_vector, weight.t()), 2, dim=2)
    return norm(x).mul(1 + scale).add(shift)


def right_1_loop(x, cond_vector, weight):
    clips = []
    for clip, told in zip(x, cond_vector, strict=True):
        rows = []
        for vector, c in zip(clip, told, strict=True):
            scale, shift = (weight @ c).chunk(2)
            rows.append((vector - vector.mean()) / (vector.var(correction=0) + 1e-5).sqrt() * (1 + scale) + shift)
        clips.append(torch.stack(rows))
    return torch.stack(clips)


def right_2_reshape(actions, latent_frames):
    return actions.reshape(len(actions), latent_frames, -1)


def right_2_chunks(actions, latent_frames):
    return torch.stack([part.flatten(1) for part in actions.chunk(latent_frames, 1)], 1)


def right_2_every_sth(actions, latent_frames):
    s = actions.shape[1] // latent_frames
    return torch.cat([actions[:, i::s] for i in range(s)], -1)


def right_2_unflatten(actions, latent_frames):
    return actions.unflatten(1, (latent_frames, -1)).flatten(2)


def right_2_rearrange_in_clips(actions, latent_frames):
    return torch.stack([rearrange(clip, "(t s) a -> t (s a)", t=latent_frames) for clip in actions])


def right_2_loop(actions, latent_frames):
    b, t, a = actions.shape
    s = t // latent_frames
    out = actions.new_empty(b, latent_frames, s * a)
    for i in range(latent_frames):
        for j in range(s):
            out[:, i, j * a : (j + 1) * a] = actions[:, i * s + j]
    return out


class right_3_clamped(ResidualBlock3d):
    def forward(self, x):
        return (self.correction(x) + self.shortcut(x)).clamp(min=0)


class right_3_where(ResidualBlock3d):
    def forward(self, x):
        out = self.shortcut(x) + self.correction(x)
        return torch.where(out > 0, out, 0)


class right_3_in_place(ResidualBlock3d):
    def forward(self, x):
        out = self.correction(x)
        out = out + self.shortcut(x)
        return out.relu_()


class right_3_layer_by_layer(ResidualBlock3d):
    def forward(self, x):
        out = x
        for layer in self.correction:
            out = layer(out)
        return torch.relu(self.shortcut(x) + out)


class right_3_maximum(ResidualBlock3d):
    def forward(self, x):
        out = torch.stack([self.shortcut(x), self.correction(x)]).sum(0)
        return torch.maximum(out, torch.zeros((), dtype=out.dtype))


class right_3_clip_by_clip(ResidualBlock3d):
    def forward(self, x):
        return torch.cat([F.relu(self.shortcut(clip[None]) + self.correction(clip[None])) for clip in x])


def right_4_repeated(latents, actions, held, first, keep):
    s = actions.shape[1] // latents.shape[1]
    kept = actions[:, first * s : (first + keep) * s - 1]
    new = repeat(held, "a -> b t a", b=len(actions), t=actions.shape[1] - (keep * s - 1))
    return latents[:, first : first + keep], torch.cat((kept, new), dim=1)


def right_4_written(latents, actions, held, first, keep):
    s = actions.shape[1] // latents.shape[1]
    window = torch.zeros_like(actions) + held
    window[:, : keep * s - 1] = actions[:, first * s : (first + keep) * s - 1]
    return latents[:, first : first + keep].clone(), window


def right_4_rolled(latents, actions, held, first, keep):
    s = actions.shape[1] // latents.shape[1]
    window = actions.roll(-first * s, 1)
    window[:, keep * s - 1 :] = held
    return [latents.narrow(1, first, keep), window]


def right_4_where(latents, actions, held, first, keep):
    b, t, _ = actions.shape
    s = t // latents.shape[1]
    frame = torch.arange(t)
    moved = actions[:, (frame + first * s) % t]
    return latents.roll(-first, 1)[:, :keep], torch.where((frame < keep * s - 1)[:, None], moved, held)


def right_4_list_of_frames(latents, actions, held, first, keep):
    s = actions.size(1) // latents.size(1)
    frames = list(actions.unbind(1))[first * s :][: keep * s - 1]
    while len(frames) < actions.size(1):
        frames.append(held.expand(len(actions), -1))
    return torch.stack([latents[:, i] for i in range(first, first + keep)], 1), torch.stack(frames, 1)


def right_4_clip_by_clip(latents, actions, held, first, keep):
    s = len(actions[0]) // len(latents[0])
    new = held.repeat(len(actions[0]) - keep * s + 1, 1)
    windows = [torch.cat([clip[first * s : first * s + keep * s - 1], new]) for clip in actions]
    return latents[:, torch.arange(first, first + keep)], torch.stack(windows)
