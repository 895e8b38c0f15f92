"""Video as one still image: a row for each clip, a column for each frame shown."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lvlib.data.tensors import from_video
from lvlib.errors import UserError

Videos = Tensor | np.ndarray | Sequence[Tensor | np.ndarray]
FONT_SIZE, MARGIN = 12, 4
INK, FAINT, PAPER = "#1c1f26", "#6b7280", "#ffffff"


def strip(videos: Videos, frames: int = 8, titles: Sequence[str] | None = None, gap: int = 2) -> Image.Image:
    """Evenly spaced frames of each clip, from the first to the last, with their numbers (from 0) on top.

    videos: float (c, t, h, w) or (b, c, t, h, w) in [-1, 1], uint8 (t, h, w, c) or (b, t, h, w, c), or a
        list of those; one length and size for all.
    titles: one for each clip, written in front of its row.
    """
    clips = to_clips(videos)
    check_titles(titles, clips)
    at = spaced(clips.shape[1], frames)
    rows = [(title, clip[at]) for title, clip in zip(titles or [""] * len(clips), clips, strict=True)]
    return draw_rows(rows, at, gap)


def save_strip(path: str | Path, videos: Videos, frames: int = 8,
               titles: Sequence[str] | None = None) -> None:
    """Writes `strip(...)` to an image file; the format follows from the suffix."""
    strip(videos, frames, titles).save(path)


def to_clips(videos: Videos) -> np.ndarray:
    """Anything `strip` takes as uint8 (clips, t, h, w, 3)."""
    if isinstance(videos, (list, tuple)):
        if not videos:
            raise UserError("no video to show: the list is empty")
        parts = [to_clips(video) for video in videos]
        if len({part.shape[1:] for part in parts}) > 1:
            sizes = ", ".join(str(part.shape[1:4]) for part in parts)
            raise UserError(f"clips shown together must have one length and size (t, h, w); got {sizes}")
        return np.concatenate(parts)
    video = torch.as_tensor(np.array(videos) if isinstance(videos, np.ndarray) else videos).detach().cpu()
    shape = tuple(video.shape)
    if video.ndim not in (4, 5):
        raise UserError(f"a video is float (c, t, h, w) or uint8 (t, h, w, c), or a batch; got {shape}")
    if video.is_floating_point():
        if video.isnan().any():
            raise UserError("the video holds NaN")
        video = from_video(video)
    elif video.dtype != torch.uint8:
        raise UserError(f"a video is float in [-1, 1] or uint8, not {video.dtype}")
    clips = video.numpy() if video.ndim == 5 else video.numpy()[None]
    if clips.shape[-1] not in (1, 3) or 0 in clips.shape:
        raise UserError(f"a video has 1 or 3 channels and at least one frame; got {shape}")
    return np.broadcast_to(clips, (*clips.shape[:-1], 3))


def check_titles(titles: Sequence[str] | None, clips: np.ndarray) -> None:
    if titles is not None and len(titles) != len(clips):
        raise UserError(f"{len(titles)} titles for {len(clips)} clips; give one for each")


def spaced(length: int, frames: int) -> np.ndarray:
    """At most `frames` evenly spaced indices in [0, length), both ends included."""
    if frames < 1:
        raise UserError(f"frames must be at least 1, not {frames}")
    return np.linspace(0, length - 1, min(frames, length)).round().astype(int)


def draw_rows(rows: Sequence[tuple[str, np.ndarray]], numbers: Sequence[int] | np.ndarray, gap: int) -> Image.Image:
    """Rows of cells under a line of numbers. rows: (title, uint8 (cells, h, w, 3)), one size for all."""
    font = ImageFont.load_default(FONT_SIZE)
    cells, h, w, _ = rows[0][1].shape
    zoom = max(1, round(64 / h))
    h, w = h * zoom, w * zoom
    head = MARGIN + FONT_SIZE + 4
    widest = max(ceil(font.getlength(title)) for title, _ in rows)
    left = MARGIN + (widest + 8 if widest else 0)
    size = (left + cells * (w + gap) - gap + MARGIN, head + len(rows) * (h + gap) - gap + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, number in enumerate(numbers):
        pen.text((left + column * (w + gap) + w / 2, head / 2 + 1), str(number), FAINT, font, anchor="mm")
    for row, (title, images) in enumerate(rows):
        y = head + row * (h + gap)
        pen.text((left - 8, y + h / 2), title, INK, font, anchor="rm")
        for column, image in enumerate(images):
            big = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
            sheet.paste(Image.fromarray(big), (left + column * (w + gap), y))
    return sheet
