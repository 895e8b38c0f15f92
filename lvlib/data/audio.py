"""Sound as arrays: float32 samples in [-1, 1], mono. Another rate, another length, and a WAV file of them."""

import io
import wave

import numpy as np

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
