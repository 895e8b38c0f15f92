"""Every check accepts lvlib's own answer, and says of each wrong answer what is wrong with it."""

import re
from pathlib import Path

import pytest

from lvlib.course.exercises import examine, exercises_of, notebooks_with_checks
from lvlib.course.tool.notebook import code_cells, read_sources

CALL = r'check\("(\d+\.\d+)"'  # an exercise's check cell has it, by the rules of a source; so has an example
SOURCES = read_sources(Path(__file__).parents[2])
EXERCISES = [exercise for number in notebooks_with_checks() for exercise in exercises_of(number).values()]
WRONG = [(exercise, message) for exercise in EXERCISES for message in exercise.wrong]


def test_each_exercise_has_a_check_and_each_check_is_called():
    called = {id for source in SOURCES for c in code_cells(source.notebook) for id in re.findall(CALL, c.source)}
    assert called == {exercise.id for exercise in EXERCISES}


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_reference_passes(exercise):
    problem = examine(exercise, exercise.reference)
    assert problem is None, str(problem)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_there_are_three_wrong_answers(exercise):
    assert len(exercise.wrong) >= 3


@pytest.mark.parametrize("exercise, message", WRONG, ids=[f"{exercise.id}: {message}" for exercise, message in WRONG])
def test_a_wrong_answer_gets_its_message(exercise, message):
    problem = examine(exercise, exercise.wrong[message])
    assert problem is not None, "the wrong answer passes"
    assert problem.message == message
    assert len(str(problem)) < 250
