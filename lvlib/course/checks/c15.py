"""Checks of notebook 15: where a sliding window stands, codes that stay, frames and their past."""

import torch

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.metrics import repetition
from lvlib.models.tats import sampling


def _walk(start=None, there=None, end=None):
    """A wrong `window_places`: another start, number of frames that are there, or end of what is known."""

    def window_places(known, frames, window, context):
        places = []
        while known < frames and len(places) < 2 * frames:
            at = start(known, window, context) if start else (0 if known < window else known - context)
            places.append((at, there(known, at) if there else known - at))
            known = end(known, at, window) if end else at + window
        return places

    return window_places


def _place_cases(draw):
    def case(about, known, frames, window, context):
        return Case(about, (known, frames, window, context), gradients=False)

    yield case("the notebook's 96 frames", 0, 24, 4, 3)
    yield case("the official script's context of 1", 0, 256, 4, 1)
    yield case("a clip as long as the window", 0, 4, 4, 3)
    for known in 1, 3, 4, 5, 9:
        yield case(f"{known} given of 12", known, 12, 4, 2)
    yield case("all frames known", 7, 7, 4, 3)
    yield case("a window of 2", 0, draw.size(5, 9), 2, 1)
    window = draw.size(4, 9)
    for known in 0, window - 1, window, window + 1:
        context = draw.size(1, window - 1)
        yield case(f"{known} known, a window of {window}", known, draw.size(20, 40), window, context)


@exercise("15.1", reference=sampling.window_places, wrong={
    "while there is room the window stands at 0": _walk(start=lambda known, window, context: max(known - context, 0)),
    "a window that is full must move on": _walk(
        start=lambda known, window, context: 0 if known <= window else known - context,
        end=lambda known, at, window: max(at + window, known + 1)),
    "it keeps `context` frames, not one more": _walk(start=lambda known, window, context: 0 if known < window
                                                     else known - context - 1),
    "the second number counts the frames inside the window": _walk(there=lambda known, at: known),
    "after a place all up to the end of the window are known": _walk(
        end=lambda known, at, window: known + 1),
    "the next place begins where this one's window ends": _walk(end=lambda known, at, window: at + window + 1),
    "a list of pairs is asked for": lambda *sizes: [start for start, _ in sampling.window_places(*sizes)],
}, cases=_place_cases)
def _(fn, expect):
    places = fn(0, 7, 4, 3)
    expect(isinstance(places, list) and all(isinstance(place, tuple) and len(place) == 2 for place in places),
           "a list of pairs is asked for", look_at="places.append((start, known - start))")
    expect(bool(places), "there are frames left to fill", look_at="while known < frames")
    expect(places[0] == (0, 0), "the first place is (0, 0)", look_at="0 if known < window")
    three = fn(3, 12, 4, 2)
    expect(three[:1] == [(0, 3)], "while there is room the window stands at 0", look_at="known < window")
    four = fn(4, 12, 4, 2)
    expect(four[:1] != [(0, 4)], "a window that is full must move on", look_at="known < window, not <=")
    expect(four[:1] != [(1, 3)], "it keeps `context` frames, not one more", look_at="known - context")
    expect(not four or four[0] != (2, 4), "the second number counts the frames inside the window",
           look_at="known - start")
    expect(four[:1] == [(2, 2)], "of 4 known frames a context of 2 keeps frames 2 and 3", look_at="known - context")
    expect(four[1:2] != [(3, 2)], "after a place all up to the end of the window are known",
           look_at="known = start + window")
    expect(places == [(0, 0), (1, 3), (2, 3), (3, 3)], "the next place begins where this one's window ends",
           look_at="known = start + window")


def _code_cases(draw):
    def case(about, *shape, codes=3):
        return Case(about, (draw.integers(0, codes, *shape),), gradients=False, batch=(0,))

    yield case("the notebook's four videos", 4, 32, 8, 8)
    yield case("one video of two frames", 1, 2, draw.size(2, 5), draw.size(2, 5))
    yield case("sides that differ", draw.size(2, 4), draw.size(3, 6), 2, 5)
    yield case("several codebooks", 2, 4, 3, 2, draw.size(2, 4))
    yield Case("a frozen video", (draw.integers(0, 9, 2, 1, 3, 4).expand(2, 5, 3, 4),), gradients=False)


def _rate(compare, mean):
    return lambda codes: mean(compare(codes).float())


def _next(codes):
    return codes[:, 1:] == codes[:, :-1]


@exercise("15.2", reference=repetition.repetition_rate, wrong={
    "the share of codes that change is 1 less this": _rate(lambda codes: ~_next(codes), lambda x: x.flatten(2).mean(2)),
    "each latent frame is compared with the one before, not with the first": _rate(
        lambda codes: codes[:, 1:] == codes[:, :1], lambda x: x.flatten(2).mean(2)),
    "a number for each latent frame but the first": _rate(_next, lambda x: x.flatten(1).mean(1)),
    "a share lies between 0 and 1": _rate(_next, lambda x: x.flatten(2).sum(2)),
    "codes at the same place are compared": _rate(lambda codes: codes[:, 1:].flatten(2).sort().values
                                                  == codes[:, :-1].flatten(2).sort().values, lambda x: x.mean(2)),
}, cases=_code_cases)
def _(fn, expect):
    codes = torch.tensor([[[[0, 1], [2, 3]], [[0, 1], [2, 9]], [[1, 0], [9, 2]], [[0, 1], [2, 3]]]])
    out = fn(codes)
    expect(out.shape == (1, 3), "a number for each latent frame but the first", look_at="flatten(2).mean(2)")
    expect(out.is_floating_point(), "a share is a float", look_at=".float()")
    expect(not torch.equal(out[0], torch.tensor([0.25, 1.0, 1.0])), "the share of codes that change is 1 less this",
           look_at="==")
    expect(out.max() <= 1, "a share lies between 0 and 1", look_at="mean, not sum")
    expect(out[0, 2] != 1, "each latent frame is compared with the one before, not with the first",
           look_at="codes[:, :-1]")
    expect(out[0, 1] == 0, "codes at the same place are compared", look_at="no sorting")
    expect(out[0, 0] == 0.75, "three of four codes stay from the first latent frame to the second")


def _video_cases(draw):
    def case(about, *shape, lag, dtype=torch.float32):
        return Case(about, (draw.normal(*shape, dtype=dtype), lag), batch=(0,))

    yield case("the notebook's videos", 2, 3, 40, 8, 8, lag=24)
    yield case("grey, one frame apart", draw.size(2, 4), 1, draw.size(4, 9), 3, 5, lag=1)
    yield case("first against last", 2, 3, 6, 4, 4, lag=5)
    yield case("float64", 1, draw.size(1, 3), 7, 3, 2, lag=draw.size(2, 4), dtype=torch.float64)
    yield Case("a loop", (draw.normal(2, 1, 3, 4, 4).repeat(1, 1, 3, 1, 1), 3), gradients=False)


def _lag(apart, mean=lambda x: x.square().mean((1, 2, 3, 4)).sqrt()):
    return lambda video, lag: mean(apart(video, lag))


def _difference(video, lag):
    return video[:, :, lag:] - video[:, :, :-lag]


@exercise("15.3", reference=repetition.lag_distance, wrong={
    "frames `lag` apart, not neighbours": _lag(lambda video, lag: _difference(video, 1)),
    "not with the first frame": _lag(lambda video, lag: video[:, :, lag:] - video[:, :, :1]),
    "the end of the video is not followed by its beginning": _lag(lambda video, lag: video.roll(lag, 2) - video),
    "the root is missing": _lag(_difference, lambda x: x.square().mean((1, 2, 3, 4))),
    "the squared difference, not the absolute one": _lag(_difference, lambda x: x.abs().mean((1, 2, 3, 4))),
    "one number for each video": _lag(_difference, lambda x: x.square().mean().sqrt().expand(len(x))),
    "the root comes last": _lag(_difference, lambda x: x.square().mean((1, 3, 4)).sqrt().mean(1)),
    "a mean, not a sum": _lag(_difference, lambda x: x.square().sum((1, 2, 3, 4)).sqrt()),
    "each frame of the video counts": _lag(lambda video, lag: video[:, :, lag:lag + 1] - video[:, :, :1]),
}, cases=_video_cases)
def _(fn, expect):
    video = torch.randn(3, 2, 7, 4, 5) * torch.tensor([1.0, 2.0, 3.0])[:, None, None, None, None]
    video = video * torch.arange(1, 8)[:, None, None]
    out = fn(video, 2)
    expect(out.shape == (3,), "one number for each video", look_at="mean((1, 2, 3, 4))")

    def is_like(apart, mean=lambda x: x.square().mean((1, 2, 3, 4)).sqrt()):
        return torch.allclose(out, mean(apart), rtol=1e-4)

    right = _difference(video, 2)
    expect(not is_like(right, lambda x: x.square().mean().sqrt().expand(3)), "one number for each video",
           look_at="the mean over all axes but the first")
    expect(not is_like(right, lambda x: x.square().sum((1, 2, 3, 4)).sqrt()), "a mean, not a sum")
    expect(not is_like(_difference(video, 1)), "frames `lag` apart, not neighbours", look_at="video[:, :, lag:]")
    expect(not is_like(video[:, :, 2:3] - video[:, :, :1]), "each frame of the video counts", look_at="lag:")
    expect(not is_like(video[:, :, 2:] - video[:, :, :1]), "not with the first frame", look_at=":-lag")
    expect(not is_like(video.roll(2, 2) - video), "the end of the video is not followed by its beginning",
           look_at="slices, not roll")
    expect(not is_like(right, lambda x: x.square().mean((1, 2, 3, 4))), "the root is missing", look_at=".sqrt()")
    expect(not is_like(right, lambda x: x.abs().mean((1, 2, 3, 4))), "the squared difference, not the absolute one",
           look_at=".square()")
    expect(not is_like(right, lambda x: x.square().mean((1, 3, 4)).sqrt().mean(1)), "the root comes last",
           look_at="first the mean over all frames and pixels")
