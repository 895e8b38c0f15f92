"""Checkpoints that are either whole or not there: RUN/checkpoints/00001000/ with

    model.safetensors    the weights and buffers
    ema.safetensors      their running mean, if one is kept
    best.safetensors     with early stopping: those with the lowest score so far, of the running mean if one is kept
    state.pt             the rest that resuming needs: the optimizers by name, seconds, precision, early stopping
    manifest.json        step, metrics, size and sha256 of each file; written last

A checkpoint is written into a folder `tmp-...` beside its place, brought to the disk, and only then renamed.

Run folders come from elsewhere too: whatever their files hold, reading them runs no code.
"""

import hashlib
import io
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from torch import Tensor

from lvlib.errors import UserError

MODEL, EMA, BEST = "model.safetensors", "ema.safetensors", "best.safetensors"
STATE, MANIFEST = "state.pt", "manifest.json"
T = TypeVar("T")
_STEP = "[0-9]{8}|[1-9][0-9]{8,}"  # as `folder_of` writes it


@dataclass(frozen=True)
class Checkpoint:
    """What is saved: the step, tensors by name, `load_state`'s dict (None: it can only be used), the last logged
    metrics."""

    step: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    state: dict | None
    metrics: dict[str, float]
    best: dict[str, Tensor] | None = None


def folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"{step:08d}"


def steps_saved(run: Path) -> list[int]:
    """Steps of the run's checkpoints, oldest first."""
    folders = (run / "checkpoints").glob("[0-9]*")
    return sorted(int(folder.name) for folder in folders if re.fullmatch(_STEP, folder.name) and folder.is_dir())


def save_checkpoint(run: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes the checkpoint, then removes all but the newest `keep`.

    Raises OSError if the disk refuses, a full one for example: then nothing of the new checkpoint is left, and the
    old ones are as they were.
    """
    target = folder_of(run, checkpoint.step)
    partial = target.with_name(f"tmp-{target.name}")
    contents = {MODEL: _safetensors(checkpoint.model)}
    if checkpoint.state is not None:
        contents[STATE] = _pickled(checkpoint.state)
    if checkpoint.ema is not None:
        contents[EMA] = _safetensors(checkpoint.ema)
    if checkpoint.best is not None:
        contents[BEST] = _safetensors(checkpoint.best)
    files = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    manifest = {"step": checkpoint.step, "metrics": checkpoint.metrics, "files": files}
    partial.mkdir(parents=True)  # outside: what is there already is somebody else's, and may be a pipe
    try:
        for name, data in contents.items():
            write_file(partial / name, data)
        write_file(partial / MANIFEST, json.dumps(manifest, indent=1).encode())
        _sync(partial)
        os.replace(partial, target)
        _sync(target.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for step in steps_saved(run)[:-keep]:
        old = folder_of(run, step)
        shutil.rmtree(old.rename(old.with_name(f"tmp-{old.name}")))  # half removed, it must not look like a checkpoint


def remove_unfinished(run: Path) -> None:
    """Removes what a crash in the middle of a save left behind."""
    for folder in (run / "checkpoints").glob("tmp-*"):
        if re.fullmatch(f"tmp-({_STEP})", folder.name) and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)


def load_tensors(run: Path, step: int, name: str) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, of MODEL, EMA or BEST. Raises UserError if the checkpoint is damaged."""
    return _read(run, step, name, safetensors.torch.load)


def load_state(run: Path, step: int) -> dict:
    """`Checkpoint.state`: "optimizers", the state of each by its name, "seconds" of training, "precision", and
    perhaps "early_stopping".

    Tensors are on the CPU. Raises UserError if the checkpoint is damaged.
    """
    return _read(run, step, STATE, _as_state)


def recorded_files(run: Path, step: int) -> dict[str, dict]:
    """Bytes and sha256 of each file by name, from the manifest. Raises UserError if that is damaged."""
    return _read(run, step, MANIFEST, _as_files)


def check(run: Path, step: int) -> None:
    """Raises UserError if a file of the checkpoint is not what was written."""
    for name in recorded_files(run, step):
        _read(run, step, name, bytes)


def _safetensors(tensors: dict[str, Tensor]) -> bytes:
    # A copy of each: safetensors refuses two names for one memory, as tied weights have.
    return safetensors.torch.save({name: tensor.detach().to("cpu", copy=True).contiguous()
                                   for name, tensor in tensors.items()})


def _pickled(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_file(path: Path, data: bytes) -> None:
    """Writes a new file, and waits until it is on the disk. A file or link of that name goes first: what a link points
    to is never written to."""
    path.unlink(missing_ok=True)
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Brings the names in a folder to the disk, as fsync does a file's contents. Windows has no such call."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Damaged(Exception):
    """A file of a checkpoint is not what was written. The message says how."""


def _as_files(manifest: bytes) -> dict[str, dict]:
    files = json.loads(manifest)["files"]
    for name, file in files.items():
        if "/" in name or "\\" in name or not isinstance(file["bytes"], int) or not isinstance(file["sha256"], str):
            raise ValueError
    return files


def _as_state(data: bytes) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on how a foreign file was pickled
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if "optimizer" in state:  # of runs from before models could have several
        state["optimizers"] = {"model": state.pop("optimizer")}
    for name in ("optimizers", "precision"):
        if not isinstance(state[name], dict):
            raise ValueError
    if not math.isfinite(state["seconds"]):
        raise ValueError
    if (stopping := state.get("early_stopping")) is not None:
        numbers = stopping["lowest"], stopping["step"], stopping["since"]
        if not isinstance(stopping["score"], str) or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError
    return state


def _contents(folder: Path, name: str) -> bytes:
    if (folder / name).exists() and not (folder / name).is_file():  # a pipe would be waited for without end
        raise _Damaged(f"{name}: not a file")
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise _Damaged(f"{name}: {error.strerror}") from error


def _verified(folder: Path, name: str) -> bytes:
    """The contents of a file, held against the manifest."""
    if name == MANIFEST:
        return _contents(folder, name)
    expected = _parsed(folder, MANIFEST, _as_files).get(name)
    data = _contents(folder, name)
    if expected is None:
        raise _Damaged(f"{name}: not in the manifest")
    if len(data) != expected["bytes"]:
        raise _Damaged(f"{name}: {len(data)} bytes instead of {expected['bytes']}")
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise _Damaged(f"{name}: the checksum is wrong")
    return data


def _parsed(folder: Path, name: str, parse: Callable[[bytes], T]) -> T:
    data = _verified(folder, name)
    try:
        return parse(data)
    except MemoryError:
        raise
    except Exception as error:  # whatever a reader of crafted bytes may raise
        raise _Damaged(f"{name}: not what lvlib writes") from error


def _is_whole(folder: Path) -> bool:
    try:
        for name in _parsed(folder, MANIFEST, _as_files):
            _verified(folder, name)
    except _Damaged:
        return False
    return True


def _read(run: Path, step: int, name: str, parse: Callable[[bytes], T]) -> T:
    folder = folder_of(run, step)
    try:
        return _parsed(folder, name, parse)
    except _Damaged as damage:
        older = [old for old in steps_saved(run) if old < step and _is_whole(folder_of(run, old))]
        back = f"step {older[-1]}" if older else "the beginning"
        raise UserError(f"damaged checkpoint {folder} ({damage}); remove that folder to go back to {back}") from damage
