"""Writing a video: a file to play, a strip to print, or the bare numbers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from lvlib.data.video_files import import_av
from lvlib.errors import UserError


def write_video(path: str | Path, video: np.ndarray | Tensor, fps: float = 8) -> None:
    """Writes uint8 frames (t, h, w, c), c = 1 (grey) or 3, at `fps` frames a second; the suffix says how:

    .mp4   H.264 in yuv420p, which plays everywhere. It wants even sides: an odd one gets its last row or column twice.
    .gif   plays everywhere, 256 colours chosen for the whole clip.
    .png   a strip: all frames side by side.
    .npy   the array itself.

    An existing file is replaced only once the new one is complete.
    Raises UserError for another suffix, array or fps, or a place that cannot be written to.
    """
    path, video = Path(path), np.asarray(video)
    write = writer_of(path)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] not in (1, 3) or 0 in video.shape:
        raise UserError(f"write_video takes uint8 (t, h, w, 1 or 3), not {video.dtype} {video.shape}")
    if not 0 < fps <= 1000:
        raise UserError(f"fps must be above 0 and up to 1000, not {fps}")
    with draft_of(path) as draft:
        write(draft, video, fps)


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which it replaces once it is complete. Raises UserError if that cannot be."""
    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            draft.unlink()


def write_array(path: Path, array: np.ndarray) -> None:
    """A .npy file under this very name."""
    with open(path, "wb") as file:  # given a name, NumPy may add its suffix to it
        np.save(file, array)


def writer_of(path: Path) -> Callable[[Path, np.ndarray, float], None]:
    """What writes a file of this name. Raises UserError, with the suffixes there are, if nothing does."""
    if path.suffix.lower() not in _WRITERS:
        raise UserError(f"cannot write {path}: the name must end in one of {' '.join(_WRITERS)}")
    return _WRITERS[path.suffix.lower()]


def _write_mp4(path: Path, video: np.ndarray, fps: float) -> None:
    _, height, width, channels = video.shape
    even = [(0, height % 2), (0, width % 2), (0, 0)]
    # One frame at a time: the video may be larger than the memory.
    frames = (np.pad(frame.repeat(3 // channels, -1), even, mode="edge") for frame in video)
    _encode(path, "libx264", "yuv420p", fps, frames, "rgb24", {"crf": "18"})


def _write_gif(path: Path, video: np.ndarray, fps: float) -> None:
    # Pillow chooses the colours, but would drop a frame that equals the one before; so FFmpeg writes.
    picture = Image.fromarray(_strip(video)).convert("RGB").quantize(256)
    red_green_blue = np.zeros((256, 3), np.uint8)
    chosen = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)
    red_green_blue[: len(chosen)] = chosen
    palette = np.concatenate([np.full((256, 1), 255, np.uint8), red_green_blue], 1)
    frames = ((frame, palette) for frame in np.split(np.array(picture), len(video), axis=1))
    _encode(path, "gif", "pal8", fps, frames, "pal8", {})


def _write_png(path: Path, video: np.ndarray, _fps: float) -> None:
    Image.fromarray(_strip(video)).save(path)


def _write_npy(path: Path, video: np.ndarray, _fps: float) -> None:
    write_array(path, video)


def _strip(video: np.ndarray) -> np.ndarray:
    """(t, h, w, c) -> (h, t * w, 3), or (h, t * w) if grey."""
    strip = np.concatenate(list(video), axis=1)
    return strip[..., 0] if strip.shape[-1] == 1 else strip


def _encode(path: Path, codec: str, pixels: str, fps: float, frames: Iterable, given: str, options: dict) -> None:
    av = import_av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.pix_fmt = pixels
        for frame in frames:
            picture = tuple(map(np.ascontiguousarray, frame)) if given == "pal8" else np.ascontiguousarray(frame)
            picture = av.VideoFrame.from_ndarray(picture, format=given)
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.height, picture.width
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


_WRITERS: dict[str, Callable[[Path, np.ndarray, float], None]] = {
    ".mp4": _write_mp4, ".gif": _write_gif, ".png": _write_png, ".npy": _write_npy
}
