"""Starting on Lightning Fabric, what several processes must do together, and what can end them."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lvlib.errors import TrainingStopped, UserError, unknown
from lvlib.training.config import Precision, TrainingConfig

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def choose_device(device: str = "auto") -> str:
    """"cpu", "cuda" or "mps" (Apple's GPU). "auto" is CUDA where there is one, then mps, else the CPU.

    Raises UserError for one that is unknown or not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, is_there in there.items() if is_there)
    if device not in there:
        raise unknown("device", device, ["auto", *there])
    if not there[device]:
        raise UserError(f"this machine has no {device} that torch can use; it has: "
                        f"{', '.join(name for name, is_there in there.items() if is_there)}")
    return device


def launch(precision: Precision, device: str, devices: int, nodes: int) -> "Fabric":
    """Starts devices x nodes processes. Under torchrun they are there already, and torchrun's numbers count.

    Raises UserError if Fabric is not installed, or the devices are not there.
    """
    try:
        import tensorboard  # noqa: F401  # the log needs it: better to know before the start
        from lightning.fabric import Fabric
        from lightning.fabric.utilities.exceptions import MisconfigurationException
    except ImportError as error:
        raise UserError(f'this needs the package {error.name}: pip install "lvlib[train]"') from error
    devices, nodes = machines(devices, nodes)
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        fabric = Fabric(accelerator=choose_device(device), devices=devices, num_nodes=nodes,
                        strategy="ddp" if devices * nodes > 1 else "auto", precision=precision)
        fabric.launch()
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error
    except (KeyError, ValueError, RuntimeError) as error:  # of the environment's variables, or of the network
        raise UserError(f"cannot start {devices} processes on {nodes} machines: {error}") from error
    return fabric


def processes(config: TrainingConfig, devices: int, nodes: int) -> tuple[int, int]:
    """(devices, nodes) as they will be. Raises UserError if the batch does not divide among them, or torchrun's
    variables are not what torchrun sets."""
    devices, nodes = machines(devices, nodes)
    parts = devices * nodes * config.accumulate
    if config.batch % parts:
        micro_batches = f" of {config.accumulate} micro-batches" if config.accumulate > 1 else ""
        raise UserError(f"training.batch is {config.batch}: with {devices * nodes} processes{micro_batches} it must be "
                        f"a multiple of {parts}")
    return devices, nodes


def machines(devices: int, nodes: int) -> tuple[int, int]:
    """(devices, nodes) as they will be. Raises UserError for fewer than one, or if torchrun's variables are not what
    torchrun sets."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices, world, _, _ = map(_torchrun_number, ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK", "LOCAL_RANK"))
        nodes, rest = divmod(world, devices) if devices else (0, 0)
        if rest:
            raise UserError(f"WORLD_SIZE is {world} and LOCAL_WORLD_SIZE is {devices}: each machine must have as many "
                            "processes")
    if devices < 1 or nodes < 1:
        raise UserError(f"devices is {devices} and nodes is {nodes}: both must be 1 or more")
    return devices, nodes


def _torchrun_number(name: str) -> int:
    value = os.environ.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) < 10):
        raise UserError(f"the environment has LOCAL_WORLD_SIZE, as under torchrun, but {name} is "
                        f"{value!r}: start with torchrun, or unset LOCAL_WORLD_SIZE")
    return int(value)


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Puts the mean over all processes into each gradient, in one message.

    A parameter without gradient counts as 0; where no process has one there will be none, as in one process, so that
    its optimizer leaves it alone.
    """
    if not is_distributed():
        return
    found = parameters[0].new_tensor([parameter.grad is not None for parameter in parameters])
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([found, *(gradient.flatten() for gradient in gradients)])
    dist.all_reduce(flat)
    found, *means = flat.split([len(parameters), *(p.numel() for p in parameters)])
    for parameter, count, mean in zip(parameters, found, means, strict=True):
        if parameter.grad is not None or count > 0:
            parameter.grad = mean.div_(dist.get_world_size()).view_as(parameter)


def same_as_on_first(tensors: Sequence[Tensor]) -> None:
    """Puts what the first process has into the tensors of all, in one message."""
    if not is_distributed() or not tensors:
        return
    as_bytes = [tensor.detach().flatten().view(torch.uint8) for tensor in tensors]
    flat = torch.cat(as_bytes)
    dist.broadcast(flat, 0)
    for tensor, part in zip(tensors, flat.split([part.numel() for part in as_bytes]), strict=True):
        tensor.detach().copy_(part.clone().view(tensor.dtype).view_as(tensor))


def on_first_rank(fabric: "Fabric", act: Callable[[], None]) -> None:
    """The first process runs act() while the others wait. Its error becomes the same error in all of them."""
    error = None
    if fabric.is_global_zero:
        try:
            act()
        except (UserError, TrainingStopped) as caught:
            error = caught
    error = fabric.broadcast(error)
    if error is not None:
        raise error


def any_rank(fabric: "Fabric", *flags: bool | Tensor) -> list[bool]:
    """For each flag, whether it is set in any process."""
    counts = torch.stack([torch.as_tensor(flag, device=fabric.device).float() for flag in flags])
    fabric.all_reduce(counts, reduce_op="sum")  # in place
    return [count > 0 for count in counts.tolist()]


def mean_over_ranks(fabric: "Fabric", values: dict[str, Tensor]) -> dict[str, float]:
    means = torch.stack([value.detach().float() for value in values.values()])
    means = cast(Tensor, fabric.all_reduce(means, reduce_op="mean"))  # a copy, where they are on another device
    return dict(zip(values, means.tolist(), strict=True))


class WorkerDied(RuntimeError):
    """A process that reads data ended: something killed it."""


def why_stopped(error: BaseException) -> str | None:
    """What the machine did to the training, in a few words; None for an error of another kind, such as a mistake in a
    model. torch has classes for few of these: the others are told by their text."""
    text = str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in text for words in _NO_MEMORY):
        return "out of memory (a smaller training.batch, or more training.accumulate, takes less)"
    if isinstance(error, WorkerDied):
        return "a process that reads data died (of too little memory? training.workers 0 needs none)"
    if "/torch_" in text and "DataLoader worker" in text:  # the name of a file of shared memory
        return "no shared memory for data workers (is /dev/shm small? training.workers 0 needs none)"
    if is_distributed() and (isinstance(error, dist.DistError) or any(words in text for words in _NO_PEER)):
        return "another process of the training ended"
    return None


_NO_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory", "Cannot allocate memory")
_NO_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")


class Interrupts:
    """While entered, the first ctrl-C or SIGTERM only sets `caught`, so that a step can end. The second breaks off:
    SIGTERM ends the process, whatever it waits for.

    Python lets the main thread alone handle signals; elsewhere this does nothing.
    """

    def __init__(self):
        self.caught = False
        self.previous = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: of a handler that is not Python's

    def _note(self, number: int, _frame) -> None:
        self.caught = True
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else self.previous[number] or signal.SIG_DFL)
