"""Reading a video: a file (through PyAV) or a folder of images (through Pillow), whole or a few frames of it.

What a file says about itself cannot be trusted when it was cut off. So a video is probed first: all its packets are
walked through, without decoding them (milliseconds), and only what is there counts.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from lvlib.errors import UserError

VIDEO_SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_IMAGE_FOLDER_FPS = 25.0  # images do not say how fast they follow each other

Size = int | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Video:
    """A video that was probed: what is really there."""

    path: Path
    frames: int
    fps: float
    images: tuple[Path, ...] = ()  # of a folder of images, in order
    times: np.ndarray | None = None  # each frame's time stamp, where the container can be trusted to seek by it


def read_video(
    path: str | Path, frames: int | None = None, start: int = 0, stride: int = 1, size: Size | None = None
) -> tuple[np.ndarray, float]:
    """Frames start, start + stride, ... of a video file or a folder of images, and its rate in frames a second.

    Args:
        frames: how many to take; None for all from `start` on.
        size: resize to this height and width (see `fit`); None keeps the video's own.

    Returns:
        uint8 (t, h, w, 3), and the rate that those frames have: the video's own divided by `stride`. For images,
        which have none, 25 frames a second is assumed.

    Raises:
        UserError: no such file, not a video, cut off, damaged, or too short for what was asked.
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
    """Finds out how many frames of a video can be read. The answer is kept until the file changes.

    Raises UserError if it is missing, empty, not a video, or cut off: more than a tenth of what it announces is not
    there, or its last packet is incomplete.
    """
    path = Path(path)
    try:
        state = path.stat()
        if path.is_dir():
            return _probe_images(path)
        open(path, "rb").close()  # FFmpeg's own errors do not tell "forbidden" from "not a video"
        return _probe_file(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def decode(video: Video, wanted: Sequence[int], size: Size | None = None) -> np.ndarray:
    """The frames with the `wanted` indices, which rise: uint8 (t, h, w, 3). UserError where one cannot be decoded."""
    images = list(_images(video, wanted, seek=True))
    if len(images) < len(wanted):  # the key frame before the first one was not enough to decode it
        images = list(_images(video, wanted, seek=False))
    if len(images) < len(wanted):
        raise UserError(f"{video.path} is damaged: frame {wanted[len(images)]} cannot be decoded")
    size = size or images[0].size[::-1]
    return np.stack([np.asarray(fit(image, size)) for image in images])


def fit(image: Image.Image, size: Size) -> Image.Image:
    """Resizes (Lanczos, as LVT does for Kinetics, section 4.3) so that the image just covers `size`, an int or
    (height, width), and keeps the middle."""
    height, width = (size, size) if isinstance(size, int) else size
    scale = max(width / image.width, height / image.height)
    left, top = max(0, image.width - width / scale) / 2, max(0, image.height - height / scale) / 2
    box = (left, top, image.width - left, image.height - top)
    return image.resize((width, height), Image.Resampling.LANCZOS, box)


def natural_order(path: Path) -> list:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _probe_images(folder: Path) -> Video:
    images = sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
    if not images:
        raise UserError(f"{folder} holds no images ({' '.join(IMAGE_SUFFIXES)})")
    for image in images:
        if image.stat().st_size == 0:
            raise UserError(f"{folder} has an empty image: {image.name}")
    return Video(folder, len(images), _IMAGE_FOLDER_FPS, images=tuple(images))


@cache
def _probe_file(path: Path, size: int, _changed: int) -> Video:
    av = import_av()
    if size == 0:
        raise UserError(f"{path} is empty")
    unreadable = f"{path} is not a video that can be read, or it is cut off"
    try:
        with av.open(str(path)) as container:
            if container.streams.audio and not container.streams.video:
                raise UserError(f"{path} has no pictures, only sound")
            if not container.streams.video:
                raise UserError(unreadable)
            stream = container.streams.video[0]
            announced, duration, tick = stream.frames, _seconds(container, stream), float(stream.time_base)
            fps = float(stream.average_rate or stream.guessed_rate or _IMAGE_FOLDER_FPS)
            times, end, broken = [], 0, False
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    times.append(packet.pts)
                    end = max(end, (packet.pts or 0) + (packet.duration or 0))
                    broken = broken or packet.is_corrupt
        trusted = path.suffix.lower() not in (".avi", ".gif") and None not in times and len(set(times)) == len(times)
        count = len(times) if trusted else _count_by_decoding(path)
    except av.FFmpegError:
        raise UserError(unreadable) from None

    if broken or len(times) < 0.9 * announced or end * tick < 0.9 * duration or not _complete(path):
        raise UserError(f"{path} is cut off: only {count} frames can be read")
    if not count:
        raise UserError(f"{path} has no frames")
    return Video(path, count, fps, times=np.sort(times) if trusted else None)


def _count_by_decoding(path: Path) -> int:
    with import_av().open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def _seconds(container, stream) -> float:
    """The length that the file announces; 0 where it announces none."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # of Matroska and WebM, "00:01:02.500000000"
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return (container.duration or 0) / 1e6


def _complete(path: Path) -> bool:
    """A GIF announces no length, but ends in a semicolon."""
    if path.suffix.lower() != ".gif":
        return True
    with open(path, "rb") as file:
        file.seek(-min(64, os.path.getsize(path)), os.SEEK_END)
        return file.read().rstrip(b"\0").endswith(b";")


def _images(video: Video, wanted: Sequence[int], seek: bool) -> Iterator[Image.Image]:
    """The wanted frames in order; stops early where one cannot be decoded."""
    if video.images:
        return _images_of_folder(video.images[i] for i in wanted)
    return _images_of_file(video, wanted, seek)


def _images_of_folder(paths: Iterable[Path]) -> Iterator[Image.Image]:
    for path in paths:
        try:
            with Image.open(path) as image:
                yield image.convert("RGB")
        except (OSError, SyntaxError, ValueError):  # Pillow has several ways to refuse a damaged image
            return


def _images_of_file(video: Video, wanted: Sequence[int], seek: bool) -> Iterator[Image.Image]:
    av = import_av()
    try:
        with av.open(str(video.path)) as container:
            stream = container.streams.video[0]
            if seek and video.times is not None:
                container.seek(int(video.times[wanted[0]]), stream=stream)
            remaining = iter(wanted)
            target = next(remaining)
            for count, frame in enumerate(container.decode(stream)):
                if target == count if video.times is None else video.times[target] == frame.pts:
                    pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)  # phones turn videos
                    yield Image.fromarray(np.ascontiguousarray(pixels))
                    if (target := next(remaining, None)) is None:
                        return
    except av.FFmpegError:
        return


def import_av():
    try:
        import av
    except ImportError:
        raise UserError("video files need the package av: pip install lvlib[train]") from None
    return av
