"""What a score asks of a trained network."""

from typing import NamedTuple, Protocol

from torch import Tensor


class Seen(NamedTuple):
    """What a network makes of clips. features: (b, d) float32. probs: (b, classes) float32, rows sum to one; None of a
    network that has no classes."""

    features: Tensor
    probs: Tensor | None


class VideoNetwork(Protocol):
    """A trained network, in eval mode, that looks at whole clips."""

    name: str
    """Stands in the name of each score: "course", "i3d-kinetics400"."""
    dim: int
    """Features of a clip."""
    least_frames: int
    """Of a clip that it can look at."""

    def look(self, video: Tensor) -> Seen:
        """Video (b, c, t, h, w) in [-1, 1], c 1 or 3, any height and width, on the network's device. Resizes it as the
        network was trained. Without gradients. Raises ValueError for too few frames."""


class FrameNetwork(Protocol):
    """A trained network, in eval mode, that compares frames: a perceptual distance."""

    name: str

    def distance(self, frames: Tensor, others: Tensor) -> Tensor:
        """(n, c, h, w) in [-1, 1] twice, c 1 or 3 -> (n,), 0 for equal frames."""
