"""The codes of clips: computed once by a frozen autoencoder, then read from disk as memory-mapped integers.

    FOLDER/{train,val}.npy   (n, t, h, w) or (n, t, h, w, k), uint8 for up to 256 codes, uint16 for more
    FOLDER/meta.json         what the codes were made from, sha256 of each file
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lvlib.data.clip_writer import GrowingArray, new_folder
from lvlib.data.clips import sha256
from lvlib.data.tensors import to_video
from lvlib.errors import UserError

BATCH = 8  # clips that are encoded together


class CodesDataset(Dataset):
    """The codes of clips in a .npy file. An item is {"codes": int64 (t, h, w) or (t, h, w, k)}."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> dict:
        return {"codes": self._codes[index].astype(np.int64)}

    @cached_property
    def _codes(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r")

    def __getstate__(self) -> dict:  # a loader's workers map the file anew, rather than being sent its content
        return {"path": self.path}


def write_codes(folder: Path, splits: Mapping[str, Dataset], autoencoder: nn.Module, codes: int, made_from: dict,
                workers: int = 0) -> None:
    """Encodes the clips of each split, with a progress bar. The folder appears at the end, whole, or not at all.

    codes: how many codes a codebook has. made_from: plain values that tell when the codes are out of date.
    workers: processes that read the clips.

    Raises UserError if `folder` holds something, or the disk refuses.
    """
    device = next(autoencoder.parameters()).device
    meta = {"made_from": made_from, "sha256": {}}
    with new_folder(folder) as draft:
        for split, data in splits.items():
            file = None
            clips = DataLoader(data, BATCH, num_workers=workers, collate_fn=_frames)
            for frames in tqdm(clips, desc=f"codes of {split}", unit="batch"):
                with torch.no_grad():
                    latents = autoencoder.encode(to_video(frames.to(device))).cpu().numpy()
                rows = latents.astype(np.min_scalar_type(codes - 1))
                file = file or GrowingArray(draft / f"{split}.npy", rows)
                file.append(rows)
            file.close()
            meta["sha256"][f"{split}.npy"] = sha256(draft / f"{split}.npy")
        (draft / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def open_codes(folder: Path, made_from: dict) -> dict[str, CodesDataset] | None:
    """The data sets that `write_codes` made, by split; None if there are none, or they were made from something else.

    Raises UserError if a file is not what was written: codes out of range would only show in the middle of training.
    """
    if not folder.exists():
        return None
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if meta["made_from"] != made_from:
            return None
        whole = all(sha256(folder / name) == recorded for name, recorded in meta["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"the codes in {folder} are damaged; delete that folder, and they are made again")
    return {Path(name).stem: CodesDataset(folder / name) for name in meta["sha256"]}


def _frames(items: list[dict]) -> Tensor:
    return torch.stack([torch.as_tensor(item["video"]) for item in items])
