"""Right and wrong answers to notebook 19 in other styles."""

import math

import numpy as np
import torch

from lvlib.models.mebt.schedule import still_hidden


def right_1_loop(schedule, steps, n):
    if steps < 1 or steps > n:
        raise ValueError("no")
    counts, there = [], 0
    for s in range(1, steps):
        total = max(n - math.ceil(n * still_hidden(schedule, s / steps)), there + 1)
        counts.append(total - there)
        there = total
    return [*counts, n - there]


def wrong_1_at_least_one_but_n_more(schedule, steps, n):
    if not 1 <= steps <= n:
        raise ValueError("no")
    there = [n - math.ceil(still_hidden(schedule, (s + 1) / steps) * n) for s in range(steps - 1)] + [n]
    return [max(after - before, 1) for before, after in zip([0, *there], there, strict=False)]


def right_2_topk(log_probs, uniform, count, noise):
    scores = log_probs - noise * (-uniform.clamp(1e-20, 1 - 1e-7).log()).log()
    accepted = torch.zeros(log_probs.shape, dtype=torch.bool)
    return accepted.scatter(1, scores.topk(count, dim=1).indices, True)


def right_2_rank(log_probs, uniform, count, noise):
    gumbel = -torch.log(-torch.log(torch.maximum(uniform, torch.full_like(uniform, 1e-20)).clamp(max=1 - 1e-7)))
    rank = (log_probs + noise * gumbel).argsort(1, descending=True).argsort(1)
    return rank < count


def wrong_2_without_noise_after_all(log_probs, uniform, count, noise):
    return log_probs.argsort(1, descending=True).argsort(1) < count


def right_3_loop(codes, hidden, places, drawn, accepted):
    codes, hidden = codes.clone(), hidden.clone()
    for clip in range(len(codes)):
        for i, place in enumerate(places[clip].tolist()):
            if accepted[clip, i]:
                codes[clip, place] = drawn[clip, i]
                hidden[clip, place] = False
    return codes, hidden


def right_3_masks(codes, hidden, places, drawn, accepted):
    here = torch.zeros_like(hidden).scatter(1, places, accepted)
    all_drawn = codes.scatter(1, places, drawn)
    return torch.where(here, all_drawn, codes), hidden & ~here


def right_3_rows(codes, hidden, places, drawn, accepted):
    codes, hidden, clip = codes.clone(), hidden.clone(), torch.arange(len(codes))[:, None].expand_as(places)
    codes[clip[accepted], places[accepted]] = drawn[accepted]
    hidden[clip[accepted], places[accepted]] = False
    return codes, hidden


def wrong_3_of_the_first_clip(codes, hidden, places, drawn, accepted):
    places = places[:1].expand_as(places)
    return (codes.scatter(1, places, torch.where(accepted, drawn, codes.gather(1, places))),
            hidden.scatter(1, places, ~accepted))


def right_4_loop(uniform, parts):
    b, m = uniform.shape
    if not 0 < parts <= m:
        raise ValueError("no")
    found = [torch.zeros(b, m, dtype=torch.bool) for _ in range(parts)]
    for clip in range(b):
        for rank, place in enumerate(uniform[clip].argsort().tolist()):
            found[rank * parts // m][clip, place] = True
    return found


def right_4_scatter(uniform, parts):
    m = uniform.shape[1]
    if parts < 1 or parts > m:
        raise ValueError("no")
    order, number = uniform.argsort(1), torch.arange(m) * parts // m
    which = torch.empty_like(order).scatter(1, order, number.expand_as(order))
    return list(which == torch.arange(parts)[:, None, None])


def wrong_4_split(uniform, parts):
    if not 1 <= parts <= uniform.shape[1]:
        raise ValueError("no")
    empty = torch.zeros_like(uniform, dtype=torch.bool)
    return [empty.scatter(1, part, True) for part in uniform.argsort(1).tensor_split(parts, 1)]


def right_5_erf(curriculum, frames, step, alpha, beta):
    if curriculum == "none":
        return torch.eye(frames, dtype=torch.float64)[-1]
    v = torch.arange(1, frames + 1, dtype=torch.float64)
    if curriculum == "uniform":
        return torch.ones(frames, dtype=torch.float64) / frames
    z = (v - 1 - step / alpha) / beta
    if curriculum == "renormalised":
        return (-z.square() / 2 + z.square().min() / 2).exp() / (-z.square() / 2 + z.square().min() / 2).exp().sum()
    below = torch.erfc(-z / math.sqrt(2)) / 2
    below = torch.cat([torch.zeros(1, dtype=torch.float64), below[:-1], torch.ones(1, dtype=torch.float64)])
    return below[1:] - below[:-1]


def right_5_loop(curriculum, frames, step, alpha, beta):
    mean = 1 + step / alpha
    if curriculum == "none":
        probs = [float(v == frames) for v in range(1, frames + 1)]
    elif curriculum == "uniform":
        probs = [1 / frames] * frames
    elif curriculum == "renormalised":
        logs = np.array([-((v - mean) / beta)**2 / 2 for v in range(1, frames + 1)])
        weights = np.exp(logs - logs.max())
        probs = list(weights / weights.sum())
    else:
        up = [math.erfc(-(v - mean) / beta / math.sqrt(2)) / 2 for v in range(1, frames)] + [1.0]
        probs = [up[0]] + [up[v] - up[v - 1] for v in range(1, frames)]
    return torch.tensor(probs, dtype=torch.float64)


def wrong_5_float32(curriculum, frames, step, alpha, beta):
    return right_5_loop(curriculum, frames, step, alpha, beta).float()
