# Never edit this file: `python -m lvlib.course build` makes it from solutions/08_video_vqvae.py and
# solutions/10_writing_clips.py.
"""VideoGPT's autoencoder: a 3D VQ-VAE that shrinks space and time. VideoGPT, section 3, Fig. 4 and
Table 8.

Volumes are (b, channels, t, h, w) for convolutions and (b, t, h, w, d) for attention and codes.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.quantize import ema_quantizer
from lvlib.models.common.volume import AxialPositions, Triple, check_reach
from lvlib.models.videogpt.axial_attention import AxialAttention
from lvlib.stages import LatentSpec, VideoShape

BlockKind = Literal["attention", "official", "plain"]


def strides(downsample: Triple) -> list[Triple]:
    """Strides of convolutions that halve each axis until it is done: (4, 2, 1) -> [(2, 2, 1), (2,
    1, 1)]."""
    halvings = max(downsample).bit_length() - 1
    return [tuple(2 if factor > 2**i else 1 for factor in downsample) for i in range(halvings)]


def latent_grid(size: Triple, downsample: Triple) -> Triple:
    """(t, h, w) of a clip -> (t, h, w) of its latents.

    Raises ValueError whose one line names an axis (frames, height or width) that is 0 or that the
    downsampling does not divide, and one or both of the nearest sizes that fit.
    """
    for axis, length, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        if length < 1 or length % factor:
            below = length // factor * factor
            near = f"{below} or {below + factor}" if below else factor
            raise ValueError(f"{axis} must be a multiple of {factor}, not {length}: take {near}")
    t, h, w = (length // factor for length, factor in zip(size, downsample, strict=True))
    return t, h, w


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of volumes (b, channels, t, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def block_norm(kind: BlockKind, channels: int) -> nn.Module:
    """The norm in residual blocks of this kind, for volumes (b, channels, t, h, w)."""
    return {"attention": ChannelNorm, "official": nn.BatchNorm3d,
            "plain": nn.Identity}[kind](channels)


class VideoBlock(nn.Module):
    """x plus a correction: a 3x3x3 and a 1x1x1 convolution, axial attention, each after a norm and
    a ReLU. Fig. 4.

    Volumes (b, channels, t, h, w). "official": BatchNorm in place of LayerNorm. "plain": neither
    norm nor attention.
    """

    def __init__(self, channels: int, hidden: int, kind: BlockKind):
        super().__init__()
        bias = kind == "plain"  # as in the official code, none next to a norm
        self.convolutions = nn.Sequential(
            block_norm(kind, channels), nn.ReLU(),
                                          nn.Conv3d(channels, hidden, 3, padding=1, bias=bias),
            block_norm(kind, hidden), nn.ReLU(), nn.Conv3d(hidden, channels, 1, bias=bias))
        self.norm = block_norm(kind, channels)
        self.attention = None if kind == "plain" else AxialAttention(channels)

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """positions: (t, h, w, channels), added to what attention reads; None for none."""
        correction = self.convolutions(x)
        if self.attention:
            volume = F.relu(self.norm(correction)).movedim(1, -1)
            volume = volume if positions is None else volume + positions
            correction = self.attention(volume).movedim(-1, 1)
        return x + correction


class VideoBlocks(nn.Module):
    """Residual blocks one after the other, then a norm and a ReLU."""

    def __init__(self, channels: int, hidden: int, blocks: int, kind: BlockKind):
        super().__init__()
        self.blocks = nn.ModuleList(VideoBlock(channels, hidden, kind) for _ in range(blocks))
        self.norm = block_norm(kind, channels)

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, positions)
        return F.relu(self.norm(x))


class VideoEncoder(nn.Module):
    """Video (b, channels, t, h, w) -> vectors (b, hidden, t', h', w')."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, blocks: int,
                 downsample: Triple,
                 kind: BlockKind):
        super().__init__()
        steps = strides(downsample)
        layers = []
        for stride, width in zip(steps, [channels] + [hidden] * len(steps), strict=False):
            layers += [nn.Conv3d(width, hidden, 3, stride, padding=1), nn.ReLU()]
        self.downsample = nn.Sequential(*layers, nn.Conv3d(hidden, hidden, 3, padding=1))
        self.blocks = VideoBlocks(hidden, residual_hidden, blocks, kind)

    def forward(self, video: Tensor, positions: Tensor | None) -> Tensor:
        return self.blocks(self.downsample(video), positions)


class VideoDecoder(nn.Module):
    """The encoder's reverse: vectors (b, hidden, t', h', w') -> video (b, channels, t, h, w)."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, blocks: int,
                 downsample: Triple,
                 kind: BlockKind):
        super().__init__()
        self.blocks = VideoBlocks(hidden, residual_hidden, blocks, kind)
        steps = strides(downsample)[::-1]
        widths = [hidden] * len(steps) + [channels]
        layers = []
        for stride, width, next_width in zip(steps, widths, widths[1:], strict=False):
            # 4 where it doubles, 3 where it keeps the size
            kernel = tuple(step + 2 for step in stride)
            layers += [nn.ConvTranspose3d(width, next_width, kernel, stride, padding=1), nn.ReLU()]
        self.upsample = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        return self.upsample(self.blocks(x, positions))


def normalized_mse(video: Tensor, target: Tensor, variance: float) -> Tensor:
    """Mean squared error over the data's variance, (): 1 for the best picture in one grey.
    VideoGPT, section 4.1."""
    return F.mse_loss(video, target) / variance


class VideoVQVAE(nn.Module):
    """Encoder, quantizer and decoder of clips. `VideoVQVAEConfig.build` makes one. VideoGPT,
    section 3.

    quantizer: vectors (..., d) -> (vectors to decode (..., d), codes (...) or (..., k), loss (),
    metrics by name), and lookup(codes) -> vectors.
    """

    def __init__(self, config: "VideoVQVAEConfig"):
        super().__init__()
        self.config, hidden = config, config.hidden
        size = (config.channels, hidden, config.residual_hidden, config.residual_blocks,
                config.downsample, config.block)
        self.encoder, self.decoder = VideoEncoder(*size), VideoDecoder(*size)
        self.to_codes = nn.Conv3d(hidden, config.code_dim, 1)
        self.from_codes = nn.Conv3d(config.code_dim, hidden, 1)
        has_positions = config.block == "attention"
        self.positions = AxialPositions(config.positions, hidden) if has_positions else None
        self.quantizer = ema_quantizer(config.codes, config.code_dim, config.codebooks,
                                       commitment=config.commitment, decay=config.decay,
                                       restart=config.restart)

    def vectors(self, video: Tensor) -> Tensor:
        """(b, c, t, h, w) -> what the quantizer sees, (b, t', h', w', code_dim)."""
        grid = self.config.latents(video.shape[1:]).shape[:3]
        z = self.encoder(video, self.positions and self.positions(grid))
        return rearrange(self.to_codes(z), "b d t h w -> b t h w d")

    def video(self, q: Tensor) -> Tensor:
        """Vectors (b, t', h', w', code_dim) -> video (b, c, t, h, w)."""
        z = self.from_codes(rearrange(q, "b t h w d -> b d t h w"))
        return self.decoder(z, self.positions and self.positions(q.shape[1:4]))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t', h', w'), or (..., k) for k
        codebooks. Raises ValueError as `VideoVQVAEConfig.latents` does."""
        return self.quantizer(self.vectors(video))[1]

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Codes of the first frames (b, c, t0, h, w) of clips of `clip_frames` frames: (b, t0', h',
        w') or (..., k). Raises ValueError as `hold_last` does, and as `encode` does."""
        rate = self.config.downsample[0]
        return self.encode(hold_last(frames, clip_frames, rate))[:, :frames.shape[2] // rate]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 (b, t', h', w') or (..., k) -> video (b, c, t, h, w) in [-1, 1]."""
        return self.video(self.quantizer.lookup(codes)).clamp(-1, 1)

    def loss(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Normalised mean squared error plus the quantizer's own loss; and the parts by name.
        Sections 2.1 and 4.1. Raises ValueError as `VideoVQVAEConfig.latents` does."""
        q, _, quantizer_loss, metrics = self.quantizer(self.vectors(video))
        error = normalized_mse(self.video(q), video, self.config.variance)
        return error + quantizer_loss, {"reconstruction_loss": error, **metrics}


# Introduced in solutions/10_writing_clips.py
@dataclass(frozen=True)
class VideoVQVAEConfig:
    """Sizes of a `VideoVQVAE`; the defaults are those of Table 8 with attention, at 4x
    downsampling. Raises ValueError for sizes that do not fit together.
    """

    renamed: ClassVar[dict[str, str]] = {"out": "out_proj"}
    """What parts of the names of weights in older checkpoints are called now."""
    frame_by_frame: ClassVar[bool] = False
    channels: int = 3
    """Colour channels of the video: 1 or 3."""
    hidden: int = 240
    """Channels of the encoder and the decoder."""
    residual_hidden: int = 128
    """Channels inside a residual block."""
    residual_blocks: int = 4
    """Residual blocks in the encoder, and as many in the decoder."""
    downsample: Triple = (4, 4, 4)
    """How many times fewer latents than frames, rows and columns: 1, 2, 4, 8 or 16 each."""
    codes: int = 1024
    """Codes of each codebook."""
    code_dim: int = 256
    """Dimension of the quantized vectors, over all codebooks."""
    codebooks: int = 1
    """Number of codebooks; the paper tries up to 8 (Table 7)."""
    block: BlockKind = "attention"
    """attention: LayerNorm, axial attention, position embeddings (Fig. 4); official: BatchNorm,
    axial attention, no positions (official code); plain: neither (Moving MNIST in Table 8)."""
    positions: Triple = (16, 64, 64)
    """The largest latents that the position embeddings reach (block "attention" alone)."""
    variance: float = 0.24
    """Of the data's pixels in [-1, 1]; it divides the squared error (official: 0.06 in [-.5,
    .5])."""
    commitment: float = 0.25
    """Weight of the commitment loss."""
    decay: float = 0.99
    """Decay of the codebook's running means (official code)."""
    restart: float = 0.05
    """A code used less than this share of the mean is restarted; 0 for no restarts."""

    def __post_init__(self):
        check_sizes(self)

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w): codes (t', h', w'), or (t', h', w', k) for k codebooks.

        Raises ValueError for a clip that does not fit.
        """
        grid = grid_of(self, video_shape)
        shape = grid if self.codebooks == 1 else (*grid, self.codebooks)
        return LatentSpec(shape, self.codes, self.downsample[0])

    def build(self) -> VideoVQVAE:
        """The model, with new weights."""
        return VideoVQVAE(self)


def hold_last(frames: Tensor, clip_frames: int, rate: int) -> Tensor:
    """The first frames (b, c, t0, h, w) made a clip of `clip_frames`. The encoder looks ahead: the
    last frame stands in for those to come, or else the codes would say that the clip ends here.

    Raises ValueError for frames that are no whole latent frames, of `rate` frames each.
    """
    given = frames.shape[2]
    if not 0 < given <= clip_frames or given % rate:
        raise ValueError(f"the first frames must be a multiple of {rate}, at most {clip_frames}, "
                         f"not {given}")
    still = frames[:, :, -1:].expand(-1, -1, clip_frames - given, -1, -1)
    return torch.cat([frames, still], 2)


def check_sizes(config: VideoVQVAEConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    names = "channels", "hidden", "residual_hidden", "codes", "code_dim", "codebooks"
    check_numbers(config, *names, least=1)
    check_numbers(config, "residual_blocks", "commitment", least=0)
    check_numbers(config, "variance", above=0)
    check_numbers(config, "decay", above=0, below=1)
    check_numbers(config, "restart", least=0, below=1)
    check_choice(config, "block", get_args(BlockKind))
    factors = config.downsample
    if any(factor not in (1, 2, 4, 8, 16) for factor in factors) or max(factors) == 1:
        raise ValueError("downsample must be 1, 2, 4, 8 or 16 an axis and more than 1 on one of "
                         f"them, not {factors}")
    if config.block != "plain" and config.hidden % 2:
        raise ValueError(f"hidden must be even, for two attention heads, not {config.hidden}")
    if not all(size >= 1 for size in config.positions):
        raise ValueError(f"positions must be at least 1 an axis, not {config.positions}")
    if config.code_dim % config.codebooks:
        raise ValueError(f"code_dim must be a multiple of codebooks ({config.codebooks}), "
                         f"not {config.code_dim}")


def grid_of(config: VideoVQVAEConfig, video_shape: VideoShape) -> Triple:
    """(t', h', w') of a clip (c, t, h, w).

    Raises ValueError if the downsampling does not divide the clip, if the position embeddings do
    not reach that far, or for another number of channels.
    """
    channels, *size = video_shape
    if channels != config.channels:
        raise ValueError(f"the video must have {config.channels} channels, not {channels}")
    grid = latent_grid(tuple(size), config.downsample)
    if config.block == "attention":
        check_reach(grid, config.positions)
    return grid
