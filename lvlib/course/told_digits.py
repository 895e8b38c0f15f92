"""How well a shipped model draws the digit that it is told: what its row says.

`python -m lvlib.course.told_digits videogpt-digits --seeds 0 1 2` prints the figures of 200 samples a seed.
"""

import argparse
from dataclasses import asdict, dataclass

import torch

from lvlib.evaluation.digits import DigitClassifier, recognise, train_digit_classifier
from lvlib.models.videogpt.sampling import VideoGPTSampling
from lvlib.runs import load_pipeline
from lvlib.runs.load import Pipeline


@dataclass
class Figures:
    """Shares of the samples of one seed, as the classifier reads them."""

    seed: int
    right: float
    """Frames in which it reads the label."""
    by_label: list[float]
    """The same of each label."""
    whole: float
    """Clips in which it reads the label in every frame."""
    kept: float
    """Clips in which it reads the same digit in the first and in the last frame."""


def measure(pipeline: Pipeline, classifier: DigitClassifier, seed: int, each: int = 20, top_p: float = 0.9) -> Figures:
    """Samples `each` clips of each of the ten digits."""
    labels = torch.arange(10).repeat(each)
    torch.manual_seed(seed)
    video = pipeline.generate(len(labels), {"label": labels}, sampling=VideoGPTSampling(top_p=top_p)).cpu()
    read = recognise(video, 20, classifier)
    right = (read == labels[:, None]).float()
    by_label = right.mean(1).view(each, 10).mean(0)
    return Figures(seed, right.mean().item(), by_label.tolist(), right.all(1).float().mean().item(),
                   (read[:, 0] == read[:, -1]).float().mean().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of a run of VideoGPT's prior, told labels, or a model that ships")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--top_p", type=float, default=0.9)
    options = parser.parse_args()
    pipeline, classifier = load_pipeline(options.model), train_digit_classifier(20)
    for seed in options.seeds:
        print(asdict(measure(pipeline, classifier, seed, top_p=options.top_p)), flush=True)


if __name__ == "__main__":
    main()
