"""A video player for notebooks: one piece of HTML that needs no network, no kernel and no other file."""

import base64
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from math import ceil, sqrt
from string import Template

import numpy as np
from einops import rearrange
from PIL import Image
from torch import Tensor

from lvlib.data.audio import check_rate, wav_bytes
from lvlib.errors import UserError
from lvlib.viz.encoding import webp, webp_url
from lvlib.viz.output import check_alt, check_fps, show
from lvlib.viz.strips import Videos, check_titles, strip, to_clips

ROOM = 680  # CSS pixels: what a notebook's output area has at least
GAP, PADDING, TITLE, BAR = 8, 11, 20, 38  # as in player.html
SPRITE_BYTES, STRIP_BYTES = 15_500, 11_500  # together about 40 kB as text in a notebook


Sounds = Sequence[np.ndarray | Tensor | None]


def show_video(videos: Videos, titles: Sequence[str] | None = None, fps: float = 8, *, alt: str,
               scale: int | None = None, frames: int = 8, sounds: Sounds | None = None,
               rate: int | None = None) -> None:
    """Displays clips side by side in a player, all in step, and below it a strip of `frames` frames of each.

    The strip is for where no player is shown: a page on the web, print, a notebook that is not trusted.

    videos, titles: as in `strip`. fps: frames per second. alt: what is to be seen, in a sentence.
    scale: screen pixels for one pixel of video; chosen to fit if None.
    sounds: of each clip, float (n,) in [-1, 1], or None where it has none: one of them can be turned on in the player,
        and is then heard in step. rate: of the sounds, in samples a second. 16,000 samples take 43 kB of a notebook.
    """
    from IPython.display import display

    player = player_html(videos, titles, fps, alt=alt, scale=scale, sounds=sounds, rate=rate)
    display({"text/html": player, "text/plain": f"Video: {alt}"}, raw=True)
    show(strip(videos, frames, titles), alt=f"Frames of the video: {alt}", limit=STRIP_BYTES)


def player_html(videos: Videos, titles: Sequence[str] | None = None, fps: float = 8, *, alt: str,
                scale: int | None = None, sounds: Sounds | None = None, rate: int | None = None) -> str:
    """The player as an `<iframe>` that holds everything: style, script, and all frames in one image.

    The iframe keeps a player apart from others and from the notebook: their styles and scripts never meet. Where
    scripts do not run, it shows the first frames. Arguments as of `show_video`; UserError for sounds that do not fit.
    """
    check_alt(alt)
    clips = to_clips(videos)
    check_titles(titles, clips)
    check_fps(fps)
    n, t, h, w, _ = clips.shape
    urls = sound_urls(sounds, rate, n)
    rows = ceil(n / max(1, ROOM // (max(w, 128) + GAP)))
    columns = ceil(n / rows)
    if scale is None:
        scale = max(1, min(round(256 / h), (ROOM - columns * GAP) // (columns * w)))
    width = max(columns * (w * scale + GAP) - GAP, 380 if any(urls) else 260) + 2 * PADDING
    height = rows * (h * scale + (TITLE if titles else 0) + GAP) - GAP + BAR + 2 * PADDING
    sprite, across = to_sprite(clips)
    down = sprite.height // h
    figures = [figure(title, w, h, position(clip * t, across, down)) for clip, title in enumerate(titles or [""] * n)]
    label = html.escape(f"video player: {alt}")
    page = Template(files("lvlib.viz").joinpath("player.html").read_text(encoding="utf-8")).substitute(
        label=label, width_px=f"{width}px", clip_px=f"{w * scale}px", columns=columns, last=t - 1, fps=fps,
        across=across, down=down, sprite=webp_url(webp(sprite, SPRITE_BYTES)), figures="".join(figures),
        sounds=json.dumps(urls), sound=sound_choice(urls, titles or [f"clip {i + 1}" for i in range(n)]))
    style = f"border: 0; color-scheme: light; width: {width}px; max-width: 100%; height: {height}px"
    return f'<iframe title="{label}" sandbox="allow-scripts" style="{style}" srcdoc="{html.escape(page)}"></iframe>'


def sound_urls(sounds: Sounds | None, rate: int | None, clips: int) -> list[str]:
    """A WAV file for each clip, as a URL that holds it; "" where a clip has no sound, [] where none has."""
    if sounds is None:
        return []
    if len(sounds) != clips:
        raise UserError(f"there are {len(sounds)} sounds for {clips} clips: give one for each, or None")
    if rate is None:
        raise UserError("sounds need their rate, in samples a second")
    check_rate(rate)
    urls = []
    for sound in sounds:
        samples = np.zeros(0) if sound is None else np.asarray(sound)
        if samples.ndim != 1 or samples.dtype.kind != "f" or not np.isfinite(samples).all():
            raise UserError(f"a sound must be finite floats (n,), not {samples.dtype} {samples.shape}")
        wav = base64.b64encode(wav_bytes(samples, rate)).decode()
        urls.append(f"data:audio/wav;base64,{wav}" if len(samples) else "")
    return urls


def sound_choice(urls: Sequence[str], titles: Sequence[str]) -> str:
    """What turns the sound of one clip on; nothing where there is none."""
    if not any(urls):
        return ""
    options = [f'<option value="{i}">&#9834; {html.escape(title)}</option>'
               for i, (url, title) in enumerate(zip(urls, titles, strict=True)) if url]
    return ('<select id="sound" aria-label="sound" title="sound"><option value="">no sound</option>'
            f'{"".join(options)}</select>\n')


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
