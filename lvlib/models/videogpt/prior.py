# Never edit this file: `python -m lvlib.course build` makes it from solutions/09_one_row_of_codes.py and
# solutions/11_conditioning.py.
"""VideoGPT's prior: a causal transformer over the codes of a clip in raster order. VideoGPT,
section 3."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.attention import GPTBlock, Sparse
from lvlib.models.common.checks import (
    check_choice,
    check_codes,
    check_given_latents,
    check_latent_frames,
    check_numbers,
    check_shape,
)
from lvlib.models.common.conditioning import STAGES, ConditionalNorm, Conditioner, FrameEncoder, condition_tensors
from lvlib.models.common.volume import AxialPositions
from lvlib.models.videogpt.sampling import VideoGPTSampling, sample_row
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape


class CausalTransformer(nn.Module):
    """Logits of each code of a clip from all codes before it, in raster order.

    latents: of the clips, int64 (t, h, w), or (t, h, w, k) for k codebooks: n codes together.
    conditioner: a module that turns a condition (a dict of tensors) into what norms see, a vector
    for each of the t latent frames or one for all (b, t or 1, cond_dim), and what cross attention
    sees (b, m, memory_dim); either may be None. None for a model without a condition.
    """

    def __init__(self, config: "VideoGPTConfig", latents: LatentSpec,
                 conditioner: nn.Module | None = None):
        super().__init__()
        self.config, self.spec, self.conditioner = config, latents, conditioner
        self.n, dim = latents.tokens, config.dim
        cond_dim = conditioner.cond_dim if conditioner else 0
        memory_dim = conditioner.memory_dim if conditioner else 0
        frame = self.n // latents.shape[0]
        pattern = Sparse(config.local, frame) if config.attention == "sparse" else None
        self.embedding = nn.Embedding(latents.num_codes, dim)
        self.start = nn.Parameter(0.02 * torch.randn(dim))  # stands before the first code
        self.positions = AxialPositions(latents.shape, dim)
        self.dropout = nn.Dropout(config.dropout)
        sizes = dim, config.heads, config.hidden, config.dropout, pattern, cond_dim, memory_dim
        self.blocks = nn.ModuleList(GPTBlock(*sizes) for _ in range(config.layers))
        self.norm = ConditionalNorm(dim, cond_dim)
        self.out = nn.Linear(dim, latents.num_codes, bias=False)
        # Small weights, so that the first loss is near ln K.
        for module in (*self.blocks.modules(), self.embedding, self.out):
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def logits(self, latents: Tensor, condition: Condition | None = None) -> Tensor:
        """Of each code, given those before it: (b, *shape of a clip's) -> (b, n, num_codes)."""
        cond_vector, memory = condition_tensors(self.conditioner, condition, len(latents), self.n)
        x = self.embedding(latents.flatten(1))
        x = torch.cat([self.start.expand(len(x), 1, -1), x[:, :-1]], 1)  # the code before
        x = self.dropout(x + self.positions(self.spec.shape).flatten(0, -2))
        for block in self.blocks:
            x = block(x, cond_vector, block.memory_kv(memory))
        return self.out(self.norm(x, cond_vector))


class VideoGPT(CausalTransformer):
    """A prior over the codes of clips. VideoGPT, section 3."""

    def nll(self, latents: Tensor, condition: Condition | None = None) -> Tensor:
        """Nats of each code: (b, *shape) -> (b, n).

        Raises ValueError for another shape, or condition.
        """
        check_shape(latents, self.spec)
        logits = self.logits(latents, condition).flatten(0, 1).float()
        nats = F.cross_entropy(logits, latents.flatten(), reduction="none")
        return nats.view(len(latents), -1)

    def loss(self, latents: Tensor,
             condition: Condition | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code, and the same in bits: int64 (b, *shape) -> (), {"bits_per_dim": ()}."""
        loss = self.nll(latents, condition).mean()
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition | None = None,
               given_latents: int = 0) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: exact bits a code of each clip, without those of the first
        `given_latents` frames.

        Raises ValueError for what does not fit the model, and if no latent frame is left.
        """
        check_given_latents(given_latents, 0, self.spec)
        check_codes(latents, self.spec)
        first = given_latents * self.n // self.spec.shape[0]
        nats = self.nll(latents, condition)[:, first:]
        return {"bits_per_dim": nats.mean(1) / math.log(2)}

    def sample(self, n: int, condition: Condition | None = None, given: Tensor | None = None,
               sampling: VideoGPTSampling | None = None,
               latent_frames: int | None = None) -> Tensor:
        """n clips of codes, int64 (n, *shape of its latents), drawn one code after another, without
        dropout.

        condition: of one clip for all, or of each: (1 or n, ...). given: codes that the clips begin
        with, their first latent frames, (1 or n, t0, ...). sampling: `VideoGPTSampling()` if it is
        None. Raises ValueError for what does not fit.
        """
        check_latent_frames(latent_frames, self.spec)
        return sample_row(self, n, condition, given, sampling or VideoGPTSampling())


# Introduced in solutions/11_conditioning.py
AttentionKind = Literal["full", "sparse"]


@dataclass(frozen=True)
class VideoGPTConfig:
    """Sizes of a `VideoGPT`. The defaults are those for BAIR, Table 9, without its condition.
    Raises ValueError for sizes that do not fit together.
    """

    renamed: ClassVar[dict[str, str]] = {
        "project": "qkv", "join": "out_proj", "cross.memory": "cross.kv", "steer": "to_scale_shift"}
    """What parts of the names of weights in older checkpoints are called now."""
    Sampling: ClassVar[type] = VideoGPTSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = "exact"
    extends: ClassVar[bool] = False
    dim: int = 512
    """Width of the transformer."""
    heads: int = 4
    layers: int = 16
    hidden: int = 2048
    """Width between the two linear layers of a block."""
    dropout: float = 0.2
    """After the embedding, the attention and the linear layers."""
    attention: AttentionKind = "full"
    """Earlier codes that are seen: all, or the near and the same place in earlier frames (4.1)."""
    local: int = 256
    """Codes back that sparse attention sees without a gap."""
    classes: int = 0
    """Classes of the label that the model is conditioned on; 0 for none."""
    actions: int = 0
    """Numbers a frame of the actions that the model is conditioned on; 0 for none."""
    frames: int = 0
    """Frames of video that the model is conditioned on; 0 for none."""
    resnet_depth: int = 18
    """Of the encoder of these frames: 18 or 34."""
    resnet_units: int = 512
    """Width of its last stage."""

    def __post_init__(self):
        check_sizes_of_prior(self)

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """Those of label, actions and frames whose size is not 0."""
        return conditions_of(self, video_shape)

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """The frames that it is conditioned on; without them whole latent frames, by default 1."""
        if self.frames:
            return GivenFrames(self.frames, self.frames, default=self.frames)
        frames = latents.frames_per_latent
        most = (latents.shape[0] - 1) * frames
        return GivenFrames(0, most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> VideoGPT:
        """The model, with new weights, for these codes of clips (c, t, h, w). Raises ValueError for
        what does not fit."""
        return VideoGPT(self, latents, conditioner_of(self, latents, video_shape))


def conditions_of(config: VideoGPTConfig, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
    """What a model of these sizes is conditioned on, for clips (c, t, h, w)."""
    channels, frames, height, width = video_shape
    first = channels, config.frames, height, width
    known = (ConditionSpec("label", "class", (), config.classes, option="classes"),
             ConditionSpec("actions", "per-frame", (frames, config.actions), option="actions"),
             ConditionSpec("frames", "given-frames", first, option="frames"))
    return tuple(spec for spec in known if getattr(config, spec.option))


def conditioner_of(config: VideoGPTConfig, latents: LatentSpec,
                   video_shape: VideoShape) -> nn.Module | None:
    """The part of the model that reads its conditions; None where it has none.

    Raises ValueError if all frames of a clip are to be given, or more, and if the latents are not
    codes.
    """
    channels, frames, height, width = video_shape
    if latents.num_codes is None:
        raise ValueError(f"VideoGPT's prior predicts codes, and these latents are {latents}")
    if config.frames >= frames:
        raise ValueError(f"frames must be fewer than the {frames} of a clip, not {config.frames}")
    if not config.conditions(video_shape):
        return None
    size = channels, config.frames, height, width, config.resnet_depth, config.resnet_units
    encoder = FrameEncoder(*size) if config.frames else None
    return Conditioner(config.classes, config.actions, encoder, frames, latents.shape[0])


def check_sizes_of_prior(config: VideoGPTConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    names = "dim", "heads", "layers", "hidden", "local", "resnet_units"
    check_numbers(config, *names, least=1)
    check_numbers(config, "classes", "actions", "frames", least=0)
    check_numbers(config, "dropout", least=0, below=1)
    check_choice(config, "attention", get_args(AttentionKind))
    check_choice(config, "resnet_depth", STAGES)
    if config.dim % config.heads:
        raise ValueError(f"dim must be a multiple of heads = {config.heads}, not {config.dim}")
    if config.resnet_units % 8:
        raise ValueError(f"resnet_units must be a multiple of 8, not {config.resnet_units}")
