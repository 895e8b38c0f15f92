"""A folder of real videos as a data set: files, or folders of images, decoded when a clip is asked for."""

import hashlib
import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from statistics import median

import numpy as np
from torch.utils.data import Dataset

from lvlib.data.limits import require_memory
from lvlib.data.pictures import Resize, Size
from lvlib.data.video_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Video, decode, is_animated, survey
from lvlib.errors import UserError, printable, unknown

SPLITS = ("train", "val", "test")
_NOTES = (".csv", ".html", ".json", ".jsonl", ".log", ".md", ".pdf", ".srt", ".txt", ".vtt", ".xml", ".yaml", ".yml")
_SAME_RATE = 1.02  # what differs less is one rate: 29.97 and 30

log = logging.getLogger(__name__)


class VideoFolder(Dataset):
    """Clips of the videos in a folder: .mp4 .webm .avi .gif and the like, or folders that hold a video's frames.

    Clips are those that `read_video` gives at their places, whatever a container announces.

    Args:
        frames, stride: a clip is `frames` frames, every `stride`-th of the video.
        size: height and width, an int or a pair. The short side is resized to fit, the middle kept. None: as the
            videos are, which must all have one size then.
        resize: the filter, "lanczos" or "bilinear".
        hop: from the start of a clip to the start of the next one, in frames of the video; by default none overlap.
        split: if root has folders train, val or test, the one to read. In any other folder every tenth video by
            name is for "val" (of fewer than ten, the last one), the others are for "train", and there is no "test".
            "all" takes every video.

    An item is {"video": uint8 (t, h, w, 3)}, and "label", an index into `classes`, if every video lies in a folder
    of its class: root/CLASS/video.mp4 or root/train/CLASS/video.mp4.

    A video that is empty, cut off, not a video or too short is skipped. The log names it with the reason, and tells
    their number at the end; `skipped` keeps them, path -> reason. Damage inside a file shows only when it is decoded:
    then it is named too, and a clip of the next video takes the place of the one that cannot be decoded. Files that
    are no video, nor notes such as .txt, are counted by their suffixes in the log.

    `fps` is the rate of an item's frames: the median of the videos' own, divided by `stride`. Images have none:
    with some among the videos it is None. A clip is always `frames` frames; where rates differ, the log says how many
    seconds they are in which videos.

    Raises UserError if no usable video is left, saying what was found, or if a clip does not fit in memory.
    """

    def __init__(
        self,
        root: str | Path,
        frames: int = 16,
        stride: int = 1,
        size: Size | None = 64,
        hop: int | None = None,
        split: str = "train",
        resize: Resize = "lanczos",
    ):
        self.root, self.frames, self.stride, self.resize = Path(root), frames, stride, resize
        self.hop = frames * stride if hop is None else hop
        height, width = (size, size) if isinstance(size, int) else size or (1, 1)
        if min(frames, stride, self.hop, height, width) < 1:
            raise UserError(f"frames, stride, size and hop must be 1 or more: {frames}, {stride}, {size}, {hop}")
        require_memory(frames * height * width * 3, f"a clip of {frames} frames of {height} x {width}")
        everything = _find(self.root)
        classes = {_class(self.root, path) for path in everything}
        self.classes = sorted(name for name in classes if name) if None not in classes else []
        paths = _choose(self.root, everything, split)
        self.skipped: dict[Path, str] = {}
        self.videos = [video for path in paths if (video := self._probe(path))]
        if self.skipped:
            log.warning("skipped %d of %d videos in %s", len(self.skipped), len(paths), printable(root))
        if not self.videos:
            reasons = "; ".join(list(self.skipped.values())[:3])
            raise UserError(f"no usable video among the {len(paths)} for {split} in {root}: {reasons}")
        self.size = self._one_size() if size is None else size
        known = not any(video.images for video in self.videos)
        self.fps = median(video.fps for video in self.videos) / stride if known else None
        self._ends = list(accumulate(self._clips(video) for video in self.videos))
        self._compare_rates()

    def fingerprint(self, fields: Iterable[str] = ()) -> str:
        """Other clips, another one; the same files in another place, the same. By their names and sizes; with "label"
        among the fields also by the classes, of which a label is the number."""
        files = [(file.relative_to(self.root).as_posix(), file.stat().st_size)
                 for video in self.videos for file in video.images or [video.path]]
        filters = () if self.resize == "lanczos" else (self.resize,)  # latents of before know of no other
        known = files, self.frames, self.stride, self.size, self.hop, *filters, *(
            self.classes if "label" in fields else ())
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict:
        number, clip = self._locate(index)
        for following in range(number, number + len(self.videos)):
            video = self.videos[following % len(self.videos)]
            try:
                return self._read(video, clip % self._clips(video))
            except UserError as error:
                self._skip(video.path, error)
        raise UserError(f"no video in {self.root} can be decoded any more")

    def clip(self, index: int) -> dict:
        """Item `index` and no other in its place: UserError where it cannot be decoded."""
        number, clip = self._locate(index)
        return self._read(self.videos[number], clip)

    def source(self, index: int) -> tuple[Path, int]:
        """Where clip `index` comes from: the path of its video, and the frame that it starts with."""
        number, clip = self._locate(index)
        return self.videos[number].path, clip * self.hop

    def clips_of_videos(self) -> list[range]:
        """The indices of each video's clips."""
        return [range(end - self._clips(video), end) for end, video in zip(self._ends, self.videos, strict=True)]

    def lengths(self) -> tuple[list[int], list[str]]:
        """Frames, and the class, of each video; no classes where not every video has one."""
        classes = [_class(self.root, video.path) or "" for video in self.videos] if self.classes else []
        return [video.frames for video in self.videos], classes

    def _one_size(self) -> tuple[int, int]:
        sizes = Counter(video.size for video in self.videos if video.size)
        if len(sizes) != 1:
            found = ", ".join(f"{count} of {height} x {width}" for (height, width), count in sizes.most_common(3))
            raise UserError(f"the videos in {self.root} have different sizes ({found}): give one to resize them to")
        return next(iter(sizes))

    def _locate(self, index: int) -> tuple[int, int]:
        index = range(len(self))[index]
        number = bisect_right(self._ends, index)
        return number, index - self._ends[number] + self._clips(self.videos[number])

    def _clips(self, video: Video) -> int:
        span = (self.frames - 1) * self.stride + 1
        return max(0, (video.frames - span) // self.hop + 1)

    def _read(self, video: Video, clip: int) -> dict:
        start = clip * self.hop
        wanted = range(start, start + self.frames * self.stride, self.stride)
        item: dict[str, np.ndarray | int] = {"video": decode(video, wanted, self.size, self.resize)}
        if self.classes:
            item["label"] = self.classes.index(_class(self.root, video.path) or "")
        return item

    def _probe(self, path: Path) -> Video | None:
        try:
            video = survey(path)
            if not self._clips(video):
                need = (self.frames - 1) * self.stride + 1
                raise UserError(f"{path} is too short: {video.frames} frames, and a clip needs {need}")
            return video
        except UserError as error:
            self._skip(path, error)
            return None

    def _compare_rates(self) -> None:
        groups: list[list[float]] = []
        for rate in sorted(video.fps for video in self.videos if not video.images):
            if groups and rate <= groups[-1][0] * _SAME_RATE:
                groups[-1].append(rate)
            else:
                groups.append([rate])
        if len(groups) > 1 and self.frames > 1:  # a single frame takes no time
            seconds = self.frames * self.stride
            lengths = [f"{seconds / median(group):.3g} s in {len(group)} of {median(group):.4g} frames a second"
                       for group in groups]
            more = f", and so on to {lengths[-1]}" if len(lengths) > 5 else ""
            log.warning("the videos in %s have different rates: a clip of %d frames is %s%s", printable(self.root),
                        self.frames,
                        ", ".join(lengths[:4] if more else lengths), more)

    def _skip(self, path: Path, reason: UserError) -> None:
        if path not in self.skipped:
            self.skipped[path] = str(reason)
            log.warning("skipped: %s", printable(reason))


def _find(root: Path) -> list[Path]:
    """Every video file, and every folder at the bottom that holds images and no video, by name. The log counts the
    other files, but for notes."""
    if not root.is_dir():
        raise UserError(f"{root} is not a folder" if root.exists() else f"there is no folder {root}")
    found: list[Path] = []
    suffixes: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    for folder, folders, names in os.walk(root, onerror=lambda error: log.warning("cannot read: %s", printable(error))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [Path(folder, name) for name in names if not name.startswith(".")]
        videos = {file for file in files if file.suffix.lower() in VIDEO_SUFFIXES or is_animated(file)}
        images = {file for file in files if file.suffix.lower() in IMAGE_SUFFIXES} - videos
        found += videos
        if images and not videos and not folders:
            found.append(Path(folder))
            images = set()
        suffixes.update(_suffix(file) for file in files)
        unused.update(_suffix(file) for file in files if file not in videos and (
            file in images or file.suffix.lower() not in (*IMAGE_SUFFIXES, *_NOTES)))
    if not found:
        raise UserError(f"no video in {root}: it holds {_in_words(suffixes) or 'no file'}; videos are "
                        f"{' '.join(VIDEO_SUFFIXES)} or folders of images")
    if unused:
        log.warning("not read in %s: %s", printable(root), printable(_in_words(unused)))
    return sorted(found)


def _suffix(file: Path) -> str:
    return file.suffix.lower() or "without a suffix"


def _in_words(suffixes: Counter) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))


def _class(root: Path, path: Path) -> str | None:
    parts = path.relative_to(root).parts
    parts = parts[1:] if parts and parts[0] in SPLITS else parts
    return parts[0] if len(parts) > 1 else None


def _choose(root: Path, videos: list[Path], split: str) -> list[Path]:
    """The split is by name alone, before anything is opened: it is the same for any length of clips."""
    folders = [name for name in SPLITS if (root / name).is_dir()]
    if split not in (*(folders or ("train", "val")), "all"):
        raise unknown(f"split in {root}:", split, (*(folders or ("train", "val")), "all"))
    if split == "all":
        return videos
    if folders:
        return [path for path in videos if path.is_relative_to(root / split)]
    held_out = videos[9::10] or videos[-1:]
    if len(videos) == 1 and split == "val":
        raise UserError(f"{videos[0]} is the only video, none is left for val: make folders train and val in {root}")
    return held_out if split == "val" or len(videos) == 1 else [path for path in videos if path not in held_out]
