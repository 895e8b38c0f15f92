"""TATS's autoencoder with one of its remedies taken back: what notebook 13 compares."""

from typing import Any

from torch import Tensor, nn

from lvlib.models.tats.normalization import norm_of
from lvlib.models.tats.padding import PaddedConv3d, PaddedConvTranspose3d
from lvlib.models.tats.vqgan import VQGAN, VQGANBlock
from lvlib.models.videogpt.vqvae import VideoBlock, strides


class AxialBlock(VideoBlock):
    """VideoGPT's residual block with axial attention, in place of a `VQGANBlock`."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # as a `VQGANBlock` is called
        return super().forward(x, None)


def with_axial_attention(model: VQGAN) -> None:
    """Changes the residual blocks of a `VQGAN` into VideoGPT's, of new weights."""
    parts: tuple[Any, ...] = model.encoder, model.decoder
    for part in parts:
        for i, layer in enumerate(part):
            if hasattr(layer, "correction"):  # a `VQGANBlock`, be it a notebook's
                width = layer.correction[0].num_features
                part[i] = AxialBlock(width, width // 2, "attention")


def with_constant_channels(model: VQGAN, width: int = 16) -> None:
    """Gives a `VQGAN` with one residual block a level new layers, as wide everywhere as the others have where they have
    the fewest."""
    config = model.config
    block = width, config.norm, config.padding
    down: list[nn.Module] = [PaddedConv3d(config.channels, width, 3)]
    up: list[nn.Module] = [norm_of(config.norm, width), nn.SiLU()]
    for stride in strides(config.downsample):
        down += [PaddedConv3d(width, width, 4, stride), VQGANBlock(*block)]
        up += [PaddedConvTranspose3d(width, width, 4, stride), VQGANBlock(*block)]
    model.add_module("encoder", nn.Sequential(*down, norm_of(config.norm, width), nn.SiLU()))
    model.add_module("decoder", nn.Sequential(*up, PaddedConv3d(width, config.channels, 3)))
    model.to_codes, model.from_codes = nn.Conv3d(width, config.code_dim, 1), nn.Conv3d(config.code_dim, width, 1)
