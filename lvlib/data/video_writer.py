"""Writing a video: a file to play, a strip to print, or the bare numbers."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from lvlib.data.audio import check_rate, resample
from lvlib.data.containers import import_av
from lvlib.data.drafts import draft_beside
from lvlib.errors import UserError

SLOWEST, FASTEST = 0.01, 1000  # frames a second
GIF_FASTEST = 50  # its players show a frame for 0.02 s at least
_TICKS = 90_000  # a second: every usual rate divides it, or nearly
_GIF_TICKS = 100
_SOUND_RATE = 48_000  # samples a second, which every player takes

Writer = Callable[[Path, np.ndarray, np.ndarray], None]  # path, frames, their rates


def write_video(path: str | Path, video: np.ndarray | Tensor, fps: float | Sequence[float] = 8,
                audio: np.ndarray | Tensor | None = None, rate: int | None = None) -> None:
    """Writes uint8 frames (t, h, w, c), c = 1 (grey) or 3; the suffix of the name says how:

    .mp4   H.264 in yuv420p, which plays everywhere. It wants even sides: an odd one gets its last row or column twice.
    .gif   plays everywhere, 256 colours chosen for the whole clip. Of more than 50 frames a second it keeps 50: it
           lasts as long as it should.
    .png   a strip: all frames side by side.
    .npy   the array itself.

    fps: frames a second; or one rate for each frame, which is shown for 1 / rate seconds.
    audio: its sound, of an .mp4 alone, written as AAC: float (n,) in [-1, 1], beyond that cut off. It begins with the
        first frame. rate: of the sound, in samples a second.

    An existing file is replaced only once the new one is complete.
    Raises UserError for another suffix, array, fps or sound, or a place that cannot be written to.
    """
    path, video = Path(path), np.asarray(video)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] not in (1, 3) or 0 in video.shape:
        raise UserError(f"write_video takes uint8 (t, h, w, 1 or 3), not {video.dtype} {video.shape}")
    rates = np.asarray(fps, np.float64)
    write = writer_of(path, rates)
    if rates.shape not in ((), (len(video),)):
        raise UserError(f"fps must be one number, or {len(video)}, one for each frame, not {rates.shape}")
    if audio is not None:
        if path.suffix.lower() != ".mp4":
            raise UserError(f"cannot write {path}: of the kinds of file only .mp4 holds sound")
        write = partial(_write_mp4, sound=_as_written(np.asarray(audio), rate))
    with draft_of(path) as draft:
        write(draft, video, rates)


def writer_of(path: Path, fps: float | Sequence[float] | np.ndarray = 8) -> Writer:
    """What writes a file of this name at these rates. Raises UserError, saying what is allowed, if nothing does, or
    nothing can be written there: ask before the work."""
    if path.suffix.lower() not in _WRITERS:
        raise UserError(f"cannot write {path}: the name must end in one of {' '.join(_WRITERS)}")
    for rate in np.unique(fps):
        if not SLOWEST <= rate <= FASTEST:
            raise UserError(f"cannot write {path}: fps must be above 0 and up to {FASTEST}, at least {SLOWEST}, "
                            f"not {rate:g}")
    folder = next(parent for parent in Path(os.path.abspath(path)).parents if parent.exists())
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder")
    if not folder.is_dir():
        raise UserError(f"cannot write {path}: {folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: you may not write into {folder}")
    return _WRITERS[path.suffix.lower()]


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A file to write, which replaces `path` once it is complete. Raises UserError if that cannot be."""
    try:
        with draft_beside(path) as draft:
            yield draft
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def write_array(path: Path, array: np.ndarray) -> None:
    """A .npy file under this very name."""
    with open(path, "wb") as file:  # given a name, NumPy may add its suffix to it
        np.save(file, array)


def _as_written(audio: np.ndarray, rate: int | None) -> np.ndarray:
    """The sound at the rate at which it is written. Raises UserError for what is none."""
    if audio.ndim != 1 or not len(audio) or audio.dtype.kind != "f" or not np.isfinite(audio).all():
        raise UserError(f"audio must be finite floats (n,), not {audio.dtype} {audio.shape}")
    if rate is None:
        raise UserError("audio needs its rate, in samples a second")
    check_rate(rate)
    return resample(audio, rate, _SOUND_RATE).clip(-1, 1)


def _write_mp4(path: Path, video: np.ndarray, fps: np.ndarray, sound: np.ndarray | None = None) -> None:
    _, height, width, channels = video.shape
    even = [(0, height % 2), (0, width % 2), (0, 0)]
    # One frame at a time: the video may be larger than the memory.
    frames = (np.pad(frame.repeat(3 // channels, -1), even, mode="edge") for frame in video)
    if fps.ndim and (fps != fps[0]).any():
        tick, times = Fraction(1, _TICKS), np.round(_times(fps, len(video)) * _TICKS).astype(int).tolist()
        order = {"bf": "0"}  # as shown: MP4 sums up times of decoding
    else:
        tick, times, order = 1 / Fraction(fps.flat[0]).limit_denominator(1001), range(len(video) + 1), {}
    _encode(path, "libx264", "yuv420p", tick, times, frames, "rgb24", {"crf": "18"} | order, sound)


def _write_gif(path: Path, video: np.ndarray, fps: np.ndarray) -> None:
    # Pillow chooses the colours, but would drop a frame that equals the one before; so FFmpeg writes.
    times = _times(fps, len(video))
    places = np.floor(times[:-1] * GIF_FASTEST + 1e-6).astype(int)  # of 0.02 s
    kept = np.flatnonzero(np.diff(places, prepend=-1))
    ticks = np.round(times * _GIF_TICKS).astype(int)
    if len(kept) < len(video):
        starts = places[kept] * _GIF_TICKS // GIF_FASTEST
        ticks, video = np.append(starts, max(ticks[-1], starts[-1] + 2)), video[kept]
    picture = Image.fromarray(_strip(video)).convert("RGB").quantize(256)
    red_green_blue = np.zeros((256, 3), np.uint8)
    chosen = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)
    red_green_blue[: len(chosen)] = chosen
    palette = np.concatenate([np.full((256, 1), 255, np.uint8), red_green_blue], 1)
    frames = ((frame, palette) for frame in np.split(np.array(picture), len(video), axis=1))
    _encode(path, "gif", "pal8", Fraction(1, _GIF_TICKS), ticks.tolist(), frames, "pal8", {})


def _write_png(path: Path, video: np.ndarray, _fps: np.ndarray) -> None:
    Image.fromarray(_strip(video)).save(path)


def _write_npy(path: Path, video: np.ndarray, _fps: np.ndarray) -> None:
    write_array(path, video)


def _times(fps: np.ndarray, frames: int) -> np.ndarray:
    """When each frame is shown, in seconds, and when the last one ends: (frames + 1,)."""
    return np.concatenate([[0], np.cumsum(np.broadcast_to(1 / fps, frames))])


def _strip(video: np.ndarray) -> np.ndarray:
    """(t, h, w, c) -> (h, t * w, 3), or (h, t * w) if grey."""
    strip = np.concatenate(list(video), axis=1)
    return strip[..., 0] if strip.shape[-1] == 1 else strip


def _encode(path: Path, codec: str, pixels: str, tick: Fraction, times: Sequence[int], frames: Iterable, given: str,
            options: dict, sound: np.ndarray | None = None) -> None:
    """times: when each frame is shown, and when the last one ends, in ticks. tick: seconds."""
    av = import_av()
    lengths = dict(zip(times[:-1], np.diff(times).tolist(), strict=True))
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(codec, rate=1 / tick, options=options)
        stream.pix_fmt = pixels
        heard = None if sound is None else container.add_stream("aac", rate=_SOUND_RATE, layout="mono")

        def encode(picture) -> None:
            for packet in stream.encode(picture):
                packet.duration = lengths[packet.pts]  # an encoder does not know it of the last one
                container.mux(packet)

        for time, frame in zip(lengths, frames, strict=True):
            picture = tuple(map(np.ascontiguousarray, frame)) if given == "pal8" else np.ascontiguousarray(frame)
            picture = av.VideoFrame.from_ndarray(picture, format=given)
            picture.pts, picture.time_base = time, tick
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.height, picture.width
            encode(picture)
        encode(None)
        if heard is not None:  # now, for the file begins with the sizes of the pictures
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE, 0, Fraction(1, _SOUND_RATE)
            for part in (frame, None):
                container.mux(heard.encode(part))


_WRITERS: dict[str, Writer] = {
    ".mp4": _write_mp4, ".gif": _write_gif, ".png": _write_png, ".npy": _write_npy
}
