"""Checks of notebook 14: the equivariance score, what an encoder sees, real frames in place of padding, codes by
position."""

import torch
from torch import nn

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.tats import equivariance
from lvlib.models.tats.padding import PaddedConv3d, same_padding
from lvlib.models.tats.vqgan import VQGANConfig, VQGANEncoder


def _score(early, late, chosen=lambda early, late: (early[:, 1:], late[:, :-1])):
    first, second = chosen(early, late)
    return (first == second).float().mean((1, 2, 3))


def _score_cases(draw):
    def case(about, b, t, h, w, codes=3):
        early, late = (draw.integers(0, codes, b, t, h, w) for _ in range(2))
        return Case(about, (early, late), batch=(0, 1))

    yield case("the notebook's 4 x 4 x 4 codes", 5, 4, 4, 4)
    yield case("a single clip of two latent frames", 1, 2, 3, 2)
    b, t, h, w = draw.size(2, 4), draw.size(5, 8), draw.size(1, 3), draw.size(4, 6)
    yield case(f"{b} clips of {t} x {h} x {w} codes", b, t, h, w)
    yield case("16,384 codes that hardly ever agree", 3, 5, 2, 3, codes=16_384)
    codes = draw.integers(0, 9, 2, 5, 3, 4)
    yield Case("codes that move along by a latent frame", (codes, codes.roll(-1, 1)), batch=(0, 1))
    yield Case("cut out of a longer row", (codes[:, :-1], codes[:, 1:]), batch=(0, 1))
    yield Case("codes of other shapes", (codes, codes[:, :-1]), raises=ValueError)
    yield Case("codes of other clips", (codes, codes[:1]), raises=ValueError)
    yield Case("single latent frames", (codes[:, :1], codes[:, :1]), raises=ValueError)


@exercise("14.1", reference=equivariance.equivariance_score, wrong={
    "the same place in both clips is another time": lambda early, late: _score(
        early, late, lambda early, late: (early, late)),
    "the late clip begins later, not earlier": lambda early, late: _score(
        early, late, lambda early, late: (early[:, :-1], late[:, 1:])),
    "divide by (t - 1) h w: 1 must be possible": lambda early, late: _score(early, late) * (
        early.shape[1] - 1) / early.shape[1],
    "a number for each clip is asked for": lambda early, late: _score(early, late).mean(),
    "a share of equal codes is asked for": lambda early, late: 1 - _score(early, late),
    "the end of one clip does not meet its beginning": lambda early, late: (early.roll(-1, 1) == late).float().mean(
        (1, 2, 3)),
    "clips of other shapes should be a ValueError": lambda early, late: _score(
        early, late, lambda early, late: (early[:, 1:], late[:1, :early.shape[1] - 1])),
}, cases=_score_cases)
def _(fn, expect):
    codes = torch.arange(2 * 5 * 3 * 4).view(2, 5, 3, 4)
    early, late = codes[:, :4], codes[:, 1:]
    score = fn(early, late)
    expect(score.shape == (2,), "a number for each clip is asked for", look_at="mean((1, 2, 3))")
    expect((fn(early, -1 - early) < 1).all(), "a share of equal codes is asked for", look_at="==")
    expect((fn(early, early) < 1).all(), "the same place in both clips is another time",
           look_at="codes_early[:, 1:] and codes_late[:, :-1]")
    expect((fn(late, early) < 1).all(), "the late clip begins later, not earlier",
           look_at="codes_early[:, 1:] and codes_late[:, :-1]")
    meets = torch.cat([late[:, :3], early[:, :1]], 1)
    expect(torch.equal(fn(early, meets), score), "the end of one clip does not meet its beginning",
           look_at="late's last latent frame is in no other clip")
    expect(not torch.allclose(score, torch.full((2,), 0.75)), "divide by (t - 1) h w: 1 must be possible",
           look_at="latent frame t does not exist")
    for other in (late[:1], late[:, :3]):
        try:
            fn(early, other)
        except ValueError:
            continue
        expect(False, "clips of other shapes should be a ValueError", look_at="codes_early.shape != codes_late.shape")


def _walk(counted, k=None, backwards=False, strides=True):
    """A sum over layers: what is counted of one, (before, after), times the strides before it."""

    def walk(encoder, k=k):
        layers = equivariance.padded_layers(encoder)[:k]
        before, after, rate = 0, 0, 1
        for layer in layers[::-1] if backwards else layers:
            more = counted(layer.kernel_size[0], *same_padding(layer.kernel_size, layer.stride)[0], layer.stride[0])
            before, after = before + more[0] * rate, after + more[1] * rate
            rate *= layer.stride[0] if strides else 1
        return before, after

    return walk


def _sees(kernel, front, back, stride):
    return front, kernel - 1 - front


def _pads(kernel, front, back, stride):
    return front, back


def _residuals_left_out(walk):
    def without(encoder, *k):
        return walk(nn.Sequential(*(layer for layer in encoder if isinstance(layer, PaddedConv3d))), *k)

    return without


def _encoder(downsample=(4, 4, 4), blocks=(1, 1)):
    return VQGANEncoder(VQGANConfig(channels=1, hidden=2, residual_blocks=blocks, downsample=downsample))


def _stack(*layers):
    """Convolutions of these kernels and strides."""
    return nn.Sequential(*(PaddedConv3d(1, 1, kernel, (stride, 1, 1)) for kernel, stride in layers))


def _encoders(draw):
    """(about, encoder), in all sizes."""
    yield "the notebook's encoder", _encoder()
    for downsample in (8, 2, 2), (1, 4, 4), (2, 8, 1):
        yield f"an encoder with the downsampling {downsample}", _encoder(downsample, (2, 0))
    for layers in ((3, 1),), ((4, 1), (5, 2)), ((2, 2), (1, 1), (7, 3), (6, 1)), ():
        yield f"kernels and strides {layers}", _stack(*layers)
    layers = tuple((draw.size(3, 7), draw.size(1, 3)) for _ in range(4))
    yield f"kernels and strides {layers}", _stack(*layers)


def _field_cases(draw):
    for about, encoder in _encoders(draw):
        yield Case(about, (encoder,), gradients=False)


@exercise("14.2", reference=equivariance.receptive_field, wrong={
    "count from the first frame of the latent's own": _walk(_pads),
    "a place behind a stride is worth more frames": _walk(_sees, strides=False),
    "the layer next to the video comes first": _walk(_sees, backwards=True),
    "the residual blocks see further, too": _residuals_left_out(_walk(_sees)),
    "before and after have changed places": lambda encoder: _walk(_sees)(encoder)[::-1],
    "an output reads kernel inputs, its own first one among them": _walk(lambda kernel, front, back, stride: (
        front, kernel - front)),
    "two numbers are asked for, before and after": lambda encoder: sum(_walk(_sees)(encoder)),
    "an odd number has its larger half in front": _walk(lambda kernel, front, back, stride: (
        (kernel - stride) // 2, kernel - 1 - (kernel - stride) // 2)),
}, cases=_field_cases)
def _(fn, expect):
    answer = fn(_stack((3, 1)))
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "two numbers are asked for, before and after",
           look_at="return before, after")
    expect(tuple(answer) != (1, 2), "an output reads kernel inputs, its own first one among them",
           look_at="kernel - 1 - padding")
    expect(tuple(answer) == (1, 1), "a kernel of 3 sees one frame before and one after", look_at="kernel - 1 - padding")
    answer = tuple(fn(_stack((4, 2))))
    expect(answer != (1, 1), "count from the first frame of the latent's own", look_at="kernel - 1 - padding")
    expect(answer != (2, 1), "before and after have changed places", look_at="return before, after")
    answer = tuple(fn(_stack((4, 1))))
    expect(answer != (1, 2), "an odd number has its larger half in front", look_at="same_padding(...)[0]")
    stack = _stack((5, 1), (4, 2), (3, 1))
    answer = tuple(fn(stack))
    expect(answer != _walk(_sees, strides=False)(stack), "a place behind a stride is worth more frames",
           look_at="rate *= stride")
    expect(answer != _walk(_sees, backwards=True)(stack), "the layer next to the video comes first",
           look_at="padded_layers is in the order of the path")
    encoder = _encoder()
    expect(tuple(fn(encoder)) != _residuals_left_out(_walk(_sees))(encoder), "the residual blocks see further, too",
           look_at="padded_layers(encoder)")


def _real_cases(draw):
    for about, encoder in _encoders(draw):
        count = len(equivariance.padded_layers(encoder))
        for k in sorted({0, 1, 2, count // 2, count} & set(range(count + 1))):
            yield Case(f"{about}, {k} layers", (encoder, k), gradients=False)
        for k in (-1, count + 1):
            yield Case(f"{about}, {k} layers", (encoder, k), raises=ValueError)
    encoder = _encoder()
    for layer in equivariance.padded_layers(encoder)[:2]:
        layer.time_padding = None
    yield Case("an encoder that pads less already", (encoder, 3), gradients=False)


def _unchecked(encoder, k):
    return _walk(_pads)(encoder, k)


def _checked(walk):
    def real_frames(encoder, k):
        equivariance.real_frames(encoder, k)  # raises
        return walk(encoder, k)

    return real_frames


@exercise("14.3", reference=equivariance.real_frames, wrong={
    "count what is padded, not what is seen": _checked(_walk(_sees)),
    "only the first k layers count": _checked(lambda encoder, k: _walk(_pads)(encoder, None)),
    "a place behind a stride is worth more frames": _checked(_walk(_pads, strides=False)),
    "a layer's own stride comes after it": _checked(_walk(lambda kernel, front, back, stride: (
        front * stride, back * stride))),
    "the residual blocks pad, too": _checked(_residuals_left_out(_walk(_pads))),
    "a k that is no number of layers should be a ValueError": _unchecked,
    "in front and behind are not always the same": _checked(_walk(lambda kernel, front, back, stride: (front, front))),
    "two numbers are asked for, before and after": _checked(lambda encoder, k: sum(_walk(_pads)(encoder, k))),
}, cases=_real_cases)
def _(fn, expect):
    answer = fn(_stack((3, 1), (4, 2)), 0)
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "two numbers are asked for, before and after",
           look_at="return before, after")
    stack = _stack((3, 1), (4, 2), (3, 1), (4, 1))
    expect(tuple(fn(stack, 1)) != tuple(fn(stack, 4)), "only the first k layers count", look_at="[:k]")
    answer = tuple(fn(stack, 2))
    expect(answer != (3, 3), "a layer's own stride comes after it", look_at="rate *= stride, at the end of the loop")
    expect(answer != (2, 3), "count what is padded, not what is seen", look_at="both numbers of same_padding(...)[0]")
    expect(answer == (2, 2), "kernels 3 and 4, the second with stride 2, pad 2 frames on each side together",
           look_at="same_padding(...)[0]")
    expect(tuple(fn(stack, 3)) != (3, 3), "a place behind a stride is worth more frames", look_at="rate *= stride")
    answer = tuple(fn(stack, 4))
    expect(answer != (8, 8), "in front and behind are not always the same", look_at="front and back")
    encoder = _encoder()
    expect(tuple(fn(encoder, 7)) != (4, 4), "the residual blocks pad, too", look_at="padded_layers(encoder)")
    for k in (-1, 5):
        try:
            fn(stack, k)
        except ValueError:
            continue
        expect(False, "a k that is no number of layers should be a ValueError", look_at="first_layers(encoder, k)")


def _variation(codes, num_codes, distance=lambda p, q: (p - q).abs().sum() / 2, axis=1):
    shares = [torch.bincount(frame.flatten(), minlength=num_codes).double() / frame.numel()
              for frame in codes.unbind(axis)]
    return torch.stack([torch.stack([distance(p, q) for q in shares]) for p in shares])


def _variation_cases(draw):
    yield Case("the notebook's 4 x 4 x 4 codes", (draw.integers(0, 256, 20, 4, 4, 4), 256), loose=True)
    yield Case("one clip of one latent frame", (draw.integers(0, 5, 1, 1, 3, 2), 5), loose=True)
    b, t, h, w, n = draw.size(2, 4), draw.size(5, 8), draw.size(1, 3), draw.size(4, 6), draw.size(3, 20)
    yield Case(f"{b} clips of {t} x {h} x {w} codes out of {n}", (draw.integers(0, n, b, t, h, w), n), loose=True)
    some = draw.integers(0, 40, 3, 4, 2, 2)
    some[:, 2] += 900
    yield Case("1,000 codes, most of which never occur", (some, 1000), loose=True)
    yield Case("a single code", (torch.zeros(2, 3, 2, 2, dtype=torch.int64), 1), loose=True)
    apart = torch.arange(4)[None, :, None, None].expand(3, 4, 2, 3)
    yield Case("latent frames that share no code", (apart, 9), loose=True)


@exercise("14.4", reference=equivariance.total_variation, wrong={
    "half the sum: 1 is the largest": lambda codes, n: 2 * _variation(codes, n),
    "absolute differences, not squares": lambda codes, n: _variation(codes, n, lambda p, q: (p - q).square().sum() / 2),
    "each latent frame's shares sum to 1": lambda codes, n: _variation(codes, n) * codes[:, 0].numel(),
    "a table of all pairs of latent frames is asked for": lambda codes, n: _variation(codes, n)[0],
    "latent frames are on axis 1": lambda codes, n: _variation(codes, n, axis=0),
    "only the order of codes differs: over all clips and places": lambda codes, n: torch.stack(
        [(codes != codes[:, i:i + 1]).float().mean((0, 2, 3)) for i in range(codes.shape[1])]),
    "the difference has no sign": lambda codes, n: _variation(codes, n, lambda p, q: (p - q).sum() / 2),
}, cases=_variation_cases)
def _(fn, expect):
    codes = torch.tensor([[0, 0, 1], [1, 0, 2], [2, 0, 0], [0, 0, 1]])[:, :, None, None].expand(4, 3, 1, 2)
    table = fn(codes, 4)
    expect(table.ndim == 2, "a table of all pairs of latent frames is asked for", look_at="(t, t)")
    expect(table.shape == (3, 3), "latent frames are on axis 1", look_at="codes.unbind(1)")
    expect(table.max() <= 2, "each latent frame's shares sum to 1", look_at="counts / counts.sum(1, keepdim=True)")
    expect(table[0, 1] != 0, "the difference has no sign", look_at="abs")
    expect(table[0, 1] <= 0.5 + 1e-6 or table[0, 1] > 0.9, "half the sum: 1 is the largest", look_at="/ 2")
    expect(abs(table[0, 1] - 1) > 1e-6, "half the sum: 1 is the largest", look_at="/ 2")
    expect(abs(table[0, 1] - 0.5) < 1e-6, "absolute differences, not squares", look_at="(p - q).abs()")
    expect(abs(table[0, 2] - 0.25) < 1e-6, "only the order of codes differs: over all clips and places",
           look_at="bincount of a latent frame, over all clips")
