"""Cases for an exercise whose check declares none: the calls that the check makes, of the reference."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from lvlib.course.cases import Case, copied
from lvlib.course.exercises import Exercise, examine


def recorded(exercise: Exercise) -> list[Case]:
    """One case for each call of the function, or of a public method of the class, that the check's body makes."""
    found: list[Case] = []
    reference = exercise.reference
    if isinstance(reference, type):
        examine(exercise, _recording_class(reference, found))
    else:
        examine(exercise, _recording(reference, found))
    return found


def _recording(function: Callable, found: list[Case], method: str = "", inside: list | None = None) -> Callable:
    running: list = [] if inside is None else inside

    @functools.wraps(function)
    def call(*args, **kwargs):
        own, rest = (args[:1], args[1:]) if method else ((), args)
        if running:  # its own calls among themselves are not the check's
            return function(*args, **kwargs)
        init = own[0].__dict__["_init"] if method else None
        case = Case(f"call {len(found) + 1} of the check", copied(rest), copied(kwargs), init, method or "__call__")
        running.append(case)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            case = dataclasses.replace(case, raises=type(error))
            raise
        finally:
            running.pop()
            found.append(case)

    return call


def _recording_class(reference: Any, found: list[Case]) -> type:
    inside: list[Case] = []

    def __init__(self, *args, **kwargs):
        bound = inspect.signature(reference).bind(*args, **kwargs)
        bound.apply_defaults()
        init = copied(bound.args)
        inside.append(Case("made"))
        try:
            reference.__init__(self, *args, **kwargs)
        finally:
            inside.pop()
        self.__dict__["_init"] = init

    methods = {
        name: _recording(method, found, "__call__" if name == "forward" else name, inside)
        for name, method in vars(reference).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
    return type(reference.__name__, (reference,), {"__init__": __init__, **methods})
