"""Runs a learner's code so that it does no harm: quiet, limited in time, global state put back."""

import contextlib
import functools
import io
import itertools
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvlib.course.interrupts import Interrupts, TimeUp

CALLERS = {"learners_code": "sandbox.py", "_called": "cases.py"}  # functions that call an answer, and their files
MODULE_CALL = "torch/nn/modules/module.py"
TIME_LIMIT = 10.0  # seconds for one check; a check that is right takes well under one


class NotYet(Exception):
    """Why an answer is not right yet. Its text is one line."""

    def __init__(self, message: str, look_at: str = ""):
        self.message, self.look_at = _one_line(message), _one_line(look_at)
        sentences = [self.message] + ([f"Look: {self.look_at}"] if look_at else [])
        super().__init__(" ".join(s if s[-1:] in ".?!" else f"{s}." for s in sentences))


class Unusable(NotYet):
    """An answer that ended a check in an error of the check's own."""


def guarded(examine: Callable[[Any], None], answer: Callable) -> NotYet | None:
    """Calls `examine(answer)`. Returns None, or what it raised in one line, whatever that was.

    Raises KeyboardInterrupt where the user has interrupted it, and nothing else.
    """
    watch, interrupts = Watch(), Interrupts(TIME_LIMIT)
    problem = None
    with _quiet(), same_room():
        try:
            with watch.before(answer) as watched, interrupts.watched():
                examine(watched)
        except NotYet as found:
            problem = found
        except TimeUp:
            problem = NotYet(f"stopped: it takes over {TIME_LIMIT:g} s", "is there a loop that does not end?")
        except BaseException as error:  # of the answer's own doing: SystemExit and KeyboardInterrupt, too
            problem = _explain(error, watch.result)
    if interrupts.by_user:
        raise KeyboardInterrupt
    return problem


class Watch:
    """Stands before a learner's function or class: keeps the last result, refuses a change to an argument."""

    def __init__(self):
        self.result: Any = NotImplemented  # nothing was returned so far
        self.inside = False  # the learner's own calls among themselves are not watched

    @contextlib.contextmanager
    def before(self, answer: Callable) -> Iterator[Callable]:
        """Gives what to call: for a function another that calls it; a class itself, its methods exchanged meanwhile."""
        if not isinstance(answer, type):
            yield self._watched(answer)
            return
        methods = {name: method for name, method in vars(answer).items() if isinstance(method, FunctionType)}
        try:
            for name, method in methods.items():
                setattr(answer, name, self._watched(method, keep=name != "__init__"))
            yield answer
        finally:
            for name, method in methods.items():
                setattr(answer, name, method)

    def _watched(self, function: Callable, keep: bool = True) -> Callable:
        @functools.wraps(function)
        def learners_code(*args, **kwargs):
            if self.inside:
                return function(*args, **kwargs)
            before = contents((args, kwargs))
            self.inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                self.inside = False
            if not has_still((args, kwargs), before):
                raise NotYet("it changes its input in place", "make a new tensor, or work on a clone")
            if keep:
                self.result = result
            return result

        return learners_code


def contents(x: Any) -> Any:
    """What an input holds now, for `has_still`: copies of arrays, also in lists and dicts. Other objects stay."""
    if isinstance(x, Tensor | np.ndarray):
        return torch.as_tensor(x).detach().nan_to_num().clone()  # a NaN would differ from itself
    if isinstance(x, list | tuple):
        return [contents(y) for y in x]
    return {key: contents(y) for key, y in x.items()} if isinstance(x, dict) else x


def has_still(x: Any, before: Any) -> bool:
    """Whether an input holds what it held when `before = contents(x)` was taken."""
    if isinstance(x, Tensor | np.ndarray):
        return isinstance(before, Tensor) and torch.equal(contents(x), before)
    if isinstance(x, list | tuple):
        return isinstance(before, list) and len(x) == len(before) and all(map(has_still, x, before))
    if isinstance(x, dict):
        return isinstance(before, dict) and list(x) == list(before) and all(has_still(x[key], before[key]) for key in x)
    return x is before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that the block prints or displays is seen."""
    if sys.modules.get("IPython"):  # without it there is nowhere to display
        from IPython.utils.capture import capture_output

        with capture_output():
            yield
    else:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield


@contextlib.contextmanager
def same_room() -> Iterator[None]:
    """Fixed seeds, gradients on; afterwards random states, grad mode and default dtype are as before."""
    dtype, numpy_state, python_state = torch.get_default_dtype(), np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.default_generator.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def explain(error: BaseException, form: str = "it raised {}") -> NotYet:
    """An error of the answer's own doing, put into `form`, with the learner's line; a stub's is "not written yet"."""
    text = _text(error)
    if text.startswith("NotImplementedError: exercise "):
        return NotYet("not written yet")
    own = _own_frames(error) or []
    lines = [frame for frame in own if frame.line and frame.filename == own[0].filename]
    return NotYet(form.format(text), f"line {lines[-1].lineno}, `{lines[-1].line}`" if lines else "")


def _explain(error: BaseException, result: Any) -> NotYet:
    if _own_frames(error) is not None or _text(error).startswith("NotImplementedError: exercise "):
        return explain(error)
    if result is None:
        return NotYet("it returned None", "is there a `return`?")
    if result is NotImplemented:
        return Unusable(f"the check could not use it: {_text(error)}")
    return Unusable(f"the check could not use what it returned, {_described(result)}: {_text(error)}")


def _text(error: BaseException) -> str:
    return " ".join(traceback.format_exception_only(error)).strip()  # works even if its own `__str__` raises


def _own_frames(error: BaseException) -> list[traceback.FrameSummary] | None:
    """The frames of the learner's code and of what it calls; None if it was not the learner's code that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    calls = [i for i, f in enumerate(frames) if f.filename.endswith(CALLERS.get(f.name, ".not"))]
    if not calls:
        return None
    return list(itertools.dropwhile(lambda f: f.filename.endswith(MODULE_CALL), frames[calls[-1] + 1 :]))


def _described(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"an array of shape {tuple(value.shape)} and {value.dtype}".replace("torch.", "")
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"


def _one_line(text: str, limit: int = 200) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
