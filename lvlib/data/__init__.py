"""Clips of video to learn from: made, read from files, or read from disk in the one format of this library.

Data sets are map-style torch data sets. An item is a dict whose "video" is uint8 (t, h, w, c).
"""

from lvlib.data.clip_writer import is_finished, new_folder, write_clip_set
from lvlib.data.clips import ClipSet
from lvlib.data.home import data_home, open_data
from lvlib.data.moving_digits import DIRECTIONS, MovingDigits
from lvlib.data.tensors import from_video, to_video
from lvlib.data.video_files import read_video
from lvlib.data.video_folder import VideoFolder
from lvlib.data.video_writer import write_video

__all__ = [
    "DIRECTIONS", "ClipSet", "MovingDigits", "VideoFolder", "data_home", "from_video", "is_finished", "new_folder",
    "open_data", "read_video", "to_video", "write_clip_set", "write_video",
]
