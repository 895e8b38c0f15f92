"""Clips with given frames at their ends and generated ones, drawn so that one sees which are which."""

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
    """A clip, uint8 (t, h, w, c), whose first `given` and last `given_last` frames are given and the others generated.
    None: it is true."""

    title: str
    video: np.ndarray
    given: int | None = None
    given_last: int = 0

    def summary(self) -> str:
        if self.given is None:
            return self.title
        return f"{self.title}: {parts_in_words(self.given, len(self.video), self.given_last)}"

    def is_generated(self, frame: int) -> bool:
        return self.given is not None and self.given <= frame < len(self.video) - self.given_last

    def caption(self, frame: int) -> str:
        if self.given is None:
            return self.title
        return f"{self.title}: {'generated' if self.is_generated(frame) else 'given'}"


def continuation_strip(clips: Sequence[Continuation]) -> np.ndarray:
    """A row for each clip, all frames side by side: uint8 (h, w, 3)."""
    rows = [(clip.summary(), to_clips(clip.video)[0]) for clip in clips]
    return np.asarray(draw_rows(rows, range(len(clips[0].video)), gap=2))


def span(start: int, end: int) -> str:
    """Frames start to end - 1 in words: "0", or "5 to 15"."""
    return str(start) if end - start == 1 else f"{start} to {end - 1}"


def parts_in_words(given: int, frames: int, given_last: int = 0) -> str:
    """Which frames are given and which generated: "0 given, 1 to 15 generated"."""
    if given_last:
        end = frames - given_last
        return f"{span(0, given)} and {span(end, frames)} given, {span(given, end)} generated"
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
            ink = GENERATED if clip.is_generated(frame) else INK
            pen.text((x, y + head / 2), clip.caption(frame), ink, font, anchor="lm")
            sheet.paste(Image.fromarray(videos[i, frame]), (x, y + head))
        sheets.append(np.asarray(sheet))
    return np.stack(sheets)
