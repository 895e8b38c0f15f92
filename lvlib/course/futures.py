"""One given frame, many futures (VideoGPT 4.2, Fig. 3): how far those of `videogpt-digits-one-frame` lie apart, beside
the true ones, and whether the digit stays what it is.

`python -m lvlib.course.futures --seeds 0 1 2` prints the figures of each.
"""

import argparse
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from lvlib.data import MovingDigits, to_video
from lvlib.data.moving_digits import bounce
from lvlib.evaluation.digits import DigitClassifier, digit_pictures, locate, recognise, train_digit_classifier
from lvlib.models.videogpt.sampling import VideoGPTSampling
from lvlib.runs import load_pipeline
from lvlib.runs.load import Pipeline

MODEL = "videogpt-digits-one-frame"
FRAMES = 16


def start_clips(count: int) -> tuple[MovingDigits, dict[str, np.ndarray]]:
    """The first test clips, as the model learned from others: the data, and its batch of so many."""
    digits = MovingDigits(count, FRAMES, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
    return digits, digits.batch(slice(0, count))


def true_places(start: np.ndarray, room: int) -> Tensor:
    """Where a digit from (y, x) is in each of the directions, which are as likely: int64 (n, 2) -> (n, 8, 16 frames,
    2). At a wall two of them may be one way: who moves into it is reflected at once."""
    steps = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x])
    places = [bounce(start[:, None], np.broadcast_to(step, (len(start), 1, 2)), room, FRAMES)[0] for step in steps]
    return torch.tensor(np.stack(places, 1)[:, :, :, 0])


def taken(places: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far each future is from the nearest true way, in pixels over all frames, (starts, futures); the share of the
    directions whose way any future takes, and what it would be of as many true futures, on average: each ().

    places: (starts, futures, frames, 2), truth: (starts, 8, frames, 2).
    """
    far = (places[:, :, None] - truth[:, None]).float().norm(dim=-1).mean(-1)
    nearest = far.min(-1)
    same = (truth[:, :, None] == truth[:, None]).flatten(3).all(-1).float()  # which directions are one way
    chosen = torch.nn.functional.one_hot(nearest.indices, truth.shape[1]).float() @ same
    missed = (1 - same.mean(-1)) ** places.shape[1]
    return nearest.values, chosen.amax(1).mean(), 1 - missed.mean()


def scatter(places: Tensor, sample: bool) -> Tensor:
    """How far futures lie apart: root mean square distance to the mean of their start, in pixels, by frame.

    places: (starts, futures, frames, 2) -> (frames,). sample: they are a few of many, whose own mean is nearer to them.
    """
    count = places.shape[1]
    squares = (places - places.float().mean(1, keepdim=True)).square().sum(-1).mean((0, 1))
    return (squares * (count / (count - 1) if sample else 1)).sqrt()


@dataclass
class Figures:
    """What is measured with one seed of sampling."""

    seed: int
    scatter: float
    """Of the places in the last frame, in pixels; beside that of the true futures."""
    true_scatter: float
    off: float
    """How far a future is from the nearest true way, in pixels, mean over frames."""
    taken: float
    """Share of the directions that any future of their start takes; beside that of as many true futures."""
    true_taken: float
    kept: float
    """Share of last frames in which the classifier reads the digit of the given frame."""


def draw(pipeline: Pipeline, starts: int, each: int, seed: int, top_p: float = 0.9) -> Tensor:
    """So many futures of each of the first test clips, from its first frame: (starts * each, 1, 16, 32, 32)."""
    first = to_video(torch.tensor(start_clips(starts)[1]["video"]))[:, :, :1].repeat_interleave(each, 0)
    torch.manual_seed(seed)
    return pipeline.generate(len(first), given=first, sampling=VideoGPTSampling(top_p=top_p)).cpu()


def measure(video: Tensor, starts: int, seed: int, classifier: DigitClassifier) -> Figures:
    """Of futures as `draw` makes them."""
    digits, batch = start_clips(starts)
    pictures = digit_pictures(digits, slice(0, starts)).repeat_interleave(len(video) // starts, 0)
    places = locate(video, pictures)[0][:, :, 0].view(starts, -1, FRAMES, 2)
    label = torch.tensor(batch["label"]).repeat_interleave(len(video) // starts, 0)
    kept = recognise(video[:, :, -1:], 20, classifier)[:, 0] == label
    truth = true_places(batch["position"][:, 0, 0], digits.room)
    far, share, true_share = taken(places, truth)
    return Figures(seed, scatter(places, sample=True)[-1].item(), scatter(truth, sample=False)[-1].item(),
                   far.mean().item(), share.item(), true_share.item(), kept.float().mean().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=MODEL, help="folder of a run, or the name of a model that ships")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--top_p", type=float, default=0.9)
    options = parser.parse_args()
    pipeline, classifier = load_pipeline(options.model), train_digit_classifier(20)
    for seed in options.seeds:
        video = draw(pipeline, 40, 8, seed, options.top_p)
        print(asdict(measure(video, 40, seed, classifier)), flush=True)


if __name__ == "__main__":
    main()
