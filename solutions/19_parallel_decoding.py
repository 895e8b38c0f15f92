# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 19 · Parallel decoding

# %% jupyter={"source_hidden": true}
import os

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.mebt.schedule"]
"""How many codes a step of parallel decoding accepts, and which. MeBT, section 3.3."""

import math
from typing import Literal

import torch
from torch import Tensor

from lvlib.models.mebt.masking import hide_smallest

Schedule = Literal["cosine", "linear", "square"]


# %% tags=["export:models.mebt.schedule"]
def still_hidden(schedule: Schedule, progress: float) -> float:
    """gamma: the share of codes that is hidden after a share `progress` of the steps. 1 at 0, and
    0 at 1."""
    if schedule == "cosine":
        return math.cos(math.pi / 2 * progress)
    return 1 - progress if schedule == "linear" else 1 - progress**2


# %% tags=["export:models.mebt.schedule"]
def fill_counts(schedule: Schedule, steps: int, n: int) -> list[int]:
    """How many of n codes each step accepts: at least 1 each, n in all.

    After step s = 0, 1, ... n - ceil(gamma((s + 1) / steps) n) are there. The paper has s / steps,
    with which the first step would accept none, and the last would leave some. Raises ValueError
    unless 1 <= steps <= n.
    """
    if not 1 <= steps <= n:
        raise ValueError(f"steps must be 1 to {n}, the codes that are hidden, not {steps}")
    there = [n - math.ceil(still_hidden(schedule, (s + 1) / steps) * n) for s in range(steps)]
    there[-1] = n  # the cosine of a right angle is not quite 0
    there = [min(max(count, s + 1), n - steps + s + 1) for s, count in enumerate(there)]
    return [after - before for before, after in zip([0, *there], there, strict=False)]


# %% tags=["export:models.mebt.schedule"]
def most_certain(log_probs: Tensor, uniform: Tensor, count: int, noise: float) -> Tensor:
    """The `count` codes of each clip that are accepted: bool (b, m).

    log_probs (b, m): of the codes that were drawn. noise: how much Gumbel noise, made of uniform
    (b, m), is added to them; 0 takes the likeliest (section 3.3), the official code ends there.
    """
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    return hide_smallest(-(log_probs + noise * gumbel), count)


# %% tags=["export:models.mebt.schedule"]
def parts_in_turn(uniform: Tensor, parts: int) -> list[Tensor]:
    """Divides the places of each clip evenly and at random: `parts` of bool (b, m), True at each
    place in exactly one of them. uniform: (b, m), one random number a place. Raises ValueError
    unless 1 <= parts <= m."""
    m = uniform.shape[1]
    if not 1 <= parts <= m:
        raise ValueError(f"revise_parts must be 1 to {m}, the codes that are drawn, not {parts}")
    rank = uniform.argsort(1).argsort(1)
    return [rank * parts // m == part for part in range(parts)]


# %% jupyter={"source_hidden": true} tags=["export:models.mebt.decoding"]
"""Filling hidden codes in parallel: a draft, then revision. MeBT, section 3.3."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from lvlib.models.common.checks import check_choice, check_numbers, check_temperature
from lvlib.models.mebt.masking import places_of
from lvlib.models.mebt.schedule import Schedule, fill_counts, most_certain, parts_in_turn
from lvlib.models.mebt.transformer import LOGITS_AT_ONCE, MeBTTransformer


# %% tags=["export:models.mebt.decoding"]
@dataclass(frozen=True)
class MeBTSampling:
    """How to fill hidden codes. Raises ValueError for values that are not allowed."""

    steps: int = 32
    """Passes of the draft, S (official code)."""
    schedule: Schedule = "cosine"
    """How many codes a pass accepts, gamma: cosine, linear or square."""
    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""
    top_k: int | None = None
    """Draw from that many of the likeliest codes alone."""
    noise: float = 4.0
    """Gumbel noise in the choice of what is accepted, which fades to 0 (official code). With 0 the
    likeliest codes are (section 3.3)."""
    one_by_one: int = 0
    """Passes before these that accept one code each (official code of the long models: 64)."""
    revise_rounds: int = 0
    """How often all is drawn anew after the draft, M."""
    revise_parts: int = 2
    """Parts that a round takes in turn, R: each is drawn given all the others."""
    revise_temperature: float = 0.7
    """Of these draws (official code)."""

    def __post_init__(self):
        check_numbers(self, "steps", "revise_parts", least=1)
        check_numbers(self, "noise", "one_by_one", "revise_rounds", least=0)
        check_choice(self, "schedule", get_args(Schedule))
        if self.top_k is not None:
            check_numbers(self, "top_k", least=1)
        check_temperature(self.temperature)
        if not 1e-6 <= self.revise_temperature < math.inf:
            raise ValueError("revise_temperature must be at least 1e-6 and finite, not "
                             f"{self.revise_temperature}")


# %% tags=["export:models.mebt.decoding"]
def draw_hidden(model: MeBTTransformer, codes: Tensor, hidden: Tensor, told: Tensor | None,
                temperature: float, top_k: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Draws a code for each hidden place, all at once: (places, codes, their log p), each (b, m).

    codes: int64 (b, n). hidden: bool (b, n), as many of each clip.
    """
    context, places = places_of(hidden)
    features = model.features(codes, context, places, told).flatten(0, 1)
    drawn, log_probs = [], []
    for part in features.split(max(LOGITS_AT_ONCE // model.spec.num_codes, 1)):
        logits = model.out(part).float() / temperature
        if top_k is not None and top_k < logits.shape[1]:
            least = logits.topk(top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        log_p = logits.log_softmax(-1)
        noise = torch.rand_like(log_p).clamp_min(1e-20).log().neg().log()  # minus Gumbel noise
        drawn.append((log_p - noise).argmax(-1))
        log_probs.append(log_p.gather(-1, drawn[-1][:, None])[:, 0])
    return places, torch.cat(drawn).view(places.shape), torch.cat(log_probs).view(places.shape)


# %% tags=["export:models.mebt.decoding"]
def draft(model: MeBTTransformer, codes: Tensor, hidden: Tensor, sampling: MeBTSampling,
          told: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Fills the hidden places of codes (b, n): after each pass (codes, what is still hidden), new
    tensors. Section 3.3.

    hidden: bool (b, n), as many of each clip. Raises ValueError for more passes than hidden codes.
    """
    n = int(hidden[0].sum())
    if not 1 <= sampling.one_by_one + sampling.steps <= n:
        raise ValueError(f"steps and one_by_one must be {n} or less together, the codes that are "
                         f"hidden, not {sampling.steps + sampling.one_by_one}")
    counts = [1] * sampling.one_by_one
    counts += fill_counts(sampling.schedule, sampling.steps, n - sampling.one_by_one)
    for i, count in enumerate(counts, 1):
        places, drawn, log_probs = draw_hidden(model, codes, hidden, told, sampling.temperature,
                                               sampling.top_k)
        noise = sampling.noise * (1 - i / len(counts))
        accepted = most_certain(log_probs, torch.rand_like(log_probs), count, noise)
        kept = torch.where(accepted, drawn, codes.gather(1, places))
        codes = codes.scatter(1, places, kept)
        hidden = hidden.scatter(1, places, ~accepted)
        yield codes, hidden


# %% tags=["export:models.mebt.decoding"]
def revise(model: MeBTTransformer, codes: Tensor, free: Tensor, sampling: MeBTSampling,
           told: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Draws the places `free` of complete codes (b, n) anew, part by part, each given all the rest:
    after each part (codes, bool (b, n): the part), new tensors. Section 3.3, after Lee et al. 2022.

    free: bool (b, n), as many of each clip. Raises ValueError for more parts than free places.
    """
    _, places = places_of(free)
    for _ in range(sampling.revise_rounds):
        uniform = torch.rand(places.shape, device=codes.device)
        for part in parts_in_turn(uniform, sampling.revise_parts):
            hidden = torch.zeros_like(free).scatter(1, places, part)
            at, drawn, _ = draw_hidden(model, codes, hidden, told, sampling.revise_temperature,
                                       sampling.top_k)
            codes = codes.scatter(1, at, drawn)
            yield codes, hidden


# %% tags=["export:models.mebt.decoding"]
@torch.inference_mode()
def fill_in(model: MeBTTransformer, codes: Tensor, hidden: Tensor, sampling: MeBTSampling,
            told: Tensor | None = None) -> Tensor:
    """Codes int64 (b, n) with all hidden places filled; the others as they are. Arguments and
    errors as of `draft` and `revise`."""
    drafted = deque(draft(model, codes, hidden, sampling, told), maxlen=1)
    codes, _ = drafted.pop()
    revised = deque(revise(model, codes, hidden, sampling, told), maxlen=1)
    return revised.pop()[0] if revised else codes


# %% jupyter={"source_hidden": true} tags=["export:models.mebt.curriculum"]
"""How long a stretch of a clip a step of training sees. MeBT, eq. (4)."""

from typing import Literal

import torch
from torch import Tensor

Curriculum = Literal["none", "uniform", "gaussian", "renormalised"]


# %% tags=["export:models.mebt.curriculum"]
def interval_probs(curriculum: Curriculum, frames: int, step: int, alpha: float,
                   beta: float) -> Tensor:
    """Probability of each length v = 1, ..., frames in latent frames at this step: float64
    (frames,). Eq. (4).

    none: all frames always. uniform: each as likely. gaussian: the paper's, a real number of mean
    1 + step / alpha and deviation beta, rounded up and truncated. renormalised: the official
    code's, the density at whole numbers, divided by its sum. Finite at every step.
    """
    lengths = torch.arange(1, frames + 1, dtype=torch.float64)
    distance = (lengths - 1 - step / alpha) / beta
    if curriculum == "none":
        return (lengths == frames).double()
    if curriculum == "uniform":
        return torch.full_like(lengths, 1 / frames)
    if curriculum == "renormalised":
        return (-distance**2 / 2).softmax(0)
    up_to = torch.special.ndtr(distance)  # that the real number is at most v
    up_to[-1] = 1  # longer ones are cut
    return up_to.diff(prepend=up_to.new_zeros(1))


# %% jupyter={"source_hidden": true} tags=["export:models.mebt.prior"]
"""MeBT's prior: masked codes of clips, short to long. MeBT, section 3.3."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lvlib.models.common.checks import (
    check_choice,
    check_codes,
    check_given_latents,
    check_latent_frames,
    check_numbers,
    check_shape,
)
from lvlib.models.common.conditioning import Conditioner, condition_tensors
from lvlib.models.mebt.curriculum import Curriculum, interval_probs
from lvlib.models.mebt.decoding import MeBTSampling, fill_in
from lvlib.models.mebt.masking import random_count, random_split
from lvlib.models.mebt.transformer import MeBTTransformer, TransformerConfig
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape

BOUND_DRAWS = 8  # shares of hidden codes, from few to all, that `scores` looks at


# %% tags=["export:models.mebt.prior"]
class MeBT(nn.Module):
    """A prior over the codes of clips that fills any hidden ones. Section 3."""

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
        """What the condition says of each place: (clips, n, dim), or None. Raises ValueError for a
        missing or a needless one, and for one that does not fit."""
        vectors, _ = condition_tensors(self.conditioner, condition, clips, self.spec.tokens)
        return None if vectors is None else self.to_places(vectors)

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        """One; but its loss depends on the step."""
        return {"model": list(self.parameters())}

    def losses(self, latents: Tensor, condition: Condition, *,
               step: int) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Mean nats of the hidden codes, section 3.3: codes int64 (b, t, h, w), of which a stretch
        of latent frames is looked at, as long as the curriculum says; in eval mode, all of them.
        Raises ValueError for another shape, or condition."""
        check_shape(latents, self.spec)
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

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition,
               given_latents: int) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: an upper bound of the bits a code, those of the first
        `given_latents` frames given. Of codes that come in a random order each is predicted from
        those before it: their mean is that of `BOUND_DRAWS` shares of hidden codes, drawn from
        torch's global random numbers. Raises ValueError for what does not fit."""
        check_given_latents(given_latents, 0, self.spec)
        check_shape(latents, self.spec)
        check_codes(latents, self.spec)
        b, given = len(latents), given_latents * self.spec.tokens // self.spec.shape[0]
        n, told = self.spec.tokens - given, self.told(condition, b)
        start = torch.arange(given, device=latents.device).expand(b, -1)
        shift = torch.rand(()).item()
        bits = []
        for i in range(BOUND_DRAWS):
            count = max(math.ceil((i + shift) / BOUND_DRAWS * n), 1)
            places = random_split(b, n, count, latents.device)
            context, masked = (part + given for part in places)
            nats = self.transformer.nats(latents.flatten(1), torch.cat([start, context], 1), masked,
                                         told)
            bits.append(nats.mean(1) / math.log(2))
        return {"bits_per_dim": torch.stack(bits).mean(0)}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None = None,
               sampling: MeBTSampling | None = None, latent_frames: int | None = None,
               places: list[int] | None = None) -> Tensor:
        """n clips of codes, int64 (n, t, h, w).

        given: codes of some latent frames, (1 or n, t0, h, w), which stay as they are. places:
        which ones they are, 0 to t - 1; None for the first. Raises ValueError for what does not
        fit.
        """
        check_latent_frames(latent_frames, self.spec)
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


# %% tags=["export:models.mebt.prior"]
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
        places = list(range(given.shape[1])) if places is None else places
        fits = given.shape[1:] == (len(places), h, w) and 0 < len(places) < t
        if not fits:
            raise ValueError(f"given codes must be of shape (b, 1 to {t - 1}, {h}, {w}), one "
                             f"latent frame for each place, not {tuple(given.shape)}")
        if sorted(set(places)) != sorted(places) or min(places) < 0 or max(places) >= t:
            raise ValueError(f"places must be different ones of 0 to {t - 1}, not {places}")
        if len(given) not in (1, n):
            raise ValueError(f"give the codes of one clip, or of each of the {n}, not of "
                             f"{len(given)}")
        check_codes(given, latents)
        codes[:, places], hidden[:, places] = given.cpu(), False
    return codes.flatten(1), hidden.flatten(1)


# %% tags=["export:models.mebt.prior"]
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
        check_choice(self, "curriculum", get_args(Curriculum))
        check_numbers(self, "alpha", "beta", above=0)
        check_numbers(self, "classes", "actions", least=0)

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
