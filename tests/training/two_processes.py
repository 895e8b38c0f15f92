"""Trainings in two processes. With the word fabric: six steps of FOLDER/run, in processes that Fabric starts. With the
word torchrun: six steps more, and the other TRAININGS, in processes started as torchrun does it, but forked, so as to
import torch once. Each process writes what came of each training to FOLDER, as JSON."""

import dataclasses
import errno
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from toys import (
    Centred,
    Clips,
    Codes,
    ConditionedCodes,
    OwnSlices,
    codebook_model,
    conditioned_prior,
    config,
    gan,
    line,
    planes,
    prior,
)

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import train

SETTINGS = config(steps=12, batch=8, ema_decay=0.8, gradient_clip=1.0)
PRIOR = config(steps=12, batch=8, ema_decay=0.8, gradient_clip=1.0, optimizer="rmsprop", betas=(0.9, 0.95),
               learning_rate=1e-3, schedule="cosine", warmup=3)
CONDITIONED = config(steps=12, batch=8, ema_decay=0.8, gradient_clip=1.0, learning_rate=1e-3)
GAN = config(steps=12, batch=8, accumulate=2, ema_decay=0.8, gradient_clip=1.0, learning_rate=1e-3)
PLANES = config(steps=12, batch=12, accumulate=3, ema_decay=0.8, gradient_clip=0.05, learning_rate=1e-3)
EARLY = config(steps=12, batch=8, learning_rate=1e-30, validate_every=2, early_stopping=1)  # no loss is ever lower
DATA = {"prior": Codes, "conditioned": ConditionedCodes}  # of the others: Clips


def only_on(rank: int, step: int, act, make=line):
    model = make()
    model.hook = lambda number: act(model) if number == step and dist.get_rank() == rank else None
    return model


def poison(model) -> None:
    with torch.no_grad():
        model.conv.bias.fill_(float("nan"))


def fill_the_disk(_model) -> None:
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.fsync = full


def fill_the_memory(_model) -> None:
    torch.empty(10**15)


def die(_model) -> None:
    signal.raise_signal(signal.SIGKILL)


TRAININGS = {  # name: (model, settings, folder)
    "run": lambda: (codebook_model(), SETTINGS, "run"),
    "prior": lambda: (prior(OwnSlices), PRIOR, "prior"),
    "conditioned": lambda: (conditioned_prior(), CONDITIONED, "conditioned"),
    "gan": lambda: (gan(), GAN, "gan"),
    "planes": lambda: (planes(), PLANES, "planes"),
    "first killed": lambda: (only_on(0, 5, die, gan), GAN, "killed"),
    "second killed": lambda: (only_on(1, 8, die, gan), GAN, "killed"),
    "killed": lambda: (gan(), GAN, "killed"),
    "mean": lambda: (line(kind=Centred), SETTINGS, "mean"),
    "mean begun": lambda: (line(kind=Centred), dataclasses.replace(SETTINGS, steps=6), "mean resumed"),
    "mean resumed": lambda: (line(kind=Centred), SETTINGS, "mean resumed"),
    "refused": lambda: (codebook_model(), dataclasses.replace(SETTINGS, seed=1), "run"),
    "nan": lambda: (only_on(1, 5, poison), SETTINGS, "nan"),
    "interrupt": lambda: (only_on(1, 5, lambda _: signal.raise_signal(signal.SIGTERM)), SETTINGS, "interrupt"),
    "full": lambda: (only_on(0, 5, fill_the_disk), SETTINGS, "full"),
    "memory": lambda: (only_on(1, 5, fill_the_memory), SETTINGS, "memory"),
    "early": lambda: (line(noise=0), EARLY, "early"),
}


def train_and_report(folder: Path, name: str, model, settings, run: str, devices: int = 1) -> None:
    try:
        data = DATA.get(name, Clips)
        steps = train(model, data(), settings, folder / run, val_data=data(6), devices=devices)
        outcome = f"{steps} steps of {settings.steps}"
    except (TrainingStopped, UserError) as error:
        outcome = str(error).replace(str(folder / run), "RUN")
    assert not dist.is_initialized()
    (folder / f"{name}{settings.steps}-{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(outcome))


def as_torchrun(folder: Path, name: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in ("0", "1"):
        children.append(os.fork())
        if children[-1] == 0:
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                           "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                           "TORCHELASTIC_RUN_ID": name}
            try:
                train_and_report(folder, name, *TRAININGS[name]())
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
    for child in children:
        if os.waitpid(child, 0)[1] not in (0, signal.SIGKILL):
            sys.exit(f"{name}: a process failed")


def main(folder: Path, started_as: str) -> None:
    if started_as == "fabric":
        settings = dataclasses.replace(SETTINGS, steps=6)
        train_and_report(folder, "run", codebook_model(), settings, "run", devices=2)
        return
    import lightning.fabric  # noqa: F401
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    torch.set_num_threads(1)
    for name in TRAININGS:
        as_torchrun(folder, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
