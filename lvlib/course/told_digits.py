"""How well a shipped model draws the digit that it is told: what its row says.

`python -m lvlib.course.told_digits videogpt-digits --seeds 0 1 2 --sampling.top_p 0.8` prints the figures of 200
samples a seed. `lvlib sample videogpt-digits --help` lists the fields of sampling.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lvlib.cli import reported
from lvlib.cli.arguments import split_overrides, with_fields
from lvlib.cli.sample import fields_by_part
from lvlib.errors import UserError
from lvlib.evaluation.digits import DigitClassifier, recognise, train_digit_classifier
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


def measure(pipeline: Pipeline, classifier: DigitClassifier, seed: int, sampling: Any = None,
            each: int = 20) -> Figures:
    """Draws `each` clips of each of the ten digits. sampling: as of `pipeline.generate`."""
    labels = torch.arange(10).repeat(each)
    torch.manual_seed(seed)
    video = pipeline.generate(len(labels), {"label": labels}, sampling=sampling).cpu()
    read = recognise(video, 20, classifier)
    right = (read == labels[:, None]).float()
    by_label = right.mean(1).view(each, 10).mean(0)
    return Figures(seed, right.mean().item(), by_label.tolist(), right.all(1).float().mean().item(),
                   (read[:, 0] == read[:, -1]).float().mean().item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of a run of a prior that is told labels, or a model that ships")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    rest, overrides = split_overrides(sys.argv[1:])
    options = parser.parse_args(rest)
    pipeline, classifier = load_pipeline(options.model), train_digit_classifier(20)
    told = [spec.name for spec in pipeline.config.conditions]
    if pipeline.prior is None or told != ["label"]:
        raise UserError(f"{options.model} must be a prior that is told a label, not {told or 'nothing'}")
    sampling = with_fields(pipeline.config.prior.Sampling(), "sampling", fields_by_part(overrides)["sampling"])
    for seed in options.seeds:
        print(asdict(measure(pipeline, classifier, seed, sampling)), flush=True)


if __name__ == "__main__":
    sys.exit(reported(main))
