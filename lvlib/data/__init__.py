"""Clips of video to learn from: made, read from files, or read from disk in the one format of this library.

Data sets are map-style torch data sets. An item is a dict whose "video" is uint8 (t, h, w, c).
"""

from lvlib.data.moving_digits import DIRECTIONS, MovingDigits
from lvlib.data.tensors import from_video, to_video

__all__ = ["DIRECTIONS", "MovingDigits", "from_video", "to_video"]
