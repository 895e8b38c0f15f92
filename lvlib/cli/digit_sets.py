"""What the scripts that make clips of digits share: the options that each has, and how a set is written."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lvlib.cli.arguments import Parser
from lvlib.data import is_finished, write_clip_set
from lvlib.data.digit_clips import SPLITS, DigitClips
from lvlib.data.limits import require_disk, require_memory

BATCH = 100


def digit_parser(name: str, description: str | None, size: int, clips: dict[str, int]) -> Parser:
    """The options of all such scripts. size, clips: defaults, in pixels and of each split."""
    parser = Parser(f"lvlib data {name}", description=description)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for split in SPLITS:
        parser.add_argument(f"--{split}", type=int, default=clips[split],
                            help=f"clips for {split} (default {clips[split]})")
    parser.add_argument("--frames", type=int, default=16, help="frames a clip, 8 a second (default 16)")
    parser.add_argument("--size", type=int, default=size, help=f"height and width in pixels (default {size})")
    parser.add_argument("--digit-size", type=int, help="height and width of a digit (default 28, or 5/8 of size)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other clips (default 0)")
    return parser


def write_digits(name: str, options: dict, make: Callable[..., DigitClips], clip_bytes: int,
                 per_frame: tuple[str, ...], frames_per_row: dict[str, int] | None = None) -> None:
    """Writes a set that the options describe, unless it is there already, and tells so.

    options: as they were parsed; with the set are kept all but `out`. make: the clips of a split, called with their
    number, `split`, and the options but `out` and the numbers of clips. clip_bytes: that a clip takes on disk.
    per_frame, frames_per_row: as of `write_clip_set`.

    Raises UserError for options that are not allowed, and a set that fits nowhere.
    """
    options = dict(options)
    out = options.pop("out")
    if is_finished(out, name, options):
        print(f"{out} is there already, whole, and the same")
        return
    counts = {split: options[split] for split in SPLITS}
    settings = {option: value for option, value in options.items() if option not in counts}
    total, frames = sum(counts.values()), options["frames"]
    require_disk(out, clip_bytes * total, f"{total} clips")
    require_memory(4 * clip_bytes * min(BATCH, max(counts.values())), f"drawing clips of {frames} frames")
    sets = {split: make(n, split=split, **settings) for split, n in counts.items()}
    with tqdm(total=total, unit=" clips") as progress:
        batches = {split: _batches(clips, progress) for split, clips in sets.items()}
        write_clip_set(out, name, options, batches, DigitClips.fps, per_frame, sets["train"].classes, frames_per_row)
    print(f"{out}: {counts['train']}, {counts['val']} and {counts['test']} clips of {frames} frames")


def _batches(clips: DigitClips, progress: tqdm) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(clips), BATCH):
        batch = clips.batch(slice(start, start + BATCH))
        yield batch
        progress.update(len(batch["video"]))
