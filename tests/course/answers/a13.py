"""Answers to notebook 13: right ones in other styles, and wrong ones that a check could take for right."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def right_1_logsigmoid(real, fake, kind):
    if kind == "vanilla":
        return -(F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean())
    return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()


def right_1_cross_entropy(real, fake, kind):
    losses = {"hinge": lambda s, sign: torch.maximum(1 - sign * s, torch.zeros_like(s)).mean(),
              "vanilla": lambda s, sign: F.binary_cross_entropy_with_logits(s, torch.full_like(s, float(sign > 0)))}
    return losses[kind](real, 1) + losses[kind](fake, -1)


def right_1_log_add_exp(real, fake, kind):
    total = 0
    for s in (-real, fake):
        part = torch.logaddexp(s, torch.zeros_like(s)) if kind == "vanilla" else F.relu(s + 1)
        total = total + part.sum() / part.numel()
    return total


def right_1_hinge_embedding(real, fake, kind):
    signed = torch.cat([real.flatten(), -fake.flatten()])
    part = F.relu(1 - signed) if kind == "hinge" else F.softplus(-signed)
    return part[:real.numel()].mean() + part[real.numel():].mean()


def wrong_1_mean_over_all(real, fake, kind):
    signed = torch.cat([real.flatten(), -fake.flatten()])
    return 2 * (F.relu(1 - signed) if kind == "hinge" else F.softplus(-signed)).mean()


def wrong_1_softplus_by_hand(real, fake, kind):
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return (1 + (-real).exp()).log().mean() + (1 + fake.exp()).log().mean()


def right_2_loop(fake, real):
    total = torch.zeros_like(fake[0][..., :1].sum())
    for layer in range(len(fake) - 1):
        total = total + (fake[layer] - real[layer].detach()).abs().mean()
    return total


def right_2_no_grad(fake, real):
    with torch.no_grad():
        targets = [x.clone() for x in real[:-1]]
    losses = [F.l1_loss(a, b) for a, b in zip(fake[:-1], targets, strict=True)]
    return torch.stack(losses).sum() if losses else fake[-1].new_tensor(0.0)


def right_2_pop_a_copy(fake, real):
    pairs = list(zip(fake, real, strict=True))
    pairs.pop()
    total = 0 * fake[-1].detach().sum()
    while pairs:
        a, b = pairs.pop(0)
        total = total + torch.mean(torch.abs(a - b.data))
    return total


def wrong_2_both_detached(fake, real):
    return sum((F.l1_loss(a.detach(), b.detach()) for a, b in zip(fake[:-1], real[:-1], strict=True)),
               start=fake[0].new_zeros(()))


def wrong_2_pops_the_callers_list(fake, real):
    fake.pop()
    real.pop()
    return sum((F.l1_loss(a, b.detach()) for a, b in zip(fake, real, strict=True)), start=torch.zeros(()))


def right_3_filtered_frames(video: Tensor) -> Tensor:
    h, w = video.shape[-2:]
    spectrum = torch.fft.fft2(video)
    long = torch.fft.fftfreq(h)[:, None] ** 2 + torch.fft.fftfreq(w) ** 2 < 1 / 16
    frames = torch.fft.ifft2(spectrum.masked_fill(long, 0)).real
    return frames.square().mean((1, 2, 3, 4))


def right_3_unnormalised(video: Tensor) -> Tensor:
    h, w = video.shape[-2:]
    spectrum = torch.fft.fft2(video)
    power = spectrum.real**2 + spectrum.imag**2
    rows, columns = torch.meshgrid(torch.fft.fftfreq(h), torch.fft.fftfreq(w), indexing="ij")
    counted = power[..., (rows**2 + columns**2).sqrt() >= 0.25].sum(-1) / (h * w) ** 2
    return counted.mean((1, 2))


def right_3_clip_by_clip(video: Tensor) -> Tensor:
    h, w = video.shape[-2:]
    short = [[math.hypot(min(i, h - i) / h, min(j, w - j) / w) >= 0.25 for j in range(w)] for i in range(h)]
    kept = torch.tensor(short).to(video.dtype)
    return torch.stack([(torch.fft.fft2(clip, norm="ortho").abs() * kept).pow(2).mean() for clip in video])


def right_3_over_time_too(video: Tensor) -> Tensor:
    h, w = video.shape[-2:]
    short = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.fftfreq(w)) >= 0.25
    return (torch.fft.fftn(video, dim=(2, 3, 4), norm="ortho").abs().square() * short).flatten(1).mean(1)


def wrong_3_clips_mixed(video: Tensor) -> Tensor:
    h, w = video.shape[-2:]
    short = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.fftfreq(w)) >= 0.25
    return (torch.fft.fft2(video, norm="ortho").abs().square() * short).mean((0, 2, 3, 4)).expand(len(video))
