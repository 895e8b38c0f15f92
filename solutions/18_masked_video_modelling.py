# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 18 · Masked video modelling

# %% jupyter={"source_hidden": true}
import os

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.mebt.masking"]
"""Which codes of a clip are hidden. MeBT, section 3.3."""

import math
import random

import torch
from torch import Tensor


# %% tags=["export:models.mebt.masking"]
def hide_smallest(scores: Tensor, count: int) -> Tensor:
    """Hides the `count` places of each clip with the smallest scores: (b, n) -> bool (b, n), True
    where hidden; of equal ones the first."""
    places = scores.argsort(1, stable=True)[:, :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, places, True)


# %% tags=["export:models.mebt.masking"]
def places_of(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the context and the hidden places, each in order: bool (b, n) -> int64
    (b, n - m), (b, m). Raises ValueError unless all clips hide as many."""
    counts = hidden.sum(1)
    if counts.min() != counts.max():
        raise ValueError("all clips must hide the same number of codes, not "
                         f"{counts.min()} to {counts.max()}")
    order = hidden.byte().argsort(dim=1, stable=True)
    return order.split([hidden.shape[1] - int(counts[0]), int(counts[0])], 1)


def random_split(clips: int, n: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same for `count` of n places, drawn for each clip: int64 (clips, n - count),
    (clips, count)."""
    order = torch.rand(clips, n, device=device).argsort(1)
    return order[:, count:].sort(1).values, order[:, :count].sort(1).values


def random_count(n: int) -> int:
    """How many of n codes a step hides: a share of (0, 1], each as likely, rounded up (3.3)."""
    return math.ceil((1 - random.random()) * n)


# %% jupyter={"source_hidden": true} tags=["export:models.mebt.attention"]
"""One layer: tokens attend to others, or to themselves. MeBT, section 3."""

from torch import Tensor, nn

from lvlib.models.common.conditioning import CrossAttention


# %% tags=["export:models.mebt.attention"]
class AttentionLayer(nn.Module):
    """Tokens attend to a memory; then two linear layers. Both normalised before, and added.

    official: attention is added to the normalised tokens, as in the official code; else to the
    tokens themselves.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float = 0.0,
                 official: bool = False):
        super().__init__()
        self.official = official
        self.norm = nn.LayerNorm(dim)  # of the tokens and of what they look at
        self.attention = CrossAttention(dim, heads, dim)
        self.hidden_norm = nn.LayerNorm(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """x (b, n, dim), memory (b, m, dim) or None for x itself -> (b, n, dim). A memory of no
        tokens adds nothing but a bias."""
        query = self.norm(x)
        seen = query if memory is None else self.norm(memory)
        attended = self.attention(query, self.attention.memory_kv(seen))
        x = (query if self.official else x) + self.dropout(attended)
        return x + self.dropout(self.hidden(self.hidden_norm(x)))


# %% jupyter={"source_hidden": true} tags=["export:models.mebt.bottleneck"]
"""The latent bottleneck: an encoder and a decoder at a cost linear in the number of codes. MeBT,
sections 3.1 and 3.2."""

import torch
from torch import Tensor, nn

from lvlib.models.mebt.attention import AttentionLayer


# %% tags=["export:models.mebt.bottleneck"]
class LatentEncoder(nn.Module):
    """Latents attend to the context, then to themselves, and so on in turn. Section 3.1.

    layers: attention layers, at least 1. sizes: those of `AttentionLayer`.
    """

    def __init__(self, layers: int, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """latents (b, l, dim), context (b, c, dim), c may be 0 -> latents (b, l, dim)."""
        for i, layer in enumerate(self.layers):
            latents = layer(latents, context if i % 2 == 0 else None)
        return latents


# %% tags=["export:models.mebt.bottleneck"]
class LatentDecoder(nn.Module):
    """Latents attend to latents and masks, masks attend to latents, in turn; the masks come last.
    Section 3.2.

    With an even number of layers the latents begin, as in the paper; with an odd one the masks do,
    as in the official code, whose decoder has 11.
    """

    def __init__(self, layers: int, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, latents: Tensor, masks: Tensor) -> Tensor:
        """latents (b, l, dim), masks (b, m, dim) -> masks (b, m, dim)."""
        for i, layer in enumerate(self.layers, 1):
            if (len(self.layers) - i) % 2 == 0:
                masks = layer(masks, latents)
            else:
                latents = layer(latents, torch.cat([latents, masks], 1))
        return masks


# %% tags=["export:models.mebt.bottleneck"]
class FullDecoder(nn.Module):
    """In each layer all latents and masks attend to all of them: quadratic in the number of masks.
    Table 3, "Full"."""

    def __init__(self, layers: int, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, latents: Tensor, masks: Tensor) -> Tensor:
        """latents (b, l, dim), masks (b, m, dim) -> masks (b, m, dim)."""
        x = torch.cat([latents, masks], 1)
        for layer in self.layers:
            x = layer(x)
        return x[:, latents.shape[1]:]


# %% jupyter={"source_hidden": true} tags=["export:models.mebt.sparse"]
"""What MeBT is compared with: context and masks in one grid, with full, axial or window attention.
MeBT, section 5.4."""

import math

from einops import rearrange
from torch import Tensor, nn

from lvlib.models.mebt.attention import AttentionLayer


# %% tags=["export:models.mebt.sparse"]
def boxes(grid: tuple[int, int, int], attention: str, layer: int) -> tuple[int, int, int]:
    """The sides (t, h, w) of the boxes into which a layer cuts the grid: a token attends to its box.

    full: the whole grid. axial: a row along time, height and width in turn. window: a frame, then
    4 x 4 places of all frames, as MaskViT has them (or of as many as divide the sides).
    """
    t, h, w = grid
    if attention == "full":
        return grid
    if attention == "axial":
        return ((t, 1, 1), (1, h, 1), (1, 1, w))[layer % 3]
    return ((1, h, w), (t, math.gcd(h, 4), math.gcd(w, 4)))[layer % 2]


class GridTransformer(nn.Module):
    """A bidirectional transformer over all tokens of a grid. Section 5.4, Table 4.

    attention: full, axial or window. sizes: those of `AttentionLayer`.
    """

    def __init__(self, attention: str, layers: int, *sizes):
        super().__init__()
        self.attention = attention
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, h, w, dim) -> (b, t, h, w, dim)."""
        for i, layer in enumerate(self.layers):
            a, b, c = boxes(tuple(x.shape[1:4]), self.attention, i)
            cut = rearrange(x, "n (t a) (h b) (w c) d -> (n t h w) (a b c) d", a=a, b=b, c=c)
            x = rearrange(layer(cut), "(n t h w) (a b c) d -> n (t a) (h b) (w c) d", a=a, b=b, c=c,
                          t=x.shape[1] // a, h=x.shape[2] // b, w=x.shape[3] // c)
        return x


# %% jupyter={"source_hidden": true} tags=["export:models.mebt.transformer"]
"""The transformer that predicts hidden codes from those that are seen. MeBT, sections 3.1 and
3.2."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.mebt.bottleneck import FullDecoder, LatentDecoder, LatentEncoder
from lvlib.models.mebt.sparse import GridTransformer
from lvlib.stages import LatentSpec

AttentionKind = Literal["latent", "full-decoder", "full", "axial", "window"]
LOGITS_AT_ONCE = 16777216  # a loss over more is worked out piece by piece


# %% tags=["export:models.mebt.transformer"]
@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a `MeBTTransformer`; the defaults are those of the official code. Raises ValueError
    for sizes that do not fit together."""

    dim: int = 1024
    """Width of the transformer."""
    heads: int = 16
    hidden: int = 4096
    """Width between the two linear layers of a layer."""
    encoder_layers: int = 13
    """Attention layers: latents to context and latents to themselves, in turn."""
    decoder_layers: int = 11
    """Attention layers: latents to latents and masks, and masks to latents, in turn."""
    bottleneck: int = 256
    """Latent tokens, N_L (5.1)."""
    dropout: float = 0.0
    attention: AttentionKind = "latent"
    """latent; full-decoder (Table 3); full, axial or window, without any bottleneck (Table 4)."""
    official: bool = False
    """Attention is added to the normalised tokens, as in the official code."""

    def __post_init__(self):
        check_numbers(self, "dim", "heads", "hidden", "encoder_layers", "decoder_layers",
                      "bottleneck", least=1)
        check_numbers(self, "dropout", least=0, below=1)
        check_choice(self, "attention", get_args(AttentionKind))
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), not {self.dim}")


# %% tags=["export:models.mebt.transformer"]
class MeBTTransformer(nn.Module):
    """Hidden codes from those that are seen. Section 3.

    latents: codes (t, h, w) of the longest clips. Positions are learned, one for each place of
    theirs; shorter clips are stretches of whole latent frames of them.
    """

    def __init__(self, config: TransformerConfig, latents: LatentSpec):
        super().__init__()
        self.config, self.spec, dim = config, latents, config.dim
        sizes = dim, config.heads, config.hidden, config.dropout, config.official
        self.embedding = nn.Embedding(latents.num_codes, dim)
        self.positions = nn.Embedding(latents.tokens, dim)
        self.mask = nn.Parameter(torch.empty(dim))
        if config.attention in ("latent", "full-decoder"):
            decoder = LatentDecoder if config.attention == "latent" else FullDecoder
            self.bottleneck = nn.Parameter(torch.empty(config.bottleneck, dim))
            self.encoder = LatentEncoder(config.encoder_layers, *sizes)
            self.decoder = decoder(config.decoder_layers, *sizes)
        else:
            layers = config.encoder_layers + config.decoder_layers
            self.grid = GridTransformer(config.attention, layers, *sizes)
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, latents.num_codes, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 or name == "mask":
                nn.init.normal_(parameter, std=0.02)

    def features(self, codes: Tensor, context: Tensor, masked: Tensor,
                 told: Tensor | None = None) -> Tensor:
        """What `out` makes logits of, of each hidden code: (b, m, dim).

        codes: int64 (b, n), of which those at the places `context` (b, c) are seen, c may be 0.
        masked: the hidden places, int64 (b, m). told: what is known of each place, (b, n, dim).
        """
        seen = self.embedding(codes.gather(1, context)) + self.at(context, told)
        masks = self.mask + self.at(masked, told)
        if hasattr(self, "grid"):
            return self.norm(self.through_grid(seen, masks, context, masked))
        latents = self.encoder(self.bottleneck.expand(len(codes), -1, -1), seen)
        return self.norm(self.decoder(latents, masks))

    def forward(self, codes: Tensor, context: Tensor, masked: Tensor,
                told: Tensor | None = None) -> Tensor:
        """Logits of each hidden code: (b, m, num_codes). Arguments as of `features`."""
        return self.out(self.features(codes, context, masked, told))

    def nats(self, codes: Tensor, context: Tensor, masked: Tensor,
             told: Tensor | None = None) -> Tensor:
        """-log p of each hidden code, (b, m), in fp32. Arguments as of `features`. Never are the
        logits of all codes in memory, where they are many."""
        features = self.features(codes, context, masked, told).flatten(0, 1)
        targets = codes.gather(1, masked).flatten()
        rows = max(LOGITS_AT_ONCE // self.spec.num_codes, 1)
        if len(features) <= rows:
            return self.nats_of(features, targets).view(masked.shape)
        parts = [checkpoint(self.nats_of, *part, use_reentrant=False, preserve_rng_state=False)
                 for part in zip(features.split(rows), targets.split(rows), strict=True)]
        return torch.cat(parts).view(masked.shape)

    def nats_of(self, features: Tensor, targets: Tensor) -> Tensor:
        """Of features (m, dim) and codes (m,): (m,)."""
        return F.cross_entropy(self.out(features).float(), targets, reduction="none")

    def at(self, places: Tensor, told: Tensor | None) -> Tensor:
        """What is known of places (b, m) beside their code: (b, m, dim)."""
        vectors = self.positions(places)
        if told is None:
            return vectors
        return vectors + told.gather(1, places[..., None].expand(-1, -1, told.shape[2]))

    def through_grid(self, seen: Tensor, masks: Tensor, context: Tensor,
                     masked: Tensor) -> Tensor:
        """Both as one grid of whole latent frames; of the masks what comes out, (b, m, dim)."""
        order = torch.cat([context, masked], 1).argsort(1)
        tokens = torch.cat([seen, masks], 1)
        _, h, w = self.spec.shape
        index = order[..., None].expand_as(tokens)
        x = self.grid(tokens.gather(1, index).unflatten(1, (-1, h, w))).flatten(1, 3)
        back = order.argsort(1)[:, context.shape[1]:, None].expand(-1, -1, x.shape[2])
        return x.gather(1, back)
