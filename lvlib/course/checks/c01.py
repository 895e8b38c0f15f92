"""Checks of notebook 01: video as tensors, and how many bits it holds."""

import math

import torch
from torch import Tensor

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.errors import UserError
from lvlib.metrics import pixels


def _index_cases(draw):
    yield Case("the notebook's 40 frames, clips of 8 and stride 4", (40, 8, 4))
    frames, stride = draw.size(2, 6), draw.size(2, 5)
    for call in ((40, 8, 1), (120, 8, 4), (6, 3, 2), (draw.size(30, 60), frames, stride), (5, 1, 1), (7, 1, 3),
                 ((frames - 1) * stride + 1, frames, stride)):
        yield Case("length {}, frames {} and stride {}".format(*call), call)


def clip_indices(length: int, frames: int, stride: int) -> Tensor:
    """Frame numbers of every clip in a video of `length` frames: int64 (clips, frames)."""
    first = torch.arange(length - (frames - 1) * stride)
    return first[:, None] + stride * torch.arange(frames)


def _clips(length: int, frames: int, stride: int, starts: int) -> Tensor:
    return torch.arange(starts)[:, None] + stride * torch.arange(frames)


@exercise(
    "1.1",
    reference=clip_indices,
    wrong={
        "the last clip needs a frame that the video does not have": lambda n, f, s: _clips(
            n, f, s, n - (f - 1) * s + 1
        ),
        "a clip at the end is missing": lambda n, f, s: _clips(n, f, s, n - f * s),
        "the stride is ignored": lambda n, f, s: clip_indices(n, f, 1),
        "clips may overlap: a new one begins at every frame": lambda n, f, s: clip_indices(n, f, s)[::f],
        "a row is a clip: the shape is (clips, frames)": lambda n, f, s: clip_indices(n, f, s).T,
    },
    cases=_index_cases,
)
def _(fn, expect):
    out = fn(20, 4, 3)
    expect(isinstance(out, Tensor), "a tensor is asked for", f"this is of type {type(out).__name__}")
    expect(not out.is_floating_point(), "frame numbers are whole numbers", "torch.arange of ints gives ints")
    expect(out.shape != (4, 11), "a row is a clip: the shape is (clips, frames)", f"got {tuple(out.shape)}")
    expect(out.ndim == 2 and out.shape[1] == 4, f"with frames=4 a row has 4 numbers, got {tuple(out.shape)}")
    expect(not (out.diff(dim=1) == 1).all(), "the stride is ignored", "with stride 3 a clip takes frames 0, 3, 6, 9")
    expect((out.diff(dim=1) == 3).all(), "with stride 3, the numbers in a row must be 3 apart")
    expect(out.max() <= 19, "the last clip needs a frame that the video does not have",
           f"20 frames are numbered 0 to 19, and this asks for frame {int(out.max())}")
    expect((out[:, 0].diff() == 1).all(), "clips may overlap: a new one begins at every frame",
           f"the second clip begins at frame {int(out[1, 0])}, not 1")
    expect(out[-1, -1] == 19, "a clip at the end is missing", f"the last clip ends at frame {int(out[-1, -1])}, not 19")
    expect(out.equal(clip_indices(20, 4, 3)), "the clips of clip_indices(20, 4, 3) are 0, 3, 6, 9 to 10, 13, 16, 19")
    expect(fn(4, 4, 1).equal(torch.arange(4)[None]), "a video as long as the clip holds one clip",
           "try clip_indices(4, 4, 1)")


def _frames_cases(draw):
    sizes = (16, 64, 64, 3), (2, 3, 4, 1), (draw.size(3, 6), draw.size(2, 5), draw.size(6, 9), 2)
    for t, h, w, c in sizes:
        about = "the notebook's clip" if t == 16 else f"{t} frames of {h} x {w} pixels and {c} channels"
        yield Case(about, (draw.integers(0, 256, t, h, w, c, dtype=torch.uint8),))
    yield Case("a part of a clip", (draw.integers(0, 256, 6, 7, 8, 3, dtype=torch.uint8)[::2, 1:, 2:],))
    yield Case("black after white", (torch.tensor([255, 0, 255], dtype=torch.uint8).reshape(3, 1, 1, 1),))


def frame_differences(frames: Tensor) -> Tensor:
    """What changes from frame to frame: uint8 (t, h, w, c) -> int16 (t - 1, h, w, c), from -255 to 255."""
    return frames.short().diff(dim=0)


@exercise(
    "1.2",
    reference=frame_differences,
    wrong={
        "a change from 10 to 7 must be -3, not 253": lambda frames: frames.diff(dim=0),
        "the sign is wrong": lambda frames: -frame_differences(frames),
        "the direction of the change is lost": lambda frames: frame_differences(frames).abs(),
        "these are differences inside a frame": lambda frames: frames.short().diff(dim=1),
        "the first frame has none before it": lambda frames: frames.short() - frames.short().roll(1, 0),
    },
    cases=_frames_cases,
)
def _(fn, expect):
    frames = torch.randint(0, 256, (4, 5, 6, 3), dtype=torch.uint8)
    out, right = fn(frames), frame_differences(frames)
    expect(out.shape != frames.shape, "the first frame has none before it", "t frames have t - 1 differences")
    inside = out.shape in ((4, 4, 6, 3), (4, 5, 5, 3), (4, 5, 6, 2))
    expect(not inside, "these are differences inside a frame", "time is the first axis")
    expect(out.shape == right.shape, f"(4, 5, 6, 3) must become (3, 5, 6, 3), got {tuple(out.shape)}")
    wrapped = not out.long().equal(right.long()) and bool(((out.long() - right.long()) % 256 == 0).all())
    expect(not wrapped, "a change from 10 to 7 must be -3, not 253",
           "uint8 has no negative numbers: .short() on both frames, before you subtract")
    out = out.long()
    expect(not out.equal(-right.long()), "the sign is wrong", "the later frame minus the earlier one")
    expect(not out.equal(right.long().abs()), "the direction of the change is lost", "no abs(): darker is negative")
    expect(out.equal(right.long()), "these are not the differences of neighbouring frames",
           "frames[1:] and frames[:-1]")


def _video_cases(draw):
    def case(about, *shape, noise=0.1, dtype=torch.float32):
        video = 2 * draw.uniform(*shape, dtype=dtype) - 1
        # A measure: nothing is trained through it.
        other = video + noise * draw.normal(*shape, dtype=dtype)
        return Case(about, (video, other), gradients=False, loose=True, batch=(0, 1))

    frames = [2 * draw.uniform(1, 16, 64, 64, 3) - 1 for _ in range(2)]  # in memory the channels are last
    yield Case("the notebook's clip", tuple(x.movedim(-1, 1) for x in frames), gradients=False, loose=True)
    for shape in (3, 1, 4, 8, 8), (draw.size(2, 5), 2, draw.size(1, 4), draw.size(3, 6), 7), (1, 1, 1, 1, 1):
        yield case(f"shape {shape}", *shape)
    yield case("float64", 2, 1, 2, 4, 4, dtype=torch.float64)
    yield case("clips that are equal", 2, 1, 2, 4, 4, noise=0)
    # The first would be repeated for the whole batch without a word, the last has as many numbers.
    for other in (1, 1, 2, 4, 4), (2, 1, 2, 4, 5), (2, 1, 4, 2, 4):
        shapes = (2, 1, 2, 4, 4), other
        yield Case(f"shapes {shapes[0]} and {other}", tuple(draw.normal(*s) for s in shapes), raises=UserError)


def _psnr(video: Tensor, other: Tensor, peak: float = 2, scale: float = 10) -> Tensor:
    return scale * torch.log10(peak**2 / pixels.mse(video, other))


@exercise(
    "1.3",
    reference=pixels.psnr,
    wrong={
        "this is one number for the whole batch": lambda video, other: _psnr(video[None], other[None]),
        "this is 6 dB too low": lambda video, other: _psnr(video, other, peak=1),
        "this is 42 dB too high": lambda video, other: _psnr(video, other, peak=255),
        "the sign is wrong": lambda video, other: -_psnr(video, other),
        "this is twice the right value": lambda video, other: _psnr(video, other, scale=20),
        "this uses the natural logarithm": lambda video, other: _psnr(video, other, scale=10 * math.log(10)),
    },
    cases=_video_cases,
)
def _(fn, expect):
    video = torch.rand(3, 1, 4, 8, 8) - 0.5
    noise = torch.tensor([0.02, 0.1, 0.4]).reshape(3, 1, 1, 1, 1)
    other = video + noise * torch.randn(video.shape).sign()  # the error of clip i is noise[i] ** 2 exactly
    right = 10 * torch.log10(4 / noise.flatten() ** 2)
    out = fn(video, other)
    expect(isinstance(out, Tensor), "a tensor is asked for", f"this is of type {type(out).__name__}")

    def close(wanted: Tensor) -> bool:
        return torch.allclose(out.double(), wanted.double(), atol=0.05)

    expect(out.numel() == 3, "this is one number for the whole batch", "mse gives one for each clip: keep them apart")
    expect(out.shape == (3,), f"the shape is (b,), one axis; got {tuple(out.shape)}", "the other axes go away")
    expect(not close(-right), "the sign is wrong", "a smaller error must give more dB: is the peak above the line?")
    expect(not close(right - 20 * math.log10(2)), "this is 6 dB too low", "from -1 to 1 is a peak of 2, not of 1")
    expect(not close(right + 20 * math.log10(255 / 2)), "this is 42 dB too high", "the peak is 2 here, not 255")
    expect(not close(2 * right), "this is twice the right value", "10 log10 for the squared error, 20 for its root")
    expect(not close(right * math.log(10)), "this uses the natural logarithm", "torch.log10")
    expect(close(right), "these are not the decibels of these errors", "10 log10(peak squared / mse)")


def _nats_cases(draw):
    yield Case("the notebook's clip", (torch.tensor(120 * 64 * 64 * 3 * math.log(256)), 120 * 64 * 64 * 3), loose=True)
    for shape in (3,), (1,), (draw.size(2, 5), draw.size(2, 5)):
        dims = draw.size(50, 999)
        yield Case(f"nats {shape} and {dims} dims", (dims * draw.uniform(*shape), dims), loose=True)
    yield Case("one dimension", (draw.uniform(2), 1), loose=True)
    nats = 1e4 * (1 + draw.uniform(3))
    yield Case("a model worse than one that knows nothing", (nats, draw.size(50, 99)), loose=True)
    yield Case("float64", (draw.uniform(4, dtype=torch.float64), 6), loose=True)


@exercise(
    "1.4",
    reference=pixels.bits_per_dim,
    wrong={
        "these are nats, not bits": lambda nats, dims: nats / dims,
        "this multiplies by ln 2": lambda nats, dims: nats * math.log(2) / dims,
        "these are the bits of the whole clip": lambda nats, dims: nats / math.log(2),
        "this is one number for the whole batch": lambda nats, dims: nats.mean() / (dims * math.log(2)),
    },
    cases=_nats_cases,
)
def _(fn, expect):
    dims = 100
    nats = dims * math.log(256) * torch.tensor([1.0, 0.5, 0.25])  # uniform over 256, 16 and 4 values: 8, 4 and 2 bits
    out, right = fn(nats, dims).float(), torch.tensor([8.0, 4.0, 2.0])
    expect(out.numel() == 3, "this is one number for the whole batch", "keep the clips apart: no mean over them")
    expect(not torch.allclose(out, right * math.log(2)), "these are nats, not bits", "a bit is ln 2 nats")
    expect(not torch.allclose(out, right * math.log(2) ** 2), "this multiplies by ln 2",
           "8 bits are 5.5 nats: the number of bits is the larger one, so divide by ln 2")
    expect(not torch.allclose(out, right * dims), "these are the bits of the whole clip",
           "per dimension: divide by dims")
    expect(torch.allclose(out, right), "256 equally likely values must give 8 bits", f"this gives {float(out[0]):.3g}")


def _pairs_cases(draw):
    def case(about, context, value):
        return Case(about, (context, value), loose=True)

    clip = draw.integers(0, 256, 5, 64, 64, 3)
    yield case("the notebook's frames and those before", clip[:-1, :, 1:], clip[1:, :, 1:])
    for shape in (4, 5), (300,), (2, draw.size(2, 5), draw.size(2, 5), 1):
        yield case(f"shape {shape}", draw.integers(0, 256, *shape), draw.integers(0, 256, *shape))
    yield case("one context, often", torch.zeros(400, dtype=torch.int64), draw.integers(0, 3, 400))
    yield case("the largest values", torch.full((7,), 255), torch.full((7,), 255))


def conditional_table(context: Tensor, value: Tensor) -> Tensor:
    """How often each value follows each context: two int64 tensors of one shape -> (256, 256)."""
    pairs = torch.bincount(context.flatten() * 256 + value.flatten(), minlength=256 * 256)
    counts = pairs.reshape(256, 256).double() + 1
    return counts / counts.sum(1, keepdim=True)


def _pairs(context: Tensor, value: Tensor, unseen: float = 1) -> Tensor:
    flat = context.flatten() * 256 + value.flatten()
    return torch.bincount(flat, minlength=65536).reshape(256, 256).double() + unseen


@exercise(
    "1.5",
    reference=conditional_table,
    wrong={
        "a row must sum to one": lambda context, value: _pairs(context, value) / _pairs(context, value).sum(),
        "rows and columns have changed places": lambda context, value: conditional_table(value, context),
        "a pair that was never seen must not be impossible": lambda context, value: (
            _pairs(context, value, 0) / _pairs(context, value, 0).sum(1, keepdim=True).clamp_min(1)
        ),
        "the context makes no difference": lambda context, value: conditional_table(0 * context, value)[:1].expand(
            256, 256
        ),
    },
    cases=_pairs_cases,
)
def _(fn, expect):
    context = torch.randint(0, 200, (3, 20, 20))
    value = (context + torch.randint(0, 30, context.shape)).clamp_max(255)
    out, right = fn(context, value), conditional_table(context, value)
    expect(out.shape == (256, 256), f"the table is (context, value) = (256, 256), got {tuple(out.shape)}")
    expect((out > 0).all(), "a pair that was never seen must not be impossible",
           "add one to every count, then normalise")
    expect(not torch.allclose(out.double(), conditional_table(value, context), atol=1e-9),
           "rows and columns have changed places", "context picks the row, value the column")
    ones = torch.ones(256, dtype=torch.double)
    expect(torch.allclose(out.sum(1).double(), ones, atol=1e-4), "a row must sum to one",
           "divide by the sum of each row, keepdim=True")
    expect(not torch.allclose(out[:1], out, atol=1e-9), "the context makes no difference", "count pairs, not values")
    expect(torch.allclose(out.double(), right, rtol=1e-4, atol=1e-7), "these are not the frequencies of the pairs",
           "count each pair (context, value), add one, divide by the row's sum")
