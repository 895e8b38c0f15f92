"""Checks of notebook 00: first steps with clips."""

import torch
from einops import reduce
from torch import Tensor

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.data import to_video


def _clip(draw, *shape):
    return draw.integers(0, 256, *shape, dtype=torch.uint8)


def _clip_cases(draw):
    """Frames (t, h, w, c) of all sizes."""
    yield Case("the notebook's 16 frames in colour", (_clip(draw, 16, 64, 64, 3),))
    yield Case("the notebook's grey digits", (_clip(draw, 16, 64, 64, 1),))
    for t, h, w, c in (4, 5, 6, 3), (draw.size(5, 9), draw.size(2, 9), draw.size(2, 9), 2):
        yield Case(f"{t} frames of {h} x {w} pixels and {c} channels", (_clip(draw, t, h, w, c),))
    yield Case("a single frame", (_clip(draw, 1, 3, 2, 4),))
    yield Case("a long clip", (_clip(draw, draw.size(60, 90), 2, 3, 1),))
    yield Case("a part of a clip", (_clip(draw, 9, 8, 7, 3)[::2, 1:6, 2:],))
    yield Case("a clip without black and white", (draw.integers(60, 200, 3, 4, 5, 3, dtype=torch.uint8),))
    yield Case("a clip all black", (torch.zeros(2, 3, 4, 3, dtype=torch.uint8),))


def backwards(frames: Tensor) -> Tensor:
    """The clip (t, h, w, c) with its last frame first."""
    return frames.flip(0)


@exercise(
    "0.1",
    reference=backwards,
    wrong={
        "the picture is upside down, and time still runs forwards": lambda frames: frames.flip(1),
        "the picture is mirrored, and time still runs forwards": lambda frames: frames.flip(2),
        "the clip has become shorter": lambda frames: frames[1:].flip(0),
        "this clip runs forwards": lambda frames: frames.clone(),
    },
    cases=_clip_cases,
)
def _(fn, expect):
    frames = torch.arange(120, dtype=torch.uint8).reshape(5, 4, 3, 2)
    out = fn(frames)
    expect(out.shape[1:] == frames.shape[1:], f"the frames must keep their shape, got {tuple(out.shape)}")
    expect(len(out) == len(frames), "the clip has become shorter", "all frames are needed, the first one too")
    expect(
        not out.equal(frames.flip(1)),
        "the picture is upside down, and time still runs forwards",
        "which axis of (t, h, w, c) is time?",
    )
    expect(
        not out.equal(frames.flip(2)),
        "the picture is mirrored, and time still runs forwards",
        "which axis of (t, h, w, c) is time?",
    )
    expect(not out.equal(frames), "this clip runs forwards", "it must begin with the last frame")
    expect(out.equal(frames.flip(0)), "the frames are not in backward order", "frame i goes to place t - 1 - i")


def _scaled(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1


@exercise(
    "0.2",
    reference=to_video,
    wrong={
        "the axes are not (c, t, h, w)": lambda frames: _scaled(frames),
        "the shape is right, but pixels have moved": lambda frames: _scaled(frames).reshape(
            frames.shape[3], *frames.shape[:3]
        ),
        "the values are not between -1 and 1": lambda frames: frames.permute(3, 0, 1, 2).float(),
        "black must become -1": lambda frames: frames.permute(3, 0, 1, 2).float() / 255,
        "the values are not floats": lambda frames: frames.permute(3, 0, 1, 2) // 128,
    },
    cases=_clip_cases,
)
def _(fn, expect):
    frames = torch.randint(0, 256, (4, 5, 6, 3), dtype=torch.uint8)
    frames[0, 0, 0], frames[0, 0, 1] = 0, 255
    out = fn(frames)
    expect(out.shape == (3, 4, 5, 6), "the axes are not (c, t, h, w)", f"(4, 5, 6, 3) became {tuple(out.shape)}")
    expect(out.is_floating_point(), "the values are not floats", "call .float() before you divide")
    expect(out.dtype == torch.float32, f"float32 is asked for, not {out.dtype}".replace("torch.", ""), ".float()")
    expect(
        out.abs().max() <= 1.0001,
        "the values are not between -1 and 1",
        f"they go from {out.min():g} to {out.max():g}; 0 must become -1 and 255 must become 1",
    )
    expect(
        out.min() < -0.99,
        "black must become -1",
        f"the smallest value is {out.min():g}; divide by 127.5, then subtract 1",
    )
    expect(
        out.max() > 0.999,
        "white must become 1",
        f"the largest value is {out.max():g}; divide by 127.5, then subtract 1",
    )
    order = out.permute(1, 2, 3, 0)
    expect(
        torch.allclose(order, _scaled(frames), atol=1e-5),
        "the shape is right, but pixels have moved",
        "reshape does not move axes; permute and einops' rearrange do",
    )


def _bits_cases(draw):
    yield from _clip_cases(draw)
    for shape in (7,), (draw.size(2, 9), draw.size(2, 9)), (2, 1, 4, 3, 3), (0, 4, 4, 3):
        yield Case(f"shape {shape}", (_clip(draw, *shape),))


def bits_in(frames: Tensor) -> int:
    """Bits that hold a clip of uint8 values."""
    return 8 * frames.numel()


@exercise(
    "0.3",
    reference=bits_in,
    wrong={
        "this is the number of values; each has 8 bits": lambda frames: frames.numel(),
        "this is the number of pixels; a colour pixel has three values": lambda frames: 8 * frames[..., 0].numel(),
        "this is one frame of the clip": lambda frames: 8 * frames[0].numel(),
        "a value of a clip has 8 bits, not 32": lambda frames: 32 * frames.numel(),
    },
    cases=_bits_cases,
)
def _(fn, expect):
    frames = torch.zeros(7, 5, 6, 3, dtype=torch.uint8)
    out = int(fn(frames))
    expect(out != 630, "this is the number of values; each has 8 bits", "multiply once more")
    expect(
        out != 8 * 210,
        "this is the number of pixels; a colour pixel has three values",
        "numel() counts values",
    )
    expect(out != 8 * 90, "this is one frame of the clip", "count all frames")
    expect(out != 32 * 630, "a value of a clip has 8 bits, not 32", "the clip is uint8")
    expect(
        out == 8 * 630,
        f"a clip of 7 x 5 x 6 x 3 values has 5040 bits, not {out}",
        "values times bits of a value",
    )


def block_means(video: Tensor) -> Tensor:
    """Means of blocks of 2 frames x 4 x 4 pixels: (c, t, h, w) -> (c, t/2, h/4, w/4)."""
    return reduce(video, "c (t dt) (h dh) (w dw) -> c t h w", "mean", dt=2, dh=4, dw=4)


def _block_cases(draw):
    # A clip whose channels were last lies differently in memory.
    yield Case("the notebook's digits", (draw.uniform(16, 64, 64, 1).permute(3, 0, 1, 2),), gradients=False, loose=True)
    colour = to_video(_clip(draw, 4, 8, 12, 3))
    yield Case("a colour clip from the exercise before", (colour,), gradients=False, loose=True)
    sizes = []
    for c, t, h, w in (3, 4, 8, 12), (1, 2, 4, 4), (2, 2 * draw.size(1, 5), 4 * draw.size(3, 5), 4 * draw.size(1, 2)):
        sizes.append((f"{c} channels of {t} frames of {h} x {w} pixels", (c, t, h, w)))
    for about, shape in sizes:
        yield Case(about, (2 * draw.uniform(*shape) - 1,), gradients=False, loose=True)


def _blocks_of_whole_rows(video: Tensor) -> Tensor:
    return reduce(video, "c (dt t) (dh h) (dw w) -> c t h w", "mean", dt=2, dh=4, dw=4)


@exercise(
    "0.4",
    reference=block_means,
    wrong={
        "this takes one value of each block and drops the others": lambda video: video[:, ::2, ::4, ::4],
        "this is the largest value of each block": lambda video: reduce(
            video, "c (t dt) (h dh) (w dw) -> c t h w", "max", dt=2, dh=4, dw=4
        ),
        "this is the sum over each block": lambda video: 32 * block_means(video),
        "the shape is not (c, t/2, h/4, w/4)": lambda video: reduce(
            video, "c (t dt) (h dh) (w dw) -> c t h w", "mean", dt=4, dh=4, dw=2
        ),
        "the shape is right, but a block is not made of neighbours": _blocks_of_whole_rows,
    },
    cases=_block_cases,
)
def _(fn, expect):
    video = torch.rand(3, 8, 16, 24) * 2 - 1
    out, right = fn(video), block_means(video)
    expect(out.dtype in (torch.float32, torch.float64), f"floats are asked for, not {out.dtype}", "no rounding yet")
    out = out.float()
    expect(
        out.shape == (3, 4, 4, 6),
        "the shape is not (c, t/2, h/4, w/4)",
        f"(3, 8, 16, 24) became {tuple(out.shape)}",
    )
    expect(
        not out.equal(video[:, ::2, ::4, ::4]),
        "this takes one value of each block and drops the others",
        "take the mean of all 32",
    )
    largest = reduce(video, "c (t dt) (h dh) (w dw) -> c t h w", "max", dt=2, dh=4, dw=4)
    expect(not out.equal(largest), "this is the largest value of each block", "the mean, not the max")
    expect(
        not torch.allclose(out, 32 * right, atol=1e-4),
        "this is the sum over each block",
        "divide by how many there are",
    )
    expect(
        not torch.allclose(out, _blocks_of_whole_rows(video), atol=1e-5),
        "the shape is right, but a block is not made of neighbours",
        "in (t dt) the second letter runs fastest: neighbours differ in dt",
    )
    expect(
        torch.allclose(out, right, atol=1e-5),
        "these are not the means of the blocks",
        "2 frames x 4 rows x 4 columns",
    )
