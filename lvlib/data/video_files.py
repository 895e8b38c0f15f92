"""Reading a video, whole or a few frames of it: a file (PyAV), an animated image, or a folder of images (Pillow).

What a file says about itself is not trusted: see `lvlib.data.containers`. Any frames are those that a decode from the
start gives at their places.
"""

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lvlib.data import containers
from lvlib.data.limits import require_memory
from lvlib.data.pictures import Resize, Size, as_rgb, fit, opened_image
from lvlib.data.seeking import pictures_at
from lvlib.errors import UserError

VIDEO_SUFFIXES = (
    ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm",
    ".3g2", ".3gp", ".apng", ".asf", ".divx", ".dv", ".f4v", ".flv", ".h264", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v",
    ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogg", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob",
    ".wmv", ".wtv", ".y4m",
)
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_IMAGE_FOLDER_FPS = 25.0  # images do not say how fast they follow each other
_MOST_PIXELS = 2**31  # decoded to know a file for sure: some seconds. Of longer ones the packets are believed
_KEPT = 2**14  # files whose contents are remembered


@dataclass(frozen=True, eq=False)
class Video:
    """A video that was probed: what is really there."""

    path: Path
    frames: int
    fps: float
    size: tuple[int, int] | None
    """Height and width of the first frame, upright and with square pixels; None if its image cannot be opened."""
    images: tuple[Path, ...] = ()
    """Of a folder of images, in order."""


def read_video(
    path: str | Path, frames: int | None = None, start: int = 0, stride: int = 1, size: Size | None = None
) -> tuple[np.ndarray, float]:
    """Frames start, start + stride, ... of a video file or a folder of images, and its rate in frames a second.

    They are upright, as the file says how it is to be shown. Frames of a file that cannot be decoded are left out, and
    the log tells how many.

    Args:
        frames: how many to take; None for all from `start` on.
        size: resize to this height and width (see `fit`); None keeps those of the video's first frame, with pixels
            that are not square made so by their width.

    Returns:
        uint8 (t, h, w, 3), and the rate that those frames have: the video's own divided by `stride`. For images,
        which have none, 25 frames a second is assumed.

    Raises:
        UserError: no such file, not a video, cut off, damaged, too short for what was asked, or too large for the
            memory.
    """
    video = probe(path)
    if start < 0 or stride < 1 or (frames is not None and frames < 1):
        raise UserError(f"frames and stride must be 1 or more, start 0 or more: {frames}, {stride}, {start}")
    wanted = range(start, video.frames if frames is None else start + (frames - 1) * stride + 1, stride)
    if not wanted or wanted[-1] >= video.frames:
        asked = f"{frames or 1} from {start} with stride {stride}"
        raise UserError(f"{path} has {video.frames} frames, too few for {asked}")
    return decode(video, wanted, size), video.fps / stride


def probe(path: str | Path) -> Video:
    """Finds out which frames of a video can be read. The answer is kept until the file changes.

    A file is decoded for that, unless it is very long: then its packets are believed, as `survey` does.

    Raises UserError if it is missing, empty, no file or folder, not a video, cut off or damaged: more than a tenth of
    what it holds cannot be decoded.
    """
    return _video(Path(path), whole=True)


def survey(path: str | Path) -> Video:
    """As `probe`, but in milliseconds: a file whose packets leave no doubt is not decoded.

    Damage inside of it shows only later: then it may hold fewer frames than was said.
    """
    return _video(Path(path), whole=False)


def decode(video: Video, wanted: Sequence[int], size: Size | None = None, resize: Resize = "lanczos") -> np.ndarray:
    """The frames with the `wanted` indices, which rise: uint8 (t, h, w, 3). `resize`: the filter.

    Raises UserError where one cannot be decoded, or they do not fit in memory.
    """
    size = size or video.size
    if size is None:
        raise UserError(f"{video.path} is damaged: frame 0 cannot be decoded")
    height, width = (size, size) if isinstance(size, int) else size
    require_memory(len(wanted) * height * width * 3, f"a clip of {len(wanted)} frames of {height} x {width}")
    clip, done = np.empty((len(wanted), height, width, 3), np.uint8), 0
    try:
        for picture in _pictures(video, wanted, (height, width), resize):
            clip[done] = picture
            done += 1
    except UserError:
        raise
    except Exception:  # of a file that is damaged, libraries make errors of many kinds
        pass
    if done < len(wanted):
        raise UserError(f"{video.path} is damaged: frame {wanted[done]} cannot be decoded")
    return clip


def is_animated(path: Path) -> bool:
    """True for a WebP that moves: FFmpeg does not read it, Pillow does."""
    try:
        if path.suffix.lower() != ".webp" or not path.is_file():
            return False
        with open(path, "rb") as file:
            head = file.read(21)
        return head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 2)
    except OSError:
        return False


def natural_order(path: Path) -> list:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _video(path: Path, whole: bool) -> Video:
    try:
        state = path.stat()
    except (OSError, ValueError) as error:  # a name with a zero byte is the latter
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        if stat.S_ISDIR(state.st_mode):
            return _folder(path)
        if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for without end
            raise UserError(f"{path} is neither a file nor a folder")
        if state.st_size == 0:
            raise UserError(f"{path} is empty")
        open(path, "rb").close()  # FFmpeg's own errors do not tell "forbidden" from "not a video"
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return _animation(path)
        found = _contents(path, state.st_size, state.st_mtime_ns, whole)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if isinstance(found, str):
        raise UserError(found)
    return Video(path, found.frames, found.fps, found.size)


@lru_cache(_KEPT)
def _contents(path: Path, size: int, changed: int, whole: bool) -> containers.Contents | str:
    """What a file holds, or why it cannot be read."""
    try:
        if not whole:
            return containers.survey(path) or containers.examine(path)
        found = _contents(path, size, changed, False)
        is_certain = isinstance(found, str) or len(found.checks) or found.pixels > _MOST_PIXELS
        return found if is_certain else containers.examine(path)
    except UserError as error:
        return str(error)
    except Exception:  # of a file that is no video, or damaged, libraries make errors of many kinds
        return f"{path} is not a video that can be read, or it is cut off"


def _folder(folder: Path) -> Video:
    images = sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
    if not images:
        raise UserError(f"{folder} holds no images ({' '.join(IMAGE_SUFFIXES)})")
    for image in images:
        if not image.is_file() or image.stat().st_size == 0:
            raise UserError(f"{folder} has an {'empty image' if image.is_file() else 'image that is no file'}: "
                            f"{image.name}")
    try:
        with opened_image(images[0]) as first:
            return Video(folder, len(images), _IMAGE_FOLDER_FPS, as_rgb(first).size[::-1], tuple(images))
    except Exception:  # of a file that is damaged, libraries make errors of many kinds
        return Video(folder, len(images), _IMAGE_FOLDER_FPS, None, tuple(images))


def _animation(path: Path) -> Video:
    """An animated WebP or PNG, or a single image."""
    try:
        with opened_image(path) as image:
            size, frames, duration = as_rgb(image).size[::-1], getattr(image, "n_frames", 1), 0
            for i in range(frames):
                image.seek(i)
                image.load()  # only then it says for how long it is shown, in milliseconds
                duration += image.info.get("duration", 0)
            return Video(path, frames, 1000 * frames / duration if duration else _IMAGE_FOLDER_FPS, size)
    except Exception:
        raise UserError(f"{path} is not an image that can be read, or it is damaged") from None


def _pictures(video: Video, wanted: Sequence[int], size: tuple[int, int], resize: Resize) -> Iterator[np.ndarray]:
    """The wanted frames in order; stops early where one cannot be decoded."""
    path = video.path
    if video.images:
        for i in wanted:
            with opened_image(video.images[i]) as image:
                if getattr(image, "is_animated", False):
                    raise UserError(f"{video.images[i]} is animated, and no single frame of a video")
                yield np.asarray(fit(as_rgb(image), size, resize))
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        with opened_image(path) as image:
            for i in wanted:
                image.seek(i)
                yield np.asarray(fit(as_rgb(image), size, resize))
    else:
        state = path.stat()
        contents = _contents(path, state.st_size, state.st_mtime_ns, True)
        if isinstance(contents, str):
            raise UserError(contents)
        yield from pictures_at(path, contents, [i for i in wanted if i < contents.frames], size, resize)
