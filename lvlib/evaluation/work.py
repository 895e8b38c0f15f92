"""What an evaluation has counted so far, kept on disk: one that was stopped goes on."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from lvlib.errors import UserError
from lvlib.evaluation.metric import Metric, restored, state_of
from lvlib.evaluation.set_scores import Sets
from lvlib.metrics.inception import ClassSums
from lvlib.metrics.moments import Moments


class Work:
    """A folder with the state of one process for one run of an evaluation; held until the object, or the process, dies.

    settings: plain values, all that the scores depend on. Raises UserError where the folder cannot be used, or holds
    the work of other settings.
    """

    def __init__(self, folder: Path, settings: Mapping, run: int, rank: int, world: int):
        self.path = folder / f"run-{run}-process-{rank}-of-{world}.pt"
        self.settings = json.loads(json.dumps({**settings, "run": run, "processes": world}))
        self.lock = FileLock(self.path.with_suffix(".lock"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(blocking=False)
        except Timeout:
            raise UserError(f"another process is at work in {folder}: give another --work") from None
        except OSError as error:
            raise UserError(f"--work {folder}: {error.strerror}") from error

    def load(self, metrics: Mapping[str, Metric]) -> int:
        """Gives the metrics what was counted. Returns how many batches that were."""
        if not self.path.exists():
            return 0
        try:
            with torch.serialization.safe_globals([Sets, Moments, ClassSums]):
                state = torch.load(self.path, weights_only=True)
            settings, done, counted = json.loads(state["settings"]), state["batches"], state["counted"]
            states = {name: counted[name] for name in metrics} if settings == self.settings else {}
        except Exception as error:  # of a file that is damaged, or is none of ours, torch makes errors of many kinds
            raise UserError(f"{self.path} is damaged, or not of an evaluation: delete it, and the work begins anew"
                            ) from error
        if settings != self.settings:
            differ = [name for name in self.settings if settings.get(name) != self.settings[name]]
            raise UserError(f"{self.path} is the work of other settings ({', '.join(differ) or 'more'}): give another "
                            "--work, or delete it")
        for name, metric in metrics.items():
            restored(metric, states[name])
        return done

    def save(self, metrics: Mapping[str, Metric], batches: int) -> None:
        """Keeps what was counted; the file is whole at every moment. Raises UserError where it cannot be written."""
        draft = self.path.with_suffix(".tmp")
        try:
            torch.save({"settings": json.dumps(self.settings), "batches": batches,
                        "counted": {name: state_of(metric) for name, metric in metrics.items()}}, draft)
            os.replace(draft, self.path)
        except (OSError, RuntimeError) as error:  # torch's writer has no class of its own for a full disk
            raise UserError(f"cannot write {self.path}: {getattr(error, 'strerror', None) or error}") from error
