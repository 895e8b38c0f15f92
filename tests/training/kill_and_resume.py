"""Kills a training again and again: FOLDER/whole is a run that nobody disturbs, FOLDER/killed one that dies KILLS times
at random moments, and once at each point of the writing of a checkpoint. Prints what happened as JSON.

    python kill_and_resume.py FOLDER TRAINING KILLS SEED

A moment is one of the process's own CPU time, so that the load of the machine does not count; the system ends it there
and then, as kill -9 does. So that there is something left for the next one, it also kills itself after its share of the
steps. Imports once, then forks: so that a kill finds a training, and not Python importing torch.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import lightning.fabric  # noqa: F401
import tensorboard  # noqa: F401
import torch
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter  # noqa: F401
from toys import Clips, Codes, config, gan, planes, prior

from lvlib.training import train
from lvlib.training.checkpoint import steps_saved

STEPS = 400
OFTEN = {"steps": STEPS, "log_every": 5, "checkpoint_every": 7, "keep": 2, "ema_decay": 0.9, "gradient_clip": 1.0}
TRAININGS = {
    "gan": (gan, Clips(), config(**OFTEN, accumulate=2, learning_rate=1e-3)),
    "planes": (planes, Clips(), config(**OFTEN, batch=12, accumulate=6, learning_rate=1e-3)),
    "prior": (prior, Codes(), config(**OFTEN, optimizer="rmsprop", learning_rate=1e-3, schedule="cosine", warmup=50)),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(Dataset):
    """The items of a data set, up to a step; whoever asks for later ones dies."""

    def __init__(self, data: Dataset, last_step: int):
        self.data, self.last_step = data, last_step

    def __len__(self) -> int:
        return len(self.data)

    def item_at(self, index: int, step: int) -> dict:
        if step > self.last_step:
            die()
        return self.data[index]


def start(training: str, run: Path, last_step: int = STEPS, cpu_seconds: float = 0, sync: int = 0) -> int:
    """Starts a training in a process of its own, which dies after a step, after so much CPU time if not 0, or in its
    n-th fsync if `sync` is n. Returns its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        fsync, left = os.fsync, list(range(sync))

        def dying_sync(descriptor: int) -> None:
            if len(left) == 1:
                die()
            del left[-1:]
            fsync(descriptor)

        os.fsync = dying_sync
        make, data, settings = TRAININGS[training]
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        train(make(), Deadly(data, last_step), settings, run)
        status = 0
    finally:
        os._exit(status)


def end(child: int) -> tuple[str, float]:
    """How it ended, and the CPU seconds that it took."""
    _, status, usage = os.wait4(child, 0)
    ending = signal.Signals(status & 0x7F).name if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"
    return ending, usage.ru_utime + usage.ru_stime


def newest(folder: Path) -> int:
    return max(steps_saved(folder / "killed"), default=0)


def main(folder: Path, training: str, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    moments = random.Random(seed)
    ending, whole = end(start(training, folder / "whole"))
    _, no_step = end(start(training, folder / "whole"))  # what it takes to begin
    report = {"whole": ending, "kills": [], "in_writing": []}
    for kill in range(1, kills + 1):
        moment = moments.uniform(0.05, 1) * (no_step + whole / kills)
        ending, _ = end(start(training, folder / "killed", STEPS * kill // (kills + 1), moment))
        report["kills"].append((ending, newest(folder)))
    for sync in range(1, 10):  # config.json, metrics.jsonl, four files, two folders; the next checkpoint
        ending, _ = end(start(training, folder / "killed", sync=sync))
        unfinished = list((folder / "killed" / "checkpoints").glob("tmp-*"))
        report["in_writing"].append((ending, len(unfinished), newest(folder)))
    report["last"], _ = end(start(training, folder / "killed"))
    report["cpu_seconds"] = [whole, no_step]
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
