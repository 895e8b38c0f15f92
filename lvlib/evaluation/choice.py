"""Which of the real clips a score takes."""

from typing import Protocol as Type

import numpy as np

from lvlib.evaluation.protocols import Protocol


class Clips(Type):
    """Clips by number, and which of them are of one video. `ClipSet` and `VideoFolder` are such."""

    fps: float | None
    frames: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict: ...

    def clips_of_videos(self) -> list[range]: ...

    def fingerprint(self) -> str:
        """Other clips, another one."""


def chosen(clips: Clips, protocol: Protocol, seed: int) -> list[int]:
    """The numbers of the real clips that the protocol takes: as many as it says, or all there are.

    "video": each video once, in a random order, and a random clip of it; where there are fewer videos, one clip of each
    is all that is taken (PVDM, B.2).
    """
    random = np.random.default_rng(seed)
    if protocol.choice == "video":
        videos = clips.clips_of_videos()
        order = random.permutation(len(videos))[:protocol.clips]
        return [int(random.choice(videos[i])) for i in order]
    if protocol.choice == "clip":
        return random.permutation(len(clips))[:protocol.clips].tolist()
    return spread(len(clips), protocol.clips)


def spread(of: int, count: int) -> list[int]:
    """At most `count` numbers below `of`, evenly spaced from the first to the last."""
    return np.linspace(0, of - 1, min(count, of)).round().astype(int).tolist()
