"""Drums: a digit that jumps whenever the kick drum sounds, with the sound of three drums; made in seconds."""

import sys

from lvlib.cli import reported
from lvlib.cli.digit_sets import digit_parser, write_digits
from lvlib.data.drums import Drums


def main(argv: list[str] | None = None) -> None:
    parser = digit_parser("drums", __doc__, size=32, clips={"train": 2000, "val": 200, "test": 200})
    parser.add_argument("--rate", type=int, default=8000, help="samples of sound a second (default 8000)")
    options = vars(parser.parse_args(argv))
    clip_bytes = options["frames"] * (options["size"] ** 2 + 4 * options["rate"] // Drums.fps)
    write_digits("drums", options, Drums, clip_bytes, per_frame=("video", "audio", "onsets", "position"))


if __name__ == "__main__":
    sys.exit(reported(main))
