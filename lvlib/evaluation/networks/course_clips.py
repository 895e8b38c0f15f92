"""What the course's video classifier learns from: clips with soft labels, of digits that move and of walks in Doom."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lvlib.data import ClipSet, MovingDigits, to_video
from lvlib.data.moving_digits import DIRECTIONS
from lvlib.data.recorders.doom import BUTTONS
from lvlib.errors import UserError
from lvlib.evaluation.networks.course import DIGITS, KINDS, resized

FRAMES = 16
CLIPS = 96000  # of an epoch
_LOOKS = [  # size, digit_size, digits, the kind of colour
    {"size": size, "digit_size": digit_size, "digits": digits} | color
    for size, digit_size in ((32, 14), (32, 20), (48, 16), (48, 28), (64, 20), (64, 28))
    for digits, colors in ((1, ({}, {"color": True})), (2, ({}, {"color": True}, {"layers": True})))
    for color in colors
]


class CourseClips(Dataset):
    """Clips of 16 frames as the classifier takes them: of three, two show digits, in turn of every look; one is Doom.

    Clips of Doom begin at a random frame of an episode, and half of them are mirrored, left and right exchanged.

    Args:
        doom: folder of a set of `lvlib data vizdoom`, of Health Gathering Supreme.
        split: of both: digits and episodes of one split are not in another.
        seed: of the digits.

    An item: "latents", the video, float32 (3, 16, 64, 64) in [-1, 1], and "condition", the truth: what
    `VideoClassifier.loss` takes. Raises UserError for a set that is another.
    """

    def __init__(self, doom: Path, split: str, seed: int, clips: int = CLIPS):
        self.clips = clips
        self.doom = ClipSet(doom, split)
        if self.doom.meta["arguments"].get("buttons") != list(BUTTONS) or self.doom.frames < FRAMES:
            raise UserError(f"{doom} must be a set of `lvlib data vizdoom`, without --wad, of {FRAMES} frames or more")
        self.doom_fingerprint = self.doom.fingerprint(("actions",))
        each = -(-clips // len(_LOOKS))
        self.digits = [MovingDigits(each, FRAMES, speeds=(1, 2, 3, 4), seed=seed + i, split=split, **look)
                       for i, look in enumerate(_LOOKS)]

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> dict:
        index = range(self.clips)[index]
        part, which = divmod(index, 3)
        if which == 2:
            return self._doom(self.doom[part % len(self.doom)])
        number = 2 * part + which
        clip = self.digits[number % len(self.digits)][number // len(self.digits)]
        return _item(clip["video"], shares(clip["digit"], len(KINDS)), shares(clip["motion"], len(DIRECTIONS)))

    def _doom(self, episode: dict) -> dict:
        start = int(torch.randint(self.doom.frames - FRAMES + 1, ()))
        video, held = (episode[name][start:start + FRAMES] for name in ("video", "actions"))
        if torch.rand(()) < 0.5:
            video, held = video[:, :, ::-1].copy(), held[:, [1, 0, 2]]
        return _item(video, moves(held), torch.zeros(len(DIRECTIONS)))


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
