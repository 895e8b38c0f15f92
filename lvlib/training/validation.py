"""The loss on clips that training does not see."""

from contextlib import closing
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lvlib.training.batches import STEP, Clips, for_model, seed_everything, validation_batches
from lvlib.training.config import TrainingConfig
from lvlib.training.engine import mean_over_ranks
from lvlib.training.step import loss_name, losses_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@torch.no_grad()
def validate(fabric: "Fabric", model: nn.Module, data: Clips, config: TrainingConfig, step: int) -> dict[str, float]:
    """Means over the clips of each loss and metric of this step: val_loss and so on. Leaves the model in eval mode.

    Whatever the model draws at random is the same each time, so that two steps can be compared.
    """
    model.eval()
    sums: dict[str, Tensor] = {}
    clips = 0
    with closing(validation_batches(data, config, fabric.global_rank, fabric.world_size)) as batches:
        for number, batch in enumerate(batches):
            seed_everything(STEP, config.seed, 0, fabric.global_rank, number)  # training counts its steps from 1
            inputs = for_model(fabric.to_device(batch))
            with fabric.autocast():
                for name, loss, metrics in losses_of(model, inputs, step):
                    for key, value in {loss_name(name): loss, **metrics}.items():
                        sums[key] = sums.get(key, 0.0) + value.float() * len(inputs[0])
            clips += len(inputs[0])
    return mean_over_ranks(fabric, {f"val_{name}": value / clips for name, value in sums.items()})
