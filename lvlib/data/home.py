"""Where data lies, and opening it whatever it is."""

import os
from pathlib import Path

import lvlib
from lvlib.data.clips import ClipSet
from lvlib.data.pictures import Size
from lvlib.data.video_folder import VideoFolder
from lvlib.errors import UserError


def data_home() -> Path:
    """The folder of the course's data sets: $LVLIB_DATA, or data/ in the checkout."""
    return Path(os.environ.get("LVLIB_DATA") or Path(lvlib.__file__).parents[1] / "data")


def open_data(
    root: str | Path, split: str = "train", frames: int | None = None, stride: int = 1, size: Size | None = None,
    hop: int | None = None,
) -> ClipSet | VideoFolder:
    """Opens a prepared set (a folder with a meta.json) as `ClipSet`, any other folder as `VideoFolder`.

    frames: frames a clip; None for the stored clips whole, or for 16 of a video.
    size: height and width; None for that of the stored clips, or for 64 of a video.
    hop: of a video, frames from the start of a clip to the next one; None: they do not overlap.

    Raises UserError for what either refuses, and for a prepared set of another size.
    """
    if not (Path(root) / "meta.json").exists():
        return VideoFolder(root, 16 if frames is None else frames, stride, 64 if size is None else size, hop, split)
    clips = ClipSet(root, split, frames, stride)
    height, width = clips.shape[:2]
    if size not in (None, (height, width)) and (size, size) != (height, width):
        raise UserError(f"clips in {root} are {height} x {width}, not {size}: set the size to theirs, or make others")
    return clips
