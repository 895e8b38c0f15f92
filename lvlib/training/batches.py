"""Which clips a step sees. Everything here is a pure function of (seed, step): a training that resumes at step 1000
sees what it would have seen without the break, and there is no position to save.

A data set may have a curriculum, clips that grow longer as training goes on for example: where it has a method
`item_at(index, step)`, training asks that in place of `data[index]`, in data workers too. Step counts from 1. The
method must be a pure function of its arguments and of the random numbers that are seeded before it is called, and the
items of one step must have one shape. Validation always asks `data[index]`, so that its losses can be compared.

Where processes are not forked (Windows, macOS) a worker gets a pickled copy of the data set.
"""

import random
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from multiprocessing import active_children
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from lvlib.data.tensors import as_inputs, to_video
from lvlib.errors import UserError
from lvlib.training.config import TrainingConfig
from lvlib.training.engine import WorkerDied


class Clips(Protocol):
    """A data set: torch's `Dataset` with a length."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict: ...


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
    if torch.backends.mps.is_available() and get_worker_info() is None:  # a data worker would start the GPU for it
        torch.mps.manual_seed(seed)


class _Key(NamedTuple):
    """Of an item: which `clip` it is, and the `position` in the training that fixes its random numbers. step: None in
    validation."""

    position: int
    clip: int
    step: int | None


class _Batches(Sampler):
    """This process's part of each global batch of the steps: of each micro-batch the rank-th of `world` equal pieces,
    so that the processes together go through the micro-batches that one would go through."""

    def __init__(self, clips: int, config: TrainingConfig, steps: range, rank: int, world: int):
        self.clips, self.config, self.steps = clips, config, steps
        micro_batch = config.batch // config.accumulate
        piece = micro_batch // world
        self.places = [start + i for start in range(rank * piece, config.batch, micro_batch) for i in range(piece)]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[_Key]]:
        for step in self.steps:
            whole = global_batch(self.clips, self.config.batch, self.config.seed, step)
            yield [_Key(*whole[place], step) for place in self.places]


class _Inputs(Dataset):
    """Of an item its "latents" and their "condition", {} where it has none, or else its "video". Whatever an item draws
    at random depends on (seed, position) alone, also in a worker."""

    def __init__(self, data: Clips, seed: int):
        self.data, self.seed = data, seed

    def __getitem__(self, key: _Key) -> dict | UserError:
        seed_everything(ITEM, self.seed, key.position)
        try:
            if key.step is not None and hasattr(self.data, "item_at"):
                item = self.data.item_at(key.clip, key.step)
            else:
                item = self.data[key.clip]
        except (UserError, OSError) as error:
            return UserError(str(error))  # torch would raise it with a worker's traceback for a message
        if "latents" in item:
            return {"latents": item["latents"], "condition": item.get("condition", {})}
        return {"video": item["video"]}


def _collate(items: list[dict | UserError], pieces: int) -> list[dict] | UserError:
    """The items as so many batches, one after the other; the first error if there is one."""
    for item in items:
        if isinstance(item, UserError):
            return item
    size = len(items) // pieces
    return [default_collate(items[start:start + size]) for start in range(0, len(items), size)]


def for_model(batch: dict) -> tuple:
    """What `loss` takes: (video,) or (latents, condition). uint8 frames (b, t, h, w, c), also in a condition, become
    float video (b, c, t, h, w); of the rest of a condition, integers become int64 and other numbers float32."""
    if "video" in batch:
        return (to_video(batch["video"]),)
    return batch["latents"], as_inputs(batch["condition"])


def training_batches(data: Clips, config: TrainingConfig, steps: range, rank: int, world: int,
                     pin_memory: bool = False) -> Generator[list[dict], None, None]:
    """For each of the steps its micro-batches: what `for_model` takes, the items' tensors stacked, b = config.batch /
    (world x config.accumulate) of each. Raises UserError if the data does."""
    batches = _Batches(len(data), config, steps, rank, world)
    return _load(data, config, batches, config.accumulate, pin_memory)


def validation_batches(data: Clips, config: TrainingConfig, rank: int, world: int) -> Generator[dict, None, None]:
    """The clips in their order, each once, spread evenly: up to world - 1 of the last are left out. As large as the
    micro-batches of training."""
    clips = len(data) - len(data) % world
    size = config.batch // config.accumulate
    starts = range(0, clips, size)
    shares = [np.array_split(np.arange(start, min(start + size, clips)), world)[rank] for start in starts]
    keys = [[_Key(int(i), int(i), None) for i in share] for share in shares]
    with closing(_load(data, config, keys, 1, False)) as batches:
        for batch, in batches:
            yield batch


def _load(data: Clips, config: TrainingConfig, batches: Sampler | list, pieces: int,
          pin_memory: bool) -> Generator[list[dict], None, None]:
    loader = DataLoader(_Inputs(data, config.seed), batch_sampler=batches, num_workers=config.workers,
                        collate_fn=partial(_collate, pieces=pieces), pin_memory=pin_memory,
                        worker_init_fn=_quiet_worker, generator=torch.Generator())
    others = set(active_children())
    with _no_child_handler():
        with _no_child_handler():  # the first loader of a process sets torch's
            iterator = iter(loader)
        workers = set(active_children()) - others
        try:
            while True:
                try:
                    batch = next(iterator, None)
                except Exception as error:
                    # A worker that dies in the middle of what it says leaves errors of many kinds.
                    if isinstance(error, (ConnectionError, EOFError)) or any(worker.exitcode for worker in workers):
                        raise WorkerDied from error
                    raise
                if batch is None:
                    return
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        finally:
            del iterator  # ends the workers, unless an error refers to it
            for worker in workers:  # who ignore SIGTERM: at the end of the program they would be waited for for ever
                worker.kill()
                worker.join()


@contextmanager
def _no_child_handler() -> Iterator[None]:
    """As long as batches are read, without a handler of SIGCHLD: torch's, which stays once any other loader has set it,
    raises the death of a worker wherever the training happens to be. It shows in the next batch, too."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)  # None: one that is not Python's


def _quiet_worker(_worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the training process alone decides when to end. It also says it if
    a worker dies, so that torch's handlers in the worker need not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(signal, "SIGBUS"):  # where /dev/shm is full
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
