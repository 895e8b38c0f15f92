"""One step of training: the losses of a model, their gradients, and its optimizers.

This is what every training does, whatever the model. It knows no file and no data set; what mixed precision needs is
handed in as `fabric`, so that reports measure the very step that the loop takes, and need no Fabric.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lvlib.stages import Metrics
from lvlib.training.config import TrainingConfig
from lvlib.training.engine import average_gradients, is_distributed, same_as_on_first

if TYPE_CHECKING:
    from lightning.fabric import Fabric

ONE = "model"  # the optimizer of a model that has only one


def losses_of(model: Any, inputs: tuple, step: int) -> Iterator[tuple[str, Tensor, Metrics]]:
    """(Name of the optimizer, loss (), metrics) of each optimizer that moves at this step, in their order.

    Of a model that has `loss` alone: its loss, for the optimizer "model". See `lvlib.stages.SeveralLosses`.
    """
    if hasattr(model, "losses"):
        yield from model.losses(*inputs, step=step)
    else:
        yield ONE, *model.loss(*inputs)


def loss_name(optimizer: str) -> str:
    """Under which name the log has the loss of an optimizer: "loss" where there is one, else "NAME_loss"."""
    return "loss" if optimizer == ONE else f"{optimizer}_loss"


def parameters_of(model: Any) -> dict[str, list[nn.Parameter]]:
    """The parameters of each optimizer, by its name.

    Raises ValueError, naming one, for parameters that learn in no optimizer or in two.
    """
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not hasattr(model, "optimizers"):
        parts = {ONE: list(learned.values())}
    else:
        parts = {name: list(parameters) for name, parameters in model.optimizers().items()}
    times = Counter(id(parameter) for parameters in parts.values() for parameter in parameters)
    for name, parameter in learned.items():
        if times.pop(id(parameter), 0) != 1:
            raise ValueError(f"{name} must be in one optimizer, or not require gradients")
    if times:
        raise ValueError("an optimizer has parameters that are not the model's, or do not require gradients")
    return parts


def build_optimizer(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> Optimizer:
    if config.optimizer == "rmsprop":
        momentum, alpha = config.betas
        return torch.optim.RMSprop(parameters, config.learning_rate, alpha, momentum=momentum,
                                   weight_decay=config.weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(parameters, config.learning_rate, betas=tuple(config.betas), weight_decay=config.weight_decay)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Of a step, the first being 1: a straight rise to the full rate, which step number `warmup` reaches, then that
    rate or half a cosine, which would be 0 after the last step. The full rate is `config.learning_rate`, or that times
    `config.batch`, whatever the processes and micro-batches that share the batch."""
    full = config.learning_rate * (config.batch if config.rate_per_clip else 1)
    taken = step - 1
    if taken < config.warmup:
        return full * ((taken + 1) / config.warmup)
    if config.schedule == "constant":
        return full
    share = (taken - config.warmup) / max(config.steps - config.warmup, 1)
    return full * ((1 + math.cos(math.pi * share)) / 2)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.stack(list(values)).mean()


class _OneProcess:
    """What a step asks of Fabric, in one process and in fp32."""

    autocast = staticmethod(nullcontext)

    def setup_optimizers(self, optimizer: Optimizer) -> Optimizer:
        return optimizer

    def backward(self, loss: Tensor, inputs: list[nn.Parameter]) -> None:
        loss.backward(inputs=inputs)

    def clip_gradients(self, _model: nn.Module, optimizer: Optimizer, max_norm: float, **_) -> None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], max_norm)


class Step:
    """A model with its optimizers. Called with a step's number and inputs, it takes the step.

    All optimizers have the settings of `config`, each clips the gradient of its own parameters, and the gradient of a
    loss reaches the parameters of its own optimizer alone: others, and frozen ones, get none.

    With several micro-batches the losses of all of them are gone through in turn: each adds its share to the gradients
    of an optimizer, that optimizer moves, and only then the next loss is asked for. So steps of n micro-batches equal
    steps of one, up to rounding, for models whose loss is a mean over clips and draws nothing at random. What learns at
    each forward, as codebooks by running means do, learns n times a step, from an n-th of the clips each time: set its
    decay to the n-th root for the same memory in clips.

    Args:
        fabric: that the model was set up with; None: one process, fp32, where the model is.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, fabric: "Fabric | None" = None):
        self.model, self.config, self.fabric = model, config, fabric or _OneProcess()
        self.parameters = parameters_of(model)
        self.optimizers: dict[str, Optimizer] = {
            name: cast(Optimizer, self.fabric.setup_optimizers(build_optimizer(parameters, config)))
            for name, parameters in self.parameters.items()}
        model.zero_grad()

    def __call__(self, number: int, micro_batches: Sequence[tuple]) -> tuple[Metrics, Metrics]:
        """Takes step `number`, which counts from 1. micro_batches: for each, what the model's `loss` takes.

        Returns the losses by `loss_name`, and the metrics; both are means over the micro-batches.
        """
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.config, number)
        losses: Metrics = {}
        metrics: Metrics = {}
        parts = [self._gradients(inputs, number, len(micro_batches)) for inputs in micro_batches]
        for turn in zip(*parts, strict=True):
            name = turn[0][0]
            self._move(name)
            losses[loss_name(name)] = _mean([loss for _, loss, _ in turn])
            metrics |= {key: _mean([part[key] for *_, part in turn]) for key in turn[0][2]}
        if is_distributed():
            same_as_on_first(self._saved_buffers())
        return losses, metrics

    def _gradients(self, inputs: tuple, number: int, pieces: int) -> Iterator[tuple[str, Tensor, Metrics]]:
        """Goes through the losses of one micro-batch, and adds a share of the gradient of each to its parameters'."""
        losses = losses_of(self.model, inputs, number)
        while True:
            with self.fabric.autocast():
                turn = next(losses, None)
            if turn is None:
                return
            name, loss, metrics = turn
            self.fabric.backward(loss / pieces, inputs=self.parameters[name])
            logged = name, loss.detach(), {key: value.detach().float() for key, value in metrics.items()}
            del turn, loss, metrics  # and with them what they keep of the graph, before the other micro-batches' turn
            yield logged

    def _move(self, name: str) -> None:
        optimizer = self.optimizers[name]
        average_gradients(self.parameters[name])
        if self.config.gradient_clip:
            self.fabric.clip_gradients(self.model, optimizer, max_norm=self.config.gradient_clip,
                                       error_if_nonfinite=False)
        optimizer.step()

    def _saved_buffers(self) -> list[Tensor]:
        """What each process learns for itself, such as the means of a batch norm, unless the model sums it up: all take
        the first one's, which is the one that is saved."""
        saved = self.model.state_dict().keys()
        return [buffer for name, buffer in self.model.named_buffers() if name in saved]

    def state_dict(self) -> dict[str, dict]:
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, saved: dict[str, dict]) -> None:
        """Takes over what each optimizer remembers of its parameters; its settings stay those of `config`.

        Raises ValueError for what does not fit.
        """
        if saved.keys() != self.optimizers.keys():
            raise ValueError(f"the optimizers are {', '.join(saved)} there, {', '.join(self.optimizers)} here")
        probe = nn.Parameter(torch.zeros(1))  # to see what an optimizer keeps of a parameter
        probe.grad = torch.zeros(1)
        example = build_optimizer([probe], self.config)
        example.step()
        for name, optimizer in self.optimizers.items():
            state, parameters = saved[name]["state"], self.parameters[name]
            for index, kept in state.items():
                if kept.keys() != example.state[probe].keys():
                    raise ValueError(f"{', '.join(kept)} of a parameter, not {', '.join(example.state[probe])}")
                for key, value in kept.items():
                    if value.shape not in (parameters[index].shape, torch.Size()):
                        raise ValueError(f"{key} is {tuple(value.shape)}, not {tuple(parameters[index].shape)}")
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
