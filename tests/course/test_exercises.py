"""What a check prints and returns, whatever a learner hands over."""

import asyncio
import functools
import random
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lvlib.course import check, exercises, progress, sandbox
from lvlib.course.cases import Case


def double(x: Tensor) -> Tensor:
    return 2 * x


class Scale(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.fixture(autouse=True)
def two_exercises(monkeypatch):
    monkeypatch.setattr(exercises, "_registry", {})
    monkeypatch.setattr(exercises, "_passed", {})
    register()


def register():
    @exercises.exercise("98.2", reference=double, wrong={}, cases=lambda draw: [
        Case("3 numbers", (draw.normal(3),))])
    def _(fn, expect):
        x = torch.randn(3, requires_grad=True)
        out = fn(x)
        expect(out.shape == x.shape, "the shape changes", look_at="what do you sum over?")
        expect(torch.allclose(out, double(x)), "not the double")
        expect(out.requires_grad, "no gradient")

    @exercises.exercise("98.10", reference=Scale, wrong={}, cases=lambda draw: [
        Case("2 numbers", (draw.normal(2),), init=(3.0,))])
    def _(cls, expect):
        layer, x = cls(3.0), torch.ones(2)
        expect(torch.equal(layer(x), torch.full((2,), 3.0)), "not scaled", look_at="forward")
        expect(isinstance(layer, nn.Module), "not a module")


def line_of(capsys, id, answer, **options):
    """Checks an answer; returns what came back and the only line printed."""
    returned = check(id, answer, **options)
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1 and out.endswith("\n")
    return returned, out[:-1]


def test_right_answers_come_back(capsys):
    def mine(x):
        return x + x

    class Mine(Scale):
        def forward(self, x):
            return x * self.factor

    assert line_of(capsys, "98.2", mine) == (mine, "98.2 double  OK")
    assert line_of(capsys, "98.10", Mine) == (Mine, "98.10 Scale  OK")


def test_a_failed_expectation_is_one_line(capsys):
    hinted = "98.2 double  NOT YET: the shape changes. Look: what do you sum over? (going on with lvlib's)"
    plain = "98.2 double  NOT YET: not the double. (going on with lvlib's)"
    assert line_of(capsys, "98.2", lambda x: x.sum()) == (double, hinted)
    assert line_of(capsys, "98.2", lambda x: 3 * x) == (double, plain)


def stub(x):
    raise NotImplementedError("exercise 98.2")


def raises(x):
    raise KeyError("no such\nthing")


def leaves(x):
    sys.exit(3)


class OwnError(BaseException):
    pass


class Speechless(Exception):
    def __str__(self):
        raise ValueError


def speechless(x):
    raise Speechless


def raising(error):
    def answer(x):
        raise error

    return answer


def in_place(x):
    return x.data.mul_(2)


def index_error(x):
    return x[0, 0]


MISBEHAVIOUR = [
    (stub, "not written yet."),
    (raises, "it raised KeyError: 'no such\\nthing'. Look: line"),
    (leaves, "it raised SystemExit: 3. Look: line"),
    *((raising(error), f"it raised {text}. Look: line") for error, text in [
        (KeyboardInterrupt, "KeyboardInterrupt"), (GeneratorExit, "GeneratorExit"), (StopIteration, "StopIteration"),
        (OwnError, "test_exercises.OwnError"), (asyncio.CancelledError, "asyncio.exceptions.CancelledError"),
        (ExceptionGroup("two", [OSError(), OSError()]), "ExceptionGroup: two (2 sub-exceptions)"),
        (NotImplementedError(Speechless()), "NotImplementedError: <exception str() failed>")]),
    (speechless, "it raised test_exercises.Speechless: <exception str() failed>. Look: line"),
    (in_place, "it changes its input in place. Look: make a new tensor, or work on a clone."),
    (index_error, "it raised IndexError: too many indices for tensor of dimension 1. Look: line"),
    (lambda: None, "it raised TypeError: "),
    (lambda x: None, "it returned None. Look: is there a `return`?"),
    (lambda x: "abc", "wrong for 3 numbers: a str where a tensor is asked."),
    (lambda x: (x, x), "wrong for 3 numbers: a tuple or list where a tensor is asked."),
    (lambda x: (2 * x).to(torch.float64), "wrong for 3 numbers: float64 where float32 is asked."),
    (7, "this is of type int, not a function. Look: the name alone, no call."),
]  # fmt: skip


@pytest.mark.parametrize("answer, message", MISBEHAVIOUR, ids=[m[:30] for _, m in MISBEHAVIOUR])
def test_misbehaviour_is_one_clear_line(capsys, answer, message):
    returned, line = line_of(capsys, "98.2", answer)
    assert returned is double
    assert line.startswith(f"98.2 double  NOT YET: {message}")
    assert line.endswith("(going on with lvlib's)")


def test_an_error_names_the_learners_own_line(capsys):
    _, line = line_of(capsys, "98.2", index_error)
    assert "`return x[0, 0]`" in line


def test_long_errors_are_cut(capsys):
    def long(x):
        raise ValueError("word " * 1000)

    assert len(line_of(capsys, "98.2", long)[1]) < 400


def test_the_notebook_goes_on_after_an_answer_that_raises_keyboard_interrupt():
    code = (f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_exercises as t\n"
            "t.register(); t.check('98.2', t.raising(KeyboardInterrupt)); print('went on')")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.endswith("(going on with lvlib's)\nwent on\n"), run.stderr


# ---- time, and the user's own interrupt


def hangs(x):
    while True:
        try:
            len("abc")
        except Exception:
            pass


def waits(x):
    while True:
        time.sleep(0.01)


def swallows_once(x):
    try:
        time.sleep(60)
    except:  # noqa: E722
        time.sleep(60)


@pytest.fixture
def short_limit(monkeypatch):
    monkeypatch.setattr(sandbox, "TIME_LIMIT", 0.2)


STOPPED = ("98.2 double  NOT YET: stopped: it takes over 0.2 s. Look: is there a loop that does not end? "
           "(going on with lvlib's)")


@pytest.mark.parametrize("answer", [hangs, waits, swallows_once])
def test_what_does_not_end_is_stopped(capsys, short_limit, answer):
    threads = threading.active_count()
    assert line_of(capsys, "98.2", answer) == (double, STOPPED)
    assert threading.active_count() == threads and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("answer", [hangs, waits])
def test_it_is_stopped_on_windows_too(capsys, short_limit, monkeypatch, answer):
    for name in ("SIGALRM", "setitimer", "pthread_kill"):
        monkeypatch.delattr(signal, name, raising=False)
    assert line_of(capsys, "98.2", answer) == (double, STOPPED)


def test_it_is_stopped_where_ctrl_c_is_ignored(capsys, short_limit):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background
    try:
        assert line_of(capsys, "98.2", hangs) == (double, STOPPED)
        assert line_of(capsys, "98.2", lambda x: signal.raise_signal(signal.SIGINT) or 2 * x)[1].endswith("OK")
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_busy_machine_stops_nobody(capsys, short_limit):
    def slow(x):
        time.sleep(0.3)  # others compute meanwhile
        return 2 * x

    assert line_of(capsys, "98.2", slow) == (slow, "98.2 double  OK")


def test_outside_the_main_thread_a_check_works_without_a_limit(capsys, short_limit):
    answers = lambda x: x + x, raising(KeyboardInterrupt)
    threads = [threading.Thread(target=check, args=("98.2", answer)) for answer in answers]
    for thread in threads:
        thread.start()
        thread.join()
    assert [line[13:30] for line in capsys.readouterr().out.splitlines()] == ["OK", "NOT YET: it raise"]


def interrupted(x):
    signal.raise_signal(signal.SIGINT)
    time.sleep(5)


def interrupted_and_goes_on(x):
    try:
        interrupted(x)
    except BaseException:
        return 2 * x


def interrupted_and_fails(x):
    try:
        interrupted(x)
    except BaseException:
        raise ValueError from None


@pytest.mark.parametrize("answer", [interrupted, interrupted_and_goes_on, interrupted_and_fails])
def test_an_interrupt_of_the_user_stops(capsys, answer):
    with pytest.raises(KeyboardInterrupt):
        check("98.2", answer)
    assert capsys.readouterr().out == "" and signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---- the notebook around it


def test_it_prints_nothing_of_its_own(capsys):
    def chatty(x):
        print("here")
        print("there", file=sys.stderr)
        return 2 * x

    assert line_of(capsys, "98.2", chatty) == (chatty, "98.2 double  OK")


@pytest.mark.parametrize("fail", [False, True])
def test_global_state_is_as_before(capsys, fail):
    def rude(x):
        torch.manual_seed(5)
        np.random.seed(5)
        random.seed(5)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        if fail:
            raise ValueError
        return 2 * x

    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    check("98.2", rude)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_a_check_works_where_gradients_are_off(capsys):
    for mode in torch.no_grad(), torch.inference_mode():
        with mode:
            assert line_of(capsys, "98.2", lambda x: 2 * x)[1].endswith("OK")


def test_the_same_random_numbers_at_each_check():
    runs = [], []
    for seed, seen in enumerate(runs):
        torch.manual_seed(seed)
        check("98.2", lambda x, seen=seen: seen.append(x.detach().clone()) or 2 * x)
    assert torch.equal(*map(torch.cat, runs))


class NoForward(nn.Module):
    def __init__(self, factor):
        super().__init__()


class Unwritten(Scale):
    def forward(self, x):
        raise NotImplementedError("exercise 98.10")


class InPlace(Scale):
    def forward(self, x):
        return x.mul_(self.factor.detach())


class OwnInPlace(Scale):
    """Its own new tensor may change in place, in a helper too."""

    def forward(self, x):
        out = x.clone()
        self.multiply(out)
        return out

    def multiply(self, out):
        out.mul_(self.factor)


class WordForOnes(Scale):
    """Right for the cases, and of no use to the check's own lines."""

    def forward(self, x):
        return "ones" if torch.equal(x, torch.ones(2)) else super().forward(x)


CLASSES = [
    (Unwritten, "NOT YET: not written yet."),
    (InPlace, "NOT YET: it changes its input in place."),
    (OwnInPlace, "OK"),
    (NoForward, "NOT YET: wrong for 2 numbers: it raised NotImplementedError: "),
    (WordForOnes, "NOT YET: the check could not use what it returned, a value of type str: TypeError: "),
    (Scale, "NOT YET: this is lvlib's own, and the exercise is not done. Look: run the cell with your answer again."),
    (Scale(3.0), "NOT YET: this is of type Scale, not a class. Look: the name alone, no call."),
    (type("NoInit", (), {}), "NOT YET: "),
    (3.0, "NOT YET: this is of type float, not a class."),
]


@pytest.mark.parametrize("answer, message", CLASSES, ids=[m[:40] for _, m in CLASSES])
def test_classes(capsys, answer, message):
    contents = dict(vars(answer)) if isinstance(answer, type) else {}
    returned, line = line_of(capsys, "98.10", answer)
    assert line.startswith(f"98.10 Scale  {message}")
    assert contents.items() <= dict(getattr(answer, "__dict__", {})).items()  # the class is as it was
    assert returned is (answer if message == "OK" else Scale)


def test_progress(capsys):
    progress()
    assert capsys.readouterr().out == "No exercise was checked yet.\n"
    check("98.10", OwnInPlace)
    check("98.2", lambda x: x)
    capsys.readouterr()
    progress()
    assert capsys.readouterr().out == "98.2 double  not yet\n98.10 Scale  done\n1 of 2 done\n"
    check(98.2, lambda x: 2 * x)  # without quotes it is found, too
    capsys.readouterr()
    progress()
    assert capsys.readouterr().out.endswith("2 of 2 done\n")


def test_lvlibs_own_is_never_done(capsys):
    mine = stub
    for said in "not written yet.", "this is lvlib's own, and the exercise is not done.":
        mine, line = line_of(capsys, "98.2", mine)
        assert mine is double and line.startswith(f"98.2 double  NOT YET: {said}")
    progress()
    assert capsys.readouterr().out.endswith("0 of 2 done\n")


def test_lvlibs_own_under_another_name_is_never_done(capsys):
    class Empty(Scale):
        """Nothing but a text."""

    same_code = types.FunctionType(double.__code__, globals())
    for id, answer in ("98.2", functools.partial(double)), ("98.2", same_code), ("98.10", Empty):
        assert "this is lvlib's own" in line_of(capsys, id, answer)[1]


class Closed(type):
    def __getattribute__(cls, name):
        raise RuntimeError("closed")


def test_an_answer_that_cannot_be_looked_at_is_judged_all_the_same(capsys):
    def numbered(x):
        return 2 * x

    numbered.__module__ = 5
    assert line_of(capsys, "98.2", numbered)[1] == "98.2 double  OK"
    for id in "98.2", "98.10":
        assert "NOT YET: " in line_of(capsys, id, Closed("C", (), {}))[1]


def test_an_unknown_exercise_lists_those_that_exist(capsys):
    answer = object()
    expected = "98.3: there is no such exercise. Notebook 98 has 98.2, 98.10."
    assert line_of(capsys, "98.3", answer) == (answer, expected)
    for id in "97.1", "x", 97.1:
        line = line_of(capsys, id, answer)[1]
        assert line.startswith(f"{id}: there is no such exercise. The notebooks with exercises are")


def test_two_checks_for_one_exercise_are_refused():
    with pytest.raises(ValueError, match="98.2"):
        exercises.exercise("98.2", reference=double, wrong={}, cases=lambda draw: [])
