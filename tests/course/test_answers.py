"""Right answers in other styles pass and break nothing, nor do stubs; wrong answers once taken for right are refused.

They stand in `answers/aNN.py`: `right_3_loop` is an answer to exercise NN.3. Where there are many, the wrong ones stand
in `answers/wNN.py`.
"""

import ast
import copy
import importlib
import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from nbformat import NotebookNode
from smoke import said_by_checks

from lvlib.course.exercises import Exercise, examine, exercises_of
from lvlib.course.tool.build import student_path
from lvlib.course.tool.forms import dumps
from lvlib.course.tool.notebook import Source, code_cells, read_notebook, read_sources, tagged, tags

FOLDER = Path(__file__).parent / "answers"


def modules(letter: str) -> dict[int, ModuleType]:
    paths = sorted(FOLDER.glob(f"{letter}[0-9][0-9].py"))
    return {int(path.stem[1:]): importlib.import_module(f"answers.{path.stem}") for path in paths}


ROOT = Path(__file__).parents[2]
MODULES, WRONG = modules("a"), modules("w")
SOURCES = read_sources(ROOT)


def answers(number: int, kind: str) -> Iterator[tuple[Exercise, Callable]]:
    module = WRONG.get(number, MODULES[number]) if kind == "wrong" else MODULES[number]
    for name, answer in vars(module).items():
        if found := re.match(rf"{kind}_(\d+)_", name):
            yield exercises_of(number)[f"{number}.{found[1]}"], answer


def each(kind: str):
    pairs = [pair for number in MODULES for pair in answers(number, kind)]
    return pytest.mark.parametrize("exercise, answer", pairs, ids=[f"{e.id} {a.__name__[8:]}" for e, a in pairs])


@each("right")
def test_a_right_answer_passes(exercise, answer):
    problem = examine(exercise, answer)
    assert problem is None, str(problem)


@each("wrong")
def test_a_wrong_answer_is_told_what_is_wrong(exercise, answer):
    problem = examine(exercise, answer)
    assert problem is not None
    assert "the check could not use" not in problem.message


def text_of(module: ModuleType, answer: Callable, name: str) -> str:
    """An answer as a cell of its own: the imports of its module, its source, the exercise's name."""
    tree = ast.parse(inspect.getsource(module))
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join([*imports, textwrap.dedent(inspect.getsource(answer)), f"{name} = {answer.__name__}"])


def with_right_answers(source: Source) -> NotebookNode:
    """The student form and after it, in the same run, the notebook over and over, until each right answer was in its
    place once."""
    right: dict[str, list[str]] = {}
    for exercise, answer in answers(source.number, "right") if source.number in MODULES else ():
        right.setdefault(exercise.id, []).append(text_of(MODULES[source.number], answer, exercise.name))
    notebook = read_notebook(ROOT / student_path(source))
    for turn in range(max(map(len, right.values()), default=0)):
        for cell in copy.deepcopy(code_cells(source.notebook)):
            if "exercise" in tags(cell):
                texts = right[tagged(cell, "ex-")]
                cell.source = texts[turn % len(texts)]
            cell.id = f"{cell.id}-{turn}"
            notebook.cells.append(cell)
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_neither_stubs_nor_right_answers_break_a_later_cell(source, tmp_path, monkeypatch):
    (tmp_path / "answered.ipynb").write_text(dumps(with_right_answers(source)), encoding="utf-8")
    said = said_by_checks(tmp_path / "answered.ipynb", tmp_path, monkeypatch)
    exercises = list(exercises_of(source.number))
    for id, line in said[:len(exercises)]:
        assert re.fullmatch(rf"{id} \w+  NOT YET: not written yet\. \(going on with lvlib's\)\n", line), line
    for id, line in said[len(exercises):]:
        assert re.fullmatch(rf"{id} \w+  OK\n", line), line
    each = Counter(exercise.id for exercise, _ in answers(source.number, "right")) if source.number in MODULES else {}
    assert [id for id, _ in said] == exercises * (1 + max(each.values(), default=0))
