"""The latents of clips: computed once by a frozen autoencoder, then read from disk, memory-mapped.

    FOLDER/{train,val}.npy         (n, *shape): codes as uint8 for up to 256 of them, else uint16; numbers as float32
    FOLDER/{train,val}.FIELD.npy   a field of the condition, where the prior is conditioned: first axis n
    FOLDER/meta.json               what the latents were made from, sha256 of each file
"""

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lvlib.data.arrays import open_array
from lvlib.data.clip_writer import GrowingArray, new_folder
from lvlib.data.clips import sha256
from lvlib.data.tensors import to_video
from lvlib.errors import UserError
from lvlib.stages import LatentSpec

BATCH = 8  # clips that are encoded together


class LatentsDataset(Dataset):
    """The latents of clips in a .npy file. An item is {"latents": int64 or float32, as the prior takes them}, with a
    "condition", a dict of arrays by name, where `fields` names some.

    The file of a field is named after that of the latents: train.label.npy beside train.npy.
    """

    def __init__(self, path: str | Path, fields: tuple[str, ...] = ()):
        self.path, self.fields = Path(path), fields

    def __len__(self) -> int:
        return len(self._latents)

    def __getitem__(self, index: int) -> dict:
        latents = self._latents[index]
        item = {"latents": latents.astype(np.int64 if latents.dtype.kind == "u" else np.float32)}
        if self.fields:
            item["condition"] = {name: np.array(values[index]) for name, values in self._condition.items()}
        return item

    @cached_property
    def _latents(self) -> np.ndarray:
        return open_array(self.path)

    @cached_property
    def _condition(self) -> dict[str, np.ndarray]:
        return {name: open_array(self.path.with_suffix(f".{name}.npy")) for name in self.fields}

    def __getstate__(self) -> dict:  # a loader's workers map the files anew, rather than being sent their content
        return {"path": self.path, "fields": self.fields}


def write_latents(folder: Path, splits: Mapping[str, Dataset], autoencoder: nn.Module, spec: LatentSpec,
                  made_from: dict, workers: int = 0,
                  condition: Callable[[dict], dict[str, np.ndarray]] | None = None) -> None:
    """Encodes the clips of each split, with a progress bar. The folder appears at the end, whole, or not at all.

    made_from: plain values that tell when the latents are out of date. workers: processes that read the clips.
    condition: from an item of the data to what is kept beside its latents.

    Raises UserError if `folder` holds something, the disk refuses, or `condition` does, and then names the clip.
    """
    device = next(autoencoder.parameters()).device
    stored = np.float32 if spec.num_codes is None else np.min_scalar_type(spec.num_codes - 1)
    meta = {"made_from": made_from, "sha256": {}}
    with new_folder(folder) as draft:
        for split, data in splits.items():
            files: dict[str, GrowingArray] = {}
            done = 0
            for frames, others in tqdm(DataLoader(data, BATCH, num_workers=workers, collate_fn=_collate),
                                       desc=f"latents of {split}", unit="batch", ascii=True):
                with torch.no_grad():
                    latents = autoencoder.encode(to_video(frames.to(device))).cpu()
                _check(latents, spec, split, done)
                rows = {f"{split}.npy": latents.numpy().astype(stored)}
                if condition:
                    items = [{**other, "video": video} for other, video in zip(others, frames.numpy(), strict=True)]
                    rows |= _conditions(items, condition, split, done)
                for name, values in rows.items():
                    if name not in files:
                        files[name] = GrowingArray(draft / name, values)
                    files[name].append(values)
                done += len(frames)
            for name, file in files.items():
                file.close()
                meta["sha256"][name] = sha256(draft / name)
        (draft / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _check(latents: Tensor, spec: LatentSpec, split: str, first: int) -> None:
    """Raises UserError for latents that are not as the spec says: stored, they would become others in silence."""
    which = f"clips {first} to {first + len(latents) - 1} of {split}"
    if tuple(latents.shape[1:]) != spec.shape:
        raise UserError(f"the latents of {which} are of shape {tuple(latents.shape[1:])}, and must be {spec.shape}")
    if spec.num_codes is None and not latents.isfinite().all():
        raise UserError(f"the latents of {which} are not finite: the autoencoder is of no use")
    if spec.num_codes is not None and not 0 <= latents.min() <= latents.max() < spec.num_codes:
        raise UserError(f"the codes of {which} must lie in 0..{spec.num_codes - 1}, and are {latents.min()} to "
                        f"{latents.max()}")


def open_latents(folder: Path, made_from: dict) -> dict[str, LatentsDataset] | None:
    """The data sets that `write_latents` made, by split; None if there are none, or were made from something else.

    Raises UserError if a file is not what was written: codes out of range would only show in the middle of training.
    """
    if not folder.exists():
        return None
    try:
        if not (folder / "meta.json").is_file():  # a pipe would be waited for
            raise OSError("no meta.json")
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["made_from"] != made_from:
            return None
        whole = all(sha256(folder / name) == recorded for name, recorded in meta["sha256"].items())
        splits = _splits(folder, meta["sha256"]) if whole else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        splits = {}
    if not splits:
        raise UserError(f"the latents in {folder} are damaged; delete that folder, and they are made again")
    return splits


def _splits(folder: Path, files: Mapping[str, str]) -> dict[str, LatentsDataset]:
    """The data set of each split. Raises ValueError, KeyError or OSError if the files hold no arrays of as many clips.
    """
    fields: dict[str, list[str]] = {}
    for name in files:
        split, *field, _ = name.split(".")
        fields.setdefault(split, []).extend(field)
        _ = files[f"{split}.npy"]
    splits = {split: LatentsDataset(folder / f"{split}.npy", tuple(names)) for split, names in fields.items()}
    for data in splits.values():
        if any(len(values) != len(data) for values in data._condition.values()):
            raise ValueError("another number of conditions than of latents")
    return splits


def _collate(items: list[dict]) -> tuple[Tensor, list[dict]]:
    """The frames of all clips (b, t, h, w, c), and what else each item holds."""
    frames = torch.stack([torch.as_tensor(item["video"]) for item in items])
    return frames, [{name: value for name, value in item.items() if name != "video"} for item in items]


def _conditions(items: list[dict], condition: Callable, split: str, first: int) -> dict[str, np.ndarray]:
    """The condition of each item, by the name of its file. The first item is clip number `first` of the split."""
    parts = []
    for number, item in enumerate(items, first):
        try:
            parts.append(condition(item))
        except UserError as error:
            raise UserError(f"clip {number} of {split}: {error}") from error
    return {f"{split}.{field}.npy": np.stack([part[field] for part in parts]) for field in parts[0]}
