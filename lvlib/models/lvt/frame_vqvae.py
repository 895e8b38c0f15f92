# Never edit this file: `python -m lvlib.course build` makes it from solutions/02_vq_vae.py and
# solutions/04_sliced_quantization.py.
"""LVT's frame autoencoder: a 2D VQ-VAE that works on each frame alone. LVT, 3.1 and 4.1."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import check_numbers
from lvlib.models.common.quantize import ema_quantizer
from lvlib.stages import LatentSpec, VideoShape


class ResidualBlock(nn.Module):
    """x plus a correction: ReLU, 3x3 convolution, ReLU, 1x1 convolution.

    (n, channels, h, w) in and out.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.correction = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(), nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.correction(x)


class Encoder(nn.Sequential):
    """Frames (n, channels, h, w) -> vectors (n, hidden, h/4, w/4)."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int):
        super().__init__(
            nn.Conv2d(channels, hidden // 2, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *[ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)],
        )


class Decoder(nn.Sequential):
    """Vectors (n, hidden, h/4, w/4) -> frames (n, channels, h, w).

    No tanh at the end: it stalls on black frames.
    """

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int):
        super().__init__(
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *[ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)], nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, channels, 4, stride=2, padding=1),
        )


class FrameVQVAE(nn.Module):
    """An encoder, a quantizer and a decoder, frame by frame. `FrameVQVAEConfig.build` makes one.

    quantizer: vectors (..., d) -> (vectors to decode (..., d), codes (...) or (..., k), loss (),
    metrics by name), and lookup(codes) -> vectors.
    """

    def __init__(self, config: "FrameVQVAEConfig", quantizer: nn.Module):
        super().__init__()
        self.config = config
        size = config.channels, config.hidden, config.residual_hidden, config.residual_blocks
        self.encoder = Encoder(*size)
        self.quantizer = quantizer
        self.decoder = Decoder(*size)

    def vectors(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) -> what the quantizer sees, (b, t, h/4, w/4, d).

        Raises ValueError as `FrameVQVAEConfig.latents` does.
        """
        self.config.latents(video.shape[1:])
        z = self.encoder(rearrange(video, "b c t h w -> (b t) c h w"))
        return rearrange(z, "(b t) d h w -> b t h w d", b=len(video))

    def frames(self, q: Tensor) -> Tensor:
        """Vectors (b, t, h/4, w/4, d) -> video (b, c, t, h, w)."""
        x = self.decoder(rearrange(q, "b t h w d -> (b t) d h w"))
        return rearrange(x, "(b t) c h w -> b c t h w", b=len(q))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t, h/4, w/4).

        Or (..., k) for k codebooks. Raises ValueError as `FrameVQVAEConfig.latents` does.
        """
        return self.quantizer(self.vectors(video))[1]

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Codes of the first frames (b, c, t0, h, w) of longer clips.

        Those of `encode`, whatever comes after.
        """
        return self.encode(frames)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 (b, t, h/4, w/4) or (..., k) -> video (b, c, t, h, w) in [-1, 1]."""
        return self.frames(self.quantizer.lookup(codes)).clamp(-1, 1)

    def loss(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error plus the quantizer's own loss, LVT eq. (1); and the parts by name."""
        q, _, quantizer_loss, metrics = self.quantizer(self.vectors(video))
        reconstruction_loss = F.mse_loss(self.frames(q), video)
        metrics = {"reconstruction_loss": reconstruction_loss, **metrics}
        return reconstruction_loss + quantizer_loss, metrics


# Introduced in solutions/04_sliced_quantization.py
@dataclass(frozen=True)
class FrameVQVAEConfig:
    """Sizes of a `FrameVQVAE`; the defaults are LVT's, section 4.1, with one codebook.

    Raises ValueError for sizes that do not fit together.
    """

    frame_by_frame: ClassVar[bool] = True
    channels: int = 3
    """Colour channels of the video: 1 or 3."""
    hidden: int = 256
    """Channels of the encoder, and dimension of the vectors over all codebooks."""
    residual_hidden: int = 128
    """Channels inside a residual block (official code)."""
    residual_blocks: int = 2
    """Residual blocks in the encoder, and as many in the decoder."""
    codes: int = 512
    """Codes of each codebook."""
    codebooks: int = 1
    """Number of codebooks, n_c in the paper."""
    commitment: float = 1.0
    """Weight of the commitment loss (official code)."""
    decay: float = 0.99
    """Decay of the codebook's running means (official code)."""
    restart: float = 0.05
    """A code used less than this share of the mean is restarted; 0: never. Ours: LVT has none."""

    def __post_init__(self):
        check_numbers(self, "channels", "hidden", "residual_hidden", "codes", "codebooks", least=1)
        check_numbers(self, "residual_blocks", "commitment", least=0)
        check_numbers(self, "decay", above=0, below=1)
        check_numbers(self, "restart", least=0, below=1)
        if self.hidden % 2 or self.hidden % self.codebooks:
            raise ValueError("hidden must be even and a multiple of codebooks "
                             f"({self.codebooks}), not {self.hidden}")

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w): codes (t, h/4, w/4), or (t, h/4, w/4, k) for k codebooks.

        Raises ValueError for another number of channels, and if h or w is not a multiple of 4.
        """
        channels, t, h, w = video_shape
        if channels != self.channels:
            raise ValueError(f"the video must have {self.channels} channels, not {channels}")
        if min(t, h, w) < 1 or h % 4 or w % 4:
            raise ValueError(f"{t} frames of {h}x{w} pixels: height and width must be multiples of "
                             "4, and none 0")
        grid = t, h // 4, w // 4
        return LatentSpec(grid if self.codebooks == 1 else (*grid, self.codebooks), self.codes)

    def build(self) -> FrameVQVAE:
        """The model, with new weights."""
        options = {"commitment": self.commitment, "decay": self.decay, "restart": self.restart}
        return FrameVQVAE(self, ema_quantizer(self.codes, self.hidden, self.codebooks, **options))
