# Never edit this file: `python -m lvlib.course build` makes it from solutions/08_videogpt_prior.py and
# solutions/09_conditioning.py.
"""VideoGPT's prior: a causal transformer over the codes of a clip in raster order. VideoGPT, section 3."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.attention import AxialPositions, ConditionalNorm, GPTBlock, Sparse
from lvlib.models.common.conditioning import STAGES, Conditioner, FrameEncoder, condition_fields


class VideoGPT(nn.Module):
    """Predicts each code of a clip from all codes before it, in raster order.

    latent_shape: (t, h, w), or (t, h, w, k), of n codes together; 0 <= code < codes.
    conditioner: a module that turns a condition (a dict of tensors) into what norms see, a vector for each of the t
    latent frames or one for all (b, t or 1, vector_dim), and what cross attention sees (b, m, memory_dim); either may
    be None. None for a model without a condition.
    """

    def __init__(self, latent_shape: tuple[int, ...], codes: int, dim: int, heads: int, layers: int, hidden: int,
                 dropout: float = 0.0, pattern: Sparse | None = None, conditioner: nn.Module | None = None):
        super().__init__()
        self.latent_shape, self.codes, self.conditioner = tuple(latent_shape), codes, conditioner
        self.n = math.prod(latent_shape)
        vector_dim, memory_dim = (conditioner.vector_dim, conditioner.memory_dim) if conditioner else (0, 0)
        self.embedding = nn.Embedding(codes, dim)
        self.start = nn.Parameter(0.02 * torch.randn(dim))  # stands before the first code
        self.positions = AxialPositions(latent_shape, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            GPTBlock(dim, heads, hidden, dropout, pattern, vector_dim, memory_dim) for _ in range(layers))
        self.norm = ConditionalNorm(dim, vector_dim)
        self.out = nn.Linear(dim, codes, bias=False)
        for module in (*self.blocks.modules(), self.embedding, self.out):  # small, so that the first loss is near ln K
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def logits(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Of each code, given those before it: latents (b, *latent_shape) -> (b, n, codes)."""
        vector, memory = self.conditions(condition, len(latents))
        x = self.embedding(latents.flatten(1))
        x = torch.cat([self.start.expand(len(x), 1, -1), x[:, :-1]], 1)  # each position sees the code before it
        x = self.dropout(x + self.positions())
        for block in self.blocks:
            x = block(x, vector, memory)
        return self.out(self.norm(x, vector))

    def nll(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Nats of each code: (b, *latent_shape) -> (b, n). Raises ValueError for another shape, or condition."""
        self.check_shape(latents)
        logits = self.logits(latents, condition)
        return F.cross_entropy(logits.flatten(0, 1).float(), latents.flatten(), reduction="none").view(len(latents), -1)

    def loss(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code, and the same in bits: int64 (b, *latent_shape) -> (), {"bits_per_dim": ()}."""
        loss = self.nll(latents, condition).mean()
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def bits_per_dim(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Bits a code of each clip: (b, *latent_shape) -> (b,). Raises ValueError for what does not fit the model."""
        self.check_range(latents)
        return self.nll(latents, condition).mean(1) / math.log(2)

    def sample(self, n: int, condition: Mapping[str, Tensor] | None = None, temperature: float = 1.0,
               top_k: int | None = None, top_p: float | None = None, given: Tensor | None = None) -> Tensor:
        """n clips of codes, int64 (n, *latent_shape), drawn one code after another, without dropout.

        condition: of one clip for all, or of each: (1 or n, ...). temperature: below 1 likely codes become likelier.
        top_k, top_p: draw from the likeliest alone, see `keep_likely`. given: codes that the clips begin with, their
        first latent frames, (1 or n, t0, ...). Raises ValueError for what does not fit.
        """
        check_sampling(temperature, top_k, top_p)
        codes = self.start.new_zeros(n, self.n, dtype=torch.int64)
        known = 0
        if given is not None:
            self.check_given(given, n)
            known = given[0].numel()
            codes[:, :known] = given.flatten(1)
        training = self.training
        self.eval()
        try:
            for position, logits in self.walk(codes, condition):
                if position >= known:
                    chances = keep_likely(logits.float() / temperature, top_k, top_p).softmax(-1)
                    codes[:, position] = torch.multinomial(chances, 1)[:, 0]
        finally:
            self.train(training)
        return codes.view(n, *self.latent_shape)

    @torch.inference_mode()
    def walk(self, codes: Tensor, condition: Mapping[str, Tensor] | None = None) -> Iterator[tuple[int, Tensor]]:
        """Yields each position with its logits (b, codes), given what stands in codes (b, n) before it by then.

        The logits have no gradients.
        """
        vector, memory = self.conditions(condition, len(codes))
        positions = self.positions()
        caches = [block.attention.cache(len(codes), self.n) for block in self.blocks]
        remembered = [block.remember(memory) for block in self.blocks]
        x = self.start.expand(len(codes), -1)
        for position in range(self.n):
            x = (x + positions[position])[:, None]
            here = None if vector is None else vector[:, position:position + 1]
            for block, cache, looked_up in zip(self.blocks, caches, remembered, strict=True):
                x = block.step(x, here, looked_up, position, cache)
            yield position, self.out(self.norm(x, here))[:, 0]
            x = self.embedding(codes[:, position])

    def conditions(self, condition: Mapping[str, Tensor] | None, n: int) -> tuple[Tensor | None, Tensor | None]:
        """What norms see at each code (n, codes of a clip, vector_dim), what cross attention sees (n, m, memory_dim).

        Raises ValueError if the model takes a condition and gets none, or the other way round, or for other clips.
        """
        if self.conditioner is None:
            if condition:
                raise ValueError(f"this model takes no condition, not {', '.join(condition)}")
            return None, None
        vector, memory = self.conditioner(condition or {})
        if vector is not None:
            vector = vector.repeat_interleave(self.n // vector.shape[1], 1)
        for seen in (vector, memory):
            if seen is not None and len(seen) not in (1, n):
                raise ValueError(f"give the condition of one clip, or of each of the {n}, not of {len(seen)}")
        return tuple(None if seen is None else seen.expand(n, -1, -1) for seen in (vector, memory))

    def check_shape(self, latents: Tensor) -> None:
        if latents.shape[1:] != self.latent_shape:
            raise ValueError(f"codes must be of shape (b, {', '.join(map(str, self.latent_shape))}), "
                             f"not {tuple(latents.shape)}")

    def check_given(self, given: Tensor, n: int) -> None:
        t, *rest = self.latent_shape
        if list(given.shape[2:]) != rest or not 0 < given.shape[1] < t:
            raise ValueError(f"given codes must be of shape (b, 1 to {t - 1}, {', '.join(map(str, rest))}), "
                             f"not {tuple(given.shape)}")
        if len(given) not in (1, n):
            raise ValueError(f"give the codes of one clip, or of each of the {n}, not of {len(given)}")
        self.check_range(given)

    def check_range(self, latents: Tensor) -> None:
        low, high = latents.aminmax()
        if low < 0 or high >= self.codes:
            raise ValueError(f"codes must lie in 0..{self.codes - 1}; got {low} to {high}")


def keep_likely(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits (..., codes), with -inf for all codes but the `top_k` likeliest (and those as likely as the last of them);
    then, of these, for all but the fewest likeliest that together have at least the probability `top_p`.

    The likeliest code always stays. None: no limit.
    """
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p is not None:
        chances, order = logits.softmax(-1).sort(descending=True)
        before = chances.cumsum(-1) - chances  # of all likelier codes together
        rank = order.argsort(-1)
        logits = logits.masked_fill((before >= top_p).gather(-1, rank), float("-inf"))
    return logits


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises ValueError for a value that no distribution can be drawn with."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")


# Introduced in solutions/09_conditioning.py
AttentionKind = Literal["full", "sparse"]


@dataclass(frozen=True)
class VideoGPTConfig:
    """Sizes of a `VideoGPT`. The defaults are those for BAIR, Table 9, without its condition.

    Raises ValueError for sizes that do not fit together.
    """

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
        for name in ("dim", "heads", "layers", "hidden", "local", "resnet_units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("classes", "actions", "frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads = {self.heads}, not {self.dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {self.dropout}")
        if self.attention not in get_args(AttentionKind):
            raise ValueError(f"attention must be one of {', '.join(get_args(AttentionKind))}, not {self.attention!r}")
        if self.resnet_depth not in STAGES:
            raise ValueError(f"resnet_depth must be one of {', '.join(map(str, STAGES))}, not {self.resnet_depth}")
        if self.resnet_units % 8:
            raise ValueError(f"resnet_units must be a multiple of 8, not {self.resnet_units}")

    @property
    def fields(self) -> tuple[str, ...]:
        """What a clip must come with: of "label", "actions", "frames"."""
        return condition_fields(self.classes, self.actions, self.frames)

    def build(self, latent_shape: tuple[int, ...], codes: int, video_shape: tuple[int, int, int, int]) -> VideoGPT:
        """The model, with new weights, for codes 0 <= code < codes of shape (t, h, w), or (t, h, w, k), of clips of
        video_shape (c, t, h, w).

        Raises ValueError if all frames of a clip are to be given, or more.
        """
        channels, frames, height, width = video_shape
        if self.frames >= frames:
            raise ValueError(f"frames must be fewer than the {frames} of a clip, not {self.frames}")
        pattern = Sparse(self.local, math.prod(latent_shape[1:])) if self.attention == "sparse" else None
        conditioner = None
        if self.fields:
            size = channels, self.frames, height, width, self.resnet_depth, self.resnet_units
            encoder = FrameEncoder(*size) if self.frames else None
            conditioner = Conditioner(self.classes, self.actions, encoder, frames, latent_shape[0])
        return VideoGPT(latent_shape, codes, self.dim, self.heads, self.layers, self.hidden, self.dropout, pattern,
                        conditioner)
