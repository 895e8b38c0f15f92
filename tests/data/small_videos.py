"""Small videos whose frame numbers can be read off their pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

STEP = 8
_CODECS = {".mp4": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4", ".mkv": "libx264", ".gif": "gif"}


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
    path: Path, frames: int = 20, fps: int = 25, options: dict | None = None, container: dict | None = None
) -> Path:
    """Encodes `numbered` frames by FFmpeg alone; `options` are the codec's, `container` the file format's."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(_CODECS[path.suffix], rate=fps, options={"b": "4000000"} | (options or {}))
        pixels = "rgb8" if path.suffix == ".gif" else "yuv420p"
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for frame in numbered(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)))
        file.mux(stream.encode())
    return path


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
