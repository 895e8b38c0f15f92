"""Perceptual networks by name."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from lvlib.errors import UserError, shortened
from lvlib.pretrained.efficientnet import EfficientNetDistance
from lvlib.pretrained.lpips import VGG_FILE, LpipsDistance
from lvlib.pretrained.tensors import only_shapes


def perceptual_network(name: str) -> nn.Module:
    """How far apart two frames look: a module, called with (n, c, h, w) in [-1, 1] twice, c 1 or 3 -> (n,).

    0 for equal frames. Gradients reach both; the weights require none, and it comes in eval mode. A model learns from
    it through `perceptual_distance`: as a part of the model it would be saved, averaged and counted with it. Where
    tensors have a shape alone (torch's meta device, fake tensors) it has, too, and no weights are read.

    name: "efficientnet-lite0", which comes in a package, for frames of 32 x 32 or larger; or the path of the LPIPS
    network (Zhang et al. 2018) as TorchScript, a program that runs with your rights, for frames of 16 x 16 or larger.
    Raises UserError for any other name, and a package that is missing; the module does for frames that are smaller.
    """
    if name == EfficientNetDistance.name:
        return EfficientNetDistance()
    if not Path(name).is_file():
        raise UserError(f"unknown perceptual network {shortened(name)!r}: it must be {EfficientNetDistance.name}, or a "
                        f"file, {VGG_FILE}")
    return LpipsDistance(Path(name))


def perceptual_distance(name: str, frames: Tensor, others: Tensor) -> Tensor:
    """What the network of that name gives, (n,). It is read at the first call, once a process: a model that only learns
    from it needs no weights of it to be built, used or saved. Raises UserError as `perceptual_network` does."""
    network = perceptual_network(name) if only_shapes() else _loaded(name, frames.device)
    return network(frames, others)


@lru_cache(maxsize=1)
def _loaded(name: str, device: torch.device) -> nn.Module:
    return perceptual_network(name).to(device)
