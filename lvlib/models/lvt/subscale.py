# Never edit this file: `python -m lvlib.course build` makes it from solutions/05_subscale_order.py.
"""Subscale order: codes as interleaved slices, generated one after the other. LVT, section 3.2.

A volume has shape (t, h, w), a subscale factor is (s_t, s_h, s_w), and each of the s_t * s_h * s_w
slices holds every s_t-th, s_h-th and s_w-th position from its offset (a, b, c) on.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lvlib.models.common.volume import Triple

UNKNOWN = -1  # in place of a code


def slice_shape(shape: Triple, factor: Triple) -> Triple:
    """(t, h, w) of one slice: (t / s_t, h / s_h, w / s_w).

    Raises ValueError if the factor does not divide the shape, with the numbers that do.
    """
    for axis, size, step in zip(("time", "height", "width"), shape, factor, strict=True):
        if step < 1 or size % step:
            divisors = ", ".join(str(d) for d in range(1, size + 1) if size % d == 0)
            raise ValueError(f"subscale factor {step} does not divide the {size} latent positions "
                             f"in {axis}: take one of {divisors}")
    t, h, w = (size // step for size, step in zip(shape, factor, strict=True))
    return t, h, w


def slice_offset(number: int | Tensor, factor: Triple) -> tuple:
    """Offset (a, b, c) of slice `number`, in the order the slices are generated.

    Ints for an int; for an int64 tensor of numbers, int64 tensors of its shape.
    """
    _, s_h, s_w = factor
    return number // (s_h * s_w), number // s_w % s_h, number % s_w


def take_slice(volume: Tensor, number: int, factor: Triple) -> Tensor:
    """The positions of slice `number`, a view.

    volume (b, t, h, w, ...) -> (b, t / s_t, h / s_h, w / s_w, ...)
    """
    a, b, c = slice_offset(number, factor)
    s_t, s_h, s_w = factor
    return volume[:, a::s_t, b::s_h, c::s_w]


def slice_numbers(shape: Triple, factor: Triple) -> Tensor:
    """The number of the slice that each position belongs to, int64 (t, h, w)."""
    a, b, c = (torch.arange(size) % step for size, step in zip(shape, factor, strict=True))
    _, s_h, s_w = factor
    return (a[:, None, None] * s_h + b[:, None]) * s_w + c


def generation_order(shape: Triple, factor: Triple) -> Tensor:
    """pi, int64 (t*h*w,): the raster index of the position that is generated i-th.

    LVT, section 3.2. Slices come in the order of their offsets, and the positions of a slice in
    raster order.
    Raises ValueError if the factor does not divide the shape.
    """
    t, h, w = slice_shape(shape, factor)
    s_t, s_h, s_w = factor
    raster = torch.arange(t * h * w * s_t * s_h * s_w)
    return rearrange(raster, "(t a h b w c) -> (a b c t h w)", t=t, a=s_t, h=h, b=s_h, w=w, c=s_w)


def inverse_order(order: Tensor) -> Tensor:
    """int64 (n,) -> int64 (n,): when each raster position is generated."""
    return order.argsort()


def visible(shape: Triple, factor: Triple, numbers: Tensor, prime_frames: int = 0) -> Tensor:
    """What the slices `numbers` (b,) may see: bool (b, t, h, w).

    True in earlier slices and in the first `prime_frames` frames, which every slice sees.
    """
    earlier = slice_numbers(shape, factor).to(numbers.device) < numbers[:, None, None, None]
    primed = torch.arange(shape[0], device=numbers.device) < prime_frames
    return earlier | primed[:, None, None]


def window_reach(shape: Triple, factor: Triple) -> tuple[tuple[int, int], ...]:
    """How far a position of a slice looks around for context: (before, after) along t, h and w.

    A step of the factor less one, to both sides: then each position of the volume is in some window
    of each slice. Not ahead in time where a slice has one frame: later frames never come earlier.
    """
    s_t, s_h, s_w = factor
    return (s_t - 1, 0 if s_t == shape[0] else s_t - 1), (s_h - 1, s_h - 1), (s_w - 1, s_w - 1)


def context(volume: Tensor, numbers: Tensor, factor: Triple, prime_frames: int = 0) -> Tensor:
    """The codes as the slices `numbers` (b,) may see them, ready for a convolution.

    Unpadded, with stride `factor`. volume int64 (b, t, h, w, k) -> (b, t', h', w', k), moved so
    that the windows (`window_reach`) of each clip's own slice begin at 0; `UNKNOWN` outside of the
    volume and where `visible` says no.
    """
    shape, reach = tuple(volume.shape[1:4]), window_reach(volume.shape[1:4], factor)
    volume = volume.masked_fill(~visible(shape, factor, numbers, prime_frames)[..., None], UNKNOWN)
    volume = F.pad(volume, (0, 0, *(n for pair in reversed(reach) for n in pair)), value=UNKNOWN)
    lengths = [size - step + 1 + sum(pair)
               for size, step, pair in zip(shape, factor, reach, strict=True)]
    t, h, w = (offset[:, None] + torch.arange(length, device=volume.device)
               for offset, length in zip(slice_offset(numbers, factor), lengths, strict=True))
    clip = torch.arange(len(volume), device=volume.device)[:, None, None, None]
    return volume[clip, t[:, :, None, None], h[:, None, :, None], w[:, None, None, :]]
