"""What an exercise is tried on, and what came of it: `Case`, `observe`, `difference`.

    @exercise("0.1", reference=backwards, wrong={...}, cases=_cases)

    def _cases(draw):
        for t in 4, 1, draw.size(5, 9):
            yield Case(f"{t} frames", (draw.integers(0, 256, t, 4, 3, 3, dtype=torch.uint8),))

The answer and the reference are observed on each case, and two observations are compared in words.
"""

import copy
import inspect
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvlib.course.differences import Observation, difference
from lvlib.course.sandbox import NotYet, contents, explain, has_still, same_room

__all__ = ["Case", "Draw", "Observation", "difference", "observe"]


@dataclass(frozen=True)
class Case:
    """One call of an answer, and what is compared with the reference's: value, shape, dtype, type, and what follows."""

    about: str
    """In words, after "right for" and "wrong for": "7 frames"."""
    args: tuple = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    init: tuple | None = None
    """Arguments of the constructor, if the answer is a class. The reference's state is copied into the instance."""
    method: str = "__call__"
    """Which method of the instance is called."""
    raises: type[Exception] | None = None
    """The error that is promised for this call."""
    gradients: bool = True
    """Whether the gradient of the result is compared, for every floating input and parameter. What stands in a dict is
    for watching: no gradient is asked of it."""
    loose: bool = False
    """What the text leaves open: float64 is as good as float32, and a tensor of one number as the number."""
    batch: tuple[int, ...] = ()
    """Positions of the arguments whose axis 0 is a batch, as that of the results is: neighbours must not matter."""
    redrawn: bool = False
    """Whether all parameters of the instance are drawn anew first: some begin at 0, and hide what they multiply."""
    writes: tuple[int, ...] = ()
    """Positions of the arguments that are there to be written into: what stands in them afterwards is a result, too."""


class Draw:
    """Random sizes and inputs, the same for the same seed."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def size(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def integers(self, low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        """Whole numbers from low to high, high excluded."""
        return torch.randint(low, high, shape, generator=self.generator).to(dtype)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=dtype)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Numbers from 0 to 1."""
        return torch.rand(shape, generator=self.generator, dtype=dtype)


def observe(answer: Callable, case: Case, state: dict[str, Tensor] | None = None) -> Observation:
    """Calls an answer plain, then with gradients, and a module once more with other parameters. Exceptions are
    observed, not raised.

    state: what the reference's observation of this case has recorded as `state`, for an answer that is a class.
    """
    promised = case.raises.__name__ if case.raises else ""
    seen = Observation(promised=promised, loose=case.loose)
    with same_room():
        try:
            return _observed(answer, case, state or {}, seen)
        except NotYet:
            raise
        except Exception as error:
            told = explain(error)
            return seen.but(raised=_classes(error), said=told.message, look_at=told.look_at)


def _observed(answer: Callable, case: Case, state: dict[str, Tensor], seen: Observation) -> Observation:
    function, instance = _callable(answer, case)
    own = _load(instance, state)
    inputs = _Inputs(case)
    result = _with_written(_called(function, *inputs.args, **inputs.kwargs), inputs, case)
    seen = seen.but(
        result=plain(result), changed=inputs.changed(function), names=inputs.names(function), state=own,
        state_after=_state(instance))
    if case.raises:  # and it did not: `difference` says so
        return seen
    if case.batch:
        alone, other = _callable(answer, case)
        _load(other, own)
        one = tuple(x[:1].clone() if i in case.batch else copied(x) for i, x in enumerate(case.args))
        seen = seen.but(alone=plain(_called(alone, *one, **copied(case.kwargs))))
    inputs = _Inputs(case, need_gradients=case.gradients)
    try:
        result = _with_written(_called(function, *inputs.args, **inputs.kwargs), inputs, case)
        seen = seen.but(again=plain(result))
        if case.gradients:
            seen = seen.but(gradients=_gradients(result, inputs, instance))
        if not isinstance(instance, nn.Module):
            return seen
        with torch.no_grad():  # as training does: what was worked out from them before is no longer right
            for parameter in instance.parameters():
                parameter.mul_(1.5).add_(0.1)
        return seen.but(moved=plain(_called(function, *copied(case.args), **copied(case.kwargs))))
    except NotYet:
        raise
    except Exception as error:
        when = "with inputs that need gradients" if case.gradients else "called again"
        told = explain(error, f"{when} it raised {{}}")
        return seen.but(failed_again=told.message, look_at=told.look_at)


def _callable(answer: Callable, case: Case) -> tuple[Callable, Any]:
    """What to call, and the instance whose state it has (None for a function)."""
    if case.init is None:
        return answer, None
    instance = _called(answer, *copied(case.init))
    if case.redrawn and isinstance(instance, nn.Module):
        for parameter in instance.parameters():
            nn.init.normal_(parameter)
    return getattr(instance, case.method), instance


def _called(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Calls an answer, always with the same random numbers; `explain` knows by this frame where its lines begin."""
    torch.manual_seed(0)
    return function(*args, **kwargs)


def _with_written(result: Any, inputs: "_Inputs", case: Case) -> Any:
    return (result, *(vars(inputs.args[i]) for i in case.writes)) if case.writes else result


def _state(instance: Any) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in instance.state_dict().items()} if isinstance(
        instance, nn.Module) else {}


def _load(instance: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies `state` in if all names and shapes agree. Returns the state that the instance has then.

    Buffers of the instance's own, such as a table of indices, stay and are left out.
    """
    own = _state(instance)
    if state and {n: x.shape for n, x in own.items() if n in state} == {n: x.shape for n, x in state.items()}:
        if all(name in state for name, _ in instance.named_parameters()):
            instance.load_state_dict(state, strict=False)
            return {name: x for name, x in _state(instance).items() if name in state}
    return own


class _Inputs:
    """Copies of the inputs of a case, and their floating tensors by position or name."""

    def __init__(self, case: Case, need_gradients: bool = False):
        self.args, self.kwargs = copied(case.args), copied(case.kwargs)
        self.all = {**{str(i): x for i, x in enumerate(self.args)}, **self.kwargs}
        self.tensors = dict(_tensors(self.all))
        self.before = contents(self.all)
        self.modules = [x for x in (*self.args, *self.kwargs.values()) if isinstance(x, nn.Module)]
        if need_gradients:
            for x in self.leaves().values():
                x.requires_grad_()

    def leaves(self) -> dict[str, Tensor]:
        return {key: x for key, x in self.tensors.items() if x.is_floating_point()}

    def changed(self, function: Callable) -> tuple[str, ...]:
        names = self.names(function)
        return tuple(names[key] for key, x in self.all.items() if not has_still(x, self.before[key]))

    def names(self, function: Callable) -> dict[str, str]:
        """What the function calls each of its inputs, and each tensor in them."""
        if getattr(function, "__func__", None) is nn.Module.__call__:
            function = function.__self__.forward  # type: ignore[attr-defined]
        try:
            words = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            words = []
        positions = {str(i): word for i, word in enumerate(words)}
        return {key: positions.get(key.split(".")[0], key) for key in (*self.all, *self.tensors)}


def _gradients(result: Any, inputs: _Inputs, instance: Any) -> dict[str, Tensor]:
    """The gradient of the results, each weighted with fixed random numbers, for each input and parameter it reaches."""
    generator, total = torch.Generator().manual_seed(0), None
    for leaf in _results(result):
        weight = torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf.dtype)
        if leaf.requires_grad:
            part = (leaf * weight).sum().double()
            total = part if total is None else total + part
    leaves = inputs.leaves()
    for module in (*inputs.modules, instance):
        if isinstance(module, nn.Module):
            leaves |= {f"parameter {n}": p for n, p in module.named_parameters() if p.requires_grad}
    if total is None or not leaves:
        return {}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {key: x.detach().clone() for key, x in zip(leaves, found, strict=True) if x is not None}


def _results(value: Any) -> Iterator[Tensor]:
    """The floating tensors of a result, in order; those in a dict are for watching."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, tuple | list):
        for x in value:
            yield from _results(x)


def _tensors(values: dict, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, x in values.items():
        if isinstance(x, Tensor):
            yield f"{prefix}{key}", x
        elif isinstance(x, tuple | list):
            yield from _tensors(dict(enumerate(x)), f"{prefix}{key}.")
        elif isinstance(x, dict):
            yield from _tensors(x, f"{prefix}{key}.")


def copied(x: Any) -> Any:
    """A copy that shares no memory, of inputs of any kind. A tensor keeps its strides: `view` fails where it would."""
    if isinstance(x, Tensor):
        x = x.detach()
        return x.clone() if 0 in x.stride() else torch.empty_strided(x.shape, x.stride(), dtype=x.dtype).copy_(x)
    if isinstance(x, torch.Generator):
        return torch.Generator(x.device).set_state(x.get_state())
    if type(x) in (tuple, list):
        return type(x)(copied(y) for y in x)
    return {key: copied(y) for key, y in x.items()} if type(x) is dict else copy.deepcopy(x)


def plain(x: Any) -> tuple[str, Any]:
    """(kind, value) of a result, the same for its parts: tensors, numbers, strings and tuples alone, safe to load."""
    if isinstance(x, Tensor):
        return "tensor", x.detach().clone()
    if isinstance(x, np.ndarray):
        return "numpy array", None
    if isinstance(x, bool | np.bool_):
        return "bool", bool(x)
    if isinstance(x, numbers.Integral):
        return "int", int(x)
    if isinstance(x, numbers.Real):
        return "float", float(x)
    if isinstance(x, tuple | list):
        return "tuple", tuple(plain(y) for y in x)
    if isinstance(x, dict):
        return "dict", {str(key): plain(y) for key, y in x.items()}
    return type(x).__name__, x if isinstance(x, str) else None


def _classes(error: Exception) -> tuple[str, ...]:
    return tuple(c.__name__ for c in type(error).__mro__ if issubclass(c, Exception))
