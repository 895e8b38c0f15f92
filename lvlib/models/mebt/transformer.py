# Never edit this file: `python -m lvlib.course build` makes it from solutions/18_masked_video_modelling.py.
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
from lvlib.models.mebt.mimetic import mimetic_init_
from lvlib.models.mebt.sparse import GridTransformer
from lvlib.stages import LatentSpec

MeBTAttention = Literal["latent", "full-decoder", "full", "axial", "window"]
MeBTInit = Literal["normal", "mimetic"]
LOGITS_AT_ONCE = 16777216  # 64 MiB: of 8,192 codes of 16,384 they would be 512


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
    attention: MeBTAttention = "latent"
    """latent; full-decoder (Table 3); full, axial or window, without any bottleneck (Table 4)."""
    official: bool = False
    """Attention is added to the normalised tokens, as in the official code."""
    init: MeBTInit = "normal"
    """normal: a spread of 0.02 (official code). mimetic: attention looks near at first (ours)."""

    def __post_init__(self):
        check_numbers(self, "dim", "heads", "hidden", "encoder_layers", "decoder_layers",
                      "bottleneck", least=1)
        check_numbers(self, "dropout", least=0, below=1)
        check_choice(self, "attention", get_args(MeBTAttention))
        check_choice(self, "init", get_args(MeBTInit))
        if self.init == "mimetic" and self.attention not in ("latent", "full-decoder"):
            raise ValueError(f"init mimetic is for models with latents, not {self.attention}")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), not {self.dim}")


class HiddenFeatures(nn.Module):
    """What is known of hidden codes from those that are seen. Section 3.

    latents: codes (t, h, w) of the longest clips, each place of which has a learned position;
    shorter clips are stretches of whole latent frames of them. Raises what `mimetic_init_` does.
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
        if config.init == "mimetic":
            mimetic_init_(self.positions.weight, self.bottleneck, latents.shape,
                          (*self.encoder.layers, *self.decoder.layers))

    def features(self, codes: Tensor, context: Tensor, masked: Tensor,
                 told: Tensor | None = None) -> Tensor:
        """What `out` makes logits of, of each hidden code: (b, m, dim).

        codes: int64 (b, n), of which those at the places `context` (b, c) are seen, c may be 0.
        masked: the hidden ones, int64 (b, m). told: what is known of each latent frame (b, t, dim).
        """
        seen = self.embedding(codes.gather(1, context)) + self.at(context, told)
        masks = self.mask + self.at(masked, told)
        if hasattr(self, "grid"):
            return self.norm(self.through_grid(seen, masks, context, masked))
        latents = self.encoder(self.bottleneck.expand(len(codes), -1, -1), seen)
        return self.norm(self.decoder(latents, masks))

    def at(self, places: Tensor, told: Tensor | None) -> Tensor:
        """What is known of places (b, m) beside their code: (b, m, dim)."""
        vectors = self.positions(places)
        if told is None:
            return vectors
        frames = places // (self.spec.tokens // self.spec.shape[0])
        return vectors + told.gather(1, frames[..., None].expand(-1, -1, told.shape[2]))

    def through_grid(self, seen: Tensor, masks: Tensor, context: Tensor, masked: Tensor) -> Tensor:
        """Both as one grid of whole latent frames; of the masks what comes out, (b, m, dim)."""
        order = torch.cat([context, masked], 1).argsort(1)
        tokens = torch.cat([seen, masks], 1)
        index, sizes = order[..., None].expand_as(tokens), self.spec.shape[1:]
        x = self.grid(tokens.gather(1, index).unflatten(1, (-1, *sizes))).flatten(1, 3)
        return x.gather(1, order.argsort(1)[:, context.shape[1]:, None].expand(-1, -1, x.shape[2]))


class MeBTTransformer(HiddenFeatures):
    """Hidden codes from those that are seen. Section 3."""

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
