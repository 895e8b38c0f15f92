"""Checkpoints that are either whole or not there: RUN/checkpoints/00001000/ with

    model.safetensors    the weights and buffers
    ema.safetensors      their running mean, if one is kept
    state.pt             the rest that going on needs
    manifest.json        step, metrics, size and sha256 of each file; written last

A checkpoint is written into a folder `tmp-...` beside its place, brought to the disk, and only then renamed.
"""

import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from lvlib.errors import UserError

MODEL, EMA, STATE, MANIFEST = "model.safetensors", "ema.safetensors", "state.pt", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What is saved: the step, tensors by name, the state of the optimizer and the like, the last logged metrics."""

    step: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    state: dict
    metrics: dict[str, float]


def folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"{step:08d}"


def steps_saved(run: Path) -> list[int]:
    """Steps of the run's checkpoints, oldest first."""
    folders = (run / "checkpoints").glob("[0-9]*")
    return sorted(int(folder.name) for folder in folders if folder.name.isdigit() and folder.is_dir())


def save_checkpoint(run: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes the checkpoint, then removes all but the newest `keep`.

    Raises OSError if the disk refuses, a full one for example: then nothing of the new checkpoint is left, and the
    old ones are as they were.
    """
    target = folder_of(run, checkpoint.step)
    partial = target.with_name(f"tmp-{target.name}")
    contents = {MODEL: _safetensors(checkpoint.model), STATE: _pickled(checkpoint.state)}
    if checkpoint.ema is not None:
        contents[EMA] = _safetensors(checkpoint.ema)
    files = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    manifest = {"step": checkpoint.step, "metrics": checkpoint.metrics, "files": files}
    try:
        partial.mkdir(parents=True)
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
        doomed = old.rename(old.with_name(f"tmp-{old.name}"))  # a half-removed checkpoint must not look like one
        shutil.rmtree(doomed)


def remove_unfinished(run: Path) -> None:
    """Removes what a crash in the middle of a save left behind."""
    for folder in (run / "checkpoints").glob("tmp-*"):
        shutil.rmtree(folder)


def load_tensors(run: Path, step: int, name: str) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, of MODEL or EMA. Raises UserError if the checkpoint is damaged."""
    return safetensors.torch.load(_read(run, step, name))


def load_state(run: Path, step: int) -> dict:
    """`Checkpoint.state`, its tensors on the CPU. Raises UserError if the checkpoint is damaged."""
    return torch.load(io.BytesIO(_read(run, step, STATE)), map_location="cpu", weights_only=True)


def recorded_files(run: Path, step: int) -> dict[str, dict]:
    """Bytes and sha256 of each file by name, from the manifest. Raises UserError if that is damaged."""
    return json.loads(_read(run, step, MANIFEST))["files"]


def _safetensors(tensors: dict[str, Tensor]) -> bytes:
    # A copy of each: safetensors refuses two names for one memory, as tied weights have.
    return safetensors.torch.save({name: tensor.detach().to("cpu", copy=True).contiguous()
                                   for name, tensor in tensors.items()})


def _pickled(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_file(path: Path, data: bytes) -> None:
    """Writes and waits until it is on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Brings the names in a folder to the disk, as fsync does a file's contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Damaged(Exception):
    """A file of a checkpoint is not what was written. The message says how."""


def _verified(folder: Path, name: str) -> bytes:
    """The contents of a file, held against the manifest."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise _Damaged(f"{name}: {error.strerror}") from error
    if name == MANIFEST:
        try:
            json.loads(data)["files"]
        except (ValueError, KeyError, TypeError) as error:
            raise _Damaged(f"{name}: not a manifest") from error
        return data
    expected = json.loads(_verified(folder, MANIFEST))["files"][name]
    if len(data) != expected["bytes"]:
        raise _Damaged(f"{name}: {len(data)} bytes instead of {expected['bytes']}")
    if hashlib.sha256(data).hexdigest() != expected["sha256"]:
        raise _Damaged(f"{name}: the checksum is wrong")
    return data


def _is_whole(folder: Path) -> bool:
    try:
        for name in json.loads(_verified(folder, MANIFEST))["files"]:
            _verified(folder, name)
    except _Damaged:
        return False
    return True


def _read(run: Path, step: int, name: str) -> bytes:
    folder = folder_of(run, step)
    try:
        return _verified(folder, name)
    except _Damaged as damage:
        older = [old for old in steps_saved(run) if old < step and _is_whole(folder_of(run, old))]
        back = f"step {older[-1]}" if older else "the beginning"
        raise UserError(f"damaged checkpoint {folder} ({damage}); remove that folder to go back to {back}") from damage
