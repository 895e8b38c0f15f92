# Never edit this file: `python -m lvlib.course build` makes it from solutions/06_attention_and_one_slice.py and
# solutions/07_lvt_writes_video.py.
"""The Latent Video Transformer: a prior over the codes of a clip, slice by slice, position by
position, code by code.

LVT, section 3.2. Codes are int64 (b, t, h, w, k), or (b, t, h, w) with one codebook.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import (
    check_choice,
    check_codes,
    check_given,
    check_given_latents,
    check_latent_frames,
    check_no_condition,
    check_numbers,
    check_shape,
)
from lvlib.models.common.volume import Triple
from lvlib.models.lvt.layers import CodeEmbedding, CodeHeads, MaskedConv3d, sinusoid
from lvlib.models.lvt.relative_attention import Block, Kind
from lvlib.models.lvt.sampling import LVTSampling, complete
from lvlib.models.lvt.subscale import UNKNOWN, context, generation_order, slice_shape, window_reach
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape


@dataclass(frozen=True)
class LVTConfig:
    """Sizes of a `LatentVideoTransformer`. The defaults are those of LVT's official code, with the
    50M parameters that section 4.1 tells and Table 7 counts.

    Raises ValueError for sizes that do not fit together.
    """

    renamed: ClassVar[dict[str, str]] = {"project": "in_proj", "join": "out_proj"}
    """What parts of the names of weights in older checkpoints are called now."""
    Sampling: ClassVar[type] = LVTSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = "exact"
    extends: ClassVar[bool] = False
    dim: int = 512
    """Width of the transformer."""
    embedding_dim: int = 128
    """Width of a code's vector in the decoder, and of what the context's convolution gives."""
    heads: int = 8
    head_dim: int = 128
    """Width of one head."""
    encoder_layers: int = 8
    decoder_layers: int = 8
    attention: Kind = "query-key"
    """What attention looks at besides distances (4.4): query and key, the key, or nothing."""
    subscale: Triple = (16, 1, 1)
    """(s_t, s_h, s_w): single-frame (T, 1, 1), spatial (1, 2, 2), spatiotemporal (4, 2, 2)."""
    prime_frames: int = 1
    """Frames that are given in training. The likelihood is that of all later frames."""

    def __post_init__(self):
        names = "dim", "embedding_dim", "heads", "head_dim", "prime_frames"
        check_numbers(self, *names, least=1)
        check_numbers(self, "encoder_layers", "decoder_layers", least=0)
        check_choice(self, "attention", get_args(Kind))

    def blocks(self, count: int, shape: Triple, causal: bool) -> list[Block]:
        """Layers for slices of this shape."""
        sizes = self.dim, self.heads, self.head_dim, shape, self.attention, causal
        return [Block(*sizes) for _ in range(count)]

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """None."""
        return ()

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Any number that leaves a frame to generate; by default that of the training."""
        frames = latents.frames_per_latent
        return GivenFrames(frames, (latents.shape[0] - 1) * frames, frames,
                           self.prime_frames * frames)

    def build(self, latents: LatentSpec, video_shape: VideoShape | None = None) -> nn.Module:
        """A new `LatentVideoTransformer` for these codes, whatever the video's shape. Raises
        ValueError if they do not fit."""
        check_fit(self, latents)
        return LatentVideoTransformer(self, latents)


def check_fit(config: LVTConfig, latents: LatentSpec) -> None:
    """Raises ValueError if the subscale factor does not divide the shape of the codes, no frame is
    left to predict, or the latents are not codes."""
    if latents.num_codes is None:
        raise ValueError(f"LVT's prior predicts codes, and these latents are {latents}")
    slice_shape(latents.shape[:3], config.subscale)
    if config.prime_frames >= latents.shape[0]:
        raise ValueError(f"prime_frames must be below the {latents.shape[0]} frames of a clip, "
                         f"not {config.prime_frames}")


class ContextEncoder(nn.Module):
    """What is known besides the slice itself: earlier slices and priming frames, one vector for
    each of its positions.

    A convolution with the subscale factor as its stride brings the volume to the size of a slice
    (LVT, Fig. 2).
    """

    def __init__(self, config: LVTConfig, shape: Triple, num_codes: int, codebooks: int):
        super().__init__()
        self.factor, slice_ = config.subscale, slice_shape(shape, config.subscale)
        window = tuple(before + 1 + after for before, after in window_reach(shape, self.factor))
        self.embedding = CodeEmbedding(num_codes, codebooks, config.dim)
        self.windows = nn.Conv3d(config.dim, config.embedding_dim, window, stride=self.factor)
        self.slices = nn.Embedding(math.prod(self.factor), config.embedding_dim)
        self.widen = nn.Linear(config.embedding_dim, config.dim, bias=False)
        self.register_buffer("position", sinusoid(slice_, config.dim), persistent=False)
        self.layers = nn.Sequential(*config.blocks(config.encoder_layers, slice_, causal=False))

    def forward(self, volume: Tensor, numbers: Tensor, prime_frames: int) -> Tensor:
        """Codes (b, t, h, w, k) for the slices numbers (b,) -> (b, n, dim), n positions a slice."""
        codes = context(volume, numbers, self.factor, prime_frames)
        x = self.embedding(codes.clamp(min=0)) * (codes[..., :1] != UNKNOWN)
        x = self.windows(rearrange(x, "b t h w d -> b d t h w"))
        x = rearrange(x, "b d t h w -> b (t h w) d") + self.slices(numbers)[:, None]
        return self.layers(self.widen(x) + self.position)


class SliceDecoder(nn.Module):
    """One slice: a vector for each position that knows the context, and of the slice only what
    comes before."""

    def __init__(self, config: LVTConfig, shape: Triple, num_codes: int, codebooks: int):
        super().__init__()
        slice_ = slice_shape(shape, config.subscale)
        self.embedding = CodeEmbedding(num_codes, codebooks, config.embedding_dim)
        self.before = MaskedConv3d(config.embedding_dim, config.dim)
        self.register_buffer("position", sinusoid(slice_, config.dim), persistent=False)
        self.layers = nn.ModuleList(config.blocks(config.decoder_layers, slice_, causal=True))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, codes: Tensor, known: Tensor) -> Tensor:
        """Codes of a slice (b, t, h, w, k) and its context (b, n, dim) -> (b, n, dim)."""
        x = self.enter(self.embedding(codes), known)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def enter(self, embedded: Tensor, known: Tensor) -> Tensor:
        """What the first layer sees: embedded codes (b, t, h, w, d) and context (b, n, dim) ->
        (b, n, dim)."""
        x = self.before(rearrange(embedded, "b t h w d -> b d t h w"))
        return rearrange(x, "b d t h w -> b (t h w) d") + self.position + known


# Introduced in solutions/07_lvt_writes_video.py
class SliceTransformer(nn.Module):
    """Predicts the codes of one slice of a clip from all that is written before it. LVT, section
    3.2.

    latents: of the clips, int64 (t, h, w), or (t, h, w, k) for k codebooks.
    """

    def __init__(self, config: LVTConfig, latents: LatentSpec):
        super().__init__()
        self.config, self.spec, self.factor = config, latents, config.subscale
        self.shape, self.codebooks = latents.shape[:3], latents.codebooks
        self.encoder = ContextEncoder(config, self.shape, latents.num_codes, self.codebooks)
        self.decoder = SliceDecoder(config, self.shape, latents.num_codes, self.codebooks)
        self.code_heads = CodeHeads(latents.num_codes, self.codebooks, config.dim)
        order = generation_order(self.shape, self.factor).reshape(math.prod(self.factor), -1)
        self.register_buffer("order", order, persistent=False)  # (slices, n): raster indices

    def nll(self, latents: Tensor, numbers: Tensor, prime_frames: int) -> Tensor:
        """-ln p of the generated codes in slice numbers (b,) of each clip: (b, n, k) nats, 0 at
        priming frames."""
        volume = self.volume(latents)
        codes = volume.flatten(1, 3).take_along_dim(self.order[numbers][..., None], 1)
        slices = codes.unflatten(1, slice_shape(self.shape, self.factor))
        known = self.encoder(volume, numbers, prime_frames)
        logits = self.code_heads(self.decoder(slices, known), codes)
        nats = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none")
        return nats.view_as(codes) * self.generated(numbers, prime_frames)[..., None]

    def volume(self, latents: Tensor) -> Tensor:
        """(b, t, h, w) or (b, t, h, w, k) -> (b, t, h, w, k)."""
        return latents.reshape(*latents.shape[:4], self.codebooks)

    def slices_to_generate(self, prime_frames: int) -> Tensor:
        """Numbers of the slices with a position after the priming frames, int64."""
        t, (s_t, s_h, s_w) = self.shape[0], self.factor
        offsets = sorted({frame % s_t for frame in range(prime_frames, t)})
        numbers = [a * s_h * s_w + i for a in offsets for i in range(s_h * s_w)]
        return torch.tensor(numbers, device=self.order.device)

    def generated(self, numbers: Tensor, prime_frames: int) -> Tensor:
        """bool (b, n): which positions of slices numbers (b,) come after the priming frames."""
        _, h, w = self.shape
        return self.order[numbers] // (h * w) >= prime_frames


class LatentVideoTransformer(SliceTransformer):
    """A prior over the codes of one clip, given its first frames. LVT, section 3.2."""

    def loss(self, latents: Tensor,
             condition: Condition | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a generated code, on one slice of each clip that is drawn at random; its mean is
        the exact value.

        Raises ValueError for codes of another shape, and for a condition.
        """
        check_no_condition(condition)
        check_shape(latents, self.spec)
        prime_frames = self.config.prime_frames
        choices = self.slices_to_generate(prime_frames)
        numbers = choices[torch.randint(len(choices), (len(latents),)).to(choices.device)]
        nats = self.nll(latents, numbers, prime_frames).flatten(1).sum(1)
        loss = nats.mean() * len(choices) / self.dims(prime_frames)
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition | None = None,
               given_latents: int = 1) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: exact bits a generated code of each clip, over all slices,
        without the first `given_latents` frames. LVT, footnote 3.

        Raises ValueError for codes that do not fit, if no frame is given or none is left, and for
        a condition.
        """
        check_no_condition(condition)
        check_shape(latents, self.spec)
        check_codes(latents, self.spec)
        check_given_latents(given_latents, 1, self.spec)
        nats = sum(self.nll(latents, number.expand(len(latents)), given_latents).flatten(1).sum(1)
                   for number in self.slices_to_generate(given_latents))
        return {"bits_per_dim": nats / (math.log(2) * self.dims(given_latents))}

    def sample(self, n: int, condition: Condition | None = None, given: Tensor | None = None,
               sampling: LVTSampling | None = None, latent_frames: int | None = None) -> Tensor:
        """n clips of codes, int64 (n, *shape of its latents), that begin with the given ones (the
        priming frames).

        given: codes of the first frames, one clip for all or one for each: (1 or n, t0, h, w) or
        (..., k). sampling: `LVTSampling()` if it is None. Raises ValueError for what does not fit.
        """
        check_no_condition(condition)
        check_latent_frames(latent_frames, self.spec)
        check_given(given, n, self.spec)
        volume = given.new_zeros(n, *self.shape, self.codebooks)
        volume[:, :given.shape[1]] = self.volume(given)
        complete(self, volume, given.shape[1], (sampling or LVTSampling()).temperature)
        return volume.reshape(n, *self.spec.shape)

    def dims(self, prime_frames: int) -> int:
        """Codes of a clip that come after the priming frames."""
        t, h, w = self.shape
        return (t - prime_frames) * h * w * self.codebooks
