"""Small videos whose frame numbers can be read off their pixels."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

STEP = 8
_CODECS = {".avi": "mpeg4", ".flv": "flv1", ".gif": "gif", ".ivf": "libvpx", ".mpeg": "mpeg1video",
           ".mpg": "mpeg2video", ".nut": "mpeg4", ".ogv": "libvpx", ".vob": "mpeg2video", ".webm": "libvpx-vp9",
           ".wmv": "wmv2"}
_PIXELS = {"gif": "rgb8", "apng": "rgb24", "mjpeg": "yuvj420p", "png": "rgb24"}


def numbered(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 (t, h, w, 3): frame i has the brightness STEP * i, and a bright corner at the top left."""
    brightness = STEP * np.arange(frames, dtype=np.uint8)
    video = np.broadcast_to(brightness[:, None, None, None], (frames, height, width, 3)).copy()
    video[:, : height // 4, : width // 4] = 255
    return video


def numbers(video: np.ndarray) -> list[int]:
    """The numbers of the frames, read off their pixels."""
    return np.round(video[:, video.shape[1] // 2 :].mean((1, 2, 3)) / STEP).astype(int).tolist()


def save_video(
    path: Path, frames: int = 20, fps: int = 25, options: dict | None = None, container: dict | None = None,
    codec: str | None = None, pixels: str | None = None, stamps: Sequence[int] | None = None,
    pixel: Fraction | None = None, first: int = 0, size: tuple[int, int] = (48, 64), sound: float = 0,
) -> Path:
    """Encodes `numbered` frames by FFmpeg alone; `options` are the codec's, `container` the file format's.

    stamps: when each frame is shown, in units of 1 / fps. pixel: its width by its height. first: the number of the
    first frame. sound: seconds of silence beside it.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    codec = codec or _CODECS.get(path.suffix, "libx264")
    with av.open(f"file:{path}", "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=fps, options={"b": "4000000"} | (options or {}))
        stream.height, stream.width = size
        stream.pix_fmt = pixels or _PIXELS.get(codec, "yuv420p")
        if pixel:
            stream.codec_context.sample_aspect_ratio = pixel
        silence = _silence(file, sound) if sound else iter(())
        for i, frame in enumerate(numbered(first + frames, *size)[first:]):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=stream.pix_fmt)
            picture.pts, picture.time_base = (stamps[i] if stamps else i), Fraction(1, fps)
            file.mux(stream.encode(picture))
            file.mux(next(silence, []))
        file.mux(stream.encode())
        for packets in silence:
            file.mux(packets)
    return path


def copy_stream(source: Path, target: Path, change: Callable, container: dict | None = None) -> Path:
    """Copies the packets of the pictures without decoding them. `change` gets each with its number, and may alter it;
    what it gives is written: a packet, or None to leave it out."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w", options=container or {}) as new:
        stream = old.streams.video[0]
        copied = new.add_stream_from_template(stream)
        for i, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            packet = change(i, packet)
            if packet:
                packet.stream = copied
                new.mux(packet)
    return target


def _silence(file, seconds: float):
    import av

    stream = file.add_stream("mp2" if file.format.name in ("avi", "mpeg") else "aac", rate=48000)
    stream.layout = "mono"
    kind = "s16" if file.format.name in ("avi", "mpeg") else "fltp"

    def packets():
        for start in range(0, int(48000 * seconds), 1920):  # as long as a picture
            frame = av.AudioFrame(kind, "mono", 1920)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            yield stream.encode(frame)
        yield stream.encode()

    return packets()


def save_images(folder: Path, frames: int = 20) -> Path:
    """frame1.png, frame2.png, ... frame10.png, ..."""
    folder.mkdir(parents=True)
    for i, frame in enumerate(numbered(frames)):
        Image.fromarray(frame).save(folder / f"frame{i + 1}.png")
    return folder


def cut(path: Path, share: float = 0.6) -> Path:
    """Only the first part of a file is left."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def patch(path: Path, old: bytes, new: bytes) -> Path:
    """Other bytes in the place of those, wherever they are."""
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path
