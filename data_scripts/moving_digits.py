"""Moving digits: real MNIST digits bouncing on black, with labels, positions and velocities; made in seconds."""

import sys

from lvlib.cli import reported
from lvlib.cli.digit_sets import digit_parser, write_digits
from lvlib.data import MovingDigits


def main(argv: list[str] | None = None) -> None:
    parser = digit_parser("moving_digits", __doc__, size=64, clips={"train": 1000, "val": 100, "test": 100})
    parser.add_argument("--digits", type=int, default=2, help="1 or 2 digits (default 2)")
    parser.add_argument("--speeds", type=int, nargs="+", default=[1, 2, 3], help="pixels a frame (default 1 2 3)")
    parser.add_argument("--grid", type=int, default=1, help="start at multiples of so many pixels (default 1)")
    parser.add_argument("--grey", action="store_true", help="one channel; otherwise colour")
    parser.add_argument("--layers", action="store_true",
                        help="digits that add up like lights, the first red, the second green and blue")
    options = vars(parser.parse_args(argv))

    if options["grey"] and options["layers"]:
        parser.error("--grey and --layers exclude each other: layers have colours")
    if not options["layers"]:  # as in sets that were made before there were layers
        del options["layers"]
    clip_bytes = options["frames"] * options["size"] ** 2 * (1 if options["grey"] else 3)
    write_digits("moving_digits", options, _digits, clip_bytes, per_frame=("video", "position", "velocity"))


def _digits(clips: int, grey: bool, layers: bool = False, **settings) -> MovingDigits:
    return MovingDigits(clips, color=not grey and not layers, layers=layers, **settings)


if __name__ == "__main__":
    sys.exit(reported(main))
