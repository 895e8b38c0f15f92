"""Runs a learner's code so that it does no harm: quiet, limited in time, global state put back."""

import contextlib
import functools
import random
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
import torch
from IPython.utils.capture import capture_output
from torch import Tensor

TIME_LIMIT = 10.0  # seconds for one check; a check that is right takes well under one


class NotYet(Exception):
    """Why an answer is not right yet. Its text is one line."""

    def __init__(self, message: str, look_at: str = ""):
        self.message, self.look_at = _one_line(message), _one_line(look_at)
        sentences = [self.message] + ([f"Look: {self.look_at}"] if look_at else [])
        super().__init__(" ".join(s if s[-1:] in ".?!" else f"{s}." for s in sentences))


class TimeUp(BaseException):
    """Not an Exception: a learner's `except Exception` must not catch it."""


def guarded(examine: Callable[[Any], None], answer: Callable) -> NotYet | None:
    """Calls `examine(answer)`. Returns None, or what it raised in one line. Raises KeyboardInterrupt only."""
    watch = Watch()
    try:
        with capture_output(), _same_room_after(), _time_limit(TIME_LIMIT):
            examine(watch.wrap(answer))
    except NotYet as problem:
        return problem
    except TimeUp:
        return NotYet(f"stopped after {TIME_LIMIT:g} s", "is there a loop that does not end?")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _explain(error, watch.result)
    return None


class Watch:
    """Stands before a learner's function or class: keeps the last result, refuses a change to an argument."""

    def __init__(self):
        self.result: Any = NotImplemented  # nothing was returned so far
        self.inside = False  # the learner's own calls among themselves are not watched

    def wrap(self, answer: Callable) -> Callable:
        if isinstance(answer, type):
            methods = {name: m for name, m in vars(answer).items() if isinstance(m, FunctionType)}
            watched = {name: self._watched(m, keep=name != "__init__") for name, m in methods.items()}
            return type(answer)(answer.__name__, (answer,), watched)
        return self._watched(answer)

    def _watched(self, function: Callable, keep: bool = True) -> Callable:
        @functools.wraps(function)
        def learners_code(*args, **kwargs):
            if self.inside:
                return function(*args, **kwargs)
            arrays = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor | np.ndarray)]
            before = [_copy(x) for x in arrays]
            self.inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                self.inside = False
            if not all(torch.equal(_copy(x), old) for x, old in zip(arrays, before, strict=True)):
                raise NotYet("it changes its input in place", "make a new tensor, or work on a clone")
            if keep:
                self.result = result
            return result

        return learners_code


def _copy(x: Tensor | np.ndarray) -> Tensor:
    return torch.as_tensor(x).detach().nan_to_num()  # a NaN would differ from itself


@contextlib.contextmanager
def _same_room_after() -> Iterator[None]:
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


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeUp in the block after so many seconds. No limit outside the main thread and on Windows."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        raise TimeUp

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # and again: a bare `except:` may swallow one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _explain(error: BaseException, result: Any) -> NotYet:
    frames = traceback.extract_tb(error.__traceback__)
    calls = [i for i, f in enumerate(frames) if (f.name, f.filename) == ("learners_code", __file__)]
    if type(error) is NotImplementedError and str(error).startswith("exercise "):
        return NotYet("not written yet")
    told = " ".join(traceback.format_exception_only(error)).strip()  # works even if its own `__str__` raises
    if calls:
        own = frames[calls[-1] + 1 :]
        lines = [frame for frame in own if frame.line and frame.filename == own[0].filename]
        return NotYet(f"it raised {told}", f"line {lines[-1].lineno}, `{lines[-1].line}`" if lines else "")
    if result is None:
        return NotYet("it returned None", "is there a `return`?")
    if result is NotImplemented:
        return NotYet(f"the check could not use it: {told}")
    return NotYet(f"the check could not use what it returned, {_described(result)}: {told}")


def _described(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"an array of shape {tuple(value.shape)} and {value.dtype}".replace("torch.", "")
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"


def _one_line(text: str, limit: int = 200) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
