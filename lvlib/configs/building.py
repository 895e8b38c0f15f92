"""Building a model, with an end to it: layers without number are refused before they take the memory."""

import math
from collections.abc import Callable
from contextlib import ExitStack

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from lvlib.data.limits import free_memory, in_words
from lvlib.errors import UserError

MOST_PARTS = 20_000  # layers, weights and buffers; the largest model of the papers so far has 834
MOST_NUMBERS = 2**40  # of a clip, or of its latents


def build_within_limits(make: Callable[[], nn.Module]) -> nn.Module:
    """The model that `make` returns.

    Raises UserError as soon as it has more than MOST_PARTS layers, weights and buffers, or these take more than the
    memory that is free. Tensors on the meta device and fake ones take none.
    """
    free, parts, taken = free_memory(), 0, 0

    def count(_parent: nn.Module, _name: str, part: nn.Module | Tensor | None) -> None:
        nonlocal parts, taken
        parts += 1
        if parts > MOST_PARTS:
            raise UserError(f"these sizes make a model of more than {MOST_PARTS:,} layers and weights: take fewer")
        if isinstance(part, Tensor) and part.untyped_storage().device.type != "meta":
            taken += part.nbytes
        if taken > free:
            raise UserError(f"these sizes make a model whose weights take more than the {in_words(free)} of memory "
                            "that are free: take smaller ones")

    with ExitStack() as hooks:
        for register in (register_module_module_registration_hook, register_module_parameter_registration_hook,
                         register_module_buffer_registration_hook):
            hooks.enter_context(register(count))
        return make()


def check_numbers(what: str, shape: tuple[int, ...]) -> None:
    """Raises UserError for more numbers than any machine holds: models would count through them."""
    if math.prod(shape) > MOST_NUMBERS:
        raise UserError(f"{what} would be {' x '.join(map(str, shape))} numbers, more than any machine holds")
