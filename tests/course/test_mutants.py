"""No wrong answer that a machine makes from a solution passes its check; what is right all the same is listed."""

import pytest
from equal_mutants import EQUAL
from mutants import survivors, with_cases

from lvlib.course.exercises import notebooks_with_checks

EXERCISES = list(with_cases(notebooks_with_checks()))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_no_mutant_passes_unless_it_is_right(exercise):
    made, alive = survivors(exercise)
    assert made >= 15
    assert sorted(alive) == sorted(EQUAL.get(exercise.id, {}))  # in the table and caught: it need not be there


def test_the_table_has_exercises_alone():
    assert set(EQUAL) <= {exercise.id for exercise in EXERCISES}
