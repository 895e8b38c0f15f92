# Never edit this file: `python -m lvlib.course build` makes it from solutions/13_video_vqgan.py.
"""TATS's autoencoder: a 3D VQGAN that does not know where in time it is. TATS, section 2.1, A.1."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.quantize import EMACodebook
from lvlib.models.common.volume import Triple
from lvlib.models.tats import discriminators as gan
from lvlib.models.tats.equivariance import decoder_reach, receptive_field
from lvlib.models.tats.normalization import NormKind, norm_of
from lvlib.models.tats.padding import PaddedConv3d, PaddedConvTranspose3d, TimePadding
from lvlib.models.videogpt.vqvae import hold_last, latent_grid, strides
from lvlib.pretrained import perceptual_distance
from lvlib.stages import LatentSpec, Metrics, VideoShape


class VQGANBlock(nn.Module):
    """x plus two 3x3x3 convolutions, each after a norm and a SiLU. Official code.

    Where the convolutions add no frames of their own, x loses those that they lost.
    """

    def __init__(self, channels: int, norm: NormKind, padding: TimePadding):
        super().__init__()
        self.correction = nn.Sequential(
            norm_of(norm, channels), nn.SiLU(),
            PaddedConv3d(channels, channels, 3, time_padding=padding),
            norm_of(norm, channels), nn.SiLU(),
            PaddedConv3d(channels, channels, 3, time_padding=padding))

    def forward(self, x: Tensor) -> Tensor:
        correction = self.correction(x)
        lost = (x.shape[2] - correction.shape[2]) // 2
        return x[:, :, lost:x.shape[2] - lost] + correction


class VQGANEncoder(nn.Sequential):
    """Video (b, c, t, h, w) -> vectors (b, width, t', h', w'), twice as wide after each halving."""

    def __init__(self, config: "VQGANConfig"):
        width, norm, padding = config.hidden, config.norm, config.padding
        layers = [PaddedConv3d(config.channels, width, 3, time_padding=padding)]
        for stride in strides(config.downsample):
            layers.append(PaddedConv3d(width, 2 * width, 4, stride, padding))
            width *= 2
            layers += [VQGANBlock(width, norm, padding)
                       for _ in range(config.residual_blocks[0])]
        super().__init__(*layers, norm_of(norm, width), nn.SiLU())


class VQGANDecoder(nn.Sequential):
    """The reverse; as wide at each size as the encoder is one halving below."""

    def __init__(self, config: "VQGANConfig"):
        steps, norm, padding = strides(config.downsample), config.norm, config.padding
        width = config.hidden * 2**len(steps)
        layers = [norm_of(norm, width), nn.SiLU()]
        for level, stride in enumerate(steps):
            next_width = width if level == 0 else width // 2
            layers.append(PaddedConvTranspose3d(width, next_width, 4, stride, padding))
            width = next_width
            layers += [VQGANBlock(width, norm, padding)
                       for _ in range(config.residual_blocks[1])]
        super().__init__(*layers, PaddedConv3d(width, config.channels, 3, time_padding=padding))


class VQGANAutoencoder(nn.Module):
    """Encoder, codebook and decoder of clips, without judges."""

    def __init__(self, config: "VQGANConfig"):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = VQGANEncoder(config), VQGANDecoder(config)
        width = config.hidden * 2**len(strides(config.downsample))
        self.to_codes = nn.Conv3d(width, config.code_dim, 1)
        self.from_codes = nn.Conv3d(config.code_dim, width, 1)
        self.quantizer = EMACodebook(config.codes, config.code_dim, config.commitment,
                                     config.decay, config.restart)

    def vectors(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) -> vectors (b, t', h', w', code_dim)."""
        return rearrange(self.to_codes(self.encoder(video)), "b d t h w -> b t h w d")

    def video(self, q: Tensor) -> Tensor:
        """Vectors (b, t', h', w', code_dim) -> video (b, c, t, h, w)."""
        return self.decoder(self.from_codes(rearrange(q, "b t h w d -> b d t h w")))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t', h', w'). Raises ValueError as
        `VQGANConfig.latents` does."""
        self.config.latents(tuple(video.shape[1:]))
        return self.quantizer(self.vectors(video))[1]

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Codes of the first frames (b, c, t0, h, w) of longer clips: (b, t0', h', w'). The last
        stands in for those to come. Raises ValueError as `hold_last` and `encode` do."""
        rate, given = self.config.downsample[0], frames.shape[2]
        longest = given + -(-receptive_field(self.encoder)[1] // rate) * rate
        return self.encode(hold_last(frames, min(clip_frames, longest), rate))[:, :given // rate]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 (b, t', h', w') -> video (b, c, t, h, w) in [-1, 1], however many."""
        rate, beside, videos = self.config.downsample[0], decoder_reach(self.decoder), []
        for clips in codes.split(max(PIECE // codes.shape[1], 1)):
            parts = []
            for start in range(0, codes.shape[1], PIECE):
                first = max(start - beside, 0)
                q = self.quantizer.lookup(clips[:, first:start + PIECE + beside])
                frames = self.video(q)[:, :, (start - first) * rate:]
                parts.append(frames[:, :, :PIECE * rate].clamp(-1, 1))
            videos.append(torch.cat(parts, 2))
        return torch.cat(videos)


class VQGAN(VQGANAutoencoder):
    """The same with its discriminators; `VQGANConfig.build` makes one. TATS, section 2.1."""

    def __init__(self, config: "VQGANConfig"):
        super().__init__(config)
        size = config.channels, config.disc_hidden, config.disc_layers
        kinds = {} if config.gan_start is None else {"frame": 2, "clip": 3}
        self.discriminators = nn.ModuleDict({name: gan.PatchDiscriminator(*size, dims)
                                             for name, dims in kinds.items()})

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        judges = list(self.discriminators.parameters())
        parts = self.encoder, self.decoder, self.to_codes, self.from_codes
        found = {"autoencoder": [p for part in parts for p in part.parameters()]}
        return found | ({"discriminator": judges} if judges else {})

    def losses(self, video: Tensor, *, step: int) -> Iterator[tuple[str, Tensor, Metrics]]:
        """First the autoencoder's, then, from step `gan_start` on, that of the discriminators."""
        config = self.config
        q, _, quantizer_loss, metrics = self.quantizer(self.vectors(video))
        rebuilt = self.video(q)
        error = F.l1_loss(rebuilt, video)
        metrics = {"reconstruction_loss": error, **metrics}
        loss = config.reconstruction_weight * error + quantizer_loss
        frame = random_frame(step, video.shape[2])
        real = {"frame": video[:, :, frame], "clip": video}
        fake = {"frame": rebuilt[:, :, frame], "clip": rebuilt}
        if config.perceptual:
            distance = perceptual_distance(config.perceptual, fake["frame"], real["frame"]).mean()
            metrics["perceptual_loss"] = distance
            loss = loss + config.perceptual_weight * distance
        judging = config.gan_start is not None and step >= config.gan_start
        if judging:
            wanted, logits, said = wishes(self, real, fake)
            loss, metrics = loss + wanted, metrics | said
        yield "autoencoder", loss, metrics
        if judging:
            yield "discriminator", *verdict(self, logits, {n: x.detach() for n, x in fake.items()})


def wishes(model: VQGAN, real: dict[str, Tensor],
           fake: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor], Metrics]:
    """What the autoencoder wants, (); the discriminators' logits of real ones; and its parts."""
    config, total, logits, metrics = model.config, 0.0, {}, {}
    for name, judge in model.discriminators.items():
        seen, expected = judge(fake[name]), judge(real[name])
        logits[name] = expected[-1]
        deceived = gan.generator_loss(seen[-1], config.gan_loss)
        matched = gan.feature_matching(seen, expected)
        metrics |= {f"{name}_deceived": deceived, f"{name}_matching": matched}
        total = total + config.gan_weight * deceived + config.match_weight * matched
    return total, logits, metrics


def verdict(model: VQGAN, real: dict[str, Tensor],
            fake: dict[str, Tensor]) -> tuple[Tensor, Metrics]:
    """The discriminators' loss, and what each says. real: their logits; fake: rebuilt ones."""
    losses, metrics = [], {}
    for name, judge in model.discriminators.items():
        says = real[name], judge(fake[name])[-1]
        losses.append(gan.discriminator_loss(*says, model.config.gan_loss))
        metrics |= {f"{name}_real": says[0].mean(), f"{name}_fake": says[1].mean()}
    return model.config.gan_weight * torch.stack(losses).sum(), metrics


PIECE = 32  # latent frames that are decoded at a time, and those beside them that they see


def random_frame(step: int, frames: int) -> int:
    """The frame that is judged at this step: the same in all clips, so that a batch in pieces sees
    what a whole one sees."""
    return random.Random(step).randrange(frames)


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of a `VQGAN`; the defaults are those of B.2 and, where the paper is silent, of its
    code. Raises ValueError for sizes that do not fit together."""

    frame_by_frame: ClassVar[bool] = False
    channels: int = 3
    """Colour channels of the video: 1 or 3."""
    hidden: int = 32
    """Channels before the first halving; they double with each (A.1)."""
    residual_blocks: tuple[int, int] = (1, 2)
    """After each halving in the encoder, after each doubling in the decoder (official code)."""
    downsample: Triple = (4, 8, 8)
    """How many times fewer latents than frames, rows and columns: 1, 2, 4, 8 or 16 each."""
    codes: int = 16_384
    code_dim: int = 256
    """Dimension of the quantized vectors."""
    padding: TimePadding = "replicate"
    """What stands before and after a clip: zero, replicate, reflect or circular (A.3)."""
    norm: NormKind = "batch"
    """batch: over the clips of all processes (A.1); group: depends on where in time a frame is."""
    commitment: float = 0.25
    """Weight of the commitment loss."""
    decay: float = 0.99
    """Decay of the codebook's running means (official code)."""
    restart: float = 0.0
    """A code used less than this share of the mean is restarted; the paper has no restarts."""
    reconstruction_weight: float = 4.0
    perceptual: str | None = "efficientnet-lite0"
    """Perceptual network: efficientnet-lite0, or your vgg16.pt for the paper's LPIPS; None."""
    perceptual_weight: float = 4.0
    match_weight: float = 4.0
    gan_weight: float = 1.0
    gan_start: int | None = 10_000
    """First step with discriminators; None for never."""
    gan_loss: gan.GANLoss = "hinge"
    """hinge (official code) or vanilla (section 2.1)."""
    disc_hidden: int = 64
    """Channels of the discriminators' first layer (official code)."""
    disc_layers: int = 3
    """Layers of theirs that halve each axis (official code)."""

    def __post_init__(self):
        check_sizes_of_vqgan(self)

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w): codes (t', h', w'). Raises ValueError where it does not fit."""
        channels, *size = video_shape
        if channels != self.channels:
            raise ValueError(f"the video must have {self.channels} channels, not {channels}")
        grid = latent_grid(tuple(size), self.downsample)
        if self.padding == "reflect" and grid[0] < 3:
            raise ValueError(f"padding reflect needs 3 latent frames or more, not {grid[0]}")
        return LatentSpec(grid, self.codes, self.downsample[0])

    def build(self) -> VQGAN:
        """The model, with new weights."""
        return VQGAN(self)


def check_sizes_of_vqgan(config: VQGANConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    check_numbers(config, "channels", "hidden", "codes", "code_dim", "disc_hidden", "disc_layers",
                  least=1)
    check_numbers(config, "commitment", "reconstruction_weight", "perceptual_weight",
                  "match_weight", "gan_weight", least=0)
    check_numbers(config, "decay", above=0, below=1)
    check_numbers(config, "restart", least=0, below=1)
    for field, kinds in {"padding": TimePadding, "norm": NormKind, "gan_loss": gan.GANLoss}.items():
        check_choice(config, field, get_args(kinds))
    if config.gan_start is not None:
        check_numbers(config, "gan_start", least=1)
    if any(blocks < 0 for blocks in config.residual_blocks):
        raise ValueError(f"residual_blocks must be 0 or more, not {config.residual_blocks}")
    factors = config.downsample
    if any(factor not in (1, 2, 4, 8, 16) for factor in factors) or max(factors) == 1:
        raise ValueError("downsample must be 1, 2, 4, 8 or 16 an axis and more than 1 on one of "
                         f"them, not {factors}")
    width = config.hidden * 2**len(strides(factors))
    if config.norm == "group" and any(w % min(32, w) for w in (2 * config.hidden, width)):
        raise ValueError(f"for group norm, hidden must be a multiple of 16, not {config.hidden}")
