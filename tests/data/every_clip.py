"""What every clip of a video must be: what a decode from the start gives at its place."""

import numpy as np
import pytest

from lvlib.data import read_video
from lvlib.data.video_files import survey

GOPS = {"g": "8", "bf": "2"}  # key frames inside, and frames that are stored out of order
OPEN_GOPS = {"x264-params": "keyint=8:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}  # some need more than the last one


def decoded(path) -> np.ndarray:
    """What FFmpeg gives from the start, packet by packet; an independent reading, for files that are shown upright."""
    import av

    frames = []
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = next(s for s in container.streams.video if not s.disposition & 1024)
        for packet in container.demux(stream):
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.FFmpegError:
                pass
    return np.stack(frames)


def check_every_clip(path, frames: int, fps: float | None = 25) -> np.ndarray:
    """All frames are those that FFmpeg gives, and those of any clip are the ones at its place."""
    whole, rate = read_video(path)
    assert len(whole) == frames and (fps is None or rate == pytest.approx(fps, rel=1e-3))
    truth = decoded(path)
    assert whole.shape == truth.shape and (whole == truth).all()
    for start in range(frames):
        count = min(3, frames - start)
        assert (read_video(path, count, start)[0] == whole[start : start + count]).all()
    assert (read_video(path, stride=5)[0] == whole[::5]).all()
    assert survey(path).frames == frames
    return whole
