"""What was observed of an answer, and how it differs from what the reference did, in words."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Plain = tuple[str, Any]  # a kind ("tensor", "int", "tuple", "dict" ...) and a value, whose parts are Plain again
NOTHING: Plain = ("NoneType", None)
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Observation:
    """What one call of an answer did. Fields are plain data: `torch.load(..., weights_only=True)` reads `vars(it)`."""

    raised: tuple[str, ...] = ()
    """The class of the exception that it raised, and the classes above it."""
    said: str = ""
    look_at: str = ""
    promised: str = ""
    """The class of the exception that was asked for."""
    result: Plain = NOTHING
    again: Plain = NOTHING
    """The result of a second call, of the same instance if it is a class."""
    failed_again: str = ""
    moved: Plain = NOTHING
    """The result of a third call, after the parameters of the instance have changed."""
    alone: Plain = NOTHING
    """The result for the first of the batch alone, where the case has a batch."""
    gradients: dict[str, Tensor] | None = None
    """By position of the input or name of the parameter, where one arrives; None if they are not compared."""
    names: dict[str, str] = field(default_factory=dict)
    """What the answer calls its inputs, by position."""
    changed: tuple[str, ...] = ()
    """Inputs that it has changed."""
    state: dict[str, Tensor] = field(default_factory=dict)
    """Parameters and buffers of the instance before the first call, and after it."""
    state_after: dict[str, Tensor] = field(default_factory=dict)
    loose: bool = False

    def but(self, **changes: Any) -> "Observation":
        return dataclasses.replace(self, **changes)


def difference(expected: Observation, found: Observation) -> str | None:
    """What is wrong with `found`, in words; None if nothing is.

    Where the two are instances of classes whose states have other names or shapes, values cannot be compared, and
    shapes, dtypes and types alone are.
    """
    if expected.promised:
        if expected.promised in found.raised:
            return None
        return f"it raises {found.raised[0] if found.raised else 'nothing'} where {expected.promised} is promised"
    if found.raised:
        return found.said
    if found.changed:
        return f"it changes its input {found.changed[0]} in place"
    same_state = _shapes(expected.state) == _shapes(found.state)
    compare = _Compare(expected.loose, same_state)
    words = compare(expected.result, found.result)
    if expected.alone != NOTHING:
        alone = compare(expected.alone, found.alone)
        if words and not alone:
            return f"each is right alone, wrong beside others: {words}"
        if alone and not words:
            return f"right in the batch, and not for its first alone: {alone}"
    if words:
        return words
    if found.failed_again:
        return found.failed_again
    if expected.gradients is not None and same_state:
        words = _gradient(expected, found.gradients or {})
        if words:
            return f"the value is right, its gradient {words}"
    words = compare(expected.again, found.again)
    if words:
        return f"a second call gives another result: {words}"
    words = compare(expected.moved, found.moved)
    if words:
        return f"right until the parameters change: {words}"
    if same_state:
        for name, tensor in expected.state_after.items():
            words = compare(("tensor", tensor), ("tensor", found.state_after[name]))
            if words:
                return f"`{name}` after the call: {words}"
    return None


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: x.shape for name, x in state.items()}


@dataclass(frozen=True)
class _Compare:
    loose: bool
    values: bool  # or shapes, dtypes and types alone

    def __call__(self, expected: Plain, found: Plain, place: str = "") -> str | None:
        kind, value = expected
        other_kind, other = found
        if self.loose and kind in ("int", "float") and other_kind == "tensor" and other.ndim == 0:
            other_kind, other = ("float" if other.is_floating_point() else "int"), other.item()
        if kind == "float" and other_kind == "int":
            other_kind = kind
        if other_kind != kind:
            return f"{place}{_named(other_kind)} where {_named(kind)} is asked"
        if kind == "tuple":
            if len(value) != len(other):
                return f"{place}{len(other)} results where {len(value)} are asked"
            numbered = zip(value, other, strict=True)
            return _first(self(x, y, f"{place}result {i}: ") for i, (x, y) in enumerate(numbered, 1))
        if kind == "dict":
            if set(value) != set(other):
                return f"{place}the names {_listed(other)} where {_listed(value)} are asked"
            return _first(self(x, other[name], f"{place}{name}: ") for name, x in value.items())
        words = self.tensors(value, other) if kind == "tensor" else self.numbers(value, other)
        return place + words if words else None

    def numbers(self, expected: Any, found: Any) -> str | None:
        if not self.values or expected is None:
            return None
        if isinstance(expected, float):
            words = _numbers(torch.tensor(expected, dtype=torch.float64), torch.tensor(found, dtype=torch.float64))
            return words and f"{found:.6g} where {expected:.6g} is right"
        return None if expected == found else f"{found} where {expected} is right"

    def tensors(self, expected: Tensor, found: Tensor) -> str | None:
        if expected.shape != found.shape:
            return f"shape {tuple(found.shape)} where {tuple(expected.shape)} is asked"
        free = {torch.float32, torch.float64} if self.loose else set()
        if expected.dtype != found.dtype and not {expected.dtype, found.dtype} <= free:
            return f"{_dtype(found)} where {_dtype(expected)} is asked"
        return _numbers(expected, found) if self.values else None


def _numbers(expected: Tensor, found: Tensor) -> str | None:
    right = _close(expected, found, _scale([expected]))
    if right.all():
        return None
    wrong = ~right
    if expected.is_floating_point():
        factor = _factor(expected, found)
        if factor is not None and expected.numel() > 1:
            return "the values are all 0" if factor == 0 else f"the values are {_size(factor)}"
    at = tuple(wrong.nonzero()[0].tolist())
    one = f"{_number(found[at])} where {_number(expected[at])} is right"
    return f"{int(wrong.sum())} of {expected.numel()} values are wrong, the first is {one}" if at else one


def _gradient(expected: Observation, found: dict[str, Tensor]) -> str | None:
    wanted = expected.gradients or {}
    scale = _scale(list(wanted.values()))
    for key in dict.fromkeys([*wanted, *found]):
        to = expected.names.get(key, key)
        e = wanted[key] if key in wanted else torch.zeros_like(found[key])
        f = found[key] if key in found else torch.zeros_like(e)
        if e.shape == f.shape and _close(e, f, scale).all():
            continue
        if not e.any():
            return f"reaches {to}, which should get none"
        factor = _factor(e, f)
        if factor == 0:
            return f"does not reach {to}"
        return f"with respect to {to} is {'not the right one' if factor is None else _size(factor)}"
    return None


def _scale(tensors: list[Tensor]) -> float:
    finite = [x.double()[x.isfinite()].abs().max() for x in tensors if x.isfinite().any()]
    return float(max(finite, default=torch.tensor(0.0)))


def _close(expected: Tensor, found: Tensor, scale: float) -> Tensor:
    """Where two tensors agree: up to rounding if they are floats. Infinite and undefined numbers agree with their own.
    """
    if not expected.is_floating_point():
        return expected == found
    tolerance = max(TOLERANCE[x.dtype] for x in (expected, found))
    return torch.isclose(found.double(), expected.double(), rtol=tolerance, atol=tolerance / 10 * scale, equal_nan=True)


def _factor(expected: Tensor, found: Tensor) -> float | None:
    """The number by which all of `expected` must be multiplied to be `found`, if there is one."""
    e, f = expected.double(), found.double()
    if not (e.isfinite().all() and f.isfinite().all() and e.any()):
        return None
    factor = float((e * f).sum() / e.square().sum())
    factor = 0.0 if not f.any() else factor
    return factor if torch.allclose(f, factor * e, rtol=1e-3, atol=1e-4 * _scale([f])) else None


def _size(factor: float) -> str:
    words = {-1.0: "of the wrong sign", 0.5: "half as large", 2.0: "twice as large"}
    return next((text for value, text in words.items() if abs(factor - value) < 1e-3), f"{factor:.3g} times as large")


def _first(words: Any) -> str | None:
    return next((x for x in words if x), None)


def _listed(names: dict) -> str:
    return ", ".join(sorted(names)) or "none"


def _named(kind: str) -> str:
    known = {"NoneType": "None", "tuple": "a tuple or list"}
    return known.get(kind) or f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _number(x: Tensor) -> str:
    return f"{x.item():.4g}" if x.is_floating_point() else str(x.item())
