# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""The inception score: are clips clearly of one class, and are there many classes?"""

from typing import NamedTuple

from torch import Tensor


class ClassSums(NamedTuple):
    """What class probabilities of clips leave behind: enough for an inception score.

    count: how many clips. total: (classes,) float64, the sum of their probabilities. negentropy:
    () float64, the sum over clips of sum p log p, in nats.
    """

    count: int  # type: ignore[assignment]  # tuples have a method of this name
    total: Tensor
    negentropy: Tensor


def class_sums(probs: Tensor) -> ClassSums:
    """Of probabilities (n, classes), rows that sum to one; n from 0 up."""
    probs = probs.double()
    return ClassSums(len(probs), probs.sum(0), probs.xlogy(probs).sum())


def merge_class_sums(a: ClassSums, b: ClassSums) -> ClassSums:
    """Of both sets together."""
    return ClassSums(a.count + b.count, a.total + b.total, a.negentropy + b.negentropy)


def inception_score(sums: ClassSums) -> Tensor:
    """exp of the mean divergence of a clip's classes from those of all clips, () float64.

    From 1 to the number of classes. Salimans et al. 2016; of clips, with C3D: Saito et al. 2020.
    Raises ValueError if there are no clips.
    """
    if sums.count == 0:
        raise ValueError("an inception score takes at least 1 clip")
    mean = sums.total / sums.count
    return (sums.negentropy / sums.count - mean.xlogy(mean).sum()).exp()
