"""Clips that notebooks look at: one moving digit, and walks through the maze of Doom."""

import torch
from torch import Tensor

from lvlib.data import ClipSet, MovingDigits, data_home, to_video


def one_digit(count: int, frames: int = 16, label: int | None = None, **options) -> tuple[Tensor, Tensor]:
    """Clips of one moving digit, float (count, 1, frames, h, w) in [-1, 1], and their labels, int64 (count,).

    label: the digit of all of them; None for any. Options are those of `MovingDigits`.
    """
    data = MovingDigits(count if label is None else 40 * count, frames, digits=1, **options)
    chosen = [i for i in range(len(data)) if label in (None, data.label[i])][:count]
    batch = data.batch(chosen)
    return to_video(torch.tensor(batch["video"])), torch.tensor(batch["label"])


def doom_walks(episodes: int, frames: int, split: str = "train") -> tuple[Tensor, Tensor]:
    """The first frames of the first recorded episodes of a split: uint8 (episodes, frames, 64, 64, 3), and the buttons
    that were held, float32 (episodes, frames, 3). Where nothing is recorded it says so, and coloured digits stand in,
    without any button.
    """
    folder = data_home() / "doom"
    if not (folder / "meta.json").exists():
        print(f"no walks in {folder}: `lvlib data vizdoom --out {folder}` records them (it needs the package vizdoom). "
              "Coloured digits stand in")
        digits = MovingDigits(episodes, frames, color=True, split=split).batch(slice(0, episodes))
        return torch.tensor(digits["video"]), torch.zeros(episodes, frames, 3)
    recorded = ClipSet(folder, split, frames)
    each = len(recorded) // recorded.meta["splits"][split]  # clips of an episode
    walks = [recorded[i] for i in range(0, len(recorded), each)][:episodes]
    video, held = (torch.stack([torch.as_tensor(walk[name]) for walk in walks]) for name in ("video", "actions"))
    return video, held
