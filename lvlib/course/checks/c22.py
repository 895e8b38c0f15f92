"""Checks of notebook 22: attention across planes, the joint objective, clips appended, guidance."""

import torch
from torch import nn

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.pvdm import prior, unet


class _Mixing(nn.Module):
    """A made-up attention: each position gets a share of every position, by weights that depend on what is there."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        scores = torch.einsum("bcn, cd, bdm -> bnm", x, self.weight, x)
        return x + torch.einsum("bnm, bcm -> bcn", scores.softmax(-1), x) * torch.arange(1, x.shape[2] + 1)


def _plane_cases(draw):
    def case(about, b, c, *sizes, dtype=torch.float32):
        planes = [draw.normal(b, c, *size, dtype=dtype) for size in sizes]
        return Case(about, (_Mixing(draw.normal(c, c, dtype=dtype)), planes))

    yield case("the notebook's planes of 8 x 8, 16 x 8 and 16 x 8", 2, 4, (8, 8), (16, 8), (16, 8))
    yield case("planes of three sizes", 2, 3, (3, 2), (draw.size(1, 4), 3), (2, 5))
    yield case("one clip, planes of one position", 1, 2, (1, 1), (1, 1), (1, 1))
    yield case("two planes", 3, 2, (2, 3), (3, 2))
    yield case("float64", 2, 3, (2, 2), (4, draw.size(1, 3)), (4, 2), dtype=torch.float64)


def _split(planes, x):
    """Positions (b, c, n) as planes of these shapes."""
    parts = x.split([plane.shape[2] * plane.shape[3] for plane in planes], 2)
    return [part.reshape(plane.shape) for part, plane in zip(parts, planes, strict=True)]


def _transposed(attention, planes):
    return [plane.mT for plane in unet.across_planes(attention, [plane.mT.contiguous() for plane in planes])]


def _evenly(attention, planes):
    joined = attention(torch.cat([plane.flatten(2) for plane in planes], 2)).flatten(2)
    start, found = joined.shape[2], []
    for plane in reversed(planes):
        start -= plane[0, 0].numel()
        found.append(joined[:, :, start:start + plane[0, 0].numel()].view_as(plane))
    return found


def _strung_by_channels(attention, planes):
    """As if what is (b, positions, c) were asked for."""
    b, c = planes[0].shape[:2]
    joined = torch.cat([plane.flatten(2).mT for plane in planes], 1)
    return _split(planes, attention(joined.reshape(b, c, -1)))


@exercise("22.1", reference=unet.across_planes, wrong={
    "each plane looks at itself alone": lambda attention, planes: [
        attention(plane.flatten(2)).view_as(plane) for plane in planes],
    "all positions of all planes are in one row": lambda attention, planes: [
        _split(planes[:1], attention(planes[0].flatten(2)))[0],
        *_split(planes[1:], attention(torch.cat([plane.flatten(2) for plane in planes[1:]], 2)))],
    "the planes come back in their order": _evenly,
    "the row is (b, c, positions), channels before positions": _strung_by_channels,
    "a plane's positions are read row by row": _transposed,
    "what attention gives is the result": lambda attention, planes: [
        plane + part for plane, part in zip(planes, unet.across_planes(attention, planes), strict=True)],
}, cases=_plane_cases)
def _(fn, expect):
    asked = []

    def plus_mean(x):
        asked.append(x.detach().clone())
        return x + x.mean(2, keepdim=True)

    planes = [torch.arange(24.0).view(2, 2, 2, 3), torch.arange(32.0).view(2, 2, 4, 2) + 100,
              torch.arange(48.0).view(2, 2, 4, 3) - 50]
    found = fn(plus_mean, planes)
    expect(isinstance(found, list | tuple) and len(found) == 3, "three planes are asked for", look_at="a list")
    expect(len(asked) != 3, "each plane looks at itself alone", look_at="torch.cat, before attention")
    expect(len(asked) == 1 and asked[0].ndim == 3 and asked[0].shape[::2] == (2, 26),
           "all positions of all planes are in one row", look_at="flatten(2), then torch.cat(..., 2)")
    expect(torch.equal(asked[0].transpose(0, 1).flatten(1).sort(1).values,
                       torch.cat([p.transpose(0, 1).flatten(1) for p in planes], 1).sort(1).values),
           "the row is (b, c, positions), channels before positions", look_at="flatten(2)")
    expect([tuple(part.shape) for part in found] == [tuple(plane.shape) for plane in planes],
           "the planes come back in their order", look_at="split by the positions of each, then view_as")
    expect(torch.equal(asked[0][:, :, :6], planes[0].flatten(2)), "a plane's positions are read row by row",
           look_at="flatten(2)")
    mean = asked[0].mean(2)[:, :, None, None]
    expect(all(torch.equal(part, plane + mean) for part, plane in zip(found, planes, strict=True)),
           "what attention gives is the result", look_at="attention adds its input already")


class _Predictor(nn.Module):
    """A made-up network: its noise depends on x, on the step and on the clip before; it counts what it is asked."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x, t, before):
        own = torch.einsum("bcn, cd -> bdn", x, self.weight) * (1 + t[:, None, None].to(x.dtype) / 10)
        return own + (before * self.weight[0, 0] + 1) * before.cos()


def _clips(draw, b, c, n, dtype):
    return draw.normal(b, c, n, dtype=dtype), draw.integers(1, 1000, b), draw.normal(b, c, n, dtype=dtype)


def _loss_cases(draw):
    def case(about, b, c, n, weight, dtype=torch.float32):
        x, t, before = _clips(draw, b, c, n, dtype)
        return Case(about, (_Predictor(draw.normal(c, c, dtype=dtype)), x, t, before, draw.normal(b, c, n, dtype=dtype),
                            weight))

    yield case("the notebook's planes of 4 x 320 numbers, lambda 0.5", 3, 4, 320, 0.5)
    yield case("one clip", 1, 2, 7, 0.3)
    yield case("lambda 1", 2, 3, 5, 1.0)
    yield case("lambda 0", 2, 3, 5, 0.0)
    yield case("lambda 0.8", draw.size(2, 5), 1, draw.size(3, 9), 0.8)
    yield case("float64", 2, 3, 4, 0.2, torch.float64)


def _joined(errors):
    """A wrong `joint_loss`: from (prediction after, prediction alone, noise, weight, x)."""

    def joint_loss(predict, x, t, before, noise, weight):
        return errors(predict(x, t, before), predict(x, t, torch.zeros_like(before)), noise, weight, x)

    return joint_loss


def _square(a, b):
    return (a - b).square().mean()


def _weighted(first, second, weight):
    return weight * first + (1 - weight) * second, first, second


def _noise_before(predict, x, t, before, noise, weight):
    return _weighted(_square(predict(x, t, before), noise), _square(predict(x, t, torch.randn_like(before)), noise),
                     weight)


@exercise("22.2", reference=prior.joint_loss, wrong={
    "three numbers are asked for": _joined(lambda after, alone, noise, weight, x: weight * _square(after, noise) + (
        1 - weight) * _square(alone, noise)),
    "the second error is without the clip before": lambda predict, x, t, before, noise, weight: _weighted(
        *[_square(predict(x, t, before), noise)] * 2, weight),
    "no clip before are zeros": _noise_before,
    "the noise is predicted, not the noisy planes": _joined(lambda after, alone, noise, weight, x: _weighted(
        _square(after, x), _square(alone, x), weight)),
    "squared errors": _joined(lambda after, alone, noise, weight, x: _weighted(
        (after - noise).abs().mean(), (alone - noise).abs().mean(), weight)),
    "a mean, not a sum": _joined(lambda after, alone, noise, weight, x: _weighted(
        _square(after, noise) * x.numel(), _square(alone, noise) * x.numel(), weight)),
    "the second error has the rest of the weight": _joined(lambda after, alone, noise, weight, x: (
        weight * _square(after, noise) + _square(alone, noise), _square(after, noise), _square(alone, noise))),
    "lambda is the weight of the error after the clip before": _joined(lambda after, alone, noise, weight, x: (
        (1 - weight) * _square(after, noise) + weight * _square(alone, noise), _square(after, noise),
        _square(alone, noise))),
}, cases=_loss_cases)
def _(fn, expect):
    torch.manual_seed(0)
    x, before, noise = torch.randn(3, 4, 2, 6)
    t, seen = torch.tensor([3, 5, 7, 9]), []

    def predict(x, t, before):
        """Half of x, and a third more where a clip is before."""
        seen.append((len(x), before.detach().clone()))
        return x / 2 + (before != 0).to(x.dtype) / 3

    found = fn(predict, x, t, before, noise, 0.25)
    expect(isinstance(found, tuple | list) and len(found) == 3, "three numbers are asked for",
           look_at="the weighted sum, and each error on its own")
    contexts = torch.cat([context for _, context in seen]).abs().flatten(1).sum(1)
    expect((contexts == 0).any() or len(contexts) > 4, "the second error is without the clip before",
           look_at="torch.zeros_like(before)")
    expect((contexts == 0).any(), "no clip before are zeros", look_at="torch.zeros_like(before)")
    after, alone = _square(x / 2 + 1 / 3, noise), _square(x / 2, noise)
    _, first, second = (float(number) for number in found)

    def near(a, b):
        return abs(float(a) - float(b)) < 1e-4 * max(1.0, abs(float(b)))

    expect(not near(first, _square(x / 2 + 1 / 3, x)), "the noise is predicted, not the noisy planes",
           look_at="predicted - noise")
    expect(not near(first, after * x.numel()), "a mean, not a sum", look_at=".mean()")
    expect(not near(first, (x / 2 + 1 / 3 - noise).abs().mean()), "squared errors", look_at=".square()")
    expect(near(first, after) and near(second, alone), "first the error after the clip before, then the one without it")
    expect(not near(found[0], 0.25 * after + alone), "the second error has the rest of the weight",
           look_at="1 - weight")
    expect(near(found[0], 0.25 * after + 0.75 * alone), "lambda is the weight of the error after the clip before",
           look_at="weight * after + (1 - weight) * alone")


class _Drawn:
    """A made-up `draw`: a clip that tells what it was made from. Keeps what it was asked."""

    def __init__(self, size):
        self.size, self.asked = size, []

    def __call__(self, before, number, steps):
        self.asked.append((None if before is None else before.clone(), number, steps))
        return (torch.zeros(self.size) if before is None else before * 2) + 10 * number + len(steps)


def _append_cases(draw):
    def case(about, given, clips, first=3, others=2, size=(2, 4)):
        begun = [draw.normal(*size) for _ in range(given)]
        return Case(about, (begun, clips, (list(range(first, -1, -1)), list(range(others, -1, -1))), _Drawn(size)))

    yield case("the notebook's 8 clips from nothing", 0, 8, size=(1, 4, 320))
    yield case("one clip", 0, 1)
    yield case("one given", 1, 3)
    yield case("two given", 2, draw.size(3, 6))
    yield case("more steps for the others", 0, 4, first=draw.size(1, 3), others=draw.size(4, 6))
    yield case("all given", 2, 2)


def _appended(make):
    """A wrong `append_clips`, from how it makes clip i of (made so far, i, steps, draw)."""

    def append_clips(given, clips, steps, draw):
        made = list(given)
        for i in range(len(made), clips):
            made.append(make(made, i, steps, draw))
        return made

    return append_clips


@exercise("22.3", reference=prior.append_clips, wrong={
    "there must be `clips` clips in the end, the given ones among them": lambda given, clips, steps, draw: _appended(
        lambda made, i, steps, draw: draw(made[-1] if made else None, i, steps[min(i, 1)]))(
            given, clips + len(given), steps, draw),
    "before the first clip there is None": _appended(lambda made, i, steps, draw: draw(
        made[-1] if made else torch.zeros(2), i, steps[min(i, 1)])),
    "each clip goes on after the one before it": _appended(lambda made, i, steps, draw: draw(
        made[0] if made else None, i, steps[min(i, 1)])),
    "the first clip takes the first of the steps": _appended(lambda made, i, steps, draw: draw(
        made[-1] if made else None, i, steps[1])),
    "all others take the second": _appended(lambda made, i, steps, draw: draw(made[-1] if made else None, i, steps[0])),
    "a clip after a given one is not the first": lambda given, clips, steps, draw: [*given, *(
        _appended(lambda made, i, steps, draw: draw(made[-1] if made else given[-1] if given else None,
                                                    i + len(given), steps[min(i, 1)]))(
            [], clips - len(given), steps, draw))],
    "each clip is told its own number": _appended(lambda made, i, steps, draw: draw(
        made[-1] if made else None, 0, steps[min(i, 1)])),
}, cases=_append_cases)
def _(fn, expect):
    many, few = [3, 2, 1, 0], [1, 0]
    draw = _Drawn((2,))
    found = fn([], 3, (many, few), draw)
    expect(len(draw.asked) and draw.asked[0][0] is None, "before the first clip there is None",
           look_at="made[-1] if made else None")
    expect(draw.asked[0][2] == many, "the first clip takes the first of the steps", look_at="steps[0]")
    expect(len(draw.asked) == 3 and all(asked[2] == few for asked in draw.asked[1:]), "all others take the second",
           look_at="steps[1]")
    expect([number for _, number, _ in draw.asked] == [0, 1, 2], "each clip is told its own number",
           look_at="0 for the first")
    expect(torch.equal(draw.asked[2][0], found[1]), "each clip goes on after the one before it", look_at="made[-1]")
    begun, draw = [torch.ones(2), torch.full((2,), 5.0)], _Drawn((2,))
    found = fn(begun, 3, (many, few), draw)
    expect(len(found) == 3 and len(draw.asked) == 1,
           "there must be `clips` clips in the end, the given ones among them", look_at="range(len(given), clips)")
    expect(draw.asked[0][2] == few, "a clip after a given one is not the first", look_at="steps[1]")
    expect(draw.asked[0][1] == 2, "each clip is told its own number", look_at="those given count, too")
    expect(torch.equal(draw.asked[0][0], begun[1]), "each clip goes on after the one before it", look_at="made[-1]")


def _guided_cases(draw):
    def case(about, b, c, n, weight, alone=False, dtype=torch.float32):
        x, t, before = _clips(draw, b, c, n, dtype)
        return Case(about, (_Predictor(draw.normal(c, c, dtype=dtype)), x, t, None if alone else before, weight))

    yield case("the notebook's planes of 4 x 320 numbers, weight 1", 2, 4, 320, 1.0)
    yield case("one clip", 1, 2, 5, 0.5)
    yield case("no weight", 2, 3, 4, 0.0)
    yield case("no clip before", 2, 3, 4, 0.0, alone=True)
    yield case("no clip before, and a weight", 3, 2, 4, 2.0, alone=True)
    yield case("weight 3", draw.size(2, 5), 1, draw.size(3, 9), 3.0)
    yield case("float64", 2, 3, 4, 0.2, dtype=torch.float64)


def _pushed(formula):
    def guided(predict, x, t, before, weight):
        none = torch.zeros_like(x)
        if before is None or weight == 0:
            return predict(x, t, none if before is None else before)
        after, alone = predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([before, none])).chunk(2)
        return formula(after, alone, weight)

    return guided


def _both_always(predict, x, t, before, weight):
    none = torch.zeros_like(x)
    before = none if before is None else before
    after, alone = predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([before, none])).chunk(2)
    return after + weight * (after - alone)


def _two_calls(predict, x, t, before, weight):
    if before is None or weight == 0:
        return predict(x, t, torch.zeros_like(x) if before is None else before)
    after, alone = predict(x, t, before), predict(x, t, torch.zeros_like(x))
    return after + weight * (after - alone)


@exercise("22.4", reference=prior.guided, wrong={
    "without a weight one pass is enough": _both_always,
    "with a weight both are one pass, of twice as many clips": _two_calls,
    "away from what it says without the clip before, not towards it": _pushed(
        lambda after, alone, weight: after - weight * (after - alone)),
    "weight 0 is the prediction after the clip before": _pushed(
        lambda after, alone, weight: alone + weight * (after - alone)),
    "the clip before comes first": _pushed(lambda after, alone, weight: alone + weight * (alone - after)),
    "without a clip before there are zeros": lambda predict, x, t, before, weight: predict(
        x, t, x) if before is None else prior.guided(predict, x, t, before, weight),
}, cases=_guided_cases)
def _(fn, expect):
    x, before, t, asked = torch.randn(3, 2, 4), torch.ones(3, 2, 4), torch.tensor([1, 2, 3]), []

    def predict(x, t, before):
        """1 after a clip of ones, 4 after none."""
        asked.append(len(x))
        return 4 - 3 * before + 0 * x

    found = fn(predict, x, t, before, 0.0)
    expect(asked == [3], "without a weight one pass is enough", look_at="weight == 0")
    expect(torch.equal(found, torch.ones_like(x)), "weight 0 is the prediction after the clip before")
    asked.clear()
    found = fn(predict, x, t, None, 2.0)
    expect(asked == [3] and torch.equal(found, torch.full_like(x, 4.0)), "without a clip before there are zeros",
           look_at="torch.zeros_like(x), and one pass")
    asked.clear()
    found = fn(predict, x, t, before, 2.0)
    expect(asked == [6], "with a weight both are one pass, of twice as many clips", look_at="torch.cat([x, x])")
    expect(found.shape == x.shape, "one prediction for each clip", look_at="chunk(2)")
    value = float(found.flatten()[0])
    expect(value != 7, "away from what it says without the clip before, not towards it", look_at="after - alone")
    expect(value != -2, "weight 0 is the prediction after the clip before", look_at="start from the one after the clip")
    expect(value != 10, "the clip before comes first", look_at="the order in torch.cat and in chunk")
    expect(torch.equal(found, torch.full_like(x, -5.0)), "the prediction, and the weighted difference",
           look_at="after + weight * (after - alone)")
