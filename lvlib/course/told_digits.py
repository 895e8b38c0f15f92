"""How well a shipped model draws the digit that it is told: what its row says.

`python -m lvlib.course.told_digits videogpt-digits --seeds 0 1 2 --sampling.top_p 0.8` prints the figures of 200
samples a seed. `lvlib sample videogpt-digits --help` lists the fields of sampling.
"""

import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lvlib.cli import reported
from lvlib.cli.arguments import Parser, check_seed, split_overrides, with_fields
from lvlib.errors import UserError, unknown
from lvlib.evaluation.digits import DigitClassifier, recognise, train_digit_classifier
from lvlib.runs import load_config, load_pipeline
from lvlib.runs.load import Pipeline
from lvlib.runs.shipped import run_folder


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
    parser = Parser("python -m lvlib.course.told_digits", description=__doc__)
    parser.add_argument("model", help="folder of a run of a prior that is told one of ten digits, or a shipped model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    rest, fields = split_overrides(sys.argv[1:])
    options = parser.parse_args(rest)
    for seed in options.seeds:
        check_seed(seed)
    config = load_config(run_folder(options.model))
    told, (channels, _, *size) = [(spec.name, spec.num_classes) for spec in config.conditions], config.video_shape
    if config.prior is None or told != [("label", 10)] or channels != 1 or size != [32, 32]:
        raise UserError(f"{options.model} must hold a prior that makes grey clips of 32x32, told one of ten labels")
    for name in fields:
        if not name.startswith("sampling."):
            raise unknown(f"part in --{name}:", name.partition(".")[0], ["sampling"])
    sampling = with_fields(config.prior.Sampling(), "sampling",
                           {name.removeprefix("sampling."): words for name, words in fields.items()})
    pipeline, classifier = load_pipeline(options.model), train_digit_classifier(20)
    for seed in options.seeds:
        print(asdict(measure(pipeline, classifier, seed, sampling)), flush=True)


if __name__ == "__main__":
    sys.exit(reported(main))
