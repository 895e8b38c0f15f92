"""Kills a training again and again: FOLDER/whole is a run that nobody disturbs, FOLDER/killed one that dies ten times
at random moments and once at each point of the writing of a checkpoint. Prints what happened as JSON. With a second
argument, "codebooks" or "prior": what it trains.

Imports once, then forks: so that a kill finds a training, and not Python importing torch.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import lightning.fabric  # noqa: F401
import tensorboard  # noqa: F401
import torch
from torch.utils.tensorboard import SummaryWriter  # noqa: F401
from toys import Clips, Codes, NoisyVQVAE, codebook_model, config, prior

from lvlib.training import train
from lvlib.training.checkpoint import steps_saved

OFTEN = {"steps": 400, "log_every": 5, "checkpoint_every": 7, "keep": 2, "ema_decay": 0.9, "gradient_clip": 1.0}
TRAININGS = {
    "codebooks": (lambda: codebook_model(NoisyVQVAE), Clips(), config(**OFTEN)),
    "prior": (prior, Codes(), config(**OFTEN, optimizer="rmsprop", learning_rate=1e-3, schedule="cosine", warmup=50)),
}


def start(training: str, run: Path, die_in_sync: int = 0) -> int:
    """Starts a training in a process of its own, which dies in its n-th fsync if so told. Returns its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        if die_in_sync:
            fsync, left = os.fsync, list(range(die_in_sync))

            def sync(descriptor):
                left.pop()
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                fsync(descriptor)

            os.fsync = sync
        make, data, settings = TRAININGS[training]
        train(make(), data, settings, run)
        status = 0
    finally:
        os._exit(status)


def end(child: int) -> str:
    status = os.waitpid(child, 0)[1]
    return signal.Signals(status & 0x7F).name if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}"


def newest(folder: Path) -> int:
    return max(steps_saved(folder / "killed"), default=0)


def main(folder: Path, training: str) -> None:
    torch.set_num_threads(1)
    began = time.perf_counter()
    report = {"whole": end(start(training, folder / "whole")), "kills": [], "in_writing": []}
    seconds = time.perf_counter() - began
    for attempt in range(1, 11):
        child = start(training, folder / "killed")
        moment = time.perf_counter() + random.uniform(0.02, 0.17) * seconds
        while time.perf_counter() < moment and newest(folder) < attempt * OFTEN["steps"] / 12:  # die before the end
            time.sleep(0.003)
        os.kill(child, signal.SIGKILL)
        report["kills"].append((end(child), newest(folder)))
    for die_in_sync in range(1, 9):  # config.json, four files, their folder, the folder of checkpoints; the next one
        ending = end(start(training, folder / "killed", die_in_sync))
        unfinished = list((folder / "killed" / "checkpoints").glob("tmp-*"))
        report["in_writing"].append((ending, len(unfinished), newest(folder)))
    report["last"] = end(start(training, folder / "killed"))
    report["seconds"] = [seconds, time.perf_counter() - began]
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
