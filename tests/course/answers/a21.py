"""Right answers to notebook 21 in other styles, and wrong ones that were once accepted."""

import math

import torch

from lvlib.models.pvdm.diffusion import like


def right_1_numbers(steps, start, end):
    first, last = math.sqrt(start), math.sqrt(end)
    roots = [first + (last - first) * i / max(steps - 1, 1) for i in range(steps)]
    return torch.tensor([root * root for root in roots], dtype=torch.float64)


def right_1_arange(steps, start, end):
    share = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    return ((1 - share) * start**0.5 + share * end**0.5)**2


def right_2_loop(x0, t, noise, alpha_bars):
    clips = [alpha_bars[step].sqrt().to(x0.dtype) * clip + (1 - alpha_bars[step]).sqrt().to(x0.dtype) * new
             for clip, step, new in zip(x0, t, noise, strict=True)]
    return torch.stack(clips)


def right_2_view(x0, t, noise, alpha_bars):
    left = alpha_bars[t].reshape(-1, *(1 for _ in x0.shape[1:]))
    return left.pow(0.5).to(x0) * x0 + (1 - left).pow(0.5).to(x0) * noise


def right_3_divided(x, t, noise, alpha_bars):
    left = alpha_bars[t]
    return x / like(left.sqrt(), x) - like(((1 - left) / left).sqrt(), x) * noise


def right_3_loop(x, t, noise, alpha_bars):
    clips = [(clip - (1 - alpha_bars[step]).sqrt().to(x.dtype) * old) / alpha_bars[step].sqrt().to(x.dtype)
             for clip, step, old in zip(x, t, noise, strict=True)]
    return torch.stack(clips)


def right_4_precisions(x, x0, t, s, alpha_bars, variance, noise):
    a_t, a_s = alpha_bars[t].double(), alpha_bars[s].double()
    alpha = a_t / a_s
    posterior = (1 - a_s) * (1 - alpha) / (1 - a_t)
    sigma2 = posterior if variance == "posterior" else 1 - alpha
    sigma = torch.where(s == 0, torch.zeros_like(sigma2), sigma2).sqrt()
    mean = like(a_s.sqrt() * (1 - alpha) / (1 - a_t), x) * x0 + like(alpha.sqrt() * (1 - a_s) / (1 - a_t), x) * x
    return mean + like(sigma, x) * noise


def right_4_by_the_noise(x, x0, t, s, alpha_bars, variance, noise):
    a_t, a_s = like(alpha_bars[t], x), like(alpha_bars[s], x)
    beta = 1 - a_t / a_s
    eps = (x - a_t.sqrt() * x0) / (1 - a_t).sqrt()
    mean = (x - beta / (1 - a_t).sqrt() * eps) / (1 - beta).sqrt()
    sigma = (beta if variance == "beta" else beta * (1 - a_s) / (1 - a_t)).sqrt()
    return torch.where(like(s > 0, x).bool(), mean + sigma * noise, mean)


def right_5_posterior_first(x0, predicted, t, s, alpha_bars, eta, noise):
    a_t, a_s = alpha_bars[t], alpha_bars[s]
    sigma = eta * ((1 - a_s) * (1 - a_t / a_s) / (1 - a_t)).sqrt()
    old = torch.relu(1 - a_s - sigma**2).sqrt()
    return like(a_s.sqrt(), x0) * x0 + like(old, x0) * predicted + like(sigma, x0) * noise


def right_5_loop(x0, predicted, t, s, alpha_bars, eta, noise):
    made = []
    for i in range(len(x0)):
        a_t, a_s = alpha_bars[t[i]].item(), alpha_bars[s[i]].item()
        sigma2 = eta * eta * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
        made.append(a_s**0.5 * x0[i] + max(1 - a_s - sigma2, 0)**0.5 * predicted[i] + sigma2**0.5 * noise[i])
    return torch.stack(made)


def right_6_by_the_data(x, alpha_bar, mean, deviation):
    a = like(alpha_bar, x)
    x0 = mean + a.sqrt() * deviation**2 / (a * deviation**2 + 1 - a) * (x - a.sqrt() * mean)
    return (x - a.sqrt() * x0) / (1 - a).sqrt()


def right_6_loop(x, alpha_bar, mean, deviation):
    made = []
    for clip, a in zip(x, alpha_bar, strict=True):
        variance = a * deviation**2 + 1 - a
        made.append(((1 - a).sqrt() / variance).to(x.dtype) * (clip - (a.sqrt() * mean).to(x.dtype)))
    return torch.stack(made)
