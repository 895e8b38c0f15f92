"""Pictures in a notebook that everybody gets: with alt text, small, with or without a kernel, and on the web."""

import base64
import html
import os
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from lvlib.errors import UserError, unknown
from lvlib.viz.encoding import png, rasterise, webp, webp_url

LIMIT = 16_000  # bytes of a picture


def show(picture: Any, alt: str, limit: int = LIMIT) -> None:
    """Displays a matplotlib figure (and closes it) or a PIL image, with `alt` as its text alternative.

    In a live notebook the picture is an `<img alt=...>` that holds its own bytes: JupyterLab and nbconvert drop the
    alt text of an `image/png` output, and keep that of HTML. Pages on the web, such as GitHub's, strip that HTML and
    keep `image/png`. So with LVLIB_PICTURES=png, as the build runs notebooks, the picture is that, and its alt text is
    in the metadata beside it. Readers of plain text get `alt` itself.

    limit: bytes for a PIL image; what does not fit loses quality. Raises UserError when `alt` is empty.
    """
    from IPython.display import display

    data, metadata = bundle(picture, alt, limit)
    display(data, metadata=metadata, raw=True)


def slider(draw: Callable[..., Any], alt: str, **ranges: Sequence) -> None:
    """Shows `draw(name=value)` and a slider for each range, e.g. `slider(draw, "...", codes=[2, 8, 32])`.

    The picture for the middle of each range is always there, as `show` would show it; the sliders redraw
    it in place: without a kernel or without ipywidgets nothing is lost but the dragging.

    draw: takes one value of each range by name, gives a matplotlib figure or a PIL image.
    """
    from IPython.display import display

    for name, values in ranges.items():
        if not len(values):
            raise UserError(f"slider: the range {name} is empty; give it at least one value")
    middle = {name: values[len(values) // 2] for name, values in ranges.items()}
    data, metadata = bundle(draw(**middle), alt)
    picture = display(data, metadata=metadata, raw=True, display_id=True)
    try:
        import ipywidgets
    except ImportError:
        return
    sliders = {name: ipywidgets.SelectionSlider(options=list(values), value=middle[name], description=name)
               for name, values in ranges.items()}

    def redraw(_change: Any) -> None:
        data, metadata = bundle(draw(**{name: s.value for name, s in sliders.items()}), alt)
        picture.update(data, metadata=metadata, raw=True)

    for one in sliders.values():
        one.observe(redraw, names="value")
    display(ipywidgets.HBox(list(sliders.values())))


def bundle(picture: Any, alt: str, limit: int = LIMIT) -> tuple[dict[str, str], dict[str, dict]]:
    """The data of a picture by MIME type, and their metadata: what Jupyter's messages hold."""
    check_alt(alt)
    if isinstance(picture, Image.Image):
        width, image = picture.width, picture
    elif hasattr(picture, "savefig"):
        width, image = rasterise(picture)
        limit = 1_000_000  # blurred text would be worse than more bytes
    else:
        raise UserError(f"show takes a matplotlib figure or a PIL image, not {type(picture).__name__}")
    if for_the_web():
        encoded = base64.b64encode(png(image, limit)).decode()
        return {"image/png": encoded, "text/plain": alt}, {"image/png": {"alt": alt, "width": width}}
    return {"text/html": image_tag(alt, width, webp(image, limit)), "text/plain": alt}, {}


def for_the_web() -> bool:
    """Whether LVLIB_PICTURES asks for `image/png`: "html" is the default. Raises UserError for another value."""
    kind = os.environ.get("LVLIB_PICTURES", "html")
    if kind not in ("html", "png"):
        raise unknown("LVLIB_PICTURES", kind, ["html", "png"])
    return kind == "png"


def image_tag(alt: str, width: int, encoded: bytes) -> str:
    """HTML of a WebP image, `width` CSS pixels wide."""
    return (f'<img alt="{html.escape(alt)}" width="{width}" style="max-width: 100%; height: auto" '
            f'src="{webp_url(encoded)}">')


def check_alt(alt: str) -> None:
    if not isinstance(alt, str) or not alt.strip():
        raise UserError("alt is empty; say in a sentence what the picture shows, for those who cannot see it")


def check_fps(fps: float) -> None:
    if not 0 < fps < float("inf"):
        raise UserError(f"fps must be above 0, not {fps}")
