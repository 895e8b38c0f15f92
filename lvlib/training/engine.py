"""Starting on Lightning Fabric, and what several processes must do together."""

import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lvlib.errors import TrainingStopped, UserError
from lvlib.training.config import TrainingConfig

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def launch(config: TrainingConfig, devices: int, nodes: int) -> "Fabric":
    """Starts devices x nodes processes, on GPUs if there are any. Under torchrun they are there already, and torchrun's
    numbers count. Raises UserError if Fabric is not installed, the devices are not there, or the batch does not divide.
    """
    try:
        import tensorboard  # noqa: F401  # the log needs it: better to know before the start
        from lightning.fabric import Fabric
        from lightning.fabric.utilities.exceptions import MisconfigurationException
    except ImportError as error:
        raise UserError(f'training needs the package {error.name}: pip install "lvlib[train]"') from error
    devices, nodes = processes(config, devices, nodes)
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        fabric = Fabric(accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=devices, num_nodes=nodes,
                        strategy="ddp" if devices * nodes > 1 else "auto", precision=config.precision)
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error
    fabric.launch()
    return fabric


def processes(config: TrainingConfig, devices: int, nodes: int) -> tuple[int, int]:
    """(devices, nodes) as they will be. Raises UserError if the batch does not divide among them."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    if devices < 1 or nodes < 1:
        raise UserError(f"devices is {devices} and nodes is {nodes}: both must be 1 or more")
    world = devices * nodes
    if config.batch % world:
        raise UserError(f"training.batch is {config.batch}: with {world} processes it must be a multiple of {world}")
    return devices, nodes


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
    mine = torch.stack([torch.as_tensor(flag, device=fabric.device).float() for flag in flags])
    return [total > 0 for total in fabric.all_reduce(mine, reduce_op="sum").tolist()]


def mean_over_ranks(fabric: "Fabric", values: dict[str, Tensor]) -> dict[str, float]:
    mine = torch.stack([value.detach().float() for value in values.values()])
    return dict(zip(values, fabric.all_reduce(mine, reduce_op="mean").tolist(), strict=True))


class Interrupts:
    """While entered, the first ctrl-C or SIGTERM only sets `caught`, so that a step can end. The second breaks off."""

    def __init__(self):
        self.caught = False

    def __enter__(self) -> "Interrupts":
        self.previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        self.caught = True
        signal.signal(number, self.previous[number])
