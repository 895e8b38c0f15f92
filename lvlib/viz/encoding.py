"""Pictures as bytes: WebP for a live notebook, PNG for one that is read on the web."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from lvlib.viz.figures import COLOURS

CSS_DPI = 96  # what a browser calls one inch
FEW_COLOURS = 32
PNG_SHARE = 2  # an exact PNG takes about twice the bytes of an exact WebP


def rasterise(figure: Any) -> tuple[int, Image.Image]:
    """(width in CSS pixels, picture) of a matplotlib figure. Closes the figure."""
    from matplotlib import pyplot

    file = io.BytesIO()
    figure.savefig(file, format="png")
    pyplot.close(figure)
    # 64 colours are plenty for lines and text, and a third of the bytes. They are those of large areas: so that a thin
    # line beside a picture keeps its own, by which the legend names it, the lines' colours are kept, too.
    image = Image.open(file).convert("RGB")
    areas = image.quantize(64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB").getcolors() or []
    kept = np.array([colour for _, colour in areas] + [ImageColor.getrgb(colour) for colour in COLOURS], np.int32)
    pixels = np.asarray(image).astype(np.int32)
    nearest = np.stack([np.square(pixels - colour).sum(2) for colour in kept]).argmin(0)
    image = Image.fromarray(kept[nearest].astype(np.uint8))
    return round(figure.get_figwidth() * CSS_DPI), image


def webp(image: Image.Image, limit: int) -> bytes:
    """An image as WebP: exact if that fits into `limit` bytes, else at the best quality that does.

    Where nothing fits, the smallest.
    """
    image = image.convert("RGB")
    tried = [_saved(image, "WEBP", method=6, lossless=True)]
    for quality in (90, 80, 70, 60, 50, 40, 30):
        if len(tried[-1]) <= limit:
            return tried[-1]
        tried.append(_saved(image, "WEBP", method=6, quality=quality))
    return min(tried, key=len)


def png(image: Image.Image, limit: int) -> bytes:
    """An image as PNG: exact if that takes less than about twice `limit` bytes, else in 32 colours."""
    image = image.convert("RGB")
    exact = _saved(_with_palette(image), "PNG", optimize=True)
    if len(exact) <= PNG_SHARE * limit:
        return exact
    # 32 levels a channel first: noise that nobody sees, such as almost black on black, takes most of the bytes.
    coarse = image.point([round(round(value * 31 / 255) * 255 / 31) for value in range(256)] * 3)
    few = coarse.quantize(FEW_COLOURS, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    return min(exact, _saved(few, "PNG", optimize=True), key=len)


def webp_url(encoded: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(encoded).decode()}"


def _with_palette(image: Image.Image) -> Image.Image:
    """The same pixels, as indices into their colours where these are few enough for a byte."""
    red, green, blue = np.moveaxis(np.asarray(image, np.uint32), -1, 0)
    colours, indices = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    if len(colours) > 256:
        return image
    indexed = Image.fromarray(indices.reshape(red.shape).astype(np.uint8))
    indexed.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8).tobytes())
    return indexed


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
