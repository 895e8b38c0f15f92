"""Answers to notebook 15: right ones in other styles, and wrong ones that a check could take for right."""

import numpy as np
import torch


def right_1_for_loop_over_moves(known, frames, window, context):
    if known >= frames:
        return []
    places = []
    if known < window:
        places.append((0, known))
        known = window
    for start in range(known - context, frames - context, window - context):
        places.append((start, context))
    return places


def right_1_recursive(known, frames, window, context):
    if known >= frames:
        return []
    start = known - context if known >= window else 0
    return [(start, known - start), *right_1_recursive(start + window, frames, window, context)]


def right_1_generator_inside(known, frames, window, context):
    def walk(there):
        while there < frames:
            kept = there if there < window else context
            yield there - kept, kept
            there += window - kept

    return list(walk(known))


def wrong_1_keeps_context_from_the_start(known, frames, window, context):
    places = []
    while known < frames:
        kept = min(known, context)
        places.append((known - kept, kept))
        known = min(known - kept + window, frames)
    return places


def wrong_1_last_place_moved_back(known, frames, window, context):
    places = []
    while known < frames:
        start = 0 if known < window else min(known - context, frames - window)
        places.append((start, known - start))
        known = min(start + window, frames)
    return places


def right_2_loop(codes):
    rates = [(codes[:, i] == codes[:, i - 1]).flatten(1).double().mean(1) for i in range(1, codes.shape[1])]
    return torch.stack(rates, 1).float() if rates else torch.zeros(len(codes), 0)


def right_2_differences(codes):
    return 1 - (codes.diff(dim=1) != 0).flatten(2).float().mean(-1)


def right_2_numpy(codes):
    c = codes.numpy()
    same = (c[:, 1:] == c[:, :-1]).reshape(len(c), c.shape[1] - 1, -1)
    return torch.from_numpy(same.mean(-1).astype(np.float32))


def wrong_2_frames_that_stay_whole(codes):
    return (codes[:, 1:] == codes[:, :-1]).flatten(2).all(2).float()


def wrong_2_last_codebook(codes):
    same = (codes[:, 1:] == codes[:, :-1]).float()
    return same[..., -1].flatten(2).mean(2) if codes.ndim == 5 else same.flatten(2).mean(2)


def right_3_loop(video, lag):
    squares = [(video[:, :, t] - video[:, :, t - lag]).pow(2) for t in range(lag, video.shape[2])]
    return torch.stack(squares, 2).flatten(1).mean(1).sqrt()


def right_3_norm(video, lag):
    apart = video[:, :, lag:] - video[:, :, :-lag]
    return apart.flatten(1).norm(dim=1) / apart[0].numel() ** 0.5


def right_3_narrow(video, lag):
    n = video.shape[2] - lag
    apart = torch.narrow(video, 2, 0, n) - torch.narrow(video, 2, lag, n)
    return (apart * apart).mean(dim=(-1, -2, -3, -4)) ** 0.5


def wrong_3_over_all_frames(video, lag):
    apart = video[:, :, lag:] - video[:, :, :-lag]
    return (apart.square().sum((1, 2, 3, 4)) / video[0].numel()).sqrt()


def wrong_3_windows_of_lag(video, lag):
    return (video[:, :, lag::lag] - video[:, :, :-lag:lag]).square().mean((1, 2, 3, 4)).sqrt()
