"""Codes as pictures: every code a colour of its own, and where codes change over time. LVT, Figs. 6 and 7."""

from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from lvlib.errors import UserError
from lvlib.viz.output import show
from lvlib.viz.strips import Videos, draw_rows, spaced, to_clips

COLOURS = 1024  # beyond these nobody tells two apart
STILL, CHANGED = (38, 34, 72), (250, 220, 60)  # LVT: yellow means a change


def code_map(codes: Tensor, n_codes: int) -> np.ndarray:
    """Codes as indexed colour: int64 (...) -> uint8 (..., 3). A code has the same colour everywhere; from code
    1024 on, colours come again.

    Raises UserError for a code outside 0..n_codes-1.
    """
    codes = torch.as_tensor(codes).cpu()
    if codes.is_floating_point():
        raise UserError(f"codes are whole numbers, not {codes.dtype}")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= n_codes:
        raise UserError(f"codes with n_codes={n_codes} lie in 0..{n_codes - 1}; got {low} to {high}")
    return palette()[codes.numpy() % COLOURS]


def change_mask(codes: Tensor) -> Tensor:
    """True where a code differs from the one a frame before: (t, h, w) or (t, h, w, k) -> bool, same shape.

    The first frame has nothing before it and is False; for a rate of change take `change_mask(codes)[1:]`.
    """
    mask = torch.zeros_like(codes, dtype=torch.bool)
    mask[1:] = codes[1:] != codes[:-1]
    return mask


def changes(codes: Tensor, scale: int) -> Tensor:
    """A clip of where codes change, to be shown beside their video: (t, h, w, k) -> (3, t, scale*h, scale*w).

    Yellow where one of the k codes differs from the frame before, grey elsewhere; in [-1, 1], as video is.
    """
    colours = (torch.tensor(np.array([STILL, CHANGED])) / 127.5 - 1).float()
    clip = colours[change_mask(codes).any(-1).long()].permute(3, 0, 1, 2)
    return clip.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def code_strip(video: Videos, codes: Tensor, n_codes: int, frames: int = 8, gap: int = 2) -> Image.Image:
    """Rows on top of each other as in LVT's Figs. 6 and 7: frames, codes, and where codes changed (yellow).

    video: one clip, as in `strip`. codes: int64 (t', h', w') or (t', h', w', k), a row for each codebook.
    Where codes have fewer time steps than the video, a frame stands over the step that it falls in.
    """
    clips = to_clips(video)
    if len(clips) != 1:
        raise UserError(f"code_strip shows one clip, not {len(clips)}")
    _, t, h, w, _ = clips.shape
    codes = torch.as_tensor(codes)
    if codes.ndim not in (3, 4):
        raise UserError(f"codes have shape (t, h, w) or (t, h, w, k), not {tuple(codes.shape)}")
    books = rearrange(codes if codes.ndim == 4 else codes[..., None], "t h w k -> k t h w")
    if t % books.shape[1]:
        raise UserError(f"{books.shape[1]} time steps of codes do not divide the video's {t} frames")
    at = spaced(t, frames)
    steps = at * books.shape[1] // t
    colours = np.array([STILL, CHANGED], np.uint8)
    rows = [("frames", clips[0, at])]
    numbers = [f" {i + 1}" for i in range(len(books))] if len(books) > 1 else [""]
    for number, book in zip(numbers, books, strict=True):
        rows.append((f"codes{number}", enlarge(code_map(book[steps], n_codes), h, w)))
    for number, book in zip(numbers, books, strict=True):
        rows.append((f"changed{number}", enlarge(colours[change_mask(book)[steps].int().numpy()], h, w)))
    return draw_rows(rows, at, gap)


def show_codes(video: Videos, codes: Tensor, n_codes: int, *, alt: str, frames: int = 8) -> None:
    """Displays `code_strip(...)`."""
    show(code_strip(video, codes, n_codes, frames), alt, limit=26_000)  # blurred codes would be wrong codes


def enlarge(images: np.ndarray, h: int, w: int) -> np.ndarray:
    """uint8 (n, h', w', 3) -> (n, h, w, 3): each pixel a block, nothing blended."""
    rows = np.arange(h) * images.shape[1] // h
    columns = np.arange(w) * images.shape[2] // w
    return images[:, rows][:, :, columns]


@lru_cache
def palette(colours: int = COLOURS) -> np.ndarray:
    """uint8 (colours, 3): each colour is the farthest from all before it, so that few codes are far apart.

    Far counts in OKLab (Ottosson 2020), as seen with normal, red-blind and green-blind eyes together.
    """
    level = np.linspace(0, 1, 18)
    rgb = np.stack(np.meshgrid(level, level, level, indexing="ij"), -1).reshape(-1, 3)
    lab = oklab(to_linear(rgb))
    mild = (lab[:, 0] > 0.35) & (lab[:, 0] < 0.95) & (np.hypot(lab[:, 1], lab[:, 2]) < 0.2)
    rgb, linear = rgb[mild], to_linear(rgb[mild])
    seen = np.concatenate([oklab(linear), oklab(linear @ PROTAN.T), oklab(linear @ DEUTAN.T)], axis=1)
    chosen = [int(np.abs(seen - seen[:, :1].max()).sum(1).argmin())]
    distance = np.full(len(seen), np.inf)
    while len(chosen) < colours:
        distance = np.minimum(distance, ((seen - seen[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    return (rgb[chosen] * 255).round().astype(np.uint8)


# What red-blind and green-blind eyes see of linear RGB (Viénot, Brettel and Mollon 1999).
PROTAN = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTAN = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


def to_linear(rgb: np.ndarray) -> np.ndarray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(linear: np.ndarray) -> np.ndarray:
    lms = linear @ np.array([[0.4122214708, 0.5363325363, 0.0514459929],
                             [0.2119034982, 0.6806995451, 0.1073969566],
                             [0.0883024619, 0.2817188376, 0.6299787005]]).T
    return np.cbrt(lms) @ np.array([[0.2104542553, 0.7936177850, -0.0040720468],
                                    [1.9779984951, -2.4285922050, 0.4505937099],
                                    [0.0259040371, 0.7827717662, -0.8086757660]]).T
