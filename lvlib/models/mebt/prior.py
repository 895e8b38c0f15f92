# Never edit this file: `python -m lvlib.course build` makes it from solutions/19_parallel_decoding.py.
"""MeBT's prior: masked codes of clips, short to long. MeBT, section 3.3."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lvlib.models.common import checks
from lvlib.models.common.conditioning import Conditioner, condition_tensors
from lvlib.models.mebt.curriculum import Curriculum, interval_probs
from lvlib.models.mebt.decoding import MeBTSampling, fill_in
from lvlib.models.mebt.masking import random_count, random_split
from lvlib.models.mebt.transformer import MeBTTransformer, TransformerConfig
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape

BOUND_DRAWS = 8  # shares of hidden codes, from few to all, that `scores` looks at


class MaskedCodes(nn.Module):
    """A transformer that fills hidden codes of clips, and how it learns. Section 3."""

    def __init__(self, config: "MeBTConfig", latents: LatentSpec, video_shape: VideoShape):
        super().__init__()
        self.config, self.spec = config, latents
        self.transformer = MeBTTransformer(config, latents)
        self.conditioner = self.to_places = None
        if config.classes or config.actions:
            self.conditioner = Conditioner(config.classes, config.actions, None, video_shape[1],
                                           latents.shape[0])
            self.to_places = nn.Linear(self.conditioner.cond_dim, config.dim, bias=False)
            nn.init.normal_(self.to_places.weight, std=0.02)

    def told(self, condition: Condition | None, clips: int) -> Tensor | None:
        """What the condition says of each latent frame: (clips, t, dim), or None. Raises ValueError
        for a missing or a needless one, and for one that does not fit."""
        vectors, _ = condition_tensors(self.conditioner, condition, clips, self.spec.shape[0])
        return None if vectors is None else self.to_places(vectors)

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        """One; but its loss depends on the step."""
        return {"model": list(self.parameters())}

    def losses(self, latents: Tensor, condition: Condition, *,
               step: int) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Mean nats of the hidden codes, section 3.3: codes int64 (b, t, h, w), of which a stretch
        of latent frames is looked at, as long as the curriculum says; in eval mode, all of them.
        Raises ValueError for another shape, or condition."""
        checks.check_shape(latents, self.spec)
        t, h, w = self.spec.shape
        frames = self.interval(step) if self.training else t
        first = random.randrange(t - frames + 1) * h * w
        n = frames * h * w
        places = random_split(len(latents), n, random_count(n), latents.device)
        context, masked = (part + first for part in places)
        nats = self.transformer.nats(latents.flatten(1), context, masked,
                                     self.told(condition, len(latents))).mean()
        yield "model", nats, {"bits_per_dim": nats / math.log(2)}

    def interval(self, step: int) -> int:
        """Latent frames of the stretch that a step of training sees, drawn with `random`."""
        config, frames = self.config, self.spec.shape[0]
        probs = interval_probs(config.curriculum, frames, step, config.alpha, config.beta)
        return random.choices(range(1, frames + 1), probs.tolist())[0]


class MeBT(MaskedCodes):
    """A prior over the codes of clips that fills any hidden ones. Section 3."""

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition,
               given_latents: int) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: an estimate of an upper bound of the bits a code, those of the
        first `given_latents` frames given. Of codes that come in a random order each is predicted
        from those before it: their mean is that of `BOUND_DRAWS` shares of hidden codes, drawn from
        torch's global random numbers. Raises ValueError for what does not fit."""
        checks.check_given_latents(given_latents, 0, self.spec)
        checks.check_shape(latents, self.spec)
        checks.check_codes(latents, self.spec)
        b, given = len(latents), given_latents * self.spec.tokens // self.spec.shape[0]
        n, told = self.spec.tokens - given, self.told(condition, b)
        start = torch.arange(given, device=latents.device).expand(b, -1)
        shift = torch.rand(()).item()
        nats = []
        for i in range(BOUND_DRAWS):
            count = max(math.ceil((i + shift) / BOUND_DRAWS * n), 1)
            context, masked = (part + given for part in random_split(b, n, count, latents.device))
            seen = torch.cat([start, context], 1)
            nats.append(self.transformer.nats(latents.flatten(1), seen, masked, told).mean(1))
        return {"bits_per_dim": torch.stack(nats).mean(0) / math.log(2)}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None = None,
               sampling: MeBTSampling | None = None, latent_frames: int | None = None,
               places: list[int] | None = None) -> Tensor:
        """n clips of codes, int64 (n, t, h, w).

        given: codes of some latent frames, (1 or n, t0, h, w), which stay as they are. places:
        which ones they are, 0 to t - 1; None for the first. Raises ValueError for what does not
        fit.
        """
        checks.check_latent_frames(latent_frames, self.spec)
        codes, hidden = begin(self.spec, n, given, places)
        device = self.transformer.mask.device
        training = self.training
        self.eval()
        try:
            filled = fill_in(self.transformer, codes.to(device), hidden.to(device),
                             sampling or MeBTSampling(), self.told(condition, n))
        finally:
            self.train(training)
        return filled.view(n, *self.spec.shape)


def begin(latents: LatentSpec, n: int, given: Tensor | None,
          places: list[int] | None) -> tuple[Tensor, Tensor]:
    """What `fill_in` begins with: codes int64 and hidden bool, both (n, tokens). Arguments and
    errors as of `MeBT.sample`."""
    (t, h, w) = latents.shape
    codes = torch.zeros(n, t, h, w, dtype=torch.int64)
    hidden = torch.ones(n, t, h, w, dtype=torch.bool)
    if given is None and places is not None:
        raise ValueError(f"places {places} are of given codes: give them, too")
    if given is not None:
        checks.check_given(given, n, latents)
        number = given.shape[1]
        places = list(range(number)) if places is None else places
        if len(places) != number or len(set(places) & set(range(t))) != number:
            raise ValueError(f"places must be {number} different ones of 0 to {t - 1}, one for "
                             f"each given latent frame, not {places}")
        codes[:, places], hidden[:, places] = given.cpu(), False
    return codes.flatten(1), hidden.flatten(1)


@dataclass(frozen=True)
class MeBTConfig(TransformerConfig):
    """Sizes of a `MeBT`; the defaults are those of the official code for clips of 16 frames. Raises
    ValueError for sizes that do not fit together."""

    Sampling: ClassVar[type] = MeBTSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = "bound"
    extends: ClassVar[bool] = False
    curriculum: Curriculum = "none"
    """Length of the stretch a step sees: none for all of the clip, uniform, gaussian (eq. 4), or
    renormalised, gaussian as the official code has it."""
    alpha: float = 30000.0
    """Steps until the mean length has grown by one latent frame (5.1: Sky Time-lapse)."""
    beta: float = 2.0
    """Its deviation, in latent frames (5.1)."""
    classes: int = 0
    """Classes of the label that the model is conditioned on; 0 for none. The paper has none."""
    actions: int = 0
    """Numbers that are known of each video frame, such as buttons; 0 for none."""

    def __post_init__(self):
        super().__post_init__()
        checks.check_choice(self, "curriculum", get_args(Curriculum))
        checks.check_numbers(self, "alpha", "beta", above=0)
        checks.check_numbers(self, "classes", "actions", least=0)

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """The label, and the actions: those that it is told."""
        specs = (ConditionSpec("label", "class", (), self.classes, option="classes"),
                 ConditionSpec("actions", "per-frame", (video_shape[1], self.actions),
                               option="actions"))
        return tuple(spec for spec in specs if getattr(self, spec.option))

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Whole latent frames, anywhere in the clip, by default 1."""
        frames = latents.frames_per_latent
        most = (latents.shape[0] - 1) * frames
        return GivenFrames(0, most, frames, min(frames, most), anywhere=True)

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> MeBT:
        """The model, with new weights. Raises ValueError for latents with several codebooks."""
        if latents.codebooks != 1:
            raise ValueError(f"MeBT takes codes of one codebook, not {latents}")
        return MeBT(self, latents, video_shape)
