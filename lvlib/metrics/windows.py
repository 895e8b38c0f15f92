# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""Long videos as short windows."""

from torch import Tensor


def windows(video: Tensor, frames: int = 16, every: int = 16) -> Tensor:
    """Windows that begin `every` frames apart: (b, c, t, h, w) -> (b, n, c, frames, h, w), a view.

    Frames after the last whole window are left out. Raises ValueError for a video that is shorter.
    TATS (Fig. 5) and MeBT (Fig. 7) score each window of 16: every 16 frames, and every 8.
    """
    if video.shape[2] < frames:
        raise ValueError(f"a video of {video.shape[2]} frames has no window of {frames}")
    return video.unfold(2, frames, every).permute(0, 2, 1, 5, 3, 4)
