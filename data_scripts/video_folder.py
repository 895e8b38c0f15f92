"""Your own videos: cuts a folder of video files, or of folders of images, into clips that load fast."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import VideoFolder, is_finished, write_clip_set
from lvlib.data.limits import require_disk
from lvlib.errors import UserError


def main(argv: list[str] | None = None) -> None:
    parser = Parser("lvlib data video_folder", description=__doc__)
    parser.add_argument("source", type=Path, help="folder of videos; with folders train and val, or split by name")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--frames", type=int, default=16, help="frames a clip (default 16)")
    parser.add_argument("--stride", type=int, default=1, help="take every stride-th frame (default 1)")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels (default 64)")
    parser.add_argument("--hop", type=int, help="frames from the start of a clip to the next (default: no overlap)")
    options = vars(parser.parse_args(argv))

    out, source = options.pop("out"), options.pop("source")
    named = [split for split in ("train", "val", "test") if (source / split).is_dir()]
    folders = {split: VideoFolder(source, split=split, **options) for split in named or ("train", "val")}
    arguments = options | {"videos": _fingerprint(source, folders)}
    if is_finished(out, "video_folder", arguments):
        print(f"{out} is there already, whole, and the same")
        return
    count, size = sum(map(len, folders.values())), options["size"]
    require_disk(out, count * options["frames"] * size * size * 3, f"{count} clips of {options['frames']} frames")
    with tqdm(total=count, unit=" clips") as progress:
        batches = {split: _clips(folder, progress) for split, folder in folders.items()}
        first = next(iter(folders.values()))
        write_clip_set(out, "video_folder", arguments, batches, first.fps, classes=first.classes)
    print(f"{out}: " + ", ".join(f"{len(folder.videos)} videos for {split}" for split, folder in folders.items()))
    skipped = [path for folder in folders.values() for path in folder.skipped]
    if skipped:
        print(f"skipped {len(skipped)} videos, named above")


def _clips(folder: VideoFolder, progress: tqdm) -> Iterator[dict[str, np.ndarray]]:
    for index in range(len(folder)):
        try:
            yield {name: np.asarray(value)[None] for name, value in folder.clip(index).items()}
        except UserError as error:
            progress.write(f"left out a clip: {error}", file=sys.stderr)
        progress.update()


def _fingerprint(source: Path, folders: dict[str, VideoFolder]) -> str:
    """Of the names and sizes of the videos: other videos make another set."""
    seen = hashlib.sha256()
    for folder in folders.values():
        for video in folder.videos:
            files = video.images or (video.path,)
            seen.update(repr([(file.relative_to(source).as_posix(), file.stat().st_size) for file in files]).encode())
    return seen.hexdigest()


if __name__ == "__main__":
    sys.exit(reported(main))
