"""Checks of notebook 07: codes that change, an encoder of patches, a layer for each codebook."""

import torch
from torch import nn

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.lvt.frame_vqvae import ResidualBlock
from lvlib.models.lvt.patch_vqvae import LayerEncoder, PatchEncoder, PatchResidualBlock


def changed(codes):
    return codes[:, 1:] != codes[:, :-1]


def _code_cases(draw):
    yield Case("the notebook's two codebooks of 64", (draw.integers(0, 64, 48, 10, 8, 8, 2),), batch=(0,))
    for shape in (3, 5, 4, 6), (1, 2, 3, 3), (2, draw.size(6, 9), 2, 5, 3), (2, 1, 4, 4), (4, 7):
        yield Case(f"codes {shape}", (draw.integers(0, 3, *shape),), batch=(0,))
    yield Case("codes that never change", (draw.integers(0, 9, 2, 1, 3, 4).expand(2, 6, 3, 4).contiguous(),))


@exercise("7.1", reference=changed, wrong={
    "where codes change is asked for, not where they stay": lambda codes: codes[:, 1:] == codes[:, :-1],
    "compare with the frame before, not with the first one": lambda codes: codes[:, 1:] != codes[:, :1],
    "the first frame has none before it: t - 1 frames are asked for": lambda codes: codes != codes.roll(1, 1),
    "True and False are asked for, not numbers": lambda codes: codes.diff(dim=1),
}, cases=_code_cases)
def _(fn, expect):
    codes = torch.tensor([[[[1, 2]], [[1, 3]], [[1, 2]]]])
    found = fn(codes)
    expect(found.shape == (1, 2, 1, 2), "the first frame has none before it: t - 1 frames are asked for",
           look_at="codes[:, 1:] and codes[:, :-1]")
    expect(found.dtype == torch.bool, "True and False are asked for, not numbers", look_at="!=")
    expect(found.tolist() != [[[[True, False]], [[True, False]]]],
           "where codes change is asked for, not where they stay", look_at="!=")
    expect(found.tolist() != [[[[False, True]], [[False, False]]]],
           "compare with the frame before, not with the first one", look_at="codes[:, :-1]")


class _LooksAround(PatchEncoder):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(channels, hidden, residual_hidden, 0)
        self.extend(ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks))


class _NoBlocks(PatchEncoder):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(channels, hidden, residual_hidden, 0)


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
    "one residual block is asked for, and there is none": _NoBlocks,
}, cases=_patch_cases)
def _(fn, expect):
    shape = tuple(fn(2, 8, 4, 1)(torch.randn(3, 2, 8, 12)).shape)
    expect(shape[0] == 3 and shape[2:] == (2, 3), "a vector for each 4x4 pixels is asked for",
           look_at="the stride of the convolution")
    expect(_vectors_that_see(fn(2, 8, 4, 0), 2, 4, 4)[0] == 1, "the first convolution's windows overlap",
           look_at="kernel and stride are the same, and there is no padding")
    seen, own = _vectors_that_see(fn(2, 8, 4, 2), 2, 5, 6)
    expect(seen == 1 and own, "a vector sees beyond its own 4x4 pixels", look_at="kernels of one position")
    parameters = [len(list(fn(2, 8, 4, blocks).parameters())) for blocks in (0, 1)]
    expect(parameters[1] > parameters[0], "one residual block is asked for, and there is none",
           look_at="`residual_blocks` of them, after the convolution")


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


def _layer_cases(draw):
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
}, cases=_layer_cases)
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
