"""No wrong answer that a machine makes from a solution passes its check; what is right all the same is listed."""

import ast

import pytest
from equal_mutants import EQUAL
from mutants import exercise_cells, passes, survivors

from lvlib.course.exercises import exercises_of, notebooks_with_checks

EXERCISES = [e for number in notebooks_with_checks() for e in exercises_of(number).values()]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_solution_as_the_notebook_has_it_passes(exercise):
    assert passes(exercise, ast.parse(exercise_cells()[exercise.id]))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_no_mutant_passes_unless_it_is_right(exercise):
    made, alive = survivors(exercise)
    assert made >= 15
    assert sorted(alive) == sorted(EQUAL.get(exercise.id, {}))  # in the table and caught: it need not be there


def test_the_table_has_exercises_alone():
    assert set(EQUAL) <= {exercise.id for exercise in EXERCISES}
