"""The source notebook of an assignment: nbgrader's metadata, and a graded cell before each check."""

import copy

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from lvlib.course.tool.notebook import Source, tagged, tags

GRADED = """\
# Exercise {id}: {points:g} points, for the text of the cell above. It is run elsewhere, alone: what the notebook
# imports and defines before it is there, and what you import or define yourself belongs in that cell.
### BEGIN HIDDEN TESTS
raise AssertionError("exercise {id} is graded by `nbgrader autograde`, with the nbgrader_config.py of this course")
### END HIDDEN TESTS"""


# What nbgrader's metadata say of a cell, by its kind.
NO_FLAGS = {"schema_version": 3, "solution": False, "grade": False, "locked": False, "task": False}
FLAGS = {"ex": {"solution": True}, "test": {"grade": True, "locked": True}, "check": {"locked": True}}


def grade_id(kind: str, id: str) -> str:
    """nbgrader's name of a cell, which allows no dots: test-2-3 for the graded cell of exercise 2.3."""
    return f"{kind}-{id.replace('.', '-')}"


def exercise_ids(source: Source) -> list[str]:
    return [id for cell in source.notebook.cells if "exercise" in tags(cell) and (id := tagged(cell, "ex-"))]


def assignment_form(source: Source, points: float) -> NotebookNode:
    """The notebook with its solutions, of which nbgrader makes the release version. `points` are of each exercise."""
    notebook = copy.deepcopy(source.notebook)
    cells = []
    for cell in notebook.cells:
        if "solution-only" in tags(cell):
            continue
        id = tagged(cell, "ex-") or ""
        if "exercise" in tags(cell):
            cell.metadata.nbgrader = _metadata("ex", id)
        elif "check" in tags(cell):
            test = new_code_cell(GRADED.format(id=id, points=points), id=f"{cell.id}-test")
            test.metadata.nbgrader = graded_metadata(id, points)
            cells.append(test)
            cell.metadata.nbgrader = _metadata("check", id)
        kept = [tag for tag in tags(cell) if not tag.startswith("export:")]
        cell.metadata.pop("tags", None)
        if kept:
            cell.metadata.tags = kept
        cells.append(cell)
    notebook.cells = cells
    return notebook


def graded_metadata(id: str, points: float) -> NotebookNode:
    return _metadata("test", id, points=points)


def _metadata(kind: str, id: str, **fields) -> NotebookNode:
    return NotebookNode({**NO_FLAGS, **FLAGS[kind], "grade_id": grade_id(kind, id), **fields})
