"""The experiment of notebook 19: MeBT's Fig. 7 in small. How good a long video is in each window of 16 frames, every 8,
for models that ship: one that goes on from what it wrote, one with key frames, one that saw all of a clip in training.

`python -m lvlib.course.long_windows --seeds 0 1 2` prints the figures of each.
"""

import argparse
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from lvlib.course.plane_diffusion import digits
from lvlib.course.time_padding import distances
from lvlib.runs import load_pipeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODELS = ("tats-course", "tats-between-course", "mebt-course-long")
FRAMES = 64
EVERY = 8  # frames from the start of a window to that of the next


@dataclass
class Figures:
    """What is measured for one model, and one seed of sampling."""

    model: str
    seed: int
    distances: list[float]
    """Frechet distance of the windows that begin at frames 0, 8, 16, ... to real clips."""


def experiment(model: str, seed: int, videos: int = 48, frames: int = FRAMES, truth: int = 256) -> Figures:
    """Writes videos of all ten digits in turn, and measures. model: a name in `MODELS`, or "real": other videos."""
    if model == "real":
        made = digits(videos, frames, "test", seed + 1)
    else:
        torch.manual_seed(seed)
        made = load_pipeline(model).generate(videos, {"label": torch.arange(videos) % 10}, frames=frames)
    return Figures(model, seed, distances(made, digits(truth, 16, "test", 0), every=EVERY))


def draw_windows(found: dict[str, list[float]]) -> "Figure":
    """The change of the distance against the first window, as in Fig. 7. found: `distances` by name."""
    from matplotlib import pyplot as plt

    fig, ax = plt.subplots(figsize=(7.2, 2.6))
    for name, values in found.items():
        ax.plot([EVERY * i for i in range(len(values))], [value - values[0] for value in values],
                "k:" if name == "real" else "o-", label=name)
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
