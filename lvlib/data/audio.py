"""Sound as arrays: float32 samples in [-1, 1], mono. Another rate, another length, and short-time Fourier frames."""

import io
import wave

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvlib.errors import UserError

SLOWEST, FASTEST = 1000, 384_000  # samples a second

_ZEROS = 16  # of the sinc on each side: the more, the steeper the cut at the highest pitch
_PASSED = 0.95  # of the pitches that the lower rate can hold; those above fade out
_TOGETHER = 2**20  # weights that are held at once: the steeper the reduction, the more for each sample
_FULL = 2**15 - 1  # what 1.0 is in a file of 16 bits


def resample(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """The same sound at another rate: float32 (n,) -> (ceil(n * new / old),).

    Interpolation by a windowed sinc (Smith and Gossett 1984), which takes away what the new rate cannot hold. Beyond
    its ends the sound is taken to be silent. old, new: samples a second. Raises UserError for rates that are not from
    1,000 to 384,000.
    """
    for rate in old, new:
        check_rate(rate)
    samples = np.asarray(samples, np.float32)
    if old == new:
        return samples
    cut = min(1, new / old) * _PASSED
    reach = int(np.ceil(_ZEROS / cut))
    padded = np.pad(samples.astype(np.float64), reach)
    taps = np.arange(1 - reach, reach + 1)
    parts = []
    count = -(-len(samples) * new // old)
    chunk = max(1, _TOGETHER // len(taps))
    for start in range(0, count, chunk):
        numbers = np.arange(start, min(start + chunk, count))
        whole, part = numbers * old // new, numbers * old % new / new
        away = taps - part[:, None]  # from each sample, in samples of the old rate
        weights = cut * np.sinc(cut * away) * np.cos(np.pi / 2 * (away / reach).clip(-1, 1)) ** 2
        parts.append((padded[whole[:, None] + taps + reach] * weights).sum(1))
    return np.concatenate(parts).astype(np.float32) if parts else samples


def check_rate(rate: int) -> None:
    if not SLOWEST <= rate <= FASTEST:
        raise UserError(f"sound must have from {SLOWEST} to {FASTEST} samples a second, not {rate}")


def as_long(samples: np.ndarray, length: int) -> np.ndarray:
    """The first `length` samples; of a shorter sound, the sound again and again. (n,) with n at least 1."""
    return np.resize(samples, length)


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file: 16 bits, mono. samples: float (n,) in [-1, 1]; beyond that they are cut off."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(np.round(np.clip(samples, -1, 1) * _FULL).astype("<i2").tobytes())
    return file.getvalue()


def stft(sound: Tensor, window: int, hop: int) -> Tensor:
    """Short-time Fourier frames: what pitches there are, a little later each time.

    Each frame looks at `window` samples through a Hann window and gives window / 2 + 1 complex numbers, for pitches
    from 0 to half of the rate in steps of rate / window. Frames are `hop` samples apart; frame j looks at the samples
    around j * hop to (j + 1) * hop, and silence surrounds the sound. So of a sound of 1,000 samples for each frame of
    video, hop 250 gives 4 frames for each.

    sound: float (b, n), n a multiple of hop. Returns complex (b, window / 2 + 1, n / hop).
    Raises ValueError where n, window and hop do not fit.
    """
    _check_frames(window, hop)
    if sound.shape[-1] % hop:
        raise ValueError(f"the {sound.shape[-1]} samples must be a multiple of hop = {hop}")
    around = (window - hop) // 2
    return torch.stft(F.pad(sound, (around, around)), window, hop, window=_hann(window, sound), center=False,
                      return_complex=True)


def inverse_stft(frames: Tensor, window: int, hop: int) -> Tensor:
    """The sound whose frames these are; of others, the one whose frames are nearest (Griffin and Lim 1984).

    frames: complex (b, window / 2 + 1, t), as `stft` gives them. Returns float (b, t * hop).
    """
    _check_frames(window, hop)
    t, around = frames.shape[-1], (window - hop) // 2
    length = (1, (t - 1) * hop + window)
    hann = _hann(window, frames.real)[:, None]
    parts = torch.fft.irfft(frames, window, dim=1) * hann
    weights = (hann**2).expand(1, -1, t)
    sound, weight = (F.fold(x, length, (1, window), stride=(1, hop)).flatten(1) for x in (parts, weights))
    return (sound / weight.clamp(min=1e-8))[:, around:around + t * hop]


def _check_frames(window: int, hop: int) -> None:
    if not 1 <= hop <= window // 2 or window % 2 or (window - hop) % 2:
        raise ValueError(f"window must be even, and hop even and at most half of it, not {window} and {hop}")


def _hann(window: int, like: Tensor) -> Tensor:
    return torch.hann_window(window, dtype=like.dtype, device=like.device)
