# Never edit this file: `python -m lvlib.course build` makes it from solutions/20_triplane.py.
"""PVDM's autoencoder: a clip as three planes of continuous vectors. PVDM, section 3.2, App. A."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.quantize import EMACodebook, sum_over_processes
from lvlib.models.pvdm import projection as projections
from lvlib.models.pvdm.projection import RowPooling, RowSummary, project, spread
from lvlib.models.pvdm.timesformer import TimeSformer
from lvlib.models.tats import discriminators as gan
from lvlib.models.tats.vqgan import random_frame, verdict, wishes
from lvlib.pretrained import perceptual_distance
from lvlib.stages import LatentSpec, Metrics, VideoShape

PixelError = Literal["l1", "l2"]


class TriplaneEncoder(nn.Module):
    """Video (b, c, t, h, w) -> three planes (b, rows, columns, latent_dim), or without a projection
    one grid (b, t, h', w', latent_dim)."""

    def __init__(self, config: "TriplaneConfig"):
        super().__init__()
        width, patch = config.width, (1, config.patch, config.patch)
        self.patches = nn.Conv3d(config.channels, width, patch, patch)
        self.transformer = TimeSformer(width, config.layers, config.heads, config.head_dim)
        self.projections = nn.ModuleList(row_module(config, length)
                                         for length in config.projected)
        self.to_latents = nn.ModuleList(nn.Linear(width, config.latent_dim)
                                        for _ in config.projected or "u")

    def forward(self, video: Tensor) -> list[Tensor]:
        u = self.transformer(self.patches(video).movedim(1, -1))
        planes = project(u, *self.projections) if self.projections else [u]
        return [layer(plane) for layer, plane in zip(self.to_latents, planes, strict=True)]


def row_module(config: "TriplaneConfig", length: int) -> nn.Module:
    """What sums up rows of this length."""
    if config.projection == "pooled":
        return RowPooling(length, config.width, config.projection_heads)
    return RowSummary(length, config.width, config.projection_layers, config.projection_heads,
                      config.projection_hidden, config.summary)


class TriplaneDecoder(nn.Module):
    """The planes, or the grid -> video (b, c, t, h, w), unbounded (official code: a sigmoid)."""

    def __init__(self, config: "TriplaneConfig"):
        super().__init__()
        width, patch = config.width, (1, config.patch, config.patch)
        self.from_latents = nn.Linear(config.latent_dim * max(len(config.projected), 1), width)
        self.transformer = TimeSformer(width, config.layers, config.heads, config.head_dim)
        self.pixels = nn.ConvTranspose3d(width, config.channels, patch, patch)

    def forward(self, planes: list[Tensor]) -> Tensor:
        v = spread(planes) if len(planes) == 3 else planes[0]
        return self.pixels(self.transformer(self.from_latents(v)).movedim(-1, 1))


class Convergence(nn.Module):
    """Says at which step the discriminators begin: when a running mean of the loss, over all
    processes, has not fallen by 1% within `patience` steps. Ours: App. A has no rule."""

    def __init__(self, patience: int):
        super().__init__()
        self.patience = patience
        self.register_buffer("mean", torch.tensor(torch.inf))
        self.register_buffer("least", torch.tensor(torch.inf))
        self.register_buffer("start", torch.tensor(patience + 1))

    def reached(self, step: int) -> bool:
        """Whether they judge at this step: it was settled at the latest in the one before."""
        return step >= int(self.start)

    @torch.no_grad()
    def update(self, loss: Tensor, step: int) -> None:
        """Takes a loss () into account. Where the mean falls, the wait begins again."""
        loss, number = sum_over_processes(torch.stack([loss.float(), loss.new_ones(()).float()]))
        loss = loss / number
        self.mean.copy_(torch.where(self.mean.isinf(), loss, self.mean.lerp(loss, 0.01)))
        falls = self.mean < 0.99 * self.least
        self.least.copy_(torch.where(falls, self.mean, self.least))
        self.start.copy_(torch.where(falls, step + self.patience, self.start))


class ClipAutoencoder(nn.Module):
    """Encoder and decoder of clips of `config.frames` frames, and of longer videos clip by clip."""

    def __init__(self, config: "TriplaneConfig"):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = TriplaneEncoder(config), TriplaneDecoder(config)
        self.quantizer = EMACodebook(config.codes, config.latent_dim, config.commitment) \
            if config.codes else None

    def planes(self, video: Tensor) -> list[Tensor]:
        """Of one clip: three planes or one grid, channels last, in [-1, 1] unless quantized."""
        planes = self.encoder(video)
        return planes if self.quantizer else [plane.tanh() for plane in planes]

    def video(self, planes: list[Tensor]) -> Tensor:
        """Planes -> one clip (b, c, t, h, w), not yet kept in [-1, 1]."""
        return self.decoder(planes)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, k * frames, h, w) in [-1, 1] -> latents (b, c', k * positions), the planes
        of each clip one after the other; without a projection (b, c', k * frames, h', w'). Raises
        ValueError as `TriplaneConfig.latents` does."""
        self.config.latents(tuple(video.shape[1:]))
        spec, clips = self.config.clip_latents, []
        for clip in video.split(self.config.frames, 2):
            planes = [plane.movedim(-1, 1) for plane in self.planes(clip)]
            clips.append(spec.join_planes(planes) if spec.planes else planes[0])
        return torch.cat(clips, 2)

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Latents of the first clips of a longer video: as of `encode`."""
        return self.encode(frames)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The reverse of `encode`: video (b, c, k * frames, h, w) in [-1, 1]."""
        spec, clips = self.config.clip_latents, []
        for z in latents.split(spec.shape[1], 2):
            planes = spec.split_planes(z) if spec.planes else [z]
            planes, _, _ = self.quantized([plane.movedim(1, -1) for plane in planes])
            clips.append(self.video(planes).clamp(-1, 1))
        return torch.cat(clips, 2)

    def quantized(self, planes: list[Tensor]) -> tuple[list[Tensor], Tensor, Metrics]:
        """Planes of codes, the loss that this adds, (), and metrics; the same planes where there is
        no codebook."""
        if self.quantizer is None:
            return planes, planes[0].new_zeros(()), {}
        sizes = [plane.shape[1:-1].numel() for plane in planes]
        q, _, loss, metrics = self.quantizer(torch.cat([z.flatten(1, -2) for z in planes], 1))
        return [part.view_as(z) for part, z in zip(q.split(sizes, 1), planes, strict=True)], \
            loss, metrics


class TriplaneAutoencoder(ClipAutoencoder):
    """The same with its discriminators; `TriplaneConfig.build` makes one. Section 3.2, App. A."""

    def __init__(self, config: "TriplaneConfig"):
        super().__init__(config)
        self.convergence = Convergence(config.patience) \
            if config.gan_start == "converged" else None
        size = config.channels, config.disc_hidden, config.disc_layers
        kinds = {} if config.gan_start is None else {"frame": 2, "clip": 3}
        self.discriminators = nn.ModuleDict({name: gan.PatchDiscriminator(*size, dims)
                                             for name, dims in kinds.items()})

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        judges = list(self.discriminators.parameters())
        found = {"autoencoder": [*self.encoder.parameters(), *self.decoder.parameters()]}
        return found | ({"discriminator": judges} if judges else {})

    def judges(self, step: int) -> bool:
        """Whether the discriminators take part in this step."""
        if self.convergence:
            return self.convergence.reached(step)
        return self.config.gan_start is not None and step >= self.config.gan_start

    def losses(self, video: Tensor, *, step: int) -> Iterator[tuple[str, Tensor, Metrics]]:
        """First the autoencoder's, then, where they judge, that of the discriminators. App. A."""
        config = self.config
        video = torch.cat(video.split(config.frames, 2))  # longer ones clip by clip
        planes, loss, metrics = self.quantized(self.planes(video))
        rebuilt = self.video(planes)
        error = (F.l1_loss if config.error == "l1" else F.mse_loss)(rebuilt, video)
        loss, metrics = loss + error, {"reconstruction_loss": error, **metrics}
        frame = random_frame(step, video.shape[2])
        real = {"frame": video[:, :, frame], "clip": video}
        fake = {"frame": rebuilt[:, :, frame], "clip": rebuilt}
        if config.perceptual:
            distance = perceptual_distance(config.perceptual, fake["frame"], real["frame"]).mean()
            metrics["perceptual_loss"] = distance
            loss = loss + config.perceptual_weight * distance
        judging = self.judges(step)
        if self.training and self.convergence and not judging:
            self.convergence.update(loss.detach(), step)
        if judging:
            wanted, logits, said = wishes(self, real, fake)
            loss, metrics = loss + wanted, metrics | said
        yield "autoencoder", loss, metrics
        if judging:
            yield "discriminator", *verdict(self, logits, {n: x.detach() for n, x in fake.items()})


class TriplaneShapes:
    """What the sizes of a `TriplaneConfig` amount to."""

    channels: int
    frames: int
    size: int
    patch: int
    latent_dim: int
    projection: projections.Projection

    @property
    def grid(self) -> tuple[int, int, int]:
        """(t, h', w') of a clip's patches."""
        return self.frames, self.size // self.patch, self.size // self.patch

    @property
    def projected(self) -> tuple[int, ...]:
        """Lengths of the rows that are summed up; none without a projection."""
        return () if self.projection == "none" else self.grid

    @property
    def clip_latents(self) -> LatentSpec:
        """Of one clip: (latent_dim, positions) in three planes, or a grid."""
        t, h, w = self.grid
        if self.projection == "none":
            return LatentSpec((self.latent_dim, t, h, w))
        return LatentSpec((self.latent_dim, h * w + t * w + t * h), None, t,
                          ((h, w), (t, w), (t, h)))

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of one clip or several in a row (c, k * frames, h, w). Raises ValueError where it does
        not fit."""
        channels, t, h, w = video_shape
        if channels != self.channels:
            raise ValueError(f"the video must have {self.channels} channels, not {channels}")
        if (h, w) != (self.size, self.size):
            raise ValueError(f"frames must be {self.size} x {self.size}, the autoencoder's size, "
                             f"not {h} x {w}")
        if t < 1 or t % self.frames:
            raise ValueError(f"the frames must be a multiple of {self.frames}, the frames of the "
                             f"autoencoder's clips, not {t}")
        clips, one = t // self.frames, self.clip_latents
        shape = one.shape[0], one.shape[1] * clips, *one.shape[2:]
        return LatentSpec(shape, None, one.frames_per_latent, one.planes * clips)


@dataclass(frozen=True)
class TriplaneConfig(TriplaneShapes):
    """Sizes of a `TriplaneAutoencoder`; the defaults are those of appendices A and D and, where the
    paper is silent, of its code. Raises ValueError for sizes that do not fit together."""

    frame_by_frame: ClassVar[bool] = False
    channels: int = 3
    """Colour channels of the video: 1 or 3."""
    frames: int = 16
    """Of the clips that three planes stand for."""
    size: int = 256
    """Height and width of a frame."""
    patch: int = 8
    """Height and width of a patch. App. D prints 4; 8 gives the latents that it prints."""
    width: int = 384
    layers: int = 8
    """Of the encoder, and as many of the decoder (official code)."""
    heads: int = 8
    head_dim: int = 64
    latent_dim: int = 4
    """Numbers at each position of a plane (App. D)."""
    projection: projections.Projection = "attention"
    """attention: a transformer sums up each row; pooled: one query for each head, the cheap way;
    none: no planes, a cube (Table 7)."""
    projection_layers: int = 4
    projection_heads: int = 4
    projection_hidden: int = 512
    summary: projections.Summary = "own"
    """Which token is read: the summary's own, or the first, as the official code does."""
    codes: int = 0
    """Of a codebook for the latents (Table 7); 0: none, tanh instead."""
    commitment: float = 0.25
    """Weight of the commitment loss, where there is a codebook."""
    error: PixelError = "l1"
    """l1 (App. A), or l2 for clips that are mostly black: the least l1 is then black."""
    perceptual: str | None = "efficientnet-lite0"
    """Perceptual network: efficientnet-lite0, or your vgg16.pt for the paper's LPIPS; None."""
    perceptual_weight: float = 1.0
    gan_weight: float = 0.25
    match_weight: float = 0.25
    gan_start: int | Literal["converged"] | None = "converged"
    """First step with discriminators; converged: once the other terms no longer fall (App. A); None
    for never."""
    patience: int = 5000
    """Steps without a fall of 1% after which the other terms have converged. Ours."""
    gan_loss: gan.GANLoss = "hinge"
    disc_hidden: int = 64
    disc_layers: int = 3

    def __post_init__(self):
        check_sizes_of_triplane(self)

    def build(self) -> TriplaneAutoencoder:
        """The model, with new weights."""
        return TriplaneAutoencoder(self)


def check_sizes_of_triplane(config: TriplaneConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    check_numbers(config, "channels", "frames", "size", "patch", "width", "layers", "heads",
                  "head_dim", "latent_dim", "projection_layers", "projection_heads",
                  "projection_hidden", "patience", "disc_hidden", "disc_layers", least=1)
    check_numbers(config, "codes", "commitment", "perceptual_weight", "gan_weight", "match_weight",
                  least=0)
    kinds = {"projection": projections.Projection, "summary": projections.Summary,
             "error": PixelError, "gan_loss": gan.GANLoss}
    for field, allowed in kinds.items():
        check_choice(config, field, get_args(allowed))
    if isinstance(config.gan_start, str):
        check_choice(config, "gan_start", ("converged",))
    elif config.gan_start is not None:
        check_numbers(config, "gan_start", least=1)
    if config.size % config.patch:
        raise ValueError(f"size must be a multiple of patch, {config.patch}, not {config.size}")
    if config.head_dim % 4:
        raise ValueError(f"head_dim must be a multiple of 4, two numbers of each pair for rows and "
                         f"for columns, not {config.head_dim}")
    if config.projection == "attention" and config.width % 8:
        raise ValueError(f"width must be a multiple of 8, not {config.width}")
    if config.projection == "pooled" and config.width % config.projection_heads:
        raise ValueError(f"width must be a multiple of projection_heads, {config.projection_heads},"
                         f" not {config.width}")
