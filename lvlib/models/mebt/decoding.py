# Never edit this file: `python -m lvlib.course build` makes it from solutions/19_parallel_decoding.py.
"""Filling hidden codes in parallel: a draft, then revision. MeBT, section 3.3."""

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


@dataclass(frozen=True)
class MeBTSampling:
    """How to fill hidden codes. Raises ValueError for values that are not allowed."""

    steps: int | None = None
    """Passes of the draft, S; None for 32 (official code), or as many as there are codes."""
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
        check_numbers(self, "revise_parts", least=1)
        if self.steps is not None:
            check_numbers(self, "steps", least=1)
        check_numbers(self, "noise", "one_by_one", "revise_rounds", least=0)
        check_numbers(self, "revise_temperature", least=1e-6)
        check_choice(self, "schedule", get_args(Schedule))
        if self.top_k is not None:
            check_numbers(self, "top_k", least=1)
        check_temperature(self.temperature)


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


def accept(codes: Tensor, hidden: Tensor, places: Tensor, drawn: Tensor,
           accepted: Tensor) -> tuple[Tensor, Tensor]:
    """(codes, hidden), int64 and bool (b, n), after some draws are accepted: new tensors.

    places: the hidden places of each clip, int64 (b, m), all different. drawn, accepted: int64 and
    bool (b, m): what was drawn for each, and whether it stays. Other codes do not change.
    """
    kept = torch.where(accepted, drawn, codes.gather(1, places))
    return codes.scatter(1, places, kept), hidden.scatter(1, places, ~accepted)


def draft(model: MeBTTransformer, codes: Tensor, hidden: Tensor, sampling: MeBTSampling,
          told: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Fills the hidden places of codes (b, n): after each pass (codes, what is still hidden), new
    tensors. Section 3.3.

    hidden: bool (b, n), as many of each clip. Raises ValueError for more passes than hidden codes.
    """
    n = int(hidden[0].sum())
    steps = sampling.steps or max(min(32, n - sampling.one_by_one), 1)
    if steps + sampling.one_by_one > n:
        raise ValueError(f"steps and one_by_one must be {n} or less together, the codes that are "
                         f"hidden, not {steps + sampling.one_by_one}")
    counts = [1] * sampling.one_by_one
    counts += fill_counts(sampling.schedule, steps, n - sampling.one_by_one)
    for i, count in enumerate(counts, 1):
        places, drawn, log_probs = draw_hidden(model, codes, hidden, told, sampling.temperature,
                                               sampling.top_k)
        noise = sampling.noise * (1 - i / len(counts))
        accepted = most_certain(log_probs, torch.rand_like(log_probs), count, noise)
        codes, hidden = accept(codes, hidden, places, drawn, accepted)
        yield codes, hidden


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


@torch.inference_mode()
def fill_in(model: MeBTTransformer, codes: Tensor, hidden: Tensor, sampling: MeBTSampling,
            told: Tensor | None = None) -> Tensor:
    """Codes int64 (b, n) with all hidden places filled; the others as they are. Arguments and
    errors as of `draft` and `revise`."""
    drafted = deque(draft(model, codes, hidden, sampling, told), maxlen=1)
    codes, _ = drafted.pop()
    revised = deque(revise(model, codes, hidden, sampling, told), maxlen=1)
    return revised.pop()[0] if revised else codes
