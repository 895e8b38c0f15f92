"""Padding in time and space, against torch's own, by hand and by index."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lvlib.models.tats.padding import (
    PaddedConv3d,
    PaddedConvTranspose3d,
    pad_time,
    pad_volume,
    same_padding,
)

MODES = ["zero", "replicate", "reflect", "circular"]
FRAMES = {"zero": [None, None, 0, 1, 2, 3, None], "replicate": [0, 0, 0, 1, 2, 3, 3],
          "reflect": [2, 1, 0, 1, 2, 3, 2], "circular": [2, 3, 0, 1, 2, 3, 0]}


@pytest.mark.parametrize("mode", MODES)
def test_frames_before_and_after_are_those_of_the_name(mode):
    x = torch.randn(2, 3, 4, 5, 6)
    expected = torch.stack([torch.zeros_like(x[:, :, 0]) if t is None else x[:, :, t] for t in FRAMES[mode]], 2)
    assert torch.equal(pad_time(x, 2, 1, mode), expected)


@pytest.mark.parametrize("mode", MODES)
def test_space_is_repeated_whatever_time_does(mode):
    x = torch.randn(2, 3, 4, 5, 6)
    rows, columns = torch.arange(-1, 7).clamp(0, 4), torch.arange(-3, 6).clamp(0, 5)
    padded = pad_volume(x, [(2, 1), (1, 2), (3, 0)], mode)
    assert torch.equal(padded, pad_time(x, 2, 1, mode)[:, :, :, rows][..., columns])
    assert torch.equal(pad_volume(x, [(2, 1), (1, 2), (3, 0)], None), x[:, :, :, rows][..., columns])


@pytest.mark.parametrize("kernel, stride", [((3, 3, 3), (1, 1, 1)), ((4, 4, 4), (2, 2, 2)), ((4, 4, 4), (1, 2, 2)),
                                            ((5, 2, 3), (2, 1, 3))])
def test_what_the_stride_divides_is_divided(kernel, stride):
    amounts = same_padding(kernel, stride)
    assert all(before - after in (0, 1) for before, after in amounts)
    for k, s, (before, after) in zip(kernel, stride, amounts, strict=True):
        n = 6 * s
        assert (n + before + after - k) // s + 1 == 6 and (n + before + after - k) % s == 0


@pytest.mark.parametrize("mode", [*MODES, None])
def test_a_padded_convolution_is_torchs_on_a_padded_volume(mode):
    x = torch.randn(2, 3, 4, 6, 8)
    layer = PaddedConv3d(3, 5, 4, (2, 2, 1), mode)
    by_hand = F.pad(x, (2, 1, 1, 1, 0, 0), "replicate")
    by_hand = by_hand if mode is None else pad_time(by_hand, 1, 1, mode)
    torch.testing.assert_close(layer(x), F.conv3d(by_hand, layer.weight, layer.bias, (2, 2, 1)))
    assert layer(x).shape == (2, 5, 1 if mode is None else 2, 3, 8)


def test_zeros_in_time_are_what_torchs_own_padding_puts_there():
    x = torch.zeros(1, 2, 4, 6, 6) + torch.randn(1, 2, 4, 1, 1)  # the same everywhere in a frame
    layer = PaddedConv3d(2, 3, 3, time_padding="zero")
    own = nn.functional.conv3d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x)[..., 1:-1, 1:-1], own[..., 1:-1, 1:-1])


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2), (2, 1, 2)])
def test_a_transposed_convolution_multiplies_each_axis_by_its_stride(stride):
    x = torch.randn(1, 2, 3, 4, 5)
    layer = PaddedConvTranspose3d(2, 3, 4, stride)
    assert layer(x).shape[2:] == tuple(n * s for n, s in zip(x.shape[2:], stride, strict=True))


def test_of_one_colour_everywhere_both_make_one_colour_everywhere():
    """Repeated borders bring in nothing new: a still grey clip has no edges after a convolution."""
    x = torch.full((1, 2, 4, 6, 6), 0.3)
    down, up = PaddedConv3d(2, 3, 4, (2, 2, 2)), PaddedConvTranspose3d(2, 3, 4, (1, 1, 1))
    for layer in (down, up):
        made = layer(x)
        torch.testing.assert_close(made, made[:, :, :1, :1, :1].expand_as(made))
    zeros = PaddedConv3d(2, 3, 4, (2, 2, 2), "zero")(x)
    assert (zeros[:, :, 0] - zeros[:, :, 1]).abs().max() > 1e-3
