# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""Frames of a video beside each other: is it a loop, and do its colours stay?"""

import torch
from torch import Tensor


def nearest_frame_distance(video: Tensor, apart: int = 8) -> Tensor:
    """Of each frame, the root mean squared difference to the frame most like it: (b, c, t, h, w) -> (b, t).

    Frames less than `apart` frames away do not count: those are always alike. 0 where a frame comes back exactly,
    as in a loop. Raises ValueError for a video in which no frames are so far apart.
    """
    t = video.shape[2]
    if t <= apart:
        raise ValueError(f"of {t} frames, none are {apart} apart")
    frames = video.transpose(1, 2).flatten(2)
    distance = torch.cdist(frames, frames, compute_mode="donot_use_mm_for_euclid_dist")
    place = torch.arange(t, device=video.device)
    near = (place[:, None] - place).abs() < apart
    return distance.masked_fill(near, torch.inf).amin(-1) / frames.shape[-1] ** 0.5


def color_correlation(a: Tensor, b: Tensor, bins: int = 8) -> Tensor:
    """Correlation of the colour histograms of frames: (n, c, h, w) twice, in [-1, 1] -> (n,), 1 for equal colours.

    A histogram has bins ** c cells, one for each range of colours. TATS, Table 2; the paper gives no number of bins.
    """
    histograms = []
    for frames in (a, b):
        level = ((frames + 1) / 2 * bins).floor().clamp(0, bins - 1).long()
        cell = sum(level[:, i] * bins**i for i in range(level.shape[1])).flatten(1)
        counts = torch.zeros(len(cell), bins ** level.shape[1], dtype=torch.float64, device=cell.device)
        histograms.append(counts.scatter_add_(1, cell, torch.ones_like(cell, dtype=counts.dtype)))
    x, y = (histogram - histogram.mean(1, keepdim=True) for histogram in histograms)
    return (x * y).sum(1) / (x.square().sum(1) * y.square().sum(1)).sqrt()
