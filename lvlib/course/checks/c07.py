"""Checks of notebook 07: what a code sees, an encoder of patches, a layer for each codebook."""

import torch
from torch import nn

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.lvt.frame_vqvae import ResidualBlock
from lvlib.models.lvt.patch_vqvae import LayerEncoder, PatchEncoder, PatchResidualBlock


def receptive_field(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        seen += (kernel - 1) * step
        step *= stride
    return seen


def _own_stride_first(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        step *= stride
        seen += (kernel - 1) * step
    return seen


def _layer_cases(draw):
    yield Case("the notebook's encoder", ([(4, 2), (4, 2), (3, 1), (3, 1), (1, 1)],))
    yield Case("a convolution of 4 pixels and stride 4, then single positions", ([(4, 4), (1, 1), (1, 1)],))
    yield Case("a single layer", ([(draw.size(2, 9), draw.size(1, 3))],))
    yield Case("no layer", ([],))
    for n in 3, 6:
        yield Case(f"{n} layers", ([(draw.size(1, 7), draw.size(1, 3)) for _ in range(n)],))


@exercise("7.1", reference=receptive_field, wrong={
    "windows overlap: a layer adds its kernel less 1": lambda layers: _own_stride_first(
        [(kernel + 1, 1) for kernel, _ in layers]),
    "a step of a later layer is several pixels: the strides before it count": lambda layers: 1 + sum(
        kernel - 1 for kernel, _ in layers),
    "a layer's own stride comes after it, not before": _own_stride_first,
    "one pixel is seen where there is no layer": lambda layers: receptive_field(layers) - 1,
}, cases=_layer_cases)
def _(fn, expect):
    expect(fn([(3, 1), (3, 1)]) != 7, "windows overlap: a layer adds its kernel less 1", look_at="kernel - 1")
    expect(fn([(3, 1)]) != 2, "one pixel is seen where there is no layer", look_at="where `seen` begins")
    expect(fn([(3, 1), (3, 1)]) == 5, "two layers of 3 see 5 pixels", look_at="the hint")
    expect(fn([(4, 2), (3, 1)]) != 6, "a step of a later layer is several pixels: the strides before it count",
           look_at="(kernel - 1) * step")
    expect(fn([(4, 2), (3, 1)]) != 11, "a layer's own stride comes after it, not before",
           look_at="`step` grows after `seen` did")


class _LooksAround(PatchEncoder):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(channels, hidden, residual_hidden, 0)
        self.extend(ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks))


class _Gaps(nn.Sequential):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(nn.Conv2d(channels, hidden, 3, stride=4),
                         *[PatchResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)])


class _TwoConvolutions(nn.Sequential):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(nn.Conv2d(channels, hidden, 2, stride=2), nn.Conv2d(hidden, hidden, 2, stride=2),
                         *[PatchResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)])


class _OwnSizes(nn.Sequential):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(nn.Conv2d(channels, hidden, 4, stride=4),
                         *[PatchResidualBlock(hidden, hidden) for _ in range(residual_blocks)])


class _NoBlocks(PatchEncoder):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(channels, hidden, residual_hidden, 0)


class _Nested(nn.Sequential):
    def __init__(self, *sizes):
        convolution, *blocks = PatchEncoder(*sizes)
        super().__init__(convolution, nn.Sequential(*blocks))


class _Overlapping(nn.Sequential):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(nn.Conv2d(channels, hidden, 6, stride=4, padding=1),
                         *[PatchResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)])


class _HalfPatches(nn.Sequential):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(nn.Conv2d(channels, hidden, 2, stride=2),
                         *[PatchResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)])


def _vectors_that_see(encoder, channels, y, x, size=12):
    """How many vectors change with one pixel of a frame, and whether the pixel's own one does."""
    frames = torch.randn(1, channels, size, size)
    poked = frames.clone()
    poked[..., y, x] += 1
    seen = (encoder(frames) - encoder(poked)).abs().amax(1)[0] > 1e-7
    return int(seen.sum()), bool(seen[y // 4, x // 4])


def _patch_cases(draw):
    def case(about, channels, hidden, inside, blocks, n, h, w):
        return Case(about, (draw.normal(n, channels, h, w),), init=(channels, hidden, inside, blocks), batch=(0,))

    yield case("the notebook's sizes", 3, 32, 16, 1, 2, 32, 32)
    yield case("one channel, two blocks", 1, 8, 4, 2, 1, 8, 12)
    yield case("no block", 2, 6, 3, 0, 3, 4, 4)
    yield case("other sizes", 3, draw.size(5, 9), draw.size(2, 7), 3, 2, 12, 8)


@exercise("7.2", reference=PatchEncoder, wrong={
    "a vector sees beyond its own 4x4 pixels": _LooksAround,
    "the first convolution's windows overlap": _Overlapping,
    "a vector for each 4x4 pixels is asked for": _HalfPatches,
    "a vector does not see all of its 4x4 pixels": _Gaps,
    "one convolution is asked for, that cuts the frame into patches": _TwoConvolutions,
    "one residual block is asked for, and there is none": _NoBlocks,
    "`residual_hidden` channels are asked for inside a block": _OwnSizes,
    "one flat sequence is asked for: the convolution, then each block": _Nested,
}, cases=_patch_cases)
def _(fn, expect):
    shape = tuple(fn(2, 8, 4, 1)(torch.randn(3, 2, 8, 12)).shape)
    expect(shape[0] == 3 and shape[2:] == (2, 3), "a vector for each 4x4 pixels is asked for",
           look_at="the stride of the convolution")
    expect(_vectors_that_see(fn(2, 8, 4, 0), 2, 4, 4)[0] == 1, "the first convolution's windows overlap",
           look_at="kernel and stride are the same, and there is no padding")
    seen, own = _vectors_that_see(fn(2, 8, 4, 2), 2, 5, 6)
    expect(seen == 1 and own, "a vector sees beyond its own 4x4 pixels", look_at="kernels of one position")
    frames = torch.zeros(1, 2, 4, 4, requires_grad=True)
    fn(2, 8, 4, 0)(frames).sum().backward()
    expect(bool(frames.grad.all()), "a vector does not see all of its 4x4 pixels", look_at="kernel 4, no padding")
    first = sum(p.numel() for p in fn(2, 8, 4, 0).parameters())
    expect(first == 8 * 2 * 4 * 4 + 8, "one convolution is asked for, that cuts the frame into patches",
           look_at="kernel 4 and stride 4")
    parameters = [sum(p.numel() for p in fn(2, 8, inside, 1).parameters()) - sum(
        p.numel() for p in fn(2, 8, inside, 0).parameters()) for inside in (4, 5)]
    expect(all(parameters), "one residual block is asked for, and there is none",
           look_at="`residual_blocks` of them, after the convolution")
    expect(parameters == [8 * 4 + 4 + 4 * 8 + 8, 8 * 5 + 5 + 5 * 8 + 8],
           "`residual_hidden` channels are asked for inside a block", look_at="PatchResidualBlock's second argument")
    names = {name.split(".")[0] for name in fn(2, 8, 4, 2).state_dict()}
    expect(names == {"0", "1", "2"}, "one flat sequence is asked for: the convolution, then each block",
           look_at="a * before the list of blocks")


class _Swapped(LayerEncoder):
    def forward(self, frames):
        layers = frames.split(self.widths, 1)
        return torch.cat([encoder(layer) for encoder, layer in zip(self.encoders, layers, strict=True)][::-1], 1)


class _Added(LayerEncoder):
    def forward(self, frames):
        layers = frames.split(self.widths, 1)
        return sum(encoder(layer) for encoder, layer in zip(self.encoders, layers, strict=True))


class _Mixed(LayerEncoder):
    def forward(self, frames):
        out = super().forward(frames)
        return out + out.flip(1)


class _FirstOnly(LayerEncoder):
    def forward(self, frames):
        out = super().forward(frames)
        width = out.shape[1] // len(self.encoders)
        return torch.cat([out[:, :width], torch.zeros_like(out[:, width:])], 1)


def _layered_cases(draw):
    def case(about, layers, channels, hidden, blocks, n, h, w):
        return Case(about, (draw.normal(n, channels, h, w),), init=(layers, channels, hidden, 4, blocks), batch=(0,))

    yield case("the notebook's two layers of three colours", 2, 3, 32, 1, 2, 32, 32)
    yield case("three layers of three colours", 3, 3, 12, 1, 1, 8, 12)
    yield case("two layers of two channels", 2, 2, 8, 2, 3, 4, 8)
    yield case("one layer", 1, 3, 6, 1, 2, 8, 8)
    layers = draw.size(3, 4)
    yield case(f"{layers} layers of five channels", layers, 5, 3 * layers, 0, 2, 8, 4)


@exercise("7.3", reference=LayerEncoder, wrong={
    "the layers come in another order": _Swapped,
    "the vectors of the layers stand side by side: they are not added": _Added,
    "a codebook's vectors depend on another layer": _Mixed,
    "a codebook's vectors do not depend on its layer": _FirstOnly,
}, cases=_layered_cases)
def _(fn, expect):
    encoder, frames = fn(2, 3, 8, 4, 1), torch.randn(2, 3, 8, 8)
    vectors = encoder(frames)
    expect(tuple(vectors.shape) == (2, 8, 2, 2), "the vectors of the layers stand side by side: they are not added",
           look_at="torch.cat along the channels")
    depends = [[bool((encoder(frames.index_fill(1, torch.tensor(layer), 0.0)) != vectors)[:, half].any())
                for half in (slice(0, 4), slice(4, 8))] for layer in ([0], [1, 2])]
    expect(depends != [[False, True], [True, False]], "the layers come in another order", look_at="zip keeps the order")
    expect(depends[0][0] and depends[1][1], "a codebook's vectors do not depend on its layer",
           look_at="one encoder for each layer")
    expect(depends == [[True, False], [False, True]], "a codebook's vectors depend on another layer",
           look_at="encoder k sees layer k alone")
