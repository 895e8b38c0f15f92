"""Checks of notebook 13: the losses of a GAN, feature matching, the power of short waves."""

import torch
import torch.nn.functional as F

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.metrics.frames import high_frequency_power
from lvlib.models.tats import discriminators


def _parts(of_hinge, of_vanilla):
    """A wrong answer, from what it does for each kind."""
    return lambda real, fake, kind: (of_hinge if kind == "hinge" else of_vanilla)(real, fake)


def _hinge(real, fake):
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _vanilla(real, fake):
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _overflows(real, fake):
    return -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean())


def _loss_cases(draw):
    def case(about, kind, real, fake, **options):
        return Case(f"{about}, {kind}", (real, fake, kind), **options)

    for kind in ("hinge", "vanilla"):
        yield case("the notebook's logits of frames", kind, draw.normal(4, 1, 10, 10), draw.normal(4, 1, 10, 10))
        shape, other = ([draw.size(1, 5) for _ in range(5)] for _ in range(2))
        yield case("other numbers of logits", kind, 2 * draw.normal(*shape), 2 * draw.normal(*other))
        yield case("float64", kind, draw.normal(7, dtype=torch.float64), draw.normal(3, dtype=torch.float64))
        far = torch.tensor([-300.0, 300.0, -2.0, 2.0])
        yield case("logits of hundreds", kind, far, far.flip(0) + 0.5)
        yield case("one logit", kind, draw.normal(1), draw.normal(1))


@exercise("13.1", reference=discriminators.discriminator_loss, wrong={
    "one number is asked for, a tensor": _parts(
        lambda real, fake: F.relu(1 - real), lambda real, fake: F.softplus(-real)),
    "real and rebuilt are exchanged": lambda real, fake, kind: discriminators.discriminator_loss(fake, real, kind),
    "both kinds are the hinge loss": _parts(_hinge, _hinge),
    "both kinds are the vanilla loss": _parts(_vanilla, _vanilla),
    "beyond the hinge nothing is gained: no loss below 0": _parts(
        lambda real, fake: (1 - real).mean() + (1 + fake).mean(), _vanilla),
    "the hinge is at 1 and at -1, not at 0": _parts(
        lambda real, fake: F.relu(-real).mean() + F.relu(fake).mean(), _vanilla),
    "a sum of two means is asked for": _parts(
        lambda real, fake: _hinge(real, fake) / 2, lambda real, fake: _vanilla(real, fake) / 2),
    "large logits must not overflow": _parts(_hinge, _overflows),
    "D lowers its loss: mind the sign": _parts(_hinge, lambda real, fake: -_vanilla(real, fake)),
}, cases=_loss_cases)
def _(fn, expect):
    real, fake = torch.tensor([[3.0, 0.5], [0.0, -1.0]]), torch.tensor([-2.0, 0.5, 1.0])
    hinge, vanilla = fn(real, fake, "hinge"), fn(real, fake, "vanilla")
    expect(isinstance(hinge, torch.Tensor) and hinge.shape == (), "one number is asked for, a tensor",
           look_at="a mean of each, and their sum")

    def says(value, wrong):
        return abs(float(value) - float(wrong)) < 1e-5

    expect(not says(hinge, _hinge(fake, real)), "real and rebuilt are exchanged", look_at="1 - real, 1 + fake")
    expect(not says(vanilla, _hinge(real, fake)), "both kinds are the hinge loss", look_at='kind == "hinge"')
    expect(not says(hinge, _vanilla(real, fake)), "both kinds are the vanilla loss", look_at='kind == "hinge"')
    expect(not says(hinge, (1 - real).mean() + (1 + fake).mean()),
           "beyond the hinge nothing is gained: no loss below 0", look_at="F.relu")
    expect(not says(hinge, F.relu(-real).mean() + F.relu(fake).mean()), "the hinge is at 1 and at -1, not at 0",
           look_at="F.relu(1 - real)")
    expect(not says(hinge, _hinge(real, fake) / 2), "a sum of two means is asked for", look_at="no division by 2")
    expect(vanilla > 0, "D lowers its loss: mind the sign", look_at="-log of a probability is above 0")
    far = fn(torch.tensor([-300.0]), torch.tensor([300.0]), "vanilla")
    expect(bool(torch.isfinite(far)), "large logits must not overflow", look_at="F.softplus")


def _matching(of):
    """A wrong answer, from what it makes of the layers but the last."""
    return lambda fake, real: of(fake[:-1], real[:-1])


def _differences(fake, real):
    return [(a - b.detach()).abs() for a, b in zip(fake, real, strict=True)]


def _matching_cases(draw):
    def features(*shapes, dtype=torch.float32):
        return tuple([draw.normal(*shape, dtype=dtype) for shape in shapes] for _ in range(2))

    shapes = (4, 16, 17, 17), (4, 32, 9, 9), (4, 32, 10, 10), (4, 1, 11, 11)
    yield Case("the notebook's features of frames", features(*shapes))
    b, c = draw.size(1, 4), draw.size(1, 5)
    yield Case("features of clips", features((b, c, 2, 3, 4), (b, 2 * c, 3, 3, 2), (b, 1, 1, 2, 3)))
    yield Case("one layer and the logits", features((2, 3, 4, 4), (2, 1, 3, 3)))
    yield Case("the logits alone", features((2, 1, 3, 3)), gradients=False)
    yield Case("float64", features((1, 2, 3, 3), (1, 2, 2, 2), (1, 1, 2, 2), dtype=torch.float64))


@exercise("13.2", reference=discriminators.feature_matching, wrong={
    "one number is asked for, a tensor": _matching(lambda fake, real: [d.mean() for d in _differences(fake, real)]),
    "the last are the logits: they are not matched": lambda fake, real: sum(
        d.mean() for d in _differences(fake, real)),
    "the absolute difference is asked for": _matching(
        lambda fake, real: sum(F.mse_loss(a, b.detach()) for a, b in zip(fake, real, strict=True))),
    "a mean in each layer: large layers would count more": _matching(
        lambda fake, real: sum(d.sum() for d in _differences(fake, real))),
    "a sum over the layers is asked for": _matching(
        lambda fake, real: sum(d.mean() for d in _differences(fake, real)) / len(fake)),
    "the true clip is a target: no gradient reaches it": _matching(
        lambda fake, real: sum(F.l1_loss(a, b) for a, b in zip(fake, real, strict=True))),
    "the gradient has to reach what was rebuilt": _matching(
        lambda fake, real: sum(F.l1_loss(a.detach(), b) for a, b in zip(fake, real, strict=True))),
    "with the logits alone it is 0, a tensor": _matching(
        lambda fake, real: sum(F.l1_loss(a, b.detach()) for a, b in zip(fake, real, strict=True))),
}, cases=_matching_cases)
def _(fn, expect):
    draw = torch.Generator().manual_seed(0)
    shapes = (2, 3, 4, 4), (2, 6, 2, 2), (2, 1, 3, 3)
    fake, real = ([torch.randn(shape, generator=draw).requires_grad_() for shape in shapes] for _ in range(2))
    loss = fn(fake, real)
    expect(isinstance(loss, torch.Tensor) and loss.shape == (), "one number is asked for, a tensor", look_at="sum")
    apart = [d.detach() for d in _differences(fake, real)]
    means = [float(d.mean()) for d in apart]
    for wrong, message, look_at in (
            (sum(means), "the last are the logits: they are not matched", "fake[:-1]"),
            (float(sum(d.square().mean() for d in apart[:-1])), "the absolute difference is asked for", "F.l1_loss"),
            (float(sum(d.sum() for d in apart[:-1])), "a mean in each layer: large layers would count more",
             "F.l1_loss is a mean"),
            (sum(means[:-1]) / 2, "a sum over the layers is asked for", "no division")):
        expect(abs(loss.item() - wrong) > 1e-5 * abs(wrong), message, look_at=look_at)
    expect(loss.requires_grad and all(g is not None for g in torch.autograd.grad(
        loss, fake[:-1], retain_graph=True, allow_unused=True)), "the gradient has to reach what was rebuilt",
        look_at="detach the real side, not the other")
    expect(all(g is None or not g.any() for g in torch.autograd.grad(loss, real, allow_unused=True)),
           "the true clip is a target: no gradient reaches it", look_at="b.detach()")
    expect(isinstance(fn(fake[-1:], real[-1:]), torch.Tensor), "with the logits alone it is 0, a tensor",
           look_at="sum(..., start=fake[0].new_zeros(()))")


def _spectrum(video):
    return torch.fft.fft2(video, norm="ortho").abs().square()


def _grid(h, w):
    return torch.fft.fftfreq(h)[:, None], torch.fft.fftfreq(w)


def _power(counts, spectrum=_spectrum, over=lambda power: power.flatten(1).mean(1)):
    """A wrong answer, from which waves count, the spectrum, and the mean."""
    return lambda video: over(spectrum(video) * counts(*_grid(*video.shape[-2:])))


def _short(rows, columns):
    return torch.hypot(rows, columns) >= 0.25


def _wave(frequency_y, frequency_x, size=16):
    """A clip (1, 1, 1, size, size) of one wave of amplitude 1, whose mean square is a half."""
    places = torch.arange(size, dtype=torch.float32)
    phase = 2 * torch.pi * (frequency_y * places[:, None] + frequency_x * places)
    return torch.cos(phase + 0.3)[None, None, None]


def _power_cases(draw):
    yield Case("the notebook's walks", (draw.uniform(2, 3, 4, 64, 64) * 2 - 1,), batch=(0,))
    shape = draw.size(2, 3), draw.size(1, 3), draw.size(1, 4), draw.size(5, 9), draw.size(10, 14)
    yield Case(f"clips {shape}", (draw.normal(*shape),), batch=(0,))
    yield Case("one frame", (draw.normal(1, 1, 1, 8, 8),))
    yield Case("a row of pixels", (draw.normal(2, 1, 3, 1, 8),), batch=(0,))
    yield Case("float64", (draw.normal(1, 1, 2, 6, 4, dtype=torch.float64),))
    yield Case("one grey", (torch.full((2, 1, 2, 8, 8), 0.5),), gradients=False)


@exercise("13.3", reference=high_frequency_power, wrong={
    "one number a clip is asked for": lambda video: high_frequency_power(video).mean(),
    "all waves count": _power(lambda rows, columns: torch.ones(len(rows), len(columns))),
    "the long waves count": _power(lambda rows, columns: ~_short(rows, columns)),
    'the squares should stay what they are: norm="ortho"': _power(
        _short, lambda video: torch.fft.fft2(video).abs().square()),
    "power is the square of what a wave has": _power(_short, lambda video: torch.fft.fft2(video, norm="ortho").abs()),
    "negative frequencies are frequencies, too": _power(
        lambda rows, columns: (rows >= 0.25) | (columns >= 0.25)),
    "waves across count: take the length of (fy, fx)": _power(
        lambda rows, columns: (rows.abs() >= 0.25) | (columns.abs() >= 0.25)),
    "a mean over all pixels is asked for": _power(_short, over=lambda power: power.flatten(1).sum(1)),
    "a wave of a quarter cycle a pixel counts": _power(lambda rows, columns: torch.hypot(rows, columns) > 0.25),
}, cases=_power_cases)
def _(fn, expect):
    short = torch.cat([_wave(0, 0.375), 2 * _wave(0, 0.375)]).repeat(1, 1, 2, 1, 1)
    answer = fn(short)
    expect(isinstance(answer, torch.Tensor) and answer.shape == (2,), "one number a clip is asked for",
           look_at="(b, c, t, h, w) -> (b,)")

    def says(video, value):
        return abs(float(fn(video)[0]) - value) < 1e-3 * max(value, 1)

    long, across = _wave(0.0625, 0.125), _wave(0.1875, 0.1875)
    expect(not says(long, 0.5) or not says(short, 0.5), "all waves count", look_at=">= 0.25")
    expect(not says(long, 0.5), "the long waves count", look_at=">= 0.25")
    expect(not says(short, 256.0), "a mean over all pixels is asked for",
           look_at=".flatten(1).mean(1)")
    expect(abs(float(answer[1] / answer[0]) - 4) < 1e-3, "power is the square of what a wave has",
           look_at=".abs().square()")
    expect(float(fn(short)[0]) < 2, 'the squares should stay what they are: norm="ortho"',
           look_at='torch.fft.fft2(video, norm="ortho")')
    expect(not says(short, 0.25), "negative frequencies are frequencies, too", look_at="torch.hypot")
    expect(not says(across, 0.0), "waves across count: take the length of (fy, fx)",
           look_at="torch.hypot(rows[:, None], columns)")
    expect(says(_wave(0, 0.25), 0.5), "a wave of a quarter cycle a pixel counts", look_at=">=, not >")
