"""LVT's frame autoencoder: a 2D VQ-VAE applied to each frame on its own. LVT, sections 3.1 and 4.1."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.quantize import EMACodebook, SlicedQuantizer, perplexity, usage


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class Encoder(nn.Sequential):
    """Frames (n, c, h, w) -> vectors (n, hidden, h/4, w/4)."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int):
        super().__init__(
            nn.Conv2d(channels, hidden // 2, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *[ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)])


class Decoder(nn.Sequential):
    """Vectors (n, hidden, h/4, w/4) -> frames (n, c, h, w) in (-1, 1)."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int):
        super().__init__(
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *[ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)], nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, channels, 4, 2, 1), nn.Tanh())


class FrameVQVAE(nn.Module):
    def __init__(self, encoder: nn.Module, quantizer: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.quantizer, self.decoder = encoder, quantizer, decoder

    def _vectors(self, video: Tensor) -> Tensor:
        z = self.encoder(rearrange(video, "b c t h w -> (b t) c h w"))
        return rearrange(z, "(b t) d h w -> b t h w d", b=len(video))

    def _frames(self, q: Tensor) -> Tensor:
        frames = self.decoder(rearrange(q, "b t h w d -> (b t) d h w"))
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(q))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t, h/4, w/4) or (b, t, h/4, w/4, k)."""
        return self.quantizer(self._vectors(video))[1]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        return self._frames(self.quantizer.lookup(codes))

    def loss(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        q, codes, quantizer_loss = self.quantizer(self._vectors(video))
        reconstruction_loss = F.mse_loss(self._frames(q), video)
        metrics = {"reconstruction_loss": reconstruction_loss, "quantizer_loss": quantizer_loss}
        return reconstruction_loss + quantizer_loss, metrics

    def latent_shape(self, video_shape: tuple[int, int, int, int]) -> tuple[int, ...]:
        """(c, t, h, w) of one clip -> (t, h/4, w/4) or (t, h/4, w/4, k)."""
        _, t, h, w = video_shape
        if h % 4 or w % 4:
            raise ValueError(f"frames of {h}x{w} pixels: height and width must be multiples of 4")
        k = getattr(self.quantizer, "codebooks", None)
        return (t, h // 4, w // 4) if k is None else (t, h // 4, w // 4, len(k))


@dataclass(frozen=True)
class FrameVQVAEConfig:
    channels: int = 3
    hidden: int = 256
    residual_hidden: int = 128
    residual_blocks: int = 2
    codes: int = 512
    codebooks: int = 1
    commitment: float = 1.0
    decay: float = 0.99
    restart: float = 0.05

    def build(self) -> FrameVQVAE:
        size = self.channels, self.hidden, self.residual_hidden, self.residual_blocks
        parts = [EMACodebook(self.codes, self.hidden // self.codebooks, self.commitment, self.decay, self.restart)
                 for _ in range(self.codebooks)]
        return FrameVQVAE(Encoder(*size), SlicedQuantizer(parts) if self.codebooks > 1 else parts[0], Decoder(*size))
