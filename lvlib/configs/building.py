"""Building a model, with an end to it: layers without number are refused before they take the memory."""

from collections.abc import Callable

from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from lvlib.data.limits import free_memory, in_words
from lvlib.errors import UserError

MOST_MODULES = 10_000  # the largest configuration of the papers so far has 449


def build_within_limits(make: Callable[[], nn.Module]) -> nn.Module:
    """The model that `make` returns.

    Raises UserError as soon as it has more than MOST_MODULES submodules, or weights that take more than the memory that
    is free. Weights on the meta device and fake ones take none.
    """
    free, modules, weights = free_memory(), 0, 0

    def count(_parent: nn.Module, _name: str, _module: nn.Module | None) -> None:
        nonlocal modules
        modules += 1
        if modules > MOST_MODULES:
            raise UserError(f"these sizes make a model of more than {MOST_MODULES:,} layers: take fewer")

    def weigh(_parent: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal weights
        if parameter is not None and parameter.untyped_storage().device.type != "meta":
            weights += parameter.nbytes
        if weights > free:
            raise UserError(f"these sizes make a model whose weights take more than the {in_words(free)} of memory "
                            "that are free: take smaller ones")

    with register_module_module_registration_hook(count), register_module_parameter_registration_hook(weigh):
        return make()
