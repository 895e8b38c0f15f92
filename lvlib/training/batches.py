"""Which clips a step sees. Everything here is a pure function of (seed, step): a training that goes on at step
1000 sees what it would have seen without the break, and there is no position to save."""

import random
import signal
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lvlib.data.tensors import as_inputs, to_video
from lvlib.training.config import TrainingConfig


@lru_cache(maxsize=2)
def _epoch_order(clips: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(clips)


def global_batch(clips: int, batch: int, seed: int, step: int) -> list[tuple[int, int]]:
    """(position, index of the clip) for each item of the batch of this step; the first step is 1.

    Positions count from 0 through the whole training. Each run of `clips` positions is one epoch, in its own random
    order. A batch may cross into the next epoch, and a batch larger than the data set spans several.
    """
    start = (step - 1) * batch
    return [(position, int(_epoch_order(clips, seed, position // clips)[position % clips]))
            for position in range(start, start + batch)]


ITEM, STEP = 0, 1  # first word of the key: an item's random numbers and a step's never share a seed


def seed_everything(*key: int) -> None:
    """Seeds python, numpy, torch, and the GPU if this process uses one, as a function of the key."""
    words = np.random.SeedSequence(key).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    seed = int(words[2]) << 32 | int(words[3])
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # if not, torch.manual_seed would note down each call, with its stack, for later
        torch.cuda.manual_seed(seed)


class _Batches(Sampler):
    """This process's part of each global batch of the steps: the rank-th of `world` equal pieces."""

    def __init__(self, clips: int, config: TrainingConfig, steps: range, rank: int, world: int):
        self.clips, self.config, self.steps = clips, config, steps
        share = config.batch // world
        self.part = slice(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            yield global_batch(self.clips, self.config.batch, self.config.seed, step)[self.part]


class _Inputs(Dataset):
    """Of an item its "codes", with their "condition" if there is one, or else its "video". Whatever an item draws at
    random depends on (seed, position) alone, also in a worker."""

    def __init__(self, data: Dataset, seed: int):
        self.data, self.seed = data, seed

    def __getitem__(self, key: tuple[int, int]) -> dict:
        position, index = key
        seed_everything(ITEM, self.seed, position)
        item = self.data[index]
        wanted = ("codes", "condition") if "codes" in item else ("video",)
        return {name: item[name] for name in wanted if name in item}


def for_model(batch: dict) -> tuple:
    """What `loss` takes: (video,), (codes,) or (codes, condition). uint8 frames (b, t, h, w, c), also in a condition,
    become float video (b, c, t, h, w); other tensors stay as they are."""
    if "video" in batch:
        return (to_video(batch["video"]),)
    return (batch["codes"], as_inputs(batch["condition"])) if "condition" in batch else (batch["codes"],)


def training_batches(data: Dataset, config: TrainingConfig, steps: range, rank: int, world: int) -> DataLoader:
    """One batch for each of the steps, what `for_model` takes: the items' tensors, b = config.batch / world of each."""
    return _loader(data, config, _Batches(len(data), config, steps, rank, world))


def validation_batches(data: Dataset, config: TrainingConfig, rank: int, world: int) -> DataLoader:
    """The clips in their order, each once, spread evenly: up to world - 1 of the last are left out."""
    clips = len(data) - len(data) % world
    starts = range(0, clips, config.batch)
    shares = [np.array_split(np.arange(start, min(start + config.batch, clips)), world)[rank] for start in starts]
    return _loader(data, config, [[(int(i), int(i)) for i in share] for share in shares])


def _loader(data: Dataset, config: TrainingConfig, batches) -> DataLoader:
    return DataLoader(_Inputs(data, config.seed), batch_sampler=batches, num_workers=config.workers,
                      pin_memory=torch.cuda.is_available(), worker_init_fn=_ignore_signals,
                      generator=torch.Generator())


def _ignore_signals(_worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the training process alone decides when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
