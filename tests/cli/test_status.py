"""Whatever stops a command is one line on stderr, and status 2; a mistake in lvlib is not hidden."""

import numpy as np
import pytest
import torch

from lvlib.cli import LONGEST, main, reported
from lvlib.errors import UserError


def stop(error: Exception):
    def work() -> None:
        raise error

    return work


TOO_LARGE = {
    "torch's allocator": lambda: torch.empty(10**15),
    "torch's sizes": lambda: torch.empty(10**12, 10**12, device="meta"),
    "torch's numbers": lambda: torch.empty(10**30),
    "NumPy's allocator": lambda: np.empty(10**15),
    "NumPy's sizes": lambda: np.empty((10**12, 10**12)),
    "NumPy's numbers": lambda: np.int64(10**30),
}


@pytest.mark.parametrize("work", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_too_large_is_one_line(work, capsys):
    assert reported(work) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert errors.startswith(("lvlib: error: out of memory", "lvlib: error: a number is too large"))


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), ValueError("a mistake"), KeyError("a mistake")])
def test_a_mistake_is_not_hidden(error):
    with pytest.raises(type(error), match="a mistake"):
        reported(stop(error))


@pytest.mark.parametrize("draw", [
    lambda nothing: torch.multinomial(nothing, 1), lambda nothing: torch.distributions.Categorical(logits=nothing),
])
def test_draws_from_what_is_no_number_are_one_line(draw, capsys):
    assert reported(lambda: draw(torch.full((2, 3), float("nan")))) == 2
    assert "the model makes probabilities that are not finite" in capsys.readouterr().err


def test_names_that_are_not_text_are_printed(capsys):
    assert reported(lambda: print("\udcff.mp4: \U0001f600")) == 0
    assert capsys.readouterr().out == "\\udcff.mp4: \U0001f600\n"


def test_a_line_is_printable_and_short(capsys):
    assert reported(stop(UserError("red \x1b[31m, not\nUTF-8 \udcff, long " + "x" * 10_000))) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lvlib: error: red \\x1b[31m, not UTF-8 \\udcff, long xxx")
    assert errors.rstrip("\n").isprintable() and len(errors) < LONGEST + 30


def test_a_long_name_is_shortened(capsys):
    assert main(["x" * 10_000]) == 2
    assert "x...'; there are: configs" in capsys.readouterr().err
