"""The training loop, which runs any model, on one process or many. A run that is stopped resumes as if it had not been.

`train` prepares, `_Training.go` is the loop itself; a single step is in `lvlib.training.step`.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from filelock import BaseFileLock
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import checkpoint as on_disk
from lvlib.training.batches import STEP, Clips, for_model, seed_everything, training_batches
from lvlib.training.checkpoint import BEST, EMA, MODEL, STATE, Checkpoint, steps_saved
from lvlib.training.config import TrainingConfig
from lvlib.training.early_stopping import EarlyStopping, check_early_stopping
from lvlib.training.engine import (
    Interrupts,
    any_rank,
    launch,
    mean_over_ranks,
    on_first_rank,
    processes,
    same_as_on_first,
    why_stopped,
)
from lvlib.training.log import MetricsLog
from lvlib.training.run import (
    NONE_RENAMED,
    check_agrees,
    check_weights,
    is_finite,
    load_run,
    lock,
    put_weights,
    write_config,
)
from lvlib.training.step import Step, learning_rate
from lvlib.training.validation import validate

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Score = Callable[[nn.Module], Mapping[str, float]]


def train(model: nn.Module, train_data: Clips, config: TrainingConfig, run: Path | str, *,
          val_data: Clips | None = None, device: str = "auto", devices: int = 1, nodes: int = 1,
          describe: dict | None = None, may_change: Iterable[str] = (),
          read_settings: Callable[[Path], dict] = load_run, renamed: Mapping[str, str] = NONE_RENAMED,
          score: Score | None = None, progress: bool = False) -> int:
    """Trains the model in place and returns the steps taken. If `run` holds a run, resumes from its newest checkpoint.

    Args:
        model: has `loss(video)` or `loss(latents, condition)`, as the data is, -> (loss, metrics), scalar tensors; or
            what `lvlib.stages.SeveralLosses` asks for.
        train_data, val_data: items are dicts with "latents", int64 codes or float32, and perhaps "condition", a dict of
            arrays by name; or else with "video", uint8 (t, h, w, c). `lvlib.training.batches` tells what a model gets
            of them. The validation loss is that of the running mean of the weights where config keeps one.
        device: "cpu", "cuda", "mps", or "auto" (see `choose_device`). devices, nodes: processes a machine, machines.
        describe: further entries for config.json, plain values by name; `train` adds "training" and "clips".
        may_change: fields of `describe` that may differ from what the run was started with, as "part.field".
        read_settings: reads config.json of a run, and brings that of an older lvlib to today's form.
        renamed: tensors that had another name in an older lvlib, as for `put_weights`.
        score: of a model in eval mode, one number by its name, which is logged: what early stopping wants lower. None
            for the loss of validation, of several the first.
        progress: show a tqdm bar.

    On one kind of CPU the final weights do not depend on where the training was stopped; a GPU adds in an order of its
    own, and two runs agree up to rounding. They do depend on the weights that `model` comes with: seed before you build
    it. What `loss` draws at random depends on the process that draws it: a model that draws ends elsewhere with two
    processes than with one. A finished run takes 0 steps: its checkpoint is checked, and the model gets its last
    weights, also where early stopping keeps others for `load_weights`.

    Raises UserError for a config that the run was not started with, a damaged checkpoint or devices that are not there;
    TrainingStopped at a loss that is not finite, a disk or a memory that is full, another process that died, and (after
    a checkpoint) ctrl-C or SIGTERM.
    """
    for name, data in ("training", train_data), ("validation", val_data):
        if data is not None and len(data) == 0:
            raise UserError(f"the {name} set has no clips")
    world = math.prod(processes(config, devices, nodes))
    check_early_stopping(config, val_data is not None)
    if val_data is not None and len(val_data) < world:
        raise UserError(f"the validation set has {len(val_data)} clips: take more, "
                        f"or fewer processes than {world}")
    settings = (describe or {}) | {"training": asdict(config), "clips": len(train_data)}
    training = _Training(launch(config.precision, device, devices, nodes), model, config, Path(run))
    try:
        training.prepare(lambda: check_agrees(training.run, settings, may_change, read_settings))
        start = training.open(renamed)
        if not training.ended:
            training.go(settings, train_data, val_data, score, progress)
        return training.step - start
    except (RuntimeError, MemoryError) as error:
        reason = why_stopped(error)
        if reason is None:
            raise
        raise TrainingStopped(f"{reason} in step {training.step + 1}; {training.last_good()}") from error
    finally:
        training.close()


class _Training:
    """What changes in the course of a training, and how it is saved and restored."""

    take_step: Step  # from `open` on

    def __init__(self, fabric: "Fabric", model: nn.Module, config: TrainingConfig, run: Path):
        self.fabric, self.model, self.config, self.run = fabric, model, config, run
        self.step, self.seconds = 0, 0.0  # steps taken, and how long they took
        self.metrics: dict[str, float] = {}  # what was logged last
        self.ema: AveragedModel | None = None
        self.stopping = EarlyStopping(config.early_stopping) if config.early_stopping else None
        self.lock: BaseFileLock | None = None
        self.log: MetricsLog | None = None

    def prepare(self, check: Callable[[], None]) -> None:
        """Makes the run folder, or sees that it can be used: nobody else trains there, and `check` says so."""
        def act() -> None:
            try:
                self.run.mkdir(parents=True, exist_ok=True)
                self.lock = lock(self.run)
                check()
                on_disk.remove_unfinished(self.run)
            except OSError as error:
                raise UserError(f"cannot write to the run folder {self.run}: {error.strerror}") from error
            saved = steps_saved(self.run)
            states = [on_disk.folder_of(self.run, step) / STATE for step in saved]
            if saved and saved[-1] < self.config.steps and not any(map(Path.exists, states)):
                raise UserError(f"{self.run} holds weights without the optimizer's state: they can be used, not "
                                "trained further")

        on_first_rank(self.fabric, act)

    def open(self, renamed: Mapping[str, str]) -> int:
        """Brings the model to its device, and restores the newest checkpoint if there is one. Returns its step."""
        self.fabric.to_device(self.model)
        same_as_on_first(list(self.model.state_dict().values()))  # they may have been built from other seeds
        self.take_step = Step(self.model, self.config, self.fabric)
        if self.config.ema_decay:
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema_decay)).eval()
        self.step = max(steps_saved(self.run), default=0)
        if self.step >= self.config.steps:
            on_disk.check(self.run, self.step)
            put_weights(self.model, on_disk.load_tensors(self.run, self.step, MODEL), self.run, renamed)
        elif self.step:
            self.restore(renamed)
        return self.step

    @property
    def ended(self) -> bool:
        return self.step >= self.config.steps or (self.stopping is not None and self.stopping.over)

    def go(self, settings: dict, train_data: Clips, val_data: Clips | None, score: Score | None,
           progress: bool) -> None:
        fabric, config, first = self.fabric, self.config, self.fabric.is_global_zero
        self.to_disk(lambda: self.start_log(settings))
        steps = range(self.step + 1, config.steps + 1)
        batches = training_batches(train_data, config, steps, fabric.global_rank, fabric.world_size,
                                   pin_memory=fabric.device.type == "cuda")
        logged_step, logged_seconds = self.step, self.seconds
        self.model.train()
        with (closing(batches), Interrupts() as interrupts,
              tqdm(total=config.steps, initial=self.step, unit="step", disable=not (progress and first)) as bar):
            clock = time.perf_counter()
            for step, micro_batches in zip(steps, batches, strict=True):
                seed_everything(STEP, config.seed, step, fabric.global_rank)
                losses, metrics = self.take_step(step, [for_model(batch) for batch in fabric.to_device(micro_batches)])
                if self.ema is not None:
                    self.ema.update_parameters(self.model)
                finite = torch.stack([loss.isfinite() for loss in losses.values()]).all()
                broken, stop = any_rank(fabric, ~finite, interrupts.caught)
                if broken:
                    raise TrainingStopped(f"the loss is not finite at step {step}; {self.last_good()}")
                self.step = step
                self.seconds += time.perf_counter() - clock  # of training alone, without what follows
                last = step == config.steps
                validated = {}
                if val_data is not None and (last or step % config.validate_every == 0):
                    validated = self.validate(val_data, score)
                    last = self.ended
                record = {}
                if last or step % config.log_every == 0:
                    record = mean_over_ranks(fabric, losses | metrics)
                    bar.set_postfix({name: record[name] for name in losses})
                    record["learning_rate"] = learning_rate(config, step)
                    record["clips_per_second"] = config.batch * (step - logged_step) / (self.seconds - logged_seconds)
                    logged_step, logged_seconds = step, self.seconds
                if record := record | validated:
                    self.metrics = {"step": step, "seconds": self.seconds} | record
                    self.to_disk(lambda: cast(MetricsLog, self.log).write(self.metrics))
                if last or stop or step % config.checkpoint_every == 0:
                    self.to_disk(self.save)
                if stop and not last:
                    raise TrainingStopped(f"interrupted after step {step}: saved in {self.run}; "
                                          "the same command resumes from there")
                bar.update()
                clock = time.perf_counter()
                if last:
                    break

    def validate(self, data: Clips, score: Score | None) -> dict[str, float]:
        """The losses of validation, and the score, which each process computes of all clips; early stopping takes it
        in."""
        model = self.ema.module if self.ema else self.model
        record = validate(self.fabric, model, data, self.config, self.step)
        name, *_ = record  # the loss, of several the first
        if score is not None:
            scored = mean_over_ranks(self.fabric, {key: torch.tensor(value) for key, value in score(model).items()})
            name, *_ = scored
            record |= scored
        if self.stopping is not None:
            self.stopping.judge(name, record[name], self.step, model)
        self.model.train()
        return record

    def start_log(self, settings: dict) -> None:
        write_config(self.run, settings)
        self.log = MetricsLog(self.run, self.step)

    def save(self) -> None:
        weights = self.model.state_dict()
        for name, tensor in weights.items():
            if not is_finite(tensor):
                raise TrainingStopped(f"{name} is not finite after step {self.step}; {self.last_good()}")
        ema = None if self.ema is None else self.ema.module.state_dict()
        state = {"optimizers": self.take_step.state_dict(), "seconds": self.seconds,
                 "precision": self.fabric.strategy.precision.state_dict()}
        best = None
        if self.stopping is not None:
            state["early_stopping"] = self.stopping.state_dict()
            best = self.stopping.weights or None
        on_disk.save_checkpoint(self.run, Checkpoint(self.step, weights, ema, state, self.metrics, best),
                                self.config.keep)

    def restore(self, renamed: Mapping[str, str]) -> None:
        state = on_disk.load_state(self.run, self.step)
        if self.stopping is not None and (stopped := state.get("early_stopping")):
            best = on_disk.load_tensors(self.run, self.step, BEST) if stopped["step"] else {}
            self.stopping.load_state_dict(stopped, best and check_weights(self.model, best, self.run, renamed))
        put_weights(self.model, on_disk.load_tensors(self.run, self.step, MODEL), self.run, renamed)
        if self.ema is not None:
            put_weights(self.ema.module, on_disk.load_tensors(self.run, self.step, EMA), self.run, renamed)
            self.ema.n_averaged.fill_(self.step)
        try:
            self.take_step.load_state_dict(state["optimizers"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(f"{on_disk.folder_of(self.run, self.step) / STATE} is of another training: {error}"
                            ) from error
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

    def close(self) -> None:
        if self.log is not None:
            self.log.close()
        if self.lock is not None:
            self.lock.release()
        if self.fabric.world_size > 1:
            dist.destroy_process_group()
