"""What the course's video classifier learns from: clips with soft labels, of digits that move and of walks in Doom.

An item of each set here is "latents", the video, float32 (3, 16, 64, 64) in [-1, 1], and "condition", the truth: what
`VideoClassifier.loss` takes. An item's label is shared among what the clip shows: two digits have half each.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lvlib.data import ClipSet, MovingDigits, to_video
from lvlib.data.moving_digits import DIRECTIONS
from lvlib.data.recorders.doom import BUTTONS
from lvlib.errors import UserError
from lvlib.evaluation.networks.course import DIGITS, KINDS, VideoClassifier, is_right, resized

FRAMES = 16
SPEEDS = (1, 2, 3, 4)
SIZES = ((32, 14), (32, 20), (48, 16), (48, 28), (64, 20), (64, 28))  # of a frame, and of a digit
COLORS: dict[int, tuple[dict[str, bool], ...]] = {1: ({}, {"color": True}), 2: ({}, {"color": True}, {"layers": True})}


class DigitClips(Dataset):
    """At least so many clips of one or two moving digits, in turn of each size and colour that the course has."""

    def __init__(self, clips: int, digits: int, seed: int, split: str = "train"):
        looks = [(size, digit_size, color) for size, digit_size in SIZES for color in COLORS[digits]]
        self.looks = [MovingDigits(-(-clips // len(looks)), FRAMES, size, digits, digit_size, speeds=SPEEDS,
                                   seed=seed + i, split=split, **color)
                      for i, (size, digit_size, color) in enumerate(looks)]

    def __len__(self) -> int:
        return len(self.looks) * len(self.looks[0])

    def __getitem__(self, index: int) -> dict:
        number, look = divmod(range(len(self))[index], len(self.looks))
        clip = self.looks[look][number]
        return _item(clip["video"], shares(clip["digit"], len(KINDS)), shares(clip["motion"], len(DIRECTIONS)))


class DoomClips(Dataset):
    """A clip of each episode in a set of `lvlib data vizdoom`, of Health Gathering Supreme. Each begins at a random
    frame, and half of them are mirrored, left and right exchanged.

    Raises UserError for another set.
    """

    def __init__(self, root: Path, split: str = "train"):
        self.episodes = ClipSet(root, split)
        meta = self.episodes.meta
        is_walk = meta["arguments"].get("buttons") == list(BUTTONS) and "actions" in meta["fields"]
        if not is_walk or self.episodes.frames < FRAMES:
            raise UserError(f"{root} must be a set of `lvlib data vizdoom`, without --wad, of {FRAMES} frames or more")

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> dict:
        episode = self.episodes[index]
        start = int(torch.randint(self.episodes.frames - FRAMES + 1, ()))
        video, held = (episode[name][start:start + FRAMES] for name in ("video", "actions"))
        if torch.rand(()) < 0.5:
            video, held = video[:, :, ::-1].copy(), held[:, [1, 0, 2]]
        return _item(video, moves(held), torch.zeros(len(DIRECTIONS)))


class Mixture(Dataset):
    """`clips` clips of several sets in turn. A set that is short begins again."""

    def __init__(self, clips: int, parts: Sequence[Dataset]):
        self.clips, self.parts = clips, parts

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> dict:
        number, part = divmod(range(self.clips)[index], len(self.parts))
        return self.parts[part][number % len(self.parts[part])]


@torch.no_grad()
def accuracy(classifier: VideoClassifier, clips: Dataset) -> dict[str, float]:
    """The share of clips whose "kind" is right, and whose "motion", of those that have one: see `is_right`."""
    rights: dict[str, list[Tensor]] = {}
    for batch in DataLoader(clips, 64):
        features = classifier.features(batch["latents"])
        for name, truth in batch["condition"].items():
            has_one = truth.sum(1) > 0
            right = is_right(classifier.get_submodule(name)(features), truth)[has_one]
            rights.setdefault(name, []).append(right.float())
    return {name: torch.cat(right).mean().item() for name, right in rights.items() if torch.cat(right).numel()}


def moves(held: np.ndarray) -> Tensor:
    """How much of a clip goes into each move: the buttons held from frame to frame, (t, 3) -> shares, float32 (16,).

    What is held in the last frame shows in no frame of the clip.
    """
    left, right, walk = held[:-1].astype(bool).T
    turn = np.where(left == right, 2, right)
    return shares(len(DIGITS) + turn + 3 * walk, len(KINDS))


def shares(labels: np.ndarray, classes: int) -> Tensor:
    """How many of the labels (n,) are of each class, as shares: float32 (classes,)."""
    return torch.tensor(np.bincount(labels, minlength=classes) / len(labels)).float()


def _item(video: np.ndarray, kind: Tensor, motion: Tensor) -> dict:
    return {"latents": resized(to_video(video)[None])[0].contiguous(), "condition": {"kind": kind, "motion": motion}}
