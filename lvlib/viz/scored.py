"""Clips with their scores beside them: a row for each clip, a column for each score."""

from collections.abc import Mapping, Sequence
from math import ceil

from PIL import Image, ImageDraw, ImageFont

from lvlib.errors import UserError
from lvlib.viz.strips import FAINT, FONT_SIZE, INK, MARGIN, PAPER, Videos, strip

CELL, MARKED = "#f1f3f5", "#f6c28b"
LEAST_WIDTH = 54  # pixels of a column


def scored_strip(videos: Videos, titles: Sequence[str], scores: Mapping[str, Sequence[tuple[str, bool]]],
                 frames: int = 5, gap: int = 2) -> Image.Image:
    """A `strip` with a cell for each score on its right: what it says, on orange where it is marked.

    scores: by the heading of the column, which may have several lines, a (text, marked) for each clip.
    Raises UserError for a column of another length, and for what `strip` refuses.
    """
    sheet, font = strip(videos, frames, titles, gap), ImageFont.load_default(FONT_SIZE)
    for heading, column in scores.items():
        if len(column) != len(titles):
            raise UserError(f"{len(column)} scores {heading!r} for {len(titles)} clips; give one for each")
    lines = max((heading.count("\n") for heading in scores), default=0)
    texts = {heading: [*heading.split("\n"), *(text for text, _ in column)] for heading, column in scores.items()}
    widths = [max(LEAST_WIDTH, 8 + ceil(max(map(font.getlength, text)))) for text in texts.values()]
    above = lines * (FONT_SIZE + 2)
    table = Image.new("RGB", (sheet.width + sum(widths) + len(widths) * gap + MARGIN, sheet.height + above), PAPER)
    table.paste(sheet, (0, above))
    pen, x = ImageDraw.Draw(table), sheet.width
    head = MARGIN + FONT_SIZE + 4
    row = (sheet.height - head - MARGIN + gap) / len(titles)  # with the gap below it
    for (heading, column), width in zip(scores.items(), widths, strict=True):
        for i, line in enumerate(heading.split("\n")[::-1]):
            pen.text((x + width / 2, above + head / 2 + 1 - i * (FONT_SIZE + 2)), line, FAINT, font, anchor="mm")
        for i, (text, is_marked) in enumerate(column):
            y = above + head + i * row
            pen.rectangle((x, y, x + width - 1, y + row - gap - 1), MARKED if is_marked else CELL)
            pen.text((x + width / 2, y + (row - gap) / 2), text, INK, font, anchor="mm")
        x += width + gap
    return table
