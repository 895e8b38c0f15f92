"""A clip with buttons below it: each click shows what happens next."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from lvlib.errors import UserError
from lvlib.viz.output import check_alt, check_fps, for_the_web, image_tag, show
from lvlib.viz.strips import Videos, strip, to_clips

ZOOM = 4


def pad(press: Callable[[str], Videos], buttons: Sequence[str], first: Videos, *, alt: str, fps: float = 8) -> None:
    """Plays the clip `first`, once, and puts a button below it for each name; a click plays `press(name)` in its place.

    Without a kernel or without ipywidgets the first clip is all there is; on the web (see `show`) it is a strip of
    its frames. While `press` works, the buttons wait.

    first, and what press gives: one clip, as in `strip`. fps: frames per second. alt: what is to be seen.
    """
    from IPython.display import display

    check_alt(alt)
    check_fps(fps)
    if not buttons:
        raise UserError("pad: give at least one button")
    if for_the_web():
        show(strip(_one_clip(first)), alt)
        return
    picture = display(_played(first, fps, alt), raw=True, display_id=True)
    try:
        import ipywidgets
    except ImportError:
        return
    widgets = [ipywidgets.Button(description=name) for name in buttons]

    def clicked(button) -> None:
        for widget in widgets:
            widget.disabled = True
        try:
            picture.update(_played(press(button.description), fps, alt), raw=True)
        finally:
            for widget in widgets:
                widget.disabled = False

    for widget in widgets:
        widget.on_click(clicked)
    display(ipywidgets.HBox(widgets))


def _played(video: Videos, fps: float, alt: str) -> dict[str, str]:
    """The MIME bundle of an animated WebP that stops at its last frame."""
    frames = [Image.fromarray(frame.repeat(ZOOM, 0).repeat(ZOOM, 1)) for frame in _one_clip(video)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=1,
                   quality=70)
    return {"text/html": image_tag(alt, frames[0].width, file.getvalue()), "text/plain": alt}


def _one_clip(video: Videos) -> np.ndarray:
    """uint8 (t, h, w, 3)."""
    clips = to_clips(video)
    if len(clips) != 1:
        raise UserError(f"pad shows one clip, not {len(clips)}")
    return clips[0]
