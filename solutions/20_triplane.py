# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 20 · Three planes instead of a cube

# %% jupyter={"source_hidden": true}
import os

from lvlib.course import check

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.timesformer"]
"""A transformer over patches of a video that looks along time, then within each frame.

TimeSformer, as PVDM's autoencoder has it (section 3.2); its layers and sizes are the official
code's.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


# %% tags=["export:models.pvdm.timesformer"]
def rotary_angles(positions: Tensor, dim: int) -> Tensor:
    """The angle by which each pair of numbers of a vector of size `dim` is turned at each position:
    (n,) -> (n, dim / 2), from one radian a step down to 1 / 10,000. Official code."""
    rates = 10_000 ** -torch.linspace(0, 1, dim // 2, device=positions.device)
    return positions[:, None] * rates


def space_angles(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """The same for the places of a frame: half of the pairs turn with the row, half with the
    column. (height * width, dim / 2)."""
    rows = rotary_angles(torch.arange(height, device=device), dim // 2)
    columns = rotary_angles(torch.arange(width, device=device), dim - 2 * (dim // 4))
    return torch.cat([rows.repeat_interleave(width, 0), columns.repeat(height, 1)], 1)


# %% tags=["exercise", "ex-20.1", "export:models.pvdm.timesformer"]
def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turns each pair (x[..., i], x[..., i + d / 2]) by its angle: x (..., n, d), angles
    (n, d / 2) -> (..., n, d). The product of two turned vectors then depends on how far apart they
    are alone."""
    ### BEGIN SOLUTION
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
    ### END SOLUTION


# %% tags=["check", "ex-20.1"]
rotate = check("20.1", rotate)

# %% tags=["export:models.pvdm.timesformer"]
def attend_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each query looks at all keys: (b, heads, n or m, d) -> (b, heads, n, d)."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # The CPU's kernel takes three to seven times as long in bf16, torch 2.13.
        scores = query @ key.transpose(-1, -2) * query.shape[-1]**-0.5
        return scores.softmax(-1) @ value
    query, key, value = (x.contiguous() for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value)


class RotaryAttention(nn.Module):
    """Multi-head attention of everybody to everybody: (b, n, width) -> (b, n, width).

    heads, head_dim: of vectors of that size. angles (n, head_dim / 2): of the positions, None for
    vectors that carry theirs.
    """

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width)

    def forward(self, x: Tensor, angles: Tensor | None = None) -> Tensor:
        query, key, value = rearrange(self.qkv(x), "b n (p m d) -> p b m n d", p=3, m=self.heads)
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        attended = attend_all(query, key, value)
        return self.out(rearrange(attended, "b m n d -> b n (m d)"))


class GatedFeedForward(nn.Module):
    """Two linear layers, with half of the hidden numbers as gates of the other half: (..., width)
    -> (..., width). Official code (GEGLU, Shazeer 2020)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.into, self.out = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        values, gates = self.into(x).chunk(2, -1)
        return self.out(values * F.gelu(gates))


# %% tags=["exercise", "ex-20.2", "export:models.pvdm.timesformer"]
class DividedBlock(nn.Module):
    """Attention along time at each place, then within each frame, then two linear layers, each
    added to its input. PVDM, section 3.2."""

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.time = RotaryAttention(width, heads, head_dim)
        self.space = RotaryAttention(width, heads, head_dim)
        self.feed_forward = GatedFeedForward(width, 4 * width)

    def forward(self, x: Tensor, time_angles: Tensor, space_angles: Tensor) -> Tensor:
        """x (b, t, n, width), n the places of a frame; angles of t and of n positions."""
        ### BEGIN SOLUTION
        b, t = x.shape[:2]
        along = rearrange(self.norms[0](x), "b t n d -> (b n) t d")
        x = x + rearrange(self.time(along, time_angles), "(b n) t d -> b t n d", b=b)
        within = rearrange(self.norms[1](x), "b t n d -> (b t) n d")
        x = x + rearrange(self.space(within, space_angles), "(b t) n d -> b t n d", t=t)
        return x + self.feed_forward(self.norms[2](x))
        ### END SOLUTION


# %% tags=["check", "ex-20.2"]
DividedBlock = check("20.2", DividedBlock)

# %% tags=["export:models.pvdm.timesformer"]
class TimeSformer(nn.Module):
    """Some layers of it: (b, t, h, w, width) -> the same shape, for any t, h, w."""

    def __init__(self, width: int, layers: int, heads: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.blocks = nn.ModuleList(DividedBlock(width, heads, head_dim) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        _, t, h, w, _ = x.shape
        time = rotary_angles(torch.arange(t, device=x.device), self.head_dim)
        space = space_angles(h, w, self.head_dim, x.device)
        x = x.flatten(2, 3)
        for block in self.blocks:
            x = block(x, time, space)
        return x.unflatten(2, (h, w))


# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.projection"]
"""From a cube of vectors to three planes, and back. PVDM, section 3.2."""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.pvdm.timesformer import RotaryAttention, attend_all

Projection = Literal["attention", "pooled", "none"]
Summary = Literal["own", "first"]


# %% tags=["export:models.pvdm.projection"]
class SummaryLayer(nn.Module):
    """A layer of the transformer that sums up a row: (b, n, width) -> (b, n, width)."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = RotaryAttention(width, heads, width // 8)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.hidden(self.hidden_norm(x))


# %% tags=["exercise", "ex-20.3", "export:models.pvdm.projection"]
class RowSummary(nn.Module):
    """Sums up rows of `length` vectors by a small transformer with one token more, the summary:
    (b, length, width) -> (b, width).

    reads: which token is the result: its "own", or the "first", as the official code has it, which
    appends the summary at the end and reads position 0.
    """

    def __init__(self, length: int, width: int, layers: int, heads: int, hidden: int,
                 reads: Summary = "own"):
        super().__init__()
        self.reads = reads
        self.token = nn.Parameter(torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(length + 1, width))
        self.layers = nn.Sequential(*(SummaryLayer(width, heads, hidden) for _ in range(layers)))

    def forward(self, rows: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        token = self.token.expand(len(rows), 1, -1)
        x = self.layers(torch.cat([rows, token], 1) + self.positions)
        return x[:, -1 if self.reads == "own" else 0]
        ### END SOLUTION


# %% tags=["check", "ex-20.3"]
RowSummary = check("20.3", RowSummary)

# %% tags=["export:models.pvdm.projection"]
class RowPooling(nn.Module):
    """The cheap way: one learned query for each head looks at the row. (b, length, width) ->
    (b, width). Ours, for small machines."""

    def __init__(self, length: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, 1, width // heads))
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, rows: Tensor) -> Tensor:
        pairs = self.key_value(self.norm(rows) + self.positions)
        key, value = rearrange(pairs, "b n (p m d) -> p b m n d", p=2, m=self.heads)
        query = self.query.expand(len(rows), -1, -1, -1).to(key.dtype)
        attended = attend_all(query, key, value)
        return self.out(rearrange(attended, "b m n d -> b (n m d)"))


# %% tags=["exercise", "ex-20.4", "export:models.pvdm.projection"]
def project(u: Tensor, over_time: nn.Module, over_height: nn.Module,
            over_width: nn.Module) -> list[Tensor]:
    """u (b, t, h, w, d) -> three planes: z_s (b, h, w, d), z_h (b, t, w, d), z_w (b, t, h, d).

    Each module sums up rows along one axis, (rows, length, d) -> (rows, d). PVDM, section 3.2.
    """
    ### BEGIN SOLUTION
    b, t, h, w, _ = u.shape
    z_s = over_time(rearrange(u, "b t h w d -> (b h w) t d"))
    z_h = over_height(rearrange(u, "b t h w d -> (b t w) h d"))
    z_w = over_width(rearrange(u, "b t h w d -> (b t h) w d"))
    return [z_s.view(b, h, w, -1), z_h.view(b, t, w, -1), z_w.view(b, t, h, -1)]
    ### END SOLUTION


# %% tags=["check", "ex-20.4"]
project = check("20.4", project)


# %% tags=["exercise", "ex-20.5", "export:models.pvdm.projection"]
def spread(planes: list[Tensor]) -> Tensor:
    """The inverse direction: z_s (b, h, w, c), z_h (b, t, w, c), z_w (b, t, h, c) -> v
    (b, t, h, w, 3 c), whose vector at (s, h, w) is those of the three planes there, side by side.
    PVDM, section 3.2."""
    ### BEGIN SOLUTION
    z_s, z_h, z_w = planes
    return torch.cat(torch.broadcast_tensors(z_s[:, None], z_h[:, :, None], z_w[:, :, :, None]), -1)
    ### END SOLUTION


# %% tags=["check", "ex-20.5"]
spread = check("20.5", spread)

# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.triplane"]
"""PVDM's autoencoder: a clip as three planes of continuous vectors. PVDM, section 3.2, App. A."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.quantize import EMACodebook, sum_over_processes
from lvlib.models.pvdm.projection import Projection, RowPooling, RowSummary, Summary, project, spread
from lvlib.models.pvdm.timesformer import TimeSformer
from lvlib.models.tats import discriminators as gan
from lvlib.models.tats.vqgan import random_frame, verdict, wishes
from lvlib.pretrained import perceptual_distance
from lvlib.stages import LatentSpec, Metrics, VideoShape

PixelError = Literal["l1", "l2"]


# %% tags=["export:models.pvdm.triplane"]
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
    """The planes, or the grid -> video (b, c, t, h, w), not yet in [-1, 1]."""

    def __init__(self, config: "TriplaneConfig"):
        super().__init__()
        width, patch = config.width, (1, config.patch, config.patch)
        self.from_latents = nn.Linear(config.latent_dim * max(len(config.projected), 1), width)
        self.transformer = TimeSformer(width, config.layers, config.heads, config.head_dim)
        self.pixels = nn.ConvTranspose3d(width, config.channels, patch, patch)

    def forward(self, planes: list[Tensor]) -> Tensor:
        v = spread(planes) if len(planes) == 3 else planes[0]
        return self.pixels(self.transformer(self.from_latents(v)).movedim(-1, 1))


# %% tags=["export:models.pvdm.triplane"]
class Convergence(nn.Module):
    """Says at which step the discriminators begin: when a running mean of the loss has not fallen
    by 1% within `patience` steps. The same in all processes, and in a training that goes on later.
    App. A has no rule."""

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
        total, number = sum_over_processes(torch.stack([loss.float(), torch.ones_like(loss.float())]))
        loss = total / number
        self.mean.copy_(torch.where(self.mean.isinf(), loss, self.mean.lerp(loss, 0.01)))
        falls = self.mean < 0.99 * self.least
        self.least.copy_(torch.where(falls, self.mean, self.least))
        self.start.copy_(torch.where(falls, step + self.patience, self.start))


# %% tags=["export:models.pvdm.triplane"]
class TriplaneAutoencoder(nn.Module):
    """Encoder and decoder of clips of `config.frames` frames, and of longer videos clip by clip,
    with discriminators; `TriplaneConfig.build` makes one."""

    def __init__(self, config: "TriplaneConfig"):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = TriplaneEncoder(config), TriplaneDecoder(config)
        self.quantizer = EMACodebook(config.codes, config.latent_dim, config.commitment) \
            if config.codes else None
        self.convergence = Convergence(config.patience) \
            if config.gan_start == "converged" else None
        size = config.channels, config.disc_hidden, config.disc_layers
        kinds = {} if config.gan_start is None else {"frame": 2, "clip": 3}
        self.discriminators = nn.ModuleDict({name: gan.PatchDiscriminator(*size, dims)
                                             for name, dims in kinds.items()})

    def planes(self, video: Tensor) -> list[Tensor]:
        """Of one clip: three planes or one grid, channels last, in [-1, 1] unless quantized."""
        planes = self.encoder(video)
        return planes if self.quantizer else [plane.tanh() for plane in planes]

    def video(self, planes: list[Tensor]) -> Tensor:
        """Planes -> one clip (b, c, t, h, w), not yet kept in [-1, 1]."""
        return self.decoder(planes)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, k * frames, h, w) in [-1, 1] -> latents (b, c', k * positions), the planes of
        each clip one after the other; without a projection (b, c', k * frames, h', w'). Raises
        ValueError as `TriplaneConfig.latents` does."""
        self.config.latents(tuple(video.shape[1:]))
        spec = self.config.clip_latents
        clips = []
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
            planes = [plane.movedim(1, -1) for plane in
                      (spec.split_planes(z) if spec.planes else [z])]
            clips.append(self.video(self.quantized(planes)[0]).clamp(-1, 1))
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
        planes, loss, metrics = self.quantized(self.planes(video))
        rebuilt = self.video(planes)
        error = (F.l1_loss if config.error == "l1" else F.mse_loss)(rebuilt, video)
        metrics = {"reconstruction_loss": error, **metrics}
        loss = loss + error
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


# %% tags=["export:models.pvdm.triplane"]
@dataclass(frozen=True)
class TriplaneConfig:
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
    projection: Projection = "attention"
    """attention: a transformer sums up each row; pooled: one query for each head, the cheap way;
    none: no planes, a cube (Table 7)."""
    projection_layers: int = 4
    projection_heads: int = 4
    projection_hidden: int = 512
    summary: Summary = "own"
    """Which token is read: the summary's own, or the first, as the official code does."""
    codes: int = 0
    """Of a codebook for the latents (Table 7); 0: none, tanh instead."""
    commitment: float = 0.25
    """Weight of the commitment loss, where there is a codebook."""
    error: PixelError = "l1"
    """l1 (App. A), or l2, for clips that are black nearly everywhere: the least l1 is then black."""
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
        """Of one clip or several in a row (c, k * frames, h, w). Raises ValueError where it does not
        fit."""
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

    def build(self) -> TriplaneAutoencoder:
        """The model, with new weights."""
        return TriplaneAutoencoder(self)


# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.triplane"]
def check_sizes_of_triplane(config: TriplaneConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    check_numbers(config, "channels", "frames", "size", "patch", "width", "layers", "heads",
                  "head_dim", "latent_dim", "projection_layers", "projection_heads",
                  "projection_hidden", "patience", "disc_hidden", "disc_layers", least=1)
    check_numbers(config, "codes", "commitment", "perceptual_weight", "gan_weight", "match_weight",
                  least=0)
    kinds = {"projection": Projection, "summary": Summary, "error": PixelError,
             "gan_loss": gan.GANLoss}
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
