# Never edit this file: `python -m lvlib.course build` makes it from solutions/15_long_videos.py.
"""Does a long video repeat itself: code by code, and frame by frame?"""

from torch import Tensor


def repetition_rate(codes: Tensor) -> Tensor:
    """Share of the codes of each latent frame that are those of the one before, at the same place.

    int64 (b, t, h, w), or (b, t, h, w, k) for k codebooks -> float32 (b, t - 1). TATS, C.2.
    """
    return (codes[:, 1:] == codes[:, :-1]).float().flatten(2).mean(2)


def lag_distance(video: Tensor, lag: int) -> Tensor:
    """Root mean squared difference of the frames of each video that are `lag` frames apart.

    (b, c, t, h, w), 1 <= lag < t -> (b,). 0 for a loop of that length, or of one that divides it.
    """
    return (video[:, :, lag:] - video[:, :, :-lag]).square().mean((1, 2, 3, 4)).sqrt()
