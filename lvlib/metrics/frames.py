# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py and
# solutions/13_video_vqgan.py.
"""Frames of a video beside each other: is it a loop, and do its colours stay?"""

import torch
from torch import Tensor


def nearest_frame_distance(video: Tensor, apart: int = 8) -> Tensor:
    """Of each frame, the root mean squared difference to the frame most like it.

    (b, c, t, h, w) -> (b, t). Frames less than `apart` frames away do not count: those are always
    alike. 0 where a frame comes back exactly, as in a loop. Raises ValueError for a video of fewer
    than 2 * apart frames: some would have none so far away.
    """
    t = video.shape[2]
    if t < 2 * apart:
        raise ValueError(f"for each frame to have one {apart} away takes {2 * apart}, not {t}")
    frames = video.transpose(1, 2).flatten(2)
    distance = torch.cdist(frames, frames, compute_mode="donot_use_mm_for_euclid_dist")
    place = torch.arange(t, device=video.device)
    near = (place[:, None] - place).abs() < apart
    return distance.masked_fill(near, torch.inf).amin(-1) / frames.shape[-1] ** 0.5


def color_correlation(a: Tensor, b: Tensor, bins: int = 8) -> Tensor:
    """Correlation of the colour histograms of frames: (n, c, h, w) twice, in [-1, 1] -> (n,).

    float64; 1 for equal colours, wherever they are. A histogram has bins ** c cells, one for each
    range of colours. One that is flat, each colour as often as any other, correlates with nothing
    but its like. TATS, Table 2; the paper does not give the number of bins.
    """
    histograms = []
    for frames in (a, b):
        level = ((frames + 1) / 2 * bins).floor().clamp(0, bins - 1).long()
        cell = sum(level[:, i] * bins**i for i in range(level.shape[1])).flatten(1)
        counts = torch.zeros(len(cell), bins ** level.shape[1], device=cell.device).double()
        histograms.append(counts.scatter_add_(1, cell, torch.ones_like(cell).double()))
    x, y = (histogram - histogram.mean(1, keepdim=True) for histogram in histograms)
    norm = (x.square().sum(1) * y.square().sum(1)).sqrt()
    alike = (histograms[0] == histograms[1]).all(1).double()
    return torch.where(norm > 0, (x * y).sum(1) / norm, alike)


# Introduced in solutions/13_video_vqgan.py
def high_frequency_power(video: Tensor) -> Tensor:
    """Mean square of a clip's frames without their long waves: (b, c, t, h, w) -> (b,). Waves of at
    least a quarter cycle a pixel count, the upper half of what a row of pixels can hold."""
    h, w = video.shape[-2:]
    power = torch.fft.fft2(video, norm="ortho").abs().square()
    rows, columns = (torch.fft.fftfreq(n, device=video.device) for n in (h, w))
    short = torch.hypot(rows[:, None], columns) >= 0.25
    return (power * short).flatten(1).mean(1)
