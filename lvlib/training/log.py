"""What a training says about itself: metrics.jsonl, and the same for TensorBoard."""

import json
import math
import os
import threading
from contextlib import suppress
from pathlib import Path

from lvlib.errors import UserError
from lvlib.training.checkpoint import write_file


class MetricsLog:
    """metrics.jsonl and TensorBoard. What an earlier attempt logged after step `start` is dropped from both, and so are
    lines that are damaged."""

    def __init__(self, run: Path, start: int):
        from torch.utils.tensorboard import SummaryWriter

        path = run / "metrics.jsonl"
        if path.is_symlink():
            raise UserError(f"{path} is a symbolic link: remove it")
        _keep_lines(path, start)
        self.file = open(path, "ab")
        self.board = SummaryWriter(run / "tensorboard", purge_step=start + 1)
        self.hook, threading.excepthook = threading.excepthook, self._failed_thread

    def write(self, record: dict[str, float]) -> None:
        """One line. The record has a `step`."""
        finite = {name: value for name, value in record.items() if math.isfinite(value)}
        line = {name: finite.get(name) for name in record}  # JSON has no NaN
        self.file.write(json.dumps(line).encode() + b"\n")
        self.file.flush()
        for name in finite.keys() - {"step"}:
            self.board.add_scalar(name, finite[name], record["step"])

    def close(self) -> None:
        with suppress(OSError):  # on a full disk the error that matters is under way already
            self.file.close()
        with suppress(OSError):
            self.board.close()
        threading.excepthook = self.hook

    def _failed_thread(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread and raises that thread's error at the next write: no need to print it."""
        if not issubclass(failure.exc_type, OSError):
            self.hook(failure)


def _keep_lines(path: Path, step: int) -> None:
    """Rewrites the file without the lines of later steps, and those that are none: a crash may cut one short."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if _is_whole(line, step)]
    if kept != lines:
        partial = path.with_suffix(".tmp")
        write_file(partial, b"".join(kept))
        os.replace(partial, path)


def _is_whole(line: bytes, step: int) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
