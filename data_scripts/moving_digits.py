"""Moving digits: real MNIST digits bouncing on black, with labels, positions and velocities; made in seconds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import MovingDigits, is_finished, write_clip_set
from lvlib.data.limits import require_disk, require_memory

BATCH = 100


def main(argv: list[str] | None = None) -> None:
    parser = Parser("lvlib data moving_digits", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for split, clips in {"train": 1000, "val": 100, "test": 100}.items():
        parser.add_argument(f"--{split}", type=int, default=clips, help=f"clips for {split} (default {clips})")
    parser.add_argument("--frames", type=int, default=16, help="frames a clip (default 16)")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels (default 64)")
    parser.add_argument("--digits", type=int, default=2, help="1 or 2 digits (default 2)")
    parser.add_argument("--digit-size", type=int, help="height and width of a digit (default 28, or 5/8 of size)")
    parser.add_argument("--speeds", type=int, nargs="+", default=[1, 2, 3], help="pixels a frame (default 1 2 3)")
    parser.add_argument("--grid", type=int, default=1, help="start at multiples of so many pixels (default 1)")
    parser.add_argument("--grey", action="store_true", help="one channel; otherwise colour")
    parser.add_argument("--layers", action="store_true",
                        help="digits that add up like lights, the first red, the second green and blue")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other clips (default 0)")
    options = vars(parser.parse_args(argv))

    if options["grey"] and options["layers"]:
        parser.error("--grey and --layers exclude each other: layers have colours")
    if not options["layers"]:  # as in sets that were made before there were layers
        del options["layers"]
    out = options.pop("out")
    if is_finished(out, "moving_digits", options):
        print(f"{out} is there already, whole, and the same")
        return
    settings = dict(options)
    counts = {split: settings.pop(split) for split in ("train", "val", "test")}
    grey = settings.pop("grey")
    color = not grey and "layers" not in options
    clip = options["frames"] * options["size"] ** 2 * (1 if grey else 3)
    require_disk(out, clip * sum(counts.values()), f"{sum(counts.values())} clips")
    require_memory(4 * clip * min(BATCH, max(counts.values())), f"drawing clips of {options['frames']} frames")
    sets = {split: MovingDigits(n, split=split, color=color, **settings) for split, n in counts.items()}
    with tqdm(total=sum(counts.values()), unit=" clips") as progress:
        batches = {split: _batches(digits, progress) for split, digits in sets.items()}
        write_clip_set(
            out, "moving_digits", options, batches, MovingDigits.fps,
            per_frame=("video", "position", "velocity"), classes=sets["train"].classes,
        )
    print(f"{out}: {counts['train']}, {counts['val']} and {counts['test']} clips of {options['frames']} frames")


def _batches(digits: MovingDigits, progress: tqdm) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(digits), BATCH):
        batch = digits.batch(slice(start, start + BATCH))
        yield batch
        progress.update(len(batch["video"]))


if __name__ == "__main__":
    sys.exit(reported(main))
