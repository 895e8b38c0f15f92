"""The README's moving picture: the first four clips that a model of each of the five systems makes.

`python -m lvlib.course.opening images/five_systems.gif` draws it, with seed 0. It needs data/doom (`make data`).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lvlib.data import ClipSet, MovingDigits, data_home, to_video, write_video
from lvlib.data.video_writer import writer_of
from lvlib.models.mebt.decoding import MeBTSampling
from lvlib.models.tats.sampling import TATSSampling
from lvlib.models.videogpt.sampling import VideoGPTSampling
from lvlib.runs import load_pipeline
from lvlib.viz.strips import FONT_SIZE, INK, MARGIN, PAPER, to_clips

FRAMES = 48
SIDE = 64  # pixels of a clip in the picture
CLIPS = 4  # of each system, two by two


def lvt() -> Tensor:
    """Goes on from five frames of the first test clips."""
    digits = MovingDigits(CLIPS, size=48, digit_size=16, speeds=(4,), grid=4, layers=True, split="test")
    start = to_video(torch.tensor(digits.batch(slice(0, CLIPS))["video"]))[:, :, :5]
    return load_pipeline("lvt-layers").generate(CLIPS, given=start)


def videogpt() -> Tensor:
    """Told the first digits."""
    told = {"label": torch.arange(CLIPS)}
    return load_pipeline("videogpt-digits").generate(CLIPS, told, sampling=VideoGPTSampling(top_p=0.8))


def tats() -> Tensor:
    """Goes on from six frames of the first two test walks, told to turn left, and right."""
    walks = [ClipSet(data_home() / "doom", "test")[i] for i in range(CLIPS // 2)]
    start = to_video(torch.stack([torch.as_tensor(walk["video"][:6]) for walk in walks])).repeat_interleave(2, 0)
    actions = torch.stack([torch.as_tensor(walk["actions"][:FRAMES]) for walk in walks]).repeat_interleave(2, 0)
    for i, button in enumerate((0, 1) * (CLIPS // 2)):
        actions[i, 5:] = 0
        actions[i, 5:, button] = 1
    told = {"actions": actions}
    return load_pipeline("tats-doom-course").generate(CLIPS, told, start, TATSSampling(context=2), FRAMES)


def mebt() -> Tensor:
    """Told the first digits."""
    sampling = MeBTSampling(steps=16, noise=16.0, revise_rounds=8, revise_parts=4)
    return load_pipeline("mebt-digits").generate(CLIPS, {"label": torch.arange(CLIPS)}, sampling=sampling)


def pvdm() -> Tensor:
    """Told nothing; a clip after the other."""
    return load_pipeline("pvdm-course").generate(CLIPS, frames=FRAMES)


SYSTEMS: dict[str, Callable[[], Tensor]] = {"LVT": lvt, "VideoGPT": videogpt, "TATS": tats, "MeBT": mebt, "PVDM": pvdm}


def panel(name: str, video: Tensor) -> np.ndarray:
    """Four clips two by two, from the start again until there are `FRAMES`, with the name on top: uint8
    (FRAMES, h, w, 3)."""
    clips = to_clips(video)
    side = 2 * SIDE + 3 * MARGIN
    frames = []
    for i in range(FRAMES):
        sheet = Image.new("RGB", (side, side + FONT_SIZE + MARGIN), PAPER)
        ImageDraw.Draw(sheet).text((side / 2, MARGIN), name, INK, ImageFont.load_default(FONT_SIZE), "mt")
        for j, clip in enumerate(clips):
            at = MARGIN + j % 2 * (SIDE + MARGIN), FONT_SIZE + 2 * MARGIN + j // 2 * (SIDE + MARGIN)
            sheet.paste(Image.fromarray(clip[i % len(clip)]).resize((SIDE, SIDE), Image.Resampling.NEAREST), at)
        frames.append(np.asarray(sheet))
    return np.stack(frames)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    path = parser.parse_args(argv).path
    writer_of(path, 8)
    panels = []
    for name, make in SYSTEMS.items():
        torch.manual_seed(0)
        panels.append(panel(name, make()))
    write_video(path, np.concatenate(panels, 2), fps=8)


if __name__ == "__main__":
    main()
