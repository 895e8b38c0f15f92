"""Writes a course for nbgrader: `python -m lvlib.course assign 02 08 --points 2 --out DIR [--varied SEED]`.

    nbgrader_config.py   how nbgrader grades here, with limits of time and size
    source/, release/    an assignment for each notebook: with solutions, and as the students get it
    gradebook.db         nbgrader's own
    wheel/               lvlib for the students, with the graded units left open
    grading/             inputs and outputs to judge by. Not for students
    grading/open/        lvlib with the units left open: all that an answer can read here
"""

import importlib.util
import math
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lvlib.course.tool.assign_given import Given, given_by
from lvlib.course.tool.assign_notebook import assignment_form, exercise_ids
from lvlib.course.tool.forms import dumps
from lvlib.course.tool.notebook import Source, code_cells, tagged, tags
from lvlib.errors import UserError

CONFIG = '''\
"""Written by `python -m lvlib.course assign`. nbgrader reads it when it is started in this folder."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
c = get_config()
c.CourseDirectory.root = str(HERE)

# What a stub says, so that its check says "not written yet".
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("exercise not written yet")'}

# What a student did to the metadata of cells is undone.
c.Autograde.sanitize_preprocessors = [
    "nbgrader.preprocessors.ClearOutput",
    "lvlib.course.tool.assign_nbgrader.Sanitize",
    "nbgrader.preprocessors.OverwriteKernelspec",
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# A submitted notebook is read, not run: the text of each exercise is run alone, in a process of its own.
c.Autograde.autograde_preprocessors = [
    "lvlib.course.tool.assign_nbgrader.Judge",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Judge.folder = str(HERE / "grading")

# The limits of one exercise: its time (of the processor), its memory (on Linux), and the size of its results.
c.Judge.seconds = 20
c.Judge.gigabytes = 8
c.Judge.megabytes = 100
'''


def assign(root: Path, sources: list[Source], points: str, out: Path, seed: str | None) -> None:
    """Writes a course of these notebooks into `out`, which must not be there yet, and prints what to do next.

    root: of this checkout. points: of each exercise. seed: with it, the sizes and numbers that answers are tried on are
    those of this course alone. Raises UserError where it cannot be done, and leaves nothing behind then.
    """
    worth = _number(points, float, "--points", "a number over 0")
    if not 0 < worth < math.inf:
        raise UserError(f"--points takes a number over 0, not {points}")
    drawn = 0 if seed is None else _number(seed, int, "--varied", "a whole number")
    if importlib.util.find_spec("nbgrader") is None:
        raise UserError("nbgrader is not installed: pip install -e '.[teach]'")
    if out.exists():
        raise UserError(f"{out} is there already: --out takes a folder that is not there yet")
    for source in sources:
        if source.problems:
            raise UserError(source.problems[0])
        if not exercise_ids(source):
            raise UserError(f"{source.path} has no exercises to grade")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            course = Path(folder, "course")
            wheel = _write(root, sources, worth, drawn, course)
            course.rename(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from error
    for source in sources:
        count = len(exercise_ids(source))
        print(f"{source.name}: {count} exercises, {count * worth:g} points")
    print(f"For the students: {out / 'release'} and {out / 'wheel' / wheel}. To grade: see TEACHING.md")


def _write(root: Path, sources: list[Source], points: float, seed: int, course: Path) -> str:
    """Writes everything into the folder `course`. Returns the name of the wheel."""
    from lvlib.course.exercises import exercises_of  # here: with torch, and not before the arguments are right
    from lvlib.course.tool.assign_judge import graded
    from lvlib.course.tool.assign_wheel import build_wheel, left_open, open_tree, working_texts

    ids = {id for source in sources for id in exercise_ids(source)}
    texts, numbers = left_open(root, sources, ids), {source.number for source in sources}
    working = working_texts(root, texts)
    (course / "grading").mkdir(parents=True)
    for source in sources:
        exercises = exercises_of(source.number)
        stored = [
            graded(exercises[id], points, seed, _given(source, id), {**working, **left_open(root, [source], {id})})
            for id in exercise_ids(source)
        ]
        (course / "grading" / f"{source.name}.pickle").write_bytes(pickle.dumps(stored))
        path = course / "source" / source.name / f"{source.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(dumps(assignment_form(source, points)), encoding="utf-8", newline="\n")
    open_tree(root, texts, numbers, course / "grading" / "open", without=("checkpoints", "tool"))
    wheel = build_wheel(root, texts, numbers, course / "wheel")
    (course / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8", newline="\n")
    for source in sources:
        command = [sys.executable, "-m", "nbgrader", "generate_assignment", source.name]
        done = subprocess.run(command, cwd=course, env=_nbgraders_environment(), capture_output=True,
                              encoding="utf-8", errors="replace")
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            raise UserError(f"nbgrader cannot make the release version of {source.name}: see above")
    return wheel.name


def _given(source: Source, id: str) -> list[Given]:
    """What the notebook gives to an exercise; the exercises before it solved: a wrong one costs its own points."""
    cells = [cell for cell in code_cells(source.notebook) if "solution-only" not in tags(cell)]
    index = next(i for i, cell in enumerate(cells) if "exercise" in tags(cell) and tagged(cell, "ex-") == id)
    return given_by([cell.source for cell in cells[:index]])


def _nbgraders_environment() -> dict[str, str]:
    """nbgrader calls the program `alembic` by name: it lies beside Python, where a shell may not look."""
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), os.environ.get("PATH")]))
    return {**os.environ, "PATH": path}


def _number(text: str, kind: Callable[[str], Any], option: str, allowed: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"{option} takes {allowed}, not {text}") from None
