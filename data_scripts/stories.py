"""Stories: a digit does one thing, then another digit another, and a sentence tells it; made in seconds."""

import sys

from lvlib.cli import reported
from lvlib.cli.digit_sets import digit_parser, write_digits
from lvlib.data.stories import Stories


def main(argv: list[str] | None = None) -> None:
    parser = digit_parser("stories", __doc__, size=32, clips={"train": 4000, "val": 200, "test": 200})
    parser.add_argument("--stretch", type=int, default=16,
                        help="frames that one sentence tells; a clip has a multiple of them (default 16)")
    parser.add_argument("--events", type=int, nargs="+", default=[1, 2],
                        help="things that a sentence tells: 1, 2 or both (default 1 2)")
    options = vars(parser.parse_args(argv))
    write_digits("stories", options, Stories, options["frames"] * options["size"] ** 2, ("video", "position"),
                 frames_per_row=dict.fromkeys(("text", "digit", "motion"), options["stretch"]))


if __name__ == "__main__":
    sys.exit(reported(main))
