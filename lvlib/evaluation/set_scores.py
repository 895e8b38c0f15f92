"""Scores of whole sets of clips: each set leaves its moments behind, and no clip is kept."""

from collections.abc import Sequence
from functools import reduce
from typing import ClassVar

from torch import Tensor

from lvlib.configs import Config
from lvlib.errors import UserError
from lvlib.evaluation.batch import EVERYONE, Batch
from lvlib.evaluation.metric import Mean, Tools, Value
from lvlib.metrics.coherence import class_coherence, inception_coherence
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.inception import ClassSums, class_sums, inception_score, merge_class_sums
from lvlib.metrics.kernel import kernel_distance
from lvlib.metrics.moments import Moments, merge_moments, moments_of

HALVES = ("even", "odd")  # of the clips, by their numbers: of real ones, two sets from one distribution


TOO_FEW = "a distance between sets takes at least 4 real clips and 4 generated ones"


class Sets:
    """Moments of sets of features, by name."""

    def __init__(self):
        self.moments: dict[str, Moments] = {}

    def add(self, name: str, features: Tensor) -> None:
        """features: (n, d)."""
        if len(features):
            self.put(name, moments_of(features.cpu()))

    def put(self, name: str, moments: Moments) -> None:
        self.moments[name] = merge_moments(self.moments[name], moments) if name in self.moments else moments

    def merge(self, other: "Sets") -> None:
        for name, moments in other.moments.items():
            self.put(name, moments)

    def union(self, names: Sequence[str]) -> Moments:
        """Of these sets together, those that are there."""
        return reduce(merge_moments, [self.moments[name] for name in names if name in self.moments])

    def distance(self, one: Sequence[str], other: Sequence[str]) -> float:
        """Between the union of some sets and that of others. Raises UserError for fewer than two clips."""
        if not all(any(name in self.moments for name in names) for names in (one, other)):
            raise UserError(TOO_FEW)
        sets = [self.union(names) for names in (one, other)]
        if min(moments.count for moments in sets) < 2:
            raise UserError(TOO_FEW)
        return frechet_distance(*sets).item()


class FrechetDistance:
    """Between the real clips and the generated ones; beside repeating the last given frame.

    The distance of finite sets is too large. So "real_halves" is that of one half of the real clips to the other, and
    "model_halves" that of each half of the real clips to the other half of the generated ones, mean of the two: with as
    many clips each, and no clip beside the one that it goes on from. Of a perfect model they are equal.
    """

    unit, digits, draws, per_clip = "0 for equal sets", 3, True, False
    network: ClassVar[str | None] = "features"
    sets_of: ClassVar[tuple[str, ...]] = ("real", "model", "repeat_last_frame")

    def __init__(self, tools: Tools):
        self.tools, self.sets = tools, Sets()

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        if config.stage == "autoencoder":
            return "an autoencoder generates nothing"
        return "its clips are single frames" if config.data.frames < 2 else None

    def update(self, batch: Batch) -> None:
        for of in self.sets_of:
            seen = batch.seen(self.tools.features, of)
            if seen is None:
                continue
            for half, part in by_half(seen.features[:batch.counted], batch.start):
                self.sets.add(f"{of} {half}", part)

    def merge(self, other: "FrechetDistance") -> None:
        self.sets.merge(other.sets)

    def compute(self) -> dict[str, Value]:
        real, model, *_ = self.sets_of
        there = [of for of in self.sets_of[1:] if f"{of} even" in self.sets.moments]
        values = {of: self.sets.distance(halves_of(real), halves_of(of)) for of in there}
        crossed = [self.sets.distance([f"{real} {one}"], [f"{model} {other}"])
                   for one, other in (HALVES, HALVES[::-1])]
        return values | {f"{model}_halves": sum(crossed) / 2,
                         "real_halves": self.sets.distance(*([name] for name in halves_of(real)))}

    def too_few(self) -> str | None:
        """A warning with numbers where a covariance has more entries than its clips fill."""
        counts = [self.sets.union(halves_of(of)).count for of in self.sets_of if f"{of} even" in self.sets.moments]
        dim = len(next(iter(self.sets.moments.values())).mean)
        if min(counts) > dim:
            return None
        return (f"{min(counts)} clips leave a covariance of {dim} features with rank {min(counts) - 1}: the distance "
                f"is far too large; take more than {dim} clips, better {10 * dim}")


def by_half(features: Tensor, start: int) -> list[tuple[str, Tensor]]:
    """Those of the clips with even numbers, and those of the others; start: the number of the first one."""
    return [(HALVES[(start + first) % 2], features[first::2]) for first in (0, 1)]


def halves_of(of: str) -> list[str]:
    return [f"{of} {half}" for half in HALVES]


class FrechetOfRebuilt(FrechetDistance):
    """R-FVD: between the real clips and the same, rebuilt by the autoencoder (VideoGPT, Table 3)."""

    draws = False
    sets_of = ("real", "autoencoder")

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        return "its clips are single frames" if config.data.frames < 2 else None

    def compute(self) -> dict[str, Value]:
        return {of.replace("autoencoder", "model"): value for of, value in super().compute().items()}


class FrechetToRebuilt(FrechetDistance):
    """FVD*: between the rebuilt real clips and the generated ones, so that the prior alone is judged (VideoGPT,
    Table 5; Razavi et al. 2019)."""

    sets_of = ("autoencoder", "model")

    def compute(self) -> dict[str, Value]:
        return {"model": self.sets.distance(*map(halves_of, self.sets_of))}


class KernelDistance:
    """The same with a cubic kernel and without bias: of sets from one distribution it is 0 on average. It takes every
    pair of clips, so the features are kept."""

    unit, digits, draws, per_clip = "0 on average for equal sets", 5, True, False
    network: ClassVar[str | None] = "features"
    refusal = staticmethod(FrechetDistance.refusal)

    def __init__(self, tools: Tools):
        self.tools = tools
        self.parts: dict[str, list[tuple[int, Tensor]]] = {}

    def update(self, batch: Batch) -> None:
        for of in ("real", *EVERYONE):
            seen = batch.seen(self.tools.features, of)
            if seen is None:
                continue
            self.parts.setdefault(of, []).append((batch.start, seen.features[:batch.counted].cpu()))

    def merge(self, other: "KernelDistance") -> None:
        for name, parts in other.parts.items():
            self.parts.setdefault(name, []).extend(parts)

    def compute(self) -> dict[str, Value]:
        sets = {name: Mean.in_order(parts) for name, parts in self.parts.items()}
        if min(map(len, sets.values())) < 2:
            raise UserError(TOO_FEW)
        real = sets.pop("real")
        even, odd = real[::2], real[1::2]
        if len(odd) < 2:
            raise UserError(TOO_FEW)
        values = {of: kernel_distance(real, features).item() for of, features in sets.items()}
        return values | {"real_halves": kernel_distance(even, odd).item()}


class InceptionScore:
    """Of the generated clips, beside the real ones."""

    unit, digits, draws, per_clip = "from 1 to the number of classes", 3, True, False
    network: ClassVar[str | None] = "classes"
    refusal = staticmethod(FrechetDistance.refusal)

    def __init__(self, tools: Tools):
        self.tools = tools
        self.sums: dict[str, ClassSums] = {}

    def update(self, batch: Batch) -> None:
        for of in (*EVERYONE, "real") if batch.counted else ("model",):
            seen = batch.seen(self.tools.classes, of)
            if seen is not None:
                self._put(of, class_sums((seen.probs if of == "model" else seen.probs[:batch.counted]).cpu()))

    def _put(self, of: str, sums: ClassSums) -> None:
        self.sums[of] = merge_class_sums(self.sums[of], sums) if of in self.sums else sums

    def merge(self, other: "InceptionScore") -> None:
        for of, sums in other.sums.items():
            self._put(of, sums)

    def compute(self) -> dict[str, Value]:
        return {of: inception_score(sums).item() for of, sums in self.sums.items()}


class FrechetWindows:
    """The Frechet distance of each window of the generated videos to all windows of the real ones: how a long video
    changes (TATS, Figure 5; MeBT, Figure 7, which show the difference to the first window)."""

    unit, digits, draws, per_clip = "0 for equal sets, window by window", 3, True, False
    network: ClassVar[str | None] = "features"

    def __init__(self, tools: Tools):
        self.tools, self.sets = tools, Sets()

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        return FrechetDistance.refusal(config, given_frames)

    def update(self, batch: Batch) -> None:
        protocol = self.tools.protocol
        for of in ("real", "model"):
            seen = batch.seen_windows(self.tools.features, of, protocol.window, protocol.every)
            if seen is None:
                continue
            features = seen.features[:batch.counted]
            if of == "real":
                self.sets.add(of, features.flatten(0, 1))
            else:
                for number, window in enumerate(features.unbind(1)):
                    self.sets.add(f"{number}", window)

    def merge(self, other: "FrechetWindows") -> None:
        self.sets.merge(other.sets)

    def compute(self) -> dict[str, Value]:
        return {"model": [self.sets.distance(["real"], [f"{number}"]) for number in range(len(self.sets.moments) - 1)]}


class ClassCoherence(Mean):
    """CCS: the share of videos whose likeliest class in a window is that of their first window (TATS, section 3.3)."""

    unit, digits, draws, per_clip = "of the videos, window by window", 3, True, False
    network: ClassVar[str | None] = "classes"
    refusal = staticmethod(FrechetWindows.refusal)

    def __init__(self, tools: Tools):
        super().__init__(tools)
        self.tools = tools

    def measure(self, probs: Tensor) -> Tensor:
        return class_coherence(probs)

    def update(self, batch: Batch) -> None:
        protocol = self.tools.protocol
        for of in (*EVERYONE, "real"):
            seen = batch.seen_windows(self.tools.classes, of, protocol.window, protocol.every)
            if seen is not None:
                self.add(batch.start, {of: self.measure(seen.probs[:batch.counted])})


class InceptionCoherence(ClassCoherence):
    """ICS: how far the classes of a window are from those of the first one; the mean over the videos, where the paper
    sums (TATS, section 3.3)."""

    unit, digits = "nats, window by window", 3

    def measure(self, probs: Tensor) -> Tensor:
        return inception_coherence(probs)
