# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""Is a long video of one class all the time? TATS, section 3.3."""

from torch import Tensor


def class_coherence(probs: Tensor) -> Tensor:
    """CCS: is the likeliest class of each window that of the first? (b, n, classes) -> (b, n) of 0 and 1."""
    classes = probs.argmax(-1)
    return (classes == classes[:, :1]).double()


def inception_coherence(probs: Tensor) -> Tensor:
    """ICS: KL from the classes of each window to those of the first, in nats: (b, n, classes) -> (b, n).

    0 where nothing changes; lower is better. The paper sums over the videos; the mean does not
    grow with their number. Infinite where the first window rules a class out: no probability below 1e-12 counts.
    """
    probs = probs.double()
    return (probs.xlogy(probs) - probs * probs[:, :1].clamp(min=1e-12).log()).sum(-1)
