"""Three drums, synthesised: a kick, a snare and a hat. Rounded to 16 bits, so that they are the same on every machine.
"""

import numpy as np

DRUMS = ("kick", "snare", "hat")
FULL = 2**15  # what 1.0 is in 16 bits


def drum(name: str, rate: int) -> np.ndarray:
    """One hit: int32 (samples,), `FULL` standing for 1.0. rate: samples a second."""
    return np.round(FULL * {"kick": _kick, "snare": _snare, "hat": _hat}[name](rate)).astype(np.int32)


def _kick(rate: int) -> np.ndarray:
    """A sine that dies away while its pitch falls from 150 to 50 Hz."""
    t = np.arange(rate // 4) / rate
    turns = 50 * t + 100 * 0.03 * (1 - np.exp(-t / 0.03))
    return 0.5 * np.sin(2 * np.pi * turns) * np.exp(-t / 0.07)


def _snare(rate: int) -> np.ndarray:
    """A burst of noise, and a skin that sounds at 180 Hz."""
    t = np.arange(rate * 3 // 20) / rate
    return (0.15 * _noise(len(t), 1) + 0.1 * np.sin(2 * np.pi * 180 * t)) * np.exp(-t / 0.03)


def _hat(rate: int) -> np.ndarray:
    """A short burst of noise without its low part."""
    t = np.arange(rate * 3 // 50) / rate
    return 0.1 * np.diff(_noise(len(t) + 1, 2)) * np.exp(-t / 0.012)


def _noise(samples: int, seed: int) -> np.ndarray:
    """Even in [-1, 1), from whole numbers."""
    return (np.random.PCG64(seed).random_raw(samples) >> np.uint64(32)).astype(np.float64) / 2**31 - 1
