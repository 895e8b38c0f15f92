"""Trains the course's video classifier, on moving digits and on clips recorded from Doom.

Its features make the scores named "course". Record Doom with a seed of its own, so that no clip that is scored was seen
in training:

    lvlib data vizdoom --out data/doom_seed_5 --episodes 400 --seed 5
    python -m lvlib.cli.train_classifier data/doom_seed_5 --out runs/video-classifier
"""

import sys
from pathlib import Path

import torch

from lvlib.cli import reported
from lvlib.cli.arguments import Parser, add_device
from lvlib.evaluation.networks.course import VideoClassifier
from lvlib.evaluation.networks.course_clips import DigitClips, DoomClips, Mixture, accuracy
from lvlib.training import TrainingConfig, train

CLIPS, VAL_CLIPS, TEST_CLIPS = 96000, 600, 600
SEED = 100  # of the digits: those of the course have smaller ones
TEST_SEEDS = (200, 300, 400)


def main(argv: list[str] | None = None) -> None:
    parser = Parser("python -m lvlib.cli.train_classifier", description=__doc__.partition("\n")[0])
    parser.add_argument("doom", type=Path, metavar="DATA", help="a set of `lvlib data vizdoom`")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN",
                        help="run folder to write; a run that is there goes on")
    parser.add_argument("--steps", type=int, default=4000, help="of 32 clips each (default: 4000)")
    add_device(parser)
    options = parser.parse_args(argv)
    config = TrainingConfig(steps=options.steps, batch=32, learning_rate=5e-3, schedule="cosine", warmup=100,
                            optimizer="adamw", weight_decay=0.01, precision="bf16-mixed", validate_every=500,
                            checkpoint_every=500, keep=1)
    sets = [Mixture(clips, [DigitClips(clips // 3, 1, SEED, split), DigitClips(clips // 3, 2, SEED, split),
                            DoomClips(options.doom, split)])
            for split, clips in (("train", CLIPS), ("val", VAL_CLIPS))]
    torch.manual_seed(config.seed)
    classifier = VideoClassifier()
    train(classifier, sets[0], config, options.out, val_data=sets[1], device=options.device, progress=True,
          describe={"doom": DoomClips(options.doom).episodes.fingerprint(["actions"])})
    print_accuracy(classifier.cpu().eval(), options.doom)


def print_accuracy(classifier: VideoClassifier, doom: Path) -> None:
    """On clips of the test split, three times: of other digits, and of other episodes."""
    for seed in TEST_SEEDS:
        torch.manual_seed(seed)
        sets = {"one digit": DigitClips(TEST_CLIPS, 1, seed, "test"),
                "two digits": DigitClips(TEST_CLIPS, 2, seed, "test"),
                "Doom": Mixture(TEST_CLIPS, [DoomClips(doom, "test")])}
        for name, clips in sets.items():
            figures = ", ".join(f"{head} {share:.1%}" for head, share in accuracy(classifier, clips).items())
            print(f"seed {seed}, {name}: {figures}")


if __name__ == "__main__":
    sys.exit(reported(main))
