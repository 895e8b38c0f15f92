"""Writing a set of clips in the format of `lvlib.data.clips`: all of it, or nothing."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lvlib.data.clips import FORMAT, check_files, read_meta, sha256
from lvlib.data.drafts import draft_beside
from lvlib.errors import UserError

Batch = Mapping[str, np.ndarray]


def write_clip_set(
    root: str | Path,
    name: str,
    arguments: dict,
    splits: Mapping[str, Iterable[Batch]],
    fps: float | None,
    per_frame: Iterable[str] = ("video",),
    classes: Iterable[str] = (),
    frames_per_row: Mapping[str, int] | None = None,
) -> None:
    """Writes a set that `ClipSet` reads.

    Args:
        name, arguments: of the script and its options, all that the content depends on (see `is_finished`).
        splits: "train", "val", ... -> batches, each a dict of arrays with the same first axis n; "video" among them.
        fps: frames a second that the videos show; None if that is not known.
        per_frame: the fields that have a time axis after n.
        classes: the names that go with the field "label".
        frames_per_row: of the fields that have a row for each stretch of frames after n, such as a text for each 16
            frames: how many frames.

    Raises UserError if `root` holds something, a split has no clip, or the disk is full; nothing is left behind then.
    """
    with new_folder(root) as draft:
        meta: dict[str, Any] = {"name": name, "format": FORMAT, "fps": fps, "arguments": arguments}
        meta |= {"classes": list(classes), "splits": {}, "fields": {}, "sha256": {}}
        for split, batches in splits.items():
            arrays = _write_split(draft / split, batches)
            if not arrays:
                raise UserError(f"there is no clip for {split}")
            meta["splits"][split] = arrays["video"].rows
            for field, array in arrays.items():
                shape = {"dtype": str(array.dtype), "shape": array.shape, "per_frame": field in per_frame}
                if field in (frames_per_row or {}):
                    shape["frames_per_row"] = frames_per_row[field]
                if meta["fields"].setdefault(field, shape) != shape:
                    raise UserError(f"{field} of {split} does not have the shape of the other splits")
                meta["sha256"][f"{split}/{field}.npy"] = sha256(draft / split / f"{field}.npy")
        (draft / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        check_files(draft)


def is_finished(root: str | Path, name: str, arguments: dict) -> bool:
    """True if `root` already holds this very set, whole; False if it is free to write to.

    Raises UserError if it holds something else, or the set is damaged.
    """
    root = Path(root)
    if _is_free(root):
        return False
    made = read_meta(root) if (root / "meta.json").exists() else {}
    if (made.get("name"), made.get("arguments")) != (name, json.loads(json.dumps(arguments))):
        raise UserError(f"{root} holds something else already; give another --out, or delete it first")
    check_files(root)
    return True


@contextmanager
def new_folder(root: str | Path) -> Iterator[Path]:
    """A draft beside `root` to write into. It becomes `root` at the end; if anything goes wrong it is deleted.

    Raises UserError if `root` holds something, or cannot be written to.
    """
    root = Path(root)
    if not _is_free(root):
        raise UserError(f"{root} holds something already")
    try:
        with draft_beside(root) as draft:
            draft.mkdir()
            yield draft
    except OSError as error:
        raise UserError(f"cannot write {root}: {error.strerror or error}") from None


def _is_free(root: Path) -> bool:
    return not root.exists() or (root.is_dir() and not any(root.iterdir()))


def _write_split(folder: Path, batches: Iterable[Batch]) -> dict[str, "GrowingArray"]:
    """One file a field, written batch by batch. Returns them, closed."""
    folder.mkdir()
    files: dict[str, GrowingArray] = {}
    for batch in batches:
        for field, rows in batch.items():
            if field not in files:
                files[field] = GrowingArray(folder / f"{field}.npy", rows)
            files[field].append(rows)
    for file in files.values():
        file.close()
    return files


class GrowingArray:
    """A .npy file whose first axis grows. numpy leaves room in the header for its number to be written again."""

    def __init__(self, path: Path, like: np.ndarray):
        self.file, self.shape, self.dtype, self.rows = open(path, "wb"), like.shape[1:], like.dtype, 0
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        if (rows.shape[1:], rows.dtype) != (self.shape, self.dtype):
            raise UserError(f"clips of one set differ: {rows.dtype} {rows.shape[1:]}, {self.dtype} {self.shape}")
        self.file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def close(self) -> None:
        self.file.seek(0)
        self._write_header()
        self.file.close()

    def _write_header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)
