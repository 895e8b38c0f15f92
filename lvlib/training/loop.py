"""The training loop: any model with `loss(...) -> (loss, metrics)`, one process or many, stopped and gone on with."""

import gc
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset
from tqdm import tqdm

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import checkpoint as on_disk
from lvlib.training.batches import STEP, for_model, seed_everything, training_batches
from lvlib.training.checkpoint import EMA, MODEL, STATE, Checkpoint, steps_saved
from lvlib.training.config import TrainingConfig
from lvlib.training.engine import Interrupts, any_rank, launch, mean_over_ranks, on_first_rank, processes
from lvlib.training.run import MetricsLog, check_agrees, lock, put_weights, write_config
from lvlib.training.validation import validate

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def train(model: nn.Module, train_data: Dataset, config: TrainingConfig, run: Path | str, *,
          val_data: Dataset | None = None, devices: int = 1, nodes: int = 1, describe: dict | None = None,
          progress: bool = False) -> int:
    """Trains the model in place and returns the steps taken. If `run` holds a run, goes on from its newest checkpoint.

    model: `loss(video)`, `loss(codes)` or `loss(codes, condition)`, as the data is, -> (loss, metrics); metrics are
        scalar tensors.
    train_data, val_data: items are dicts with "codes", int64 (t, h, w) or (t, h, w, k), and perhaps "condition", a dict
        of arrays by name; or else with "video", uint8 (t, h, w, c). A batch is codes (b, ...), or float video
        (b, c, t, h, w) in [-1, 1], as uint8 frames in a condition are. The validation loss is that of the running mean
        of the weights where config keeps one.
    describe: further entries for config.json, plain values by name; `train` adds "training" and "clips".
    progress: show a tqdm bar.

    On one kind of CPU the final weights do not depend on where the training was stopped; a GPU adds in an order of its
    own, and two runs agree up to rounding. They do depend on the weights that `model` comes with: seed before you build
    it. What `loss` draws at random depends on the process that draws it: a model that draws ends elsewhere with two
    processes than with one. A finished run takes 0 steps.

    Raises UserError for a config that the run was not started with, a damaged checkpoint or devices that are not there;
    TrainingStopped at a loss that is not finite, a disk that is full, and (after a checkpoint) ctrl-C or SIGTERM.
    """
    for name, data in ("training", train_data), ("validation", val_data):
        if data is not None and len(data) == 0:
            raise UserError(f"the {name} set has no clips")
    settings = (describe or {}) | {"training": asdict(config), "clips": len(train_data)}
    world = math.prod(processes(config, devices, nodes))
    if val_data is not None and len(val_data) < world:
        raise UserError(f"the validation set has {len(val_data)} clips: take more, "
                        f"or fewer processes than {world}")
    training = _Training(launch(config, devices, nodes), model, config, Path(run))
    try:
        start = training.open(settings)
        if start < config.steps:
            training.go(train_data, val_data, progress)
        return max(config.steps - start, 0)
    finally:
        training.close()


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "rmsprop":
        momentum, alpha = config.betas
        return torch.optim.RMSprop(model.parameters(), config.learning_rate, alpha, momentum=momentum,
                                   weight_decay=config.weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(model.parameters(), config.learning_rate, betas=tuple(config.betas), weight_decay=config.weight_decay)


def build_schedule(optimizer: torch.optim.Optimizer, config: TrainingConfig) -> LambdaLR:
    """The learning rate as a function of the steps that were taken: a straight rise to `config.learning_rate`, which
    step number `warmup` reaches, then that rate or half a cosine, which would be 0 after the last step."""
    def factor(taken: int) -> float:
        if taken < config.warmup:
            return (taken + 1) / config.warmup
        if config.schedule == "constant":
            return 1.0
        share = (taken - config.warmup) / max(config.steps - config.warmup, 1)
        return (1 + math.cos(math.pi * share)) / 2

    return LambdaLR(optimizer, factor)


class _Training:
    """What changes as training goes on, and how it is saved and restored."""

    def __init__(self, fabric: "Fabric", model: nn.Module, config: TrainingConfig, run: Path):
        self.fabric, self.model, self.config, self.run = fabric, model, config, run
        self.step, self.seconds, self.metrics = 0, 0.0, {}
        self.wrapped = self.optimizer = self.schedule = self.ema = self.lock = None

    def open(self, settings: dict) -> int:
        """Makes the run folder, or restores the newest checkpoint of the one that is there. Returns its step."""
        def prepare() -> None:
            try:
                self.run.mkdir(parents=True, exist_ok=True)
                self.lock = lock(self.run)
            except OSError as error:
                raise UserError(f"cannot write to the run folder {self.run}: {error.strerror}") from error
            check_agrees(self.run, settings)
            on_disk.remove_unfinished(self.run)
            saved = steps_saved(self.run)
            states = [on_disk.folder_of(self.run, step) / STATE for step in saved]
            if saved and saved[-1] < self.config.steps and not any(map(Path.exists, states)):
                raise UserError(f"{self.run} holds weights without the optimizer's state: they can be used, not "
                                "trained further")

        on_first_rank(self.fabric, prepare)
        self.step = max(steps_saved(self.run), default=0)
        if self.step >= self.config.steps:
            return self.step
        self.to_disk(lambda: write_config(self.run, settings))
        # `wrapped` runs the hooks of precision and of several processes around the same weights as `model`.
        optimizer = build_optimizer(self.model, self.config)
        self.schedule = build_schedule(optimizer, self.config)
        self.wrapped, self.optimizer = self.fabric.setup(self.model, optimizer)
        self.wrapped.mark_forward_method("loss")
        if self.config.ema_decay:
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema_decay)).eval()
        if self.step:
            self.restore()
        return self.step

    def close(self) -> None:
        if self.lock:
            self.lock.close()
        # What `wrapped` holds must go first: if it is the last to hold the process group, taking that down can wait
        # for ever for a thread that waits for Python's lock.
        self.wrapped = self.optimizer = self.schedule = None
        gc.collect()
        if self.fabric.world_size > 1:
            dist.destroy_process_group()

    def go(self, train_data: Dataset, val_data: Dataset | None, progress: bool) -> None:
        fabric, config, first = self.fabric, self.config, self.fabric.is_global_zero
        steps = range(self.step + 1, config.steps + 1)
        batches = training_batches(train_data, config, steps, fabric.global_rank, fabric.world_size)
        log = MetricsLog(self.run, self.step) if first else nullcontext()
        bar = tqdm(total=config.steps, initial=self.step, unit="step", disable=not (progress and first))
        logged_step, logged_seconds = self.step, self.seconds
        self.model.train()
        with log, bar, Interrupts() as interrupts:
            clock = time.perf_counter()
            for step, batch in zip(steps, batches, strict=True):
                learning_rate = self.optimizer.param_groups[0]["lr"]
                metrics, stop = self.take_step(step, for_model(fabric.to_device(batch)), interrupts)
                self.seconds += time.perf_counter() - clock  # of training alone, without what follows
                last = step == config.steps
                record = {}
                if last or step % config.log_every == 0:
                    record = mean_over_ranks(fabric, metrics)
                    record["learning_rate"] = learning_rate
                    record["clips_per_second"] = config.batch * (step - logged_step) / (self.seconds - logged_seconds)
                    logged_step, logged_seconds = step, self.seconds
                    bar.set_postfix(loss=record["loss"])
                if val_data is not None and (last or step % config.validate_every == 0):
                    record |= validate(fabric, self.ema.module if self.ema else self.model, val_data, config)
                    self.model.train()
                if record:
                    self.metrics = {"step": step, "seconds": self.seconds} | record
                    self.to_disk(lambda: log.write(self.metrics))
                if last or stop or step % config.checkpoint_every == 0:
                    self.save()
                if stop and not last:
                    raise TrainingStopped(f"interrupted after step {step}: saved in {self.run}; "
                                          "the same command goes on from there")
                bar.update()
                clock = time.perf_counter()

    def take_step(self, step: int, inputs: tuple, interrupts: Interrupts) -> tuple[dict[str, Tensor], bool]:
        """One optimizer step. Returns the loss with the model's metrics, and whether any process was interrupted."""
        fabric, config = self.fabric, self.config
        seed_everything(STEP, config.seed, step, fabric.global_rank)
        with fabric.autocast():  # one process: Fabric then calls a marked method bare, without its precision
            loss, metrics = self.wrapped.loss(*inputs)
        broken, stop = any_rank(fabric, ~loss.isfinite(), interrupts.caught)
        if broken:
            raise TrainingStopped(f"the loss is not finite at step {step}; {self.last_good()}")
        fabric.backward(loss)
        if config.gradient_clip:
            fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=config.gradient_clip,
                                  error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        self.step = step
        return {"loss": loss, **metrics}, stop

    def save(self) -> None:
        def write() -> None:
            weights = self.model.state_dict()
            for name, tensor in weights.items():
                if not tensor.isfinite().all():
                    raise TrainingStopped(f"{name} is not finite after step {self.step}; {self.last_good()}")
            ema = None if self.ema is None else self.ema.module.state_dict()
            state = {"optimizer": self.optimizer.state_dict(), "seconds": self.seconds,
                     "precision": self.fabric.strategy.precision.state_dict()}
            checkpoint = Checkpoint(self.step, weights, ema, state, self.metrics)
            on_disk.save_checkpoint(self.run, checkpoint, self.config.keep)

        self.to_disk(write)

    def restore(self) -> None:
        put_weights(self.model, on_disk.load_tensors(self.run, self.step, MODEL), self.run)
        if self.ema is not None:
            put_weights(self.ema.module, on_disk.load_tensors(self.run, self.step, EMA), self.run)
            self.ema.n_averaged.fill_(self.step)
        state = on_disk.load_state(self.run, self.step)
        self.optimizer.load_state_dict(state["optimizer"])  # with the learning rate of the next step
        self.schedule.last_epoch = self.step
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.seconds = state["seconds"]

    def to_disk(self, act: Callable[[], None]) -> None:
        """The first process runs act(); if the disk refuses, for instance because it is full, all of them stop."""
        def guarded() -> None:
            try:
                act()
            except OSError as error:
                raise TrainingStopped(f"cannot write to {self.run} at step {self.step}: {error.strerror}; "
                                      f"{self.last_good()}") from error

        on_first_rank(self.fabric, guarded)

    def last_good(self) -> str:
        saved = steps_saved(self.run)
        return f"the checkpoint of step {saved[-1]} is whole" if saved else "there is no checkpoint yet"
