"""Whether training a configuration can fit into the memory of this machine: asked before the work."""

from math import prod

import torch

from lvlib.configs import Config
from lvlib.data.limits import require_memory

WORKER_BYTES = 10 * 2**20  # that a process which reads data takes at the least
INDEX_BYTES = 100  # of a clip in the list of those of a step


def check_training(config: Config, processes: int = 1) -> None:
    """Raises UserError if less memory is free than a process of the training takes at the least: the weights with what
    the optimizers keep of them, and what goes through at a time."""
    with torch.device("meta"):
        model = config.build()
    training, spec = config.training, config.learned.latents
    weights = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    learned = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    copies = 3 + bool(training.ema_decay)  # gradients, two running means, EMA
    require_memory(weights + copies * learned, f"the {config.stage} with its optimizer")
    share = training.batch // processes
    clip = prod(config.video_shape) * 4 if config.stage == "autoencoder" else prod(spec.shape) * spec.dtype.itemsize
    require_memory(share // training.accumulate * clip, f"a batch of {share:,} clips")
    require_memory(share * INDEX_BYTES, f"the list of {share:,} clips of a step")
    require_memory(training.workers * WORKER_BYTES, f"{training.workers:,} processes that read data")
