# Never edit this file: `python -m lvlib.course build` makes it from solutions/08_videogpt_prior.py and
# solutions/09_conditioning.py.
"""VideoGPT's prior: a causal transformer over the codes of a clip in raster order. VideoGPT, section 3."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.attention import ConditionalNorm, GPTBlock, Sparse
from lvlib.models.common.checks import (
    check_choice,
    check_codes,
    check_given,
    check_latent_frames,
    check_no_condition,
    check_numbers,
    check_shape,
    check_temperature,
)
from lvlib.models.common.conditioning import STAGES, Conditioner, FrameEncoder
from lvlib.models.common.volume import AxialPositions
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape


@dataclass(frozen=True)
class VideoGPTSampling:
    """How to draw codes. Raises ValueError for a value that no distribution can be drawn with."""

    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""
    top_k: int | None = None
    """Draw from that many of the likeliest codes alone; None: from all."""
    top_p: float | None = None
    """Draw from the fewest likeliest codes that together have this probability; None: from all."""

    def __post_init__(self):
        check_temperature(self.temperature)
        if self.top_k is not None:
            check_numbers(self, "top_k", least=1)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")


class VideoGPT(nn.Module):
    """Predicts each code of a clip from all codes before it, in raster order.

    latents: of the clips, int64 (t, h, w), or (t, h, w, k) for k codebooks: n codes together.
    conditioner: a module that turns a condition (a dict of tensors) into what norms see, a vector for each of the t
    latent frames or one for all (b, t or 1, cond_dim), and what cross attention sees (b, m, memory_dim); either may
    be None. None for a model without a condition.
    """

    def __init__(self, config: "VideoGPTConfig", latents: LatentSpec, conditioner: nn.Module | None = None):
        super().__init__()
        self.config, self.spec, self.conditioner, self.n = config, latents, conditioner, latents.tokens
        cond_dim, memory_dim = (conditioner.cond_dim, conditioner.memory_dim) if conditioner else (0, 0)
        pattern = Sparse(config.local, self.n // latents.shape[0]) if config.attention == "sparse" else None
        self.embedding = nn.Embedding(latents.num_codes, config.dim)
        self.start = nn.Parameter(0.02 * torch.randn(config.dim))  # stands before the first code
        self.positions = AxialPositions(latents.shape, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            GPTBlock(config.dim, config.heads, config.hidden, config.dropout, pattern, cond_dim, memory_dim)
            for _ in range(config.layers))
        self.norm = ConditionalNorm(config.dim, cond_dim)
        self.out = nn.Linear(config.dim, latents.num_codes, bias=False)
        for module in (*self.blocks.modules(), self.embedding, self.out):  # small, so that the first loss is near ln K
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def logits(self, latents: Tensor, condition: Condition | None = None) -> Tensor:
        """Of each code, given those before it: latents (b, *shape of a clip's) -> (b, n, num_codes)."""
        cond_vector, memory = self.conditions(condition, len(latents))
        x = self.embedding(latents.flatten(1))
        x = torch.cat([self.start.expand(len(x), 1, -1), x[:, :-1]], 1)  # each position sees the code before it
        x = self.dropout(x + self.positions(self.spec.shape).flatten(0, -2))
        for block in self.blocks:
            x = block(x, cond_vector, memory)
        return self.out(self.norm(x, cond_vector))

    def nll(self, latents: Tensor, condition: Condition | None = None) -> Tensor:
        """Nats of each code: (b, *shape) -> (b, n). Raises ValueError for another shape, or condition."""
        check_shape(latents, self.spec)
        logits = self.logits(latents, condition)
        return F.cross_entropy(logits.flatten(0, 1).float(), latents.flatten(), reduction="none").view(len(latents), -1)

    def loss(self, latents: Tensor, condition: Condition | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code, and the same in bits: int64 (b, *shape) -> (), {"bits_per_dim": ()}."""
        loss = self.nll(latents, condition).mean()
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition | None = None, given_latents: int = 0) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: exact bits a code of each clip, without those of the first `given_latents` frames.

        Raises ValueError for what does not fit the model, and if no latent frame is left.
        """
        t = self.spec.shape[0]
        if not 0 <= given_latents < t:
            raise ValueError(f"given latent frames must be 0 to {t - 1}, not {given_latents}")
        check_codes(latents, self.spec)
        nats = self.nll(latents, condition)[:, given_latents * self.n // t:]
        return {"bits_per_dim": nats.mean(1) / math.log(2)}

    def sample(self, n: int, condition: Condition | None = None, given: Tensor | None = None,
               sampling: VideoGPTSampling | None = None, latent_frames: int | None = None) -> Tensor:
        """n clips of codes, int64 (n, *shape of its latents), drawn one code after another, without dropout.

        condition: of one clip for all, or of each: (1 or n, ...). given: codes that the clips begin with, their first
        latent frames, (1 or n, t0, ...). sampling: `VideoGPTSampling()` if it is None. Raises ValueError for what does
        not fit.
        """
        check_latent_frames(latent_frames, self.spec)
        sampling = sampling or VideoGPTSampling()
        codes = self.start.new_zeros(n, self.n, dtype=torch.int64)
        known = 0
        if given is not None:
            check_given(given, n, self.spec)
            known = given[0].numel()
            codes[:, :known] = given.flatten(1)
        training = self.training
        self.eval()
        try:
            for position, logits in self.decode_steps(codes, condition):
                if position >= known:
                    logits = keep_likely(logits.float() / sampling.temperature, sampling.top_k, sampling.top_p)
                    codes[:, position] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        finally:
            self.train(training)
        return codes.view(n, *self.spec.shape)

    @torch.inference_mode()
    def decode_steps(self, codes: Tensor, condition: Condition | None = None) -> Iterator[tuple[int, Tensor]]:
        """Yields each position with its logits (b, num_codes), given what stands in codes (b, n) before it by then.

        The logits have no gradients.
        """
        cond_vector, memory = self.conditions(condition, len(codes))
        positions = self.positions(self.spec.shape).flatten(0, -2)
        caches = [block.attention.cache(len(codes), self.n) for block in self.blocks]
        memory_kvs = [block.memory_kv(memory) for block in self.blocks]
        x = self.start.expand(len(codes), -1)
        for position in range(self.n):
            x = (x + positions[position])[:, None]
            here = None if cond_vector is None else cond_vector[:, position:position + 1]
            for block, cache, memory_kv in zip(self.blocks, caches, memory_kvs, strict=True):
                x = block.step(x, here, memory_kv, position, cache)
            yield position, self.out(self.norm(x, here))[:, 0]
            x = self.embedding(codes[:, position])

    def conditions(self, condition: Condition | None, n: int) -> tuple[Tensor | None, Tensor | None]:
        """What norms see at each code (n, codes of a clip, cond_dim), what cross attention sees (n, m, memory_dim).

        Raises ValueError if the model takes a condition and gets none, or the other way round, or for other clips.
        """
        if self.conditioner is None:
            check_no_condition(condition)
            return None, None
        cond_vector, memory = self.conditioner(condition or {})
        if cond_vector is not None:
            cond_vector = cond_vector.repeat_interleave(self.n // cond_vector.shape[1], 1)
        for part in (cond_vector, memory):
            if part is not None and len(part) not in (1, n):
                raise ValueError(f"give the condition of one clip, or of each of the {n}, not of {len(part)}")
        return tuple(None if part is None else part.expand(n, -1, -1) for part in (cond_vector, memory))


def keep_likely(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits (..., num_codes), with -inf for all codes but the `top_k` likeliest (and those as likely as the last of
    them); then, of these, for all but the fewest likeliest that together have at least the probability `top_p`.

    The likeliest code always stays. None: no limit; a `top_p` of 1 is none either.
    """
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p is not None and top_p < 1:
        probs, order = logits.softmax(-1).sort()
        goes = probs.cumsum(-1) <= 1 - top_p  # a code and all less likely ones: the likelier have top_p without them
        goes[..., -1] = False
        logits = logits.masked_fill(goes.gather(-1, order.argsort(-1)), float("-inf"))
    return logits


# Introduced in solutions/09_conditioning.py
AttentionKind = Literal["full", "sparse"]


@dataclass(frozen=True)
class VideoGPTConfig:
    """Sizes of a `VideoGPT`. The defaults are those for BAIR, Table 9, without its condition.

    Raises ValueError for sizes that do not fit together.
    """

    renamed: ClassVar[dict[str, str]] = {"project": "qkv", "join": "out_proj", "cross.memory": "cross.kv",
                                         "steer": "to_scale_shift"}
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
    """Which earlier codes are seen: all, or the near ones and the same place in earlier frames (section 4.1)."""
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
        check_numbers(self, "dim", "heads", "layers", "hidden", "local", "resnet_units", least=1)
        check_numbers(self, "classes", "actions", "frames", least=0)
        check_numbers(self, "dropout", least=0, below=1)
        check_choice(self, "attention", get_args(AttentionKind))
        check_choice(self, "resnet_depth", STAGES)
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads = {self.heads}, not {self.dim}")
        if self.resnet_units % 8:
            raise ValueError(f"resnet_units must be a multiple of 8, not {self.resnet_units}")

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """Those of label, actions and frames whose size is not 0."""
        channels, frames, height, width = video_shape
        known = (ConditionSpec("label", "class", (), self.classes, option="classes"),
                 ConditionSpec("actions", "per-frame", (frames, self.actions), option="actions"),
                 ConditionSpec("frames", "given-frames", (channels, self.frames, height, width), option="frames"))
        return tuple(spec for spec in known if getattr(self, spec.option))

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """The frames that it is conditioned on; without such a condition whole latent frames, by default one."""
        if self.frames:
            return GivenFrames(self.frames, self.frames, default=self.frames)
        frames = latents.frames_per_latent
        most = (latents.shape[0] - 1) * frames
        return GivenFrames(0, most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> VideoGPT:
        """The model, with new weights, for these codes of clips (c, t, h, w).

        Raises ValueError if all frames of a clip are to be given, or more, and if the latents are not codes.
        """
        channels, frames, height, width = video_shape
        if latents.num_codes is None:
            raise ValueError(f"VideoGPT's prior predicts codes, and these latents are {latents}")
        if self.frames >= frames:
            raise ValueError(f"frames must be fewer than the {frames} of a clip, not {self.frames}")
        conditioner = None
        if self.conditions(video_shape):
            size = channels, self.frames, height, width, self.resnet_depth, self.resnet_units
            encoder = FrameEncoder(*size) if self.frames else None
            conditioner = Conditioner(self.classes, self.actions, encoder, frames, latents.shape[0])
        return VideoGPT(self, latents, conditioner)
