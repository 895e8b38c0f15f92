"""How long the videos of a data set are, and so how many are too short for a clip (TATS, Fig. 15 and 16)."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from lvlib.data.clips import ClipSet, read_meta
from lvlib.data.video_folder import VideoFolder
from lvlib.errors import unknown


def span(frames: int, stride: int) -> int:
    """Frames of a video from the first to the last of a clip of `frames` frames, every `stride`-th."""
    return (frames - 1) * stride + 1


@dataclass(frozen=True)
class Lengths:
    """frames: of each video, at least one. classes: of each video; empty where the set has none."""

    frames: list[int]
    classes: list[str]

    def at_least(self, frames: int) -> int:
        """How many videos have so many frames."""
        return sum(length >= frames for length in self.frames)

    def of_classes(self) -> dict[str, tuple[int, float]]:
        """By class, in the order of their names: how many videos, and their mean frames."""
        lengths: dict[str, list[int]] = {name: [] for name in sorted(set(self.classes))}
        for length, name in zip(self.frames, self.classes, strict=False):  # there may be no classes at all
            lengths[name].append(length)
        return {name: (len(some), mean(some)) for name, some in lengths.items()}


def lengths_of(root: str | Path, split: str = "all") -> Lengths:
    """Of a prepared set, whose stored clips are its videos, or of a folder of videos. split: one of the set's, or all.

    Raises UserError where there is no such set or split, or no usable video in it. A video that cannot be read is
    skipped, and named in the log. Damage inside of a file does not show here: see `VideoFolder`.
    """
    root = Path(root)
    if not (root / "meta.json").exists():
        return Lengths(*VideoFolder(root, frames=1, split=split).lengths())
    splits = list(read_meta(root)["splits"])
    if split not in (*splits, "all"):
        raise unknown(f"split in {root}:", split, (*splits, "all"))
    parts = [ClipSet(root, name).lengths() for name in (splits if split == "all" else [split])]
    return Lengths([length for lengths, _ in parts for length in lengths],
                   [name for _, classes in parts for name in classes])
