"""One picture of a video, as models see it: upright, 8 bit RGB, of square pixels. From Pillow, or from FFmpeg."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Size = int | tuple[int, int]
Resize = Literal["lanczos", "bilinear"]  # both of Pillow, which widens them where a picture shrinks


def fit(image: Image.Image, size: Size, resize: Resize = "lanczos") -> Image.Image:
    """Resizes (Lanczos, as LVT does for Kinetics, section 4.3) so that the image just covers `size`, an int or
    (height, width), and keeps the middle."""
    height, width = (size, size) if isinstance(size, int) else size
    return _resize(image, height, width, max(width / image.width, height / image.height), 1, resize)


def fit_frame(frame, pixel: float, size: Size, resize: Resize = "lanczos") -> Image.Image:
    """The same of a frame of FFmpeg, whose pixels are `pixel` times as wide as high."""
    image, pixel = _upright(frame, pixel)
    height, width = (size, size) if isinstance(size, int) else size
    scale = max(width / (image.width * pixel), height / image.height)
    return _resize(image, height, width, scale, pixel, resize)


def shown_size(frame, pixel: float) -> tuple[int, int]:
    """Height and width at which a frame of FFmpeg is shown: upright, its pixels made square by their width."""
    turned = abs(_display_matrix(frame)[0]) < abs(_display_matrix(frame)[1])
    shown = frame.height, max(1, round(frame.width * pixel))
    return shown[::-1] if turned else shown


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """An image file. What Pillow only warns of is an error: more than 89 million pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            yield image


def as_rgb(image: Image.Image) -> Image.Image:
    """Upright, as its EXIF says; 8 bit RGB. What is transparent shows the colour that lies under it."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # grey of 16 bits, which Pillow would cut off at 255
        upright = Image.fromarray((np.asarray(upright).clip(0, 65535) / 257).round().astype(np.uint8))
    return upright.convert("RGB")


def _resize(image: Image.Image, height: int, width: int, scale: float, pixel: float, resize: Resize) -> Image.Image:
    """scale: from units of the picture's height to new pixels; a unit is 1 / pixel columns wide."""
    left = max(0, image.width - width / (scale * pixel)) / 2
    top = max(0, image.height - height / scale) / 2
    kernel = {"lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR}[resize]
    return image.resize((width, height), kernel, (left, top, image.width - left, image.height - top))


def _upright(frame, pixel: float) -> tuple[Image.Image, float]:
    """As its display matrix says: phones turn videos, and front cameras mirror them."""
    a, b, c, d = _display_matrix(frame)
    pixels = frame.to_ndarray(format="rgb24", threads=1)
    if abs(a) < abs(b):  # x and y are swapped
        pixels, pixel, a, d = pixels.swapaxes(0, 1), 1 / pixel, c, b
    pixels = pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return Image.fromarray(np.ascontiguousarray(pixels)), pixel


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """a, b, c, d: a point (x, y) of the frame is shown at (a x + c y, b x + d y)."""
    from av.sidedata.sidedata import SideDataContainer

    # frame.side_data would hold the frame, and the frame that: large, and freed by the garbage collector alone.
    data = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    return a, b, c, d
