"""Pictures in a notebook that everybody gets: with alt text, small, with or without a kernel."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from lvlib.errors import UserError

CSS_DPI = 96  # what a browser calls one inch


def show(picture: Any, alt: str, limit: int = 16_000) -> None:
    """Displays a matplotlib figure (and closes it) or a PIL image, with `alt` as its text alternative.

    JupyterLab and nbconvert both drop the alt text of an `image/png` output. They keep that of HTML, so the
    picture becomes an `<img alt=...>` that holds its own bytes; it shows in untrusted notebooks, too.
    Readers of plain text get `alt` itself.

    limit: bytes for a PIL image; what does not fit loses quality. Raises UserError when `alt` is empty.
    """
    from IPython.display import display

    display(bundle(picture, alt, limit), raw=True)


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
    picture = display(bundle(draw(**middle), alt), raw=True, display_id=True)
    try:
        import ipywidgets
    except ImportError:
        return
    sliders = {name: ipywidgets.SelectionSlider(options=list(values), value=middle[name], description=name)
               for name, values in ranges.items()}

    def redraw(_change: Any) -> None:
        picture.update(bundle(draw(**{name: s.value for name, s in sliders.items()}), alt), raw=True)

    for one in sliders.values():
        one.observe(redraw, names="value")
    display(ipywidgets.HBox(list(sliders.values())))


def bundle(picture: Any, alt: str, limit: int = 16_000) -> dict[str, str]:
    """The MIME bundle of a picture: `text/html` and `text/plain`."""
    check_alt(alt)
    if isinstance(picture, Image.Image):
        width, encoded = picture.width, encode(picture, limit)
    elif hasattr(picture, "savefig"):
        width, encoded = rasterise(picture)
    else:
        raise UserError(f"show takes a matplotlib figure or a PIL image, not {type(picture).__name__}")
    return {"text/html": image_tag(alt, width, encoded), "text/plain": alt}


def image_tag(alt: str, width: int, encoded: bytes) -> str:
    """HTML of a WebP image, `width` CSS pixels wide."""
    return (f'<img alt="{html.escape(alt)}" width="{width}" style="max-width: 100%; height: auto" '
            f'src="{data_url(encoded)}">')


def check_alt(alt: str) -> None:
    if not isinstance(alt, str) or not alt.strip():
        raise UserError("alt is empty; say in a sentence what the picture shows, for those who cannot see it")


def rasterise(figure: Any) -> tuple[int, bytes]:
    """(width in CSS pixels, WebP) of a matplotlib figure. Closes the figure."""
    from matplotlib import pyplot

    file = io.BytesIO()
    figure.savefig(file, format="png")
    pyplot.close(figure)
    # 64 colours are plenty for lines and text, and a third of the bytes.
    image = Image.open(file).convert("RGB").quantize(64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return round(figure.get_figwidth() * CSS_DPI), encode(image, limit=1_000_000)


def encode(image: Image.Image, limit: int) -> bytes:
    """An image as WebP: exact if that fits into `limit` bytes, else at the best quality that does.

    Where nothing fits, the smallest.
    """
    image = image.convert("RGB")
    tried = [webp(image, lossless=True)]
    for quality in (90, 80, 70, 60, 50, 40, 30):
        if len(tried[-1]) <= limit:
            return tried[-1]
        tried.append(webp(image, quality=quality))
    return min(tried, key=len)


def webp(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", method=6, **options)
    return file.getvalue()


def data_url(encoded: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(encoded).decode()}"
