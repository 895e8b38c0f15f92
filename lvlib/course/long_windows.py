"""The experiment of notebook 19: MeBT's Fig. 7 in small. How good a long video is in each window of 16 frames, every 8,
for models that ship: one that goes on from what it wrote, one with key frames, one that saw all of a clip in training.

`python -m lvlib.course.long_windows --seeds 0 1 2` prints the figures of each.
"""

import argparse
import time
from dataclasses import asdict, dataclass

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from lvlib.course.time_padding import distances
from lvlib.data import MovingDigits, to_video
from lvlib.runs import load_pipeline

MODELS = ("tats-course", "tats-between-course", "mebt-course-long")
FRAMES = 64
EVERY = 8  # frames from the start of a window to that of the next


def real_digits(clips: int, frames: int, seed: int = 0) -> Tensor:
    """Clips of test digits, as these models learned others: (clips, 1, frames, 32, 32) in [-1, 1]."""
    data = MovingDigits(clips, frames=frames, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test",
                        seed=seed)
    return to_video(torch.tensor(data.batch(slice(0, clips))["video"]))


@dataclass
class Figures:
    """What is measured for one model, and one seed of sampling."""

    model: str
    seed: int
    cpu_seconds: float
    """For all videos."""
    distances: list[float]
    """Frechet distance of the windows that begin at frames 0, 8, 16, ... to real clips."""


def experiment(model: str, seed: int, videos: int = 48, frames: int = FRAMES, truth: int = 256) -> Figures:
    """Writes videos of all ten digits in turn, and measures. model: a name in `MODELS`, or "real": other videos."""
    torch.manual_seed(seed)
    start = time.process_time()
    if model == "real":
        made = real_digits(videos, frames, seed + 1)
    else:
        made = load_pipeline(model).generate(videos, {"label": torch.arange(videos) % 10}, frames=frames)
    seconds = time.process_time() - start
    return Figures(model, seed, seconds, distances(made, real_digits(truth, 16), every=EVERY))


def draw_windows(found: dict[str, list[float]]) -> plt.Figure:
    """The change of the distance against the first window, as in Fig. 7. found: `distances` by name."""
    fig, ax = plt.subplots(figsize=(7.2, 2.6))
    for (name, values), style in zip(found.items(), ("k:", "o-", "s-", "^-"), strict=False):
        ax.plot([EVERY * i for i in range(len(values))], [value - values[0] for value in values], style, label=name)
    ax.set(xlabel="first frame of the window", ylabel="change of the Frechet distance")
    ax.legend(fontsize=8)
    return fig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["real", *MODELS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--videos", type=int, default=48)
    options = parser.parse_args()
    for model in options.models:
        for seed in options.seeds:
            print(asdict(experiment(model, seed, options.videos)), flush=True)


if __name__ == "__main__":
    main()
