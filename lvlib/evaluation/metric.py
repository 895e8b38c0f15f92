"""What a score over a set of clips is, and what it is made with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from lvlib.configs import Config
from lvlib.evaluation.batch import Batch
from lvlib.evaluation.networks.network import FrameNetwork, VideoNetwork
from lvlib.evaluation.protocols import Protocol as Choices

Value = float | list[float]  # a list: one of each window of a long video
Scores = dict[str, dict[str, Value]]  # {name of the score: {whose: value}}


@dataclass(frozen=True)
class Tools:
    """The protocol, and the networks that it names: those that the scores need."""

    protocol: Choices
    features: VideoNetwork | None = None
    classes: VideoNetwork | None = None
    perceptual: FrameNetwork | None = None


class Metric(Protocol):
    """A score over a set of clips: `update` with each batch, then `compute`. What other processes counted, or the same
    one before it was stopped, comes in by `merge`: of an object of the same class, whose `vars` are its state."""

    unit: ClassVar[str]
    digits: ClassVar[int]
    """After the point, where it is printed."""
    network: ClassVar[str | None]
    """Which of the protocol's networks it looks with."""
    draws: ClassVar[bool]
    """Of a prior it needs samples, which are drawn as the setting says."""
    per_clip: ClassVar[bool]
    """It compares each generated clip with the real clip of the same number."""

    def __init__(self, tools: Tools): ...

    @staticmethod
    def refusal(config: Config, given_frames: int) -> str | None:
        """Why runs of this configuration do not have it; None where they do."""

    def update(self, batch: Batch) -> None:
        """Counts these clips in."""

    def merge(self, other: "Metric") -> None:
        """Counts in what the other has counted."""

    def compute(self) -> dict[str, Value]:
        """The score, by whose it is: of "model", and of what it stands beside."""


class Mean:
    """Means over the clips, by whose they are; of each window, where values have a second axis."""

    network: ClassVar[str | None] = None

    def __init__(self, tools: Tools):
        self.parts: dict[str, list[tuple[int, Tensor]]] = {}

    def add(self, start: int, values: Mapping[str, Tensor]) -> None:
        """values: (b,) or (b, n), one a clip, or one a window of it. start: the number of the first clip."""
        for of, value in values.items():
            self.parts.setdefault(of, []).append((start, value.cpu()))

    def merge(self, other: "Mean") -> None:
        for of, parts in other.parts.items():
            self.parts.setdefault(of, []).extend(parts)

    def compute(self) -> dict[str, Value]:
        return {of: self.in_order(parts).mean(0).tolist() for of, parts in self.parts.items()}

    @staticmethod
    def in_order(parts: list[tuple[int, Tensor]]) -> Tensor:
        """By the number of the clips, whichever process had them."""
        return torch.cat([value for _, value in sorted(parts, key=lambda part: part[0])])


def label(name: str, metric: type[Metric], protocol: Choices) -> str:
    """What a score is called: with the network that looked; FVD and LPIPS only where they are that."""
    if metric.network is None:
        return name
    network = getattr(protocol, metric.network)
    if metric.network == "features" and not network.startswith("i3d"):
        name = name.replace("fvd", "frechet").replace("kvd", "kernel")
    if metric.network == "perceptual":
        return name.replace("lpips", network if network.startswith("lpips") else f"perceptual_{network}")
    return f"{name}_{network}"


def state_of(metric: Metric) -> dict:
    """What it has counted: all that it holds but its tools."""
    return {name: value for name, value in vars(metric).items() if name != "tools"}


def restored(metric: Metric, state: dict) -> Metric:
    """The metric, with what `state_of` gave."""
    vars(metric).update(state)
    return metric
