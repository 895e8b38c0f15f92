# Never edit this file: `python -m lvlib.course build` makes it from solutions/14_time_agnostic.py.
"""How far codes depend on where in a clip their frames are. TATS, section 2.2, A.2 and A.3."""

import torch
from torch import Tensor, nn

from lvlib.models.tats.padding import PaddedConv3d, PaddedConvTranspose3d, same_padding


def equivariance_score(codes_early: Tensor, codes_late: Tensor) -> Tensor:
    """Share of codes that are the same where the same frames stand elsewhere in a clip: float32
    (b,), 1 for all. TATS, eq. 3, divided by (t - 1) h w.

    codes_early, codes_late: int64 (b, t, h, w), of frames 0 to T - 1, and of frames d to T + d - 1,
    where a latent frame stands for d frames. Raises ValueError for shapes that differ, and for a
    single latent frame.
    """
    if codes_early.shape != codes_late.shape or codes_early.shape[1] < 2:
        raise ValueError("give codes of two clips of the same shape (b, t, h, w), t at least 2, "
                         f"not {tuple(codes_early.shape)} and {tuple(codes_late.shape)}")
    return (codes_early[:, 1:] == codes_late[:, :-1]).float().mean((1, 2, 3))


def padded_layers(encoder: nn.Module) -> list[PaddedConv3d]:
    """The convolutions of an encoder, those of residual blocks included, in the order of the path:
    a `VQGANEncoder` registers them so."""
    return [layer for layer in encoder.modules() if isinstance(layer, PaddedConv3d)]


def receptive_field(encoder: nn.Module) -> tuple[int, int]:
    """Frames that a latent sees before, and after, the first frame that it stands for: (before,
    after), of an encoder whose layers pad. Those after include its own."""
    before, after, rate = 0, 0, 1
    for layer in padded_layers(encoder):
        padding = same_padding(layer.kernel_size, layer.stride)[0][0]
        before += padding * rate
        after += (layer.kernel_size[0] - 1 - padding) * rate
        rate *= layer.stride[0]
    return before, after


def decoder_reach(decoder: nn.Module) -> int:
    """Latent frames before and after its own that a frame sees at most, of a decoder of padded
    convolutions: what must stand beside a piece of a long video that is decoded alone."""
    reach = 0  # of the layer above, in its frames
    for layer in reversed(list(decoder.modules())):
        if isinstance(layer, PaddedConvTranspose3d):
            kernel, stride = layer.kernel_size[0], layer.stride[0]
            reach = reach // stride + (kernel - stride + 1) // 2
        elif isinstance(layer, PaddedConv3d):
            reach += layer.kernel_size[0] // 2
    return reach


def first_layers(encoder: nn.Module, k: int) -> list[PaddedConv3d]:
    """The first k of them. Raises ValueError for k below 0 or above their number."""
    layers = padded_layers(encoder)
    if not 0 <= k <= len(layers):
        raise ValueError(f"k must be 0 to {len(layers)}, the number of layers, not {k}")
    return layers[:k]


def real_frames(encoder: nn.Module, k: int) -> tuple[int, int]:
    """How many real frames before, and after, a clip stand for the padding of the first k layers:
    (before, after). TATS, A.3. Raises ValueError for k below 0 or above the number of layers."""
    before, after, rate = 0, 0, 1
    for layer in first_layers(encoder, k):
        front, back = same_padding(layer.kernel_size, layer.stride)[0]
        before, after, rate = before + front * rate, after + back * rate, rate * layer.stride[0]
    return before, after


def take_out_padding(encoder: nn.Module, k: int) -> None:
    """The first k layers of an encoder pad no frames any more: a clip must come with its
    `real_frames`, and its latents are as many as before. In place. TATS, A.3 "padding-less".

    Raises ValueError for k below 0 or above the number of layers.
    """
    for layer in first_layers(encoder, k):
        layer.time_padding = None


def total_variation(codes: Tensor, num_codes: int) -> Tensor:
    """How far apart the distributions of codes in each two latent frames are: int64 (b, t, h, w) in
    0..num_codes-1 -> float (t, t), 0 for equal ones to 1 for two that share no code.

    Over all clips and places. Half the sum of |p - q| over the codes.
    """
    counts = torch.stack([torch.bincount(frame.flatten(), minlength=num_codes)
                          for frame in codes.unbind(1)])
    shares = counts.double() / counts.sum(1, keepdim=True)
    return torch.cdist(shares, shares, p=1) / 2
