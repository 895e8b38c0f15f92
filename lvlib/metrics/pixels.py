# Never edit this file: `python -m lvlib.course build` makes it from solutions/01_video_tensors.py.
"""Measures on pixels: how far a clip is from another, how many bits a model needs for a value."""

import math

import torch
from torch import Tensor

from lvlib.errors import UserError


def mse(video: Tensor, other: Tensor) -> Tensor:
    """Mean squared error of each clip: (b, c, t, h, w) twice -> (b,).

    Raises UserError if the shapes differ: a grey clip would silently be compared with each colour.
    """
    if video.shape != other.shape:
        raise UserError("clips of one shape are needed, "
                        f"not {tuple(video.shape)} and {tuple(other.shape)}")
    return (video.float() - other.float()).square().flatten(1).mean(1)


def psnr(video: Tensor, other: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, for values in [-1, 1].

    (b, c, t, h, w) twice -> (b,). Infinite where the clips are equal.
    Raises UserError if the shapes differ.
    """
    return 10 * torch.log10(4 / mse(video, other))  # from -1 to 1 the peak is 2, and its square 4


def bits_per_dim(nll_nats: Tensor, dims: int) -> Tensor:
    """Negative log-likelihood of clips in nats, any shape -> bits for each of the `dims` values.

    8 for a model that finds all 256 values equally likely, 0 for one that always knows.
    Differentiable. LVT, section 4.1.
    """
    return nll_nats / (dims * math.log(2))
