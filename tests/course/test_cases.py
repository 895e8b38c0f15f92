"""What is compared with the reference, and the words for what differs."""

import io
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lvlib.course import exercises
from lvlib.course.cases import Case, Draw, Observation, difference, observe
from lvlib.course.exercises import examine, notebooks_with_checks

EXERCISES = [e for n in notebooks_with_checks() for e in exercises.exercises_of(n).values()]


def told(reference, answer, *args, **options) -> str | None:
    """What is said of an answer, for one case."""
    case = Case("it", args, **options)
    expected = observe(reference, case)
    return difference(expected, observe(answer, case, expected.state))


def scaled(x: Tensor, factor: float = 3.0) -> Tensor:
    return factor * x


class Scale(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.weight * x


def in_place(x):
    return x.mul_(3)


calls = []


def differs_later(x):
    calls.append(x)
    return 3 * x + len(calls)


X = torch.tensor([[1.0, -2.0], [3.0, 0.5]])


@pytest.mark.parametrize("answer, words", [
    (lambda x: x + x + x, None),
    (lambda x: (3 * x.double()).float(), None),
    (lambda x: 3 * x.double(), "float64 where float32 is asked"),
    (lambda x: (3 * x)[None], "shape (1, 2, 2) where (2, 2) is asked"),
    (lambda x: (3 * x).detach().numpy(), "a numpy array where a tensor is asked"),
    (lambda x: None, "None where a tensor is asked"),
    (lambda x: [3 * x], "a tuple or list where a tensor is asked"),
    (lambda x: 6 * x, "the values are twice as large"),
    (lambda x: -3 * x, "the values are of the wrong sign"),
    (lambda x: 0 * x, "the values are all 0"),
    (lambda x: 3 * x.abs(), "1 of 4 values are wrong, the first is 6 where -6 is right"),
    (lambda x: 3 * x.detach(), "the value is right, its gradient does not reach x"),
    (lambda x: 1.5 * (x + x.detach()), "the value is right, its gradient with respect to x is half as large"),
    (lambda x: 6 * x.detach() - 3 * x, "the value is right, its gradient with respect to x is of the wrong sign"),
    (lambda x: 3 * torch.stack([x[0], x[1].detach()]),
     "the value is right, its gradient with respect to x is not the right one"),
    (lambda x: torch.as_tensor(x.numpy() * 3), "with inputs that need gradients it raised RuntimeError: Can't call"),
    (lambda x: x[5], "it raised IndexError: index 5 is out of bounds for dimension 0 with size 2"),
    (in_place, "it changes its input x in place"),
])  # fmt: skip
def test_a_difference_in_words(answer, words):
    found = told(scaled, answer, X)
    assert found == words or (found and words and found.startswith(words))


def test_a_second_call():
    calls.clear()
    assert told(lambda x: 3 * x + 1, differs_later, X).startswith("a second call gives another result")


def test_a_gradient_that_should_not_be():
    assert told(lambda x, y: x + y.detach(), lambda x, y: x + y, X, X + 1) == (
        "the value is right, its gradient reaches y, which should get none")
    assert told(lambda x, y: x + y.detach(), lambda x, y: x + y, X, X + 1, gradients=False) is None


def test_a_list_or_dict_that_is_changed():
    def last(rows, names):
        return rows[-1] + names["a"]

    def takes_it_out(rows, names):
        return rows.pop() + names["a"]

    def takes_a_name_out(rows, names):
        return rows[-1] + names.pop("a")

    def turns_a_part(rows, names):
        rows[0].reverse()
        return rows[-1] + names["a"]

    inputs = [[1, 2], 5], {"a": 4}
    for answer, name in (takes_it_out, "rows"), (takes_a_name_out, "names"), (turns_a_part, "rows"):
        assert told(last, answer, *inputs) == f"it changes its input {name} in place"


def test_several_results():
    def two(x):
        return x + 1, {"mean": x.mean()}

    assert told(two, lambda x: [1 + x, {"mean": x.mean().detach()}], X) is None  # a dict is for watching
    assert told(two, lambda x: (x + 1,), X) == "1 results where 2 are asked"
    assert told(two, lambda x: (x + 1, {}), X) == "result 2: the names none where mean are asked"
    assert told(two, lambda x: (x + 1, {"mean": x.sum()}), X) == "result 2: mean: 2.5 where 0.625 is right"


def test_numbers():
    assert told(lambda n: n / 2, lambda n: np.float64(n / 2), 5) is None
    assert told(lambda n: 4.0, lambda n: 4, 5) is None
    assert told(lambda n: n, lambda n: float(n), 5) == "a float where an int is asked"
    assert told(lambda n: n, lambda n: n + 1, 5) == "6 where 5 is right"
    assert told(lambda n: n / 2, lambda n: n / 4, 5) == "1.25 where 2.5 is right"
    assert told(lambda x: x.mean(), lambda x: x.mean().item(), X) == "a float where a tensor is asked"
    assert told(lambda x: x.mean(), lambda x: x.double().mean(), X, loose=True) is None
    assert told(lambda n: n // 2, lambda n: torch.tensor(n) // 2, 5) == "a tensor where an int is asked"
    assert told(lambda n: n // 2, lambda n: torch.tensor(n) // 2, 5, loose=True) is None
    assert told(lambda n: n // 2, lambda n: torch.tensor(n) / 2, 4, loose=True) == "a float where an int is asked"
    assert told(lambda x: x.mean(), lambda x: x.half().mean(), X, loose=True) == "float16 where float32 is asked"


def test_infinite_and_undefined_numbers_are_numbers():
    x = torch.tensor([0.0, 1.0])
    assert told(lambda x: 1 / x, lambda x: x**-1, x, gradients=False) is None
    assert told(lambda x: 1 / x, lambda x: 1 / (x + 1e-9), x, gradients=False).startswith("1 of 2 values are wrong")


def test_a_promised_error():
    def picky(n):
        if n < 0:
            raise ValueError("too small")

    def picky_in_its_own_way(n):
        if n < 0:
            raise UnicodeError  # a kind of ValueError

    assert told(picky, picky_in_its_own_way, -1, raises=ValueError) is None
    assert told(picky, lambda n: None, -1, raises=ValueError) == "it raises nothing where ValueError is promised"
    assert told(picky, lambda n: [][0], -1, raises=ValueError) == "it raises IndexError where ValueError is promised"


def test_neighbours_in_a_batch():
    def centred(x):
        return x - x.mean(1, keepdim=True)

    x = torch.randn(3, 4)
    assert told(centred, lambda x: x - x.mean() + 1, x, batch=(0,)).startswith("12 of 12 values are wrong")
    assert told(centred, lambda x: x - x[:1].mean(), x, batch=(0,)).startswith(
        "each is right alone, wrong beside others: ")
    assert told(centred, lambda x: x - x.mean(1, keepdim=True) * (len(x) > 1), x, batch=(0,)).startswith(
        "right in the batch, and not for its first alone: ")


def test_classes():
    class Mine(Scale):
        def forward(self, x):
            return x * self.weight

    class Twice(Scale):
        def forward(self, x):
            super().forward(x)
            return super().forward(x)

    class Detached(Scale):
        def forward(self, x):
            return super().forward(x).detach() + 0 * self.weight

    class OwnNames(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.scale = nn.Linear(channels, channels)

        def forward(self, x):
            return self.scale(x)

    class OwnBuffer(Scale):
        def __init__(self, channels, factor=1.0):
            super().__init__(channels)
            self.register_buffer("factor", torch.tensor(factor))

        def forward(self, x):
            return self.factor * super().forward(x)

    x = torch.randn(2, 4)
    assert told(Scale, OwnBuffer, x, init=(4,)) is None
    assert told(Scale, lambda n: OwnBuffer(n, 2.0), x, init=(4,)) == "the values are twice as large"
    assert told(Scale, Scale, x, init=(4,)) is None  # each with the weights of the first
    assert told(Scale, Twice, x, init=(4,)) == "`calls` after the call: 2 where 1 is right"
    assert told(Scale, Detached, x, init=(4,)) == "the value is right, its gradient does not reach x"
    assert told(Scale, OwnNames, x, init=(4,)) is None  # other weights: shape, dtype and type alone
    assert told(Scale, lambda channels: lambda x: x[0], x, init=(4,)) is not None


class Late(nn.Module):
    """Its result is 0 as long as its weight is what it begins with."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def test_parameters_that_begin_at_zero_are_drawn_anew():
    class Square(Late):
        def forward(self, x):
            return self.weight * x + self.weight**2

    assert told(Late, Square, X, init=(2,)).startswith("right until the parameters change: ")
    assert told(Late, Square, X, init=(2,), redrawn=True).startswith("4 of 4 values are wrong")


@dataclass
class Notes:
    kept: Tensor


def writes_down(x: Tensor, notes: Notes) -> Tensor:
    notes.kept[0] = x
    return 2 * x


def test_what_is_written_into_an_argument_is_a_result():
    def forgets(x, notes):
        return 2 * x

    inputs = torch.tensor(3.0), Notes(torch.zeros(2))
    assert told(writes_down, writes_down, *inputs, writes=(1,)) is None
    assert told(writes_down, forgets, *inputs, writes=(1,), gradients=False) == (
        "result 2: kept: the values are all 0")
    assert not inputs[1].kept.any()  # it got a copy


def test_what_was_observed_is_plain_data():
    case = Case("it", (X,), init=(2,))
    expected, file = observe(Scale, case), io.BytesIO()
    torch.save(vars(expected), file)
    file.seek(0)
    read = Observation(**torch.load(file, weights_only=True))
    assert difference(expected, read) is None and difference(read, observe(Scale, case, read.state)) is None


def test_the_message_tells_where_it_is_right(monkeypatch):
    monkeypatch.setattr(exercises, "_registry", {})

    @exercises.exercise("98.1", reference=scaled, wrong={}, cases=lambda draw: [
        Case(f"{n} numbers", (draw.normal(n),)) for n in (4, 7)])
    def _(fn, expect):
        expect(fn(torch.ones(2)).sum() == 6, "a named mistake")

    exercise = exercises.exercises_of(98)["98.1"]
    assert examine(exercise, lambda x: x + 2 * x) is None
    assert str(examine(exercise, lambda x: x)) == "a named mistake."
    assert str(examine(exercise, lambda x: 3 * x[:4])) == (
        "right for 4 numbers with other numbers, wrong for 7 numbers: shape (4,) where (7,) is asked.")
    assert str(examine(exercise, lambda x: 3 * x.numpy())) == (
        "wrong for 4 numbers: a numpy array where a tensor is asked.")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_cases_follow_from_their_seed(exercise):
    def words(seed):
        cases = [(case.about, repr((case.args, case.kwargs))) for case in exercise.cases(seed)]
        return [(about, re.sub(r" at 0x\w+", "", inputs)) for about, inputs in cases]  # a function may be an input

    assert words(1) == words(1) != words(2)
    assert words(1)[0][0].startswith("the notebook's") and words(1)[0][0] == words(2)[0][0]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_reference_is_right_for_any_seed(exercise, seed):
    for case in exercise.cases(seed):
        expected = observe(exercise.reference, case)
        assert bool(case.raises) == bool(expected.raised), (case.about, expected.said)
        assert difference(expected, observe(exercise.reference, case, expected.state)) is None, case.about


def test_draws():
    draw = Draw(0)
    assert {draw.size(2, 4) for _ in range(50)} == {2, 3, 4}
    assert draw.integers(0, 256, 3, 4, dtype=torch.uint8).dtype == torch.uint8
    assert 0 <= float(draw.uniform(100).min()) <= float(draw.uniform(100).max()) < 1
    assert draw.normal(2, dtype=torch.float64).dtype == torch.float64
