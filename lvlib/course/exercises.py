"""Checks of the exercises: one plain line each, and the notebook goes on whatever the learner wrote.

A check is written beside its wrong answers, in `lvlib/course/checks/cNN.py`:

    @exercise("2.3", reference=quantize.straight_through, wrong={"worth z, not q": lambda z, q: z, ...})
    def _(fn, expect):
        z, q = torch.randn(2, 4, 5)
        expect(torch.equal(fn(z, q), q), "worth z, not q", look_at="start from z and add something")

`fn` is the learner's object (or the reference, or a wrong answer: the tests run all of them). The body names mistakes.
After it comes one pass that is the same for all: on each of the exercise's cases the answer must do what the reference
does (`lvlib.course.cases`).
"""

import dataclasses
import functools
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from lvlib.course import checks
from lvlib.course.cases import Case, Draw, Observation, difference, observe
from lvlib.course.sandbox import NotYet, Unusable, guarded


@dataclass(frozen=True, eq=False)
class Exercise:
    """`body(fn, expect)` judges an answer; `wrong` maps the messages it gives to answers that earn them."""

    id: str
    reference: Callable
    wrong: dict[str, Callable]
    body: Callable
    make_cases: Callable[[Draw], Iterable[Case]]

    @property
    def name(self) -> str:
        return self.reference.__name__

    def cases(self, seed: int = 0) -> list[Case]:
        """What answers are tried on. Another seed changes numbers and sizes, but for the notebook's own sizes."""
        first, *others = self.make_cases(Draw(seed))
        again = next(iter(self.make_cases(Draw(seed + 1))))  # a result kept for a shape is not right for all of it
        return [first, dataclasses.replace(again, about=f"{first.about} with other numbers"), *others]

    @functools.cached_property
    def expected(self) -> list[tuple[Case, Observation]]:
        """The cases, and what the reference does on each."""
        return [(case, observe(self.reference, case)) for case in self.cases()]


NO_BODY = {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__",
           "__static_attributes__"}  # what a class has though nothing was written into it
_registry: dict[str, Exercise] = {}
_passed: dict[str, bool] = {}  # what this session has checked


def exercise(
    id: str,
    reference: Callable,
    wrong: dict[str, Callable],
    cases: Callable[[Draw], Iterable[Case]],
) -> Callable:
    """Registers the decorated `body(fn, expect)` as the check of an exercise.

    `wrong` maps message -> callable, three or more. The tests hold that the reference passes and that each
    wrong answer gets exactly its message. `cases(draw)` gives what answers are compared with the reference on.
    """
    if id in _registry:
        raise ValueError(f"exercise {id} has two checks")

    def register(body: Callable) -> Callable:
        _registry[id] = Exercise(id, reference, wrong, body, cases)
        return body

    return register


def exercises_of(notebook: int) -> dict[str, Exercise]:
    """The exercises of one notebook by id, in order. Empty where `checks/cNN.py` does not exist."""
    module = f"{checks.__name__}.c{notebook:02d}"
    if importlib.util.find_spec(module):
        importlib.import_module(module)
    found = (e for e in _registry.values() if int(e.id.split(".")[0]) == notebook)
    return {e.id: e for e in sorted(found, key=lambda e: int(e.id.split(".")[1]))}


def notebooks_with_checks() -> list[int]:
    names = (m.name for m in pkgutil.iter_modules(checks.__path__))
    return sorted(int(name[1:]) for name in names if re.fullmatch(r"c\d\d", name))


def expect(condition: Any, message: str, look_at: str = "") -> None:
    """Ends a check with `message`, and a hint on where to look, unless `condition` holds."""
    if not condition:
        raise NotYet(message, look_at)


def examine(exercise: Exercise, answer: Any) -> NotYet | None:
    """What is wrong with an answer; None if it is right. Raises nothing but the user's own interrupt."""
    wants_class = isinstance(exercise.reference, type)
    if not callable(answer) or (wants_class and issubclass(type(answer), nn.Module)):
        kind = "class" if wants_class else "function"
        return NotYet(f"this is of type {type(answer).__name__}, not a {kind}", "the name alone, no call")
    problem = guarded(lambda fn: exercise.body(fn, expect), answer)
    if problem and not isinstance(problem, Unusable):
        return problem
    compared = guarded(lambda fn: _compare(exercise, fn), answer)  # it says better what cannot be used
    return compared or (problem if wants_class else None)


def _compare(exercise: Exercise, answer: Callable) -> None:
    """Tries an answer on all cases. Raises NotYet, in words, where it does not do what the reference does."""
    last_right = None
    for case, expected in exercise.expected:
        found = observe(answer, case, expected.state)
        words = difference(expected, found)
        right = f"right for {last_right}, " if last_right else ""
        look_at = found.look_at if words in (found.said, found.failed_again) else ""
        expect(not words, f"{right}wrong for {case.about}: {words}", look_at)
        last_right = case.about


def is_lvlibs_own(exercise: Exercise, answer: Any) -> bool:
    """Whether an answer is not the learner's work: the reference, or anything else that lvlib defines.

    Nor is that under another name: a partial, another function of the same code, a subclass that adds nothing.
    """
    while type(answer) is functools.partial:
        answer = answer.func
    try:
        if isinstance(answer, type):
            answer = next(c for c in answer.__mro__ if set(vars(c)) - NO_BODY)
        code = getattr(answer, "__code__", None)
        module = str(getattr(answer, "__module__", None))
    except Exception:  # a class may forbid to look at it
        return False
    same_code = code is not None and code is getattr(exercise.reference, "__code__", None)
    return answer is exercise.reference or same_code or module.split(".")[0] == "lvlib"


def check(id: str, answer: Any) -> Any:
    """Checks an answer, prints one line, and returns the answer if it is right, lvlib's if it is not."""
    found = _find(id)
    if found is None:
        print(_no_such_exercise(id))
        return answer
    own = NotYet("this is lvlib's own, and the exercise is not done", "run the cell with your answer again")
    problem = own if is_lvlibs_own(found, answer) else examine(found, answer)
    _passed[found.id] = problem is None
    if problem is None:
        print(f"{id} {found.name}  OK")
        return answer
    print(f"{id} {found.name}  NOT YET: {problem} (going on with lvlib's)")
    return found.reference


def progress() -> None:
    """Prints one line per exercise of the notebooks checked in this session, and how many are done."""
    numbers = sorted({int(id.split(".")[0]) for id in _passed})
    known = [e for number in numbers for e in exercises_of(number).values()]
    for e in known:
        print(f"{e.id} {e.name}  {'done' if _passed.get(e.id) else 'not yet'}")
    print(f"{sum(_passed.values())} of {len(known)} done" if known else "No exercise was checked yet.")


def _find(id: str) -> Exercise | None:
    number = re.fullmatch(r"(\d+)\.\d+", str(id))
    return exercises_of(int(number[1])).get(str(id)) if number else None


def _no_such_exercise(id: str) -> str:
    number = re.match(r"\d+", str(id))
    ids = list(exercises_of(int(number[0]))) if number else []
    if number and ids:
        return f"{id}: there is no such exercise. Notebook {number[0]} has {', '.join(ids)}."
    numbers = ", ".join(str(n) for n in notebooks_with_checks())
    return f"{id}: there is no such exercise. The notebooks with exercises are {numbers or 'none'}."
