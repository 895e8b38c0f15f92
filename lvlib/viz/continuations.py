"""Clips that begin with given frames and go on with generated ones, drawn so that one sees which are which."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lvlib.viz.strips import FONT_SIZE, INK, MARGIN, PAPER, draw_rows, to_clips

GENERATED = "#c2410c"  # the colour of what nobody filmed
COLUMNS = 6


@dataclass(frozen=True)
class Continuation:
    """A clip, uint8 (t, h, w, c), whose first `given` frames are given and the others generated. None: it is true."""

    title: str
    video: np.ndarray
    given: int | None = None

    def summary(self) -> str:
        if self.given is None:
            return self.title
        return f"{self.title}: {parts_in_words(self.given, len(self.video))}"

    def caption(self, frame: int) -> str:
        if self.given is None:
            return self.title
        return f"{self.title}: {'given' if frame < self.given else 'generated'}"


def continuation_strip(clips: Sequence[Continuation]) -> np.ndarray:
    """A row for each clip, all frames side by side: uint8 (h, w, 3)."""
    rows = [(clip.summary(), to_clips(clip.video)[0]) for clip in clips]
    return np.asarray(draw_rows(rows, range(len(clips[0].video)), gap=2))


def span(start: int, end: int) -> str:
    """Frames start to end - 1 in words: "0", or "5 to 15"."""
    return str(start) if end - start == 1 else f"{start} to {end - 1}"


def parts_in_words(given: int, frames: int) -> str:
    """Which frames are given and which generated: "0 given, 1 to 15 generated"."""
    if given == 0:
        return "all generated"
    if given == frames:
        return "all given"
    return f"{span(0, given)} given, {span(given, frames)} generated"


def continuation_panels(clips: Sequence[Continuation]) -> np.ndarray:
    """The clips play together, each under a caption that says what its frame is: uint8 (t, h, w, 3)."""
    font = ImageFont.load_default(FONT_SIZE)
    videos = to_clips([clip.video for clip in clips])
    zoom = max(1, round(128 / videos.shape[2]))  # wide enough for a caption
    videos = videos.repeat(zoom, axis=2).repeat(zoom, axis=3)
    _, frames, h, w, _ = videos.shape
    head, columns = FONT_SIZE + 2 * MARGIN, min(COLUMNS, len(clips))
    size = columns * (w + MARGIN) + MARGIN, ceil(len(clips) / columns) * (h + head) + MARGIN
    sheets = []
    for frame in range(frames):
        sheet = Image.new("RGB", size, PAPER)
        pen = ImageDraw.Draw(sheet)
        for i, clip in enumerate(clips):
            x, y = MARGIN + i % columns * (w + MARGIN), i // columns * (h + head)
            generated = clip.given is not None and frame >= clip.given
            pen.text((x, y + head / 2), clip.caption(frame), GENERATED if generated else INK, font, anchor="lm")
            sheet.paste(Image.fromarray(videos[i, frame]), (x, y + head))
        sheets.append(np.asarray(sheet))
    return np.stack(sheets)
