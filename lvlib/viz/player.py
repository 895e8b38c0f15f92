"""A video player for notebooks: one piece of HTML that needs no network, no kernel and no other file."""

import html
from collections.abc import Sequence
from importlib.resources import files
from math import ceil, sqrt
from string import Template

import numpy as np
from einops import rearrange
from PIL import Image

from lvlib.viz.encoding import webp, webp_url
from lvlib.viz.output import check_alt, check_fps, show
from lvlib.viz.strips import Videos, check_titles, strip, to_clips

ROOM = 680  # CSS pixels: what a notebook's output area has at least
GAP, PADDING, TITLE, BAR = 8, 11, 20, 38  # as in player.html
SPRITE_BYTES, STRIP_BYTES = 15_500, 11_500  # together about 40 kB as text in a notebook


def show_video(videos: Videos, titles: Sequence[str] | None = None, fps: float = 8, *, alt: str,
               scale: int | None = None, frames: int = 8) -> None:
    """Displays clips side by side in a player, all in step, and below it a strip of `frames` frames of each.

    The strip is for where no player is shown: a page on the web, print, a notebook that is not trusted.

    videos, titles: as in `strip`. fps: frames per second. alt: what is to be seen, in a sentence.
    scale: screen pixels for one pixel of video; chosen to fit if None.
    """
    from IPython.display import display

    player = player_html(videos, titles, fps, alt=alt, scale=scale)
    display({"text/html": player, "text/plain": f"Video: {alt}"}, raw=True)
    show(strip(videos, frames, titles), alt=f"Frames of the video: {alt}", limit=STRIP_BYTES)


def player_html(videos: Videos, titles: Sequence[str] | None = None, fps: float = 8, *, alt: str,
                scale: int | None = None) -> str:
    """The player as an `<iframe>` that holds everything: style, script, and all frames in one image.

    The iframe keeps a player apart from others and from the notebook: their styles and scripts never meet. Where
    scripts do not run, it shows the first frames.
    """
    check_alt(alt)
    clips = to_clips(videos)
    check_titles(titles, clips)
    check_fps(fps)
    n, t, h, w, _ = clips.shape
    rows = ceil(n / max(1, ROOM // (max(w, 128) + GAP)))
    columns = ceil(n / rows)
    if scale is None:
        scale = max(1, min(round(256 / h), (ROOM - columns * GAP) // (columns * w)))
    width = max(columns * (w * scale + GAP) - GAP, 260) + 2 * PADDING
    height = rows * (h * scale + (TITLE if titles else 0) + GAP) - GAP + BAR + 2 * PADDING
    sprite, across = to_sprite(clips)
    down = sprite.height // h
    figures = [figure(title, w, h, position(clip * t, across, down)) for clip, title in enumerate(titles or [""] * n)]
    label = html.escape(f"video player: {alt}")
    page = Template(files("lvlib.viz").joinpath("player.html").read_text(encoding="utf-8")).substitute(
        label=label, width_px=f"{width}px", clip_px=f"{w * scale}px", columns=columns, last=t - 1, fps=fps,
        across=across, down=down, sprite=webp_url(webp(sprite, SPRITE_BYTES)), figures="".join(figures))
    style = f"border: 0; color-scheme: light; width: {width}px; max-width: 100%; height: {height}px"
    return f'<iframe title="{label}" sandbox="allow-scripts" style="{style}" srcdoc="{html.escape(page)}"></iframe>'


def to_sprite(clips: np.ndarray) -> tuple[Image.Image, int]:
    """All frames, clip after clip, as the cells of one nearly square image, and how many cells go across."""
    cells = rearrange(clips, "n t h w c -> (n t) h w c")
    across = ceil(sqrt(len(cells)))
    blank = np.zeros((-len(cells) % across, *cells.shape[1:]), np.uint8)
    sheet = rearrange(np.concatenate([cells, blank]), "(y x) h w c -> (y h) (x w) c", x=across)
    return Image.fromarray(sheet), across


def position(cell: int, across: int, down: int) -> str:
    """Where a cell of the sprite lies, as CSS's background-position, in which 100% is the last column or row."""
    row, column = divmod(cell, across)
    return f"{100 * column / max(across - 1, 1):.4f}% {100 * row / max(down - 1, 1):.4f}%"


def figure(title: str, w: int, h: int, poster: str) -> str:
    """A canvas under its title. poster: the position of its first frame in the sprite; scripts draw over it."""
    title = html.escape(title)
    caption = f"<figcaption>{title}</figcaption>" if title else ""
    canvas = (f'<canvas width="{w}" height="{h}" role="img" aria-label="{title or "clip"}" '
              f'style="background-position: {poster}"></canvas>')
    return f"<figure>{caption}{canvas}</figure>"
