"""The one format in which prepared clips lie on disk, and the data set that reads it.

    ROOT/meta.json                      name, format, fps, arguments, splits, fields, classes, sha256 of every file
    ROOT/{train,val,test}/video.npy     uint8 (n, t, h, w, c)
    ROOT/{train,val,test}/FIELD.npy     one more array a field, first axis n; with `per_frame`, second axis t; with
                                        `frames_per_row`, a row of the second axis for each stretch of so many frames

Text is unicode of a fixed width. Sound, the field "audio", is float32 (n, t, samples a frame) in [-1, 1].
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from lvlib.data.arrays import open_array
from lvlib.errors import UserError, unknown

FORMAT = 1


class ClipSet(Dataset):
    """The clips of one split of a prepared set, read from disk as they are asked for (memory-mapped).

    Args:
        frames, stride: take sub-clips of `frames` frames, every `stride`-th of the stored clip; as many as fit one
            after the other. By default, each stored clip whole.

    An item is a dict: "video" uint8 (t, h, w, c), and the fields that the set has, such as "label" (int). Fields
    with a time axis are cut as the video is; of those with a row for each stretch of frames, such as a "text" (str), an
    item has the row of the stretch that it lies in, or the rows of several. Others, and units such as pixels a frame,
    speak of the stored clip.
    `shape` is (h, w, c), `fps` the rate of the frames of an item (None: not known), `meta` what meta.json says.

    Raises UserError if there is no such set or split, it is damaged, its clips are shorter than asked for, or have a
    sound that the stride would cut to pieces.
    """

    def __init__(self, root: str | Path, split: str = "train", frames: int | None = None, stride: int = 1):
        self.root, self.split, self.stride = Path(root), split, stride
        if stride < 1 or (frames is not None and frames < 1):
            raise UserError(f"frames and stride must be 1 or more: {frames}, {stride}")
        self.meta = read_meta(self.root)
        if split not in self.meta["splits"]:
            raise unknown(f"split in {root}:", split, self.meta["splits"])
        stored, *shape = self.meta["fields"]["video"]["shape"]
        self.shape = tuple(shape)
        self.frames = (stored - 1) // stride + 1 if frames is None else frames
        self._span = self.frames * stride
        self._parts = (stored - (self._span - stride + 1)) // self._span + 1
        if self._parts < 1:
            raise UserError(f"clips in {root} have {stored} frames, too few for {frames} with stride {stride}")
        if stride > 1 and "audio" in self.meta["fields"]:
            raise UserError(f"clips in {root} have sound, which a stride of {stride} would cut to pieces: it must be 1")
        self.fps = self.meta["fps"] and self.meta["fps"] / stride
        self.classes = self.meta["classes"]
        self._arrays  # noqa: B018  a damaged file shows here, not in the middle of an epoch

    def fingerprint(self, fields: Iterable[str] = ()) -> str:
        """Other clips, another one; the same clips in another place, the same. Of the videos and of those fields."""
        files = " ".join(self.meta["sha256"].get(f"{self.split}/{name}.npy", "") for name in ("video", *fields))
        return hashlib.sha256(f"{files} {self.frames} {self.stride}".encode()).hexdigest()

    def __len__(self) -> int:
        return self.meta["splits"][self.split] * self._parts

    def __getitem__(self, index: int) -> dict:
        clip, part = divmod(range(len(self))[index], self._parts)
        frames = range(part * self._span, (part + 1) * self._span, self.stride)
        return {name: _cut(array[clip], self.meta["fields"][name], frames) for name, array in self._arrays.items()}

    def clips_of_videos(self) -> list[range]:
        """The indices of each stored clip's sub-clips."""
        return [range(start, start + self._parts) for start in range(0, len(self), self._parts)]

    def lengths(self) -> tuple[list[int], list[str]]:
        """Frames, and the name of the class, of each stored clip; no names where the set has none.

        Raises UserError for a label without a name.
        """
        clips, labels = self.meta["splits"][self.split], self._arrays.get("label")
        frames = [self.meta["fields"]["video"]["shape"][0]] * clips
        if not self.classes or labels is None or labels.ndim > 1:
            return frames, []
        names = dict(enumerate(self.classes))
        if wrong := set(labels.tolist()) - names.keys():
            raise UserError(f"a label in {self.root / self.split} is {min(wrong)}, and the set has {len(names)} "
                            "classes")
        return frames, [names[label] for label in labels.tolist()]

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {}
        for name, field in self.meta["fields"].items():
            path = self.root / self.split / f"{name}.npy"
            try:
                array = arrays[name] = open_array(path)
            except (OSError, ValueError):
                raise UserError(f"{path} is missing or damaged; delete {self.root} and make it again") from None
            recorded = field["dtype"], (self.meta["splits"][self.split], *field["shape"])
            if (str(array.dtype), array.shape) != recorded:
                raise UserError(f"{path} does not fit meta.json; delete {self.root} and make it again")
        return arrays

    def __getstate__(self) -> dict:  # a loader's workers map the files anew, rather than being sent their content
        return {name: value for name, value in self.__dict__.items() if name != "_arrays"}


def _cut(value: np.ndarray, field: dict, frames: range) -> Any:
    """What those frames have of a field of the stored clip. Single numbers and text as Python's, several as a list."""
    if field["per_frame"]:
        value = value[frames.start:frames.stop:frames.step]
    elif rows := field.get("frames_per_row"):
        value = value[frames[0] // rows:frames[-1] // rows + 1]
        value = value[0] if len(value) == 1 else value
    return value.tolist() if value.ndim == 0 or value.dtype.kind == "U" else np.array(value)


def read_meta(root: Path) -> dict:
    """What meta.json says. UserError if it is missing, is not ours, or is of a later format."""
    path = root / "meta.json"
    if not path.is_file():
        raise UserError(f"there is no data set in {root}: no meta.json")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged") from None
    if not isinstance(meta, dict) or not _IS_RIGHT.keys() <= meta.keys():
        raise UserError(f"{path} is not of a data set of lvlib")
    if type(meta["format"]) is int and meta["format"] > FORMAT:
        raise UserError(f"{path} has format {meta['format']}; this lvlib reads up to {FORMAT}")
    if wrong := [name for name, is_right in _IS_RIGHT.items() if not is_right(meta[name])]:
        raise UserError(f"{path} is damaged: its {wrong[0]} cannot be read")
    return meta


def _is_table(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(_is_name, value)) and all(map(is_right, value.values()))


def _is_name(value: str) -> bool:
    """Of something in the folder, and of nothing elsewhere."""
    return bool(value) and not Path(value).is_absolute() and ".." not in Path(value).parts


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_field(value: Any) -> bool:
    return (isinstance(value, dict) and isinstance(value.get("dtype"), str) and type(value.get("per_frame")) is bool
            and isinstance(value.get("shape"), list) and all(type(n) is int and n >= 0 for n in value["shape"])
            and _is_count(value.get("frames_per_row", 1)))


def _are_fields(value: Any) -> bool:
    if not _is_table(_is_field)(value) or "video" not in value:
        return False
    video = value["video"]
    if video["dtype"] != "uint8" or len(video["shape"]) != 4 or not all(map(_is_count, video["shape"])):
        return False
    frames = video["shape"][0]
    rows = [(field["shape"][:1], 1) for field in value.values() if field["per_frame"]]
    rows += [(field["shape"][:1], field["frames_per_row"]) for field in value.values() if "frames_per_row" in field]
    return video["per_frame"] and all(there == [-(-frames // each)] for there, each in rows)


_IS_RIGHT: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "format": _is_count,
    "fps": lambda value: value is None or type(value) in (int, float) and 0 < value < math.inf,
    "arguments": lambda value: isinstance(value, dict),
    "splits": _is_table(_is_count),
    "fields": _are_fields,
    "classes": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "sha256": _is_table(lambda value: isinstance(value, str)),
}


def check_files(root: Path) -> None:
    """Compares every file's sha256 with the one that meta.json recorded. UserError names the first that differs."""
    for name, recorded in read_meta(root)["sha256"].items():
        try:
            if sha256(root / name) == recorded:
                continue
        except OSError:
            pass
        raise UserError(f"{root / name} is missing or damaged; delete {root} and make it again")


def sha256(path: Path) -> str:
    """Raises OSError for what cannot be read, or is no file: a named pipe would be waited for without end."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a file")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
