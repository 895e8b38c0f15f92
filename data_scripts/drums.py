"""Drums: a digit that jumps whenever the kick drum sounds, with the sound of three drums; made in seconds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import is_finished, write_clip_set
from lvlib.data.drums import Drums
from lvlib.data.limits import require_disk, require_memory

BATCH = 100


def main(argv: list[str] | None = None) -> None:
    parser = Parser("lvlib data drums", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for split, clips in {"train": 2000, "val": 200, "test": 200}.items():
        parser.add_argument(f"--{split}", type=int, default=clips, help=f"clips for {split} (default {clips})")
    parser.add_argument("--frames", type=int, default=16, help="frames a clip, 8 a second (default 16)")
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels (default 32)")
    parser.add_argument("--digit-size", type=int, help="height and width of a digit (default 28, or 5/8 of size)")
    parser.add_argument("--rate", type=int, default=8000, help="samples of sound a second (default 8000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other clips (default 0)")
    options = vars(parser.parse_args(argv))

    out = options.pop("out")
    if is_finished(out, "drums", options):
        print(f"{out} is there already, whole, and the same")
        return
    settings = dict(options)
    counts = {split: settings.pop(split) for split in ("train", "val", "test")}
    clip = options["frames"] * (options["size"] ** 2 + 4 * options["rate"] // Drums.fps)
    require_disk(out, clip * sum(counts.values()), f"{sum(counts.values())} clips")
    require_memory(4 * clip * min(BATCH, max(counts.values())), f"drawing clips of {options['frames']} frames")
    sets = {split: Drums(n, split=split, **settings) for split, n in counts.items()}
    with tqdm(total=sum(counts.values()), unit=" clips") as progress:
        batches = {split: _batches(drums, progress) for split, drums in sets.items()}
        write_clip_set(out, "drums", options, batches, Drums.fps,
                       per_frame=("video", "audio", "onsets", "position"), classes=Drums.classes)
    print(f"{out}: {counts['train']}, {counts['val']} and {counts['test']} clips of {options['frames']} frames")


def _batches(drums: Drums, progress: tqdm) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(drums), BATCH):
        batch = drums.batch(slice(start, start + BATCH))
        yield batch
        progress.update(len(batch["video"]))


if __name__ == "__main__":
    sys.exit(reported(main))
