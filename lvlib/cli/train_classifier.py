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
from lvlib.evaluation.networks.course_clips import CourseClips
from lvlib.training import TrainingConfig, train

VAL_CLIPS = 600
SEED = 100  # of the digits: those of the course have smaller ones


def main(argv: list[str] | None = None) -> None:
    parser = Parser("python -m lvlib.cli.train_classifier", description=__doc__.partition("\n")[0])
    parser.add_argument("doom", type=Path, metavar="DATA", help="a set of `lvlib data vizdoom`")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN",
                        help="run folder to write; a run that is there goes on")
    parser.add_argument("--steps", type=int, default=4000, help="of 32 clips each (default: 4000)")
    add_device(parser)
    options = parser.parse_args(argv)
    config = TrainingConfig(steps=options.steps, batch=32, learning_rate=2e-3, schedule="cosine", warmup=100,
                            optimizer="adamw", weight_decay=0.01, precision="bf16-mixed", validate_every=500,
                            checkpoint_every=500, keep=1)
    clips = CourseClips(options.doom, "train", SEED)
    val_clips = CourseClips(options.doom, "val", SEED, VAL_CLIPS)
    torch.manual_seed(config.seed)
    train(VideoClassifier(), clips, config, options.out, val_data=val_clips, device=options.device, progress=True,
          describe={"classifier": {"doom": clips.doom_fingerprint}})
    print(f"{options.out}: trained for {options.steps} steps")


if __name__ == "__main__":
    sys.exit(reported(main))
