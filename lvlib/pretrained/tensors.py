"""What trained networks share: the form of their pictures, and whether there are any numbers at all."""

import torch
from torch import Tensor

from lvlib.errors import UserError


def as_rgb(pictures: Tensor) -> Tensor:
    """Grey as three equal channels: (n, 1 or 3, ...) -> (n, 3, ...). Raises ValueError for other channels."""
    if pictures.shape[1] not in (1, 3):
        raise ValueError(f"pictures have 1 channel or 3, not {pictures.shape[1]}")
    return pictures.expand(-1, 3, *pictures.shape[2:])


def check_size(frames: Tensor, name: str, least: int) -> None:
    """Raises UserError for frames that are too small for the network."""
    if min(frames.shape[-2:]) < least:
        raise UserError(f"{name} compares frames of {least} x {least} or larger, "
                        f"not {frames.shape[-2]} x {frames.shape[-1]}")


def only_shapes() -> bool:
    """Have the tensors that are made here a shape and nothing in it: on torch's meta device, or fake ones?"""
    return torch.empty(0).untyped_storage().device.type == "meta"
