# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""Is a long video of one class all the time? TATS, section 3.3."""

from torch import Tensor

LEAST = 1e-12  # where the first window rules a class out, the paper's ICS would be infinite


def class_coherence(probs: Tensor) -> Tensor:
    """CCS of each video: is the likeliest class of a window that of the first?

    Class probabilities of windows (b, n, classes) -> (b, n) float64, 0 or 1. The mean over b is the
    paper's score: the share of videos whose class is still that of their beginning.
    """
    classes = probs.argmax(-1)
    return (classes == classes[:, :1]).double()


def inception_coherence(probs: Tensor) -> Tensor:
    """ICS of each video: the KL divergence of a window's classes from those of the first, in nats.

    Class probabilities of windows (b, n, classes) -> (b, n) float64. 0 where nothing changes; lower
    is better. In the logarithms a probability below LEAST counts as LEAST. The paper sums over the
    videos; the mean over b does not grow with their number.
    """
    probs = probs.double()
    logs = probs.clamp(min=LEAST).log()
    return (probs * (logs - logs[:, :1])).sum(-1)
