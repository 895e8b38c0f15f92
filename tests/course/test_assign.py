"""Graded assignments: what `assign` refuses, the source notebooks that it writes, and what it leaves open."""

import importlib.util
import os
import pickle
import re
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.nbgraderformat import MetadataValidator

from lvlib.course.__main__ import main
from lvlib.course.cases import observe
from lvlib.course.exercises import exercises_of, notebooks_with_checks
from lvlib.course.tool.assign_given import given_by, needed
from lvlib.course.tool.assign_judge import first_difference, graded
from lvlib.course.tool.assign_notebook import NO_FLAGS, assignment_form, exercise_ids
from lvlib.course.tool.assign_room import files_guard
from lvlib.course.tool.assign_wheel import left_open
from lvlib.course.tool.notebook import code_cells, parsed, read_sources, tagged, tags

ROOT = Path(__file__).parents[2]
SOURCES = read_sources(ROOT)
VQ_VAE = next(source for source in SOURCES if source.number == 2)
POINTS = 2


# What a wrong argument gets.

@pytest.mark.parametrize("arguments, told", [
    (["88"], r"there is no notebook 88; there are: 00, .*"),
    (["02", "--points", "0"], r"--points takes a number over 0, not 0"),
    (["02", "--points", "-1"], r"--points takes a number over 0, not -1"),
    (["02", "--points", "nan"], r"--points takes a number over 0, not nan"),
    (["02", "--points", "two"], r"--points takes a number over 0, not two"),
    (["02", "--varied", "1.5"], r"--varied takes a whole number, not 1.5"),
])
def test_a_wrong_argument_gets_one_line(arguments, told, tmp_path, capsys):
    assert main(["assign", *arguments, "--out", str(tmp_path / "new")]) == 2
    assert re.fullmatch(rf"lvlib\.course: error: {told}\n", capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path, capsys):
    assert main(["assign", "02", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_nbgrader_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nbgrader" else find(name))
    assert main(["assign", "02", "--out", str(tmp_path / "new")]) == 2
    assert "pip install -e '.[teach]'" in capsys.readouterr().err


def test_a_notebook_without_exercises_is_refused(course, tmp_path, capsys):
    assert main(["assign", "92", "--out", str(tmp_path / "new")], root=course) == 2
    assert "92_second.py has no exercises to grade" in capsys.readouterr().err


def test_only_the_tool_knows_nbgrader():
    files = [path for path in (ROOT / "lvlib").rglob("*.py") if "nbgrader" in path.read_text(encoding="utf-8")]
    importing = {path for path in files if re.search(r"(import|from) nbgrader", path.read_text(encoding="utf-8"))}
    assert {path.parent.relative_to(ROOT).as_posix() for path in importing} == {"lvlib/course/tool"}
    assert not any("nbgrader" in cell.source for source in SOURCES for cell in code_cells(source.notebook)
                   if "exercise" not in tags(cell))


# The source notebook.

@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_graded_cell_stands_between_each_exercise_and_its_check(source):
    notebook = assignment_form(source, POINTS)
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)
    of_nbgrader = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
    names = [name for id in exercise_ids(source) for name in (f"ex-{id}", f"test-{id}", f"check-{id}")]
    assert [data.grade_id for data in of_nbgrader] == [name.replace(".", "-") for name in names]
    assert [data.solution for data in of_nbgrader] == [True, False, False] * (len(names) // 3)
    assert [data.locked for data in of_nbgrader] == [False, True, True] * (len(names) // 3)
    assert [data.get("points") for data in of_nbgrader] == [None, POINTS, None] * (len(names) // 3)


def test_a_graded_cell_that_is_run_gives_no_points():
    """Whoever grades without nbgrader_config.py must not give points to everybody."""
    tests = [cell for cell in assignment_form(VQ_VAE, POINTS).cells
             if cell.metadata.get("nbgrader", {}).get("grade")]
    for cell in tests:
        with pytest.raises(AssertionError, match="nbgrader_config.py"):
            exec(cell.source, {})


def test_an_answer_gets_what_it_names_and_what_that_names():
    given = given_by(["import os\nfrom math import pi as p, sqrt\nWIDTH = -2\ndata = open('x')",
                      "@len\ndef twice(x): return x * WIDTH\nclass Unused: pass", "def area(r): return twice(p) * r"])
    texts = needed(given, parsed(new_code_cell("def answer(r): return area(r) + data")))
    assert [text.split("\n")[0] for text in texts] == ["from math import pi as p, sqrt", "WIDTH = -2", "@len",
                                                      "def area(r):"]


def test_an_answer_reads_the_folders_that_it_may_and_no_lvlib_but_the_open_one(tmp_path):
    venv, teachers = tmp_path / "lvlib" / ".venv", tmp_path / "lvlib" / ".venv" / "site-packages" / "lvlib"
    guard = files_guard((str(venv),), str(teachers))
    for path in venv, venv / "torch.py", venv / "site-packages" / "lvlib_other.py":
        guard("open", (str(path), "r", os.O_RDONLY))
    for path in tmp_path / "lvlib" / ".venv-other", teachers, teachers / "models.py", venv / ".." / "secret":
        with pytest.raises(PermissionError, match="may not read"):
            guard("open", (str(path), "r", os.O_RDONLY))
    with pytest.raises(PermissionError, match="may not write"):
        guard("open", (str(venv / "torch.py"), "a", os.O_WRONLY | os.O_APPEND))


# What answers are judged by.

# What a check says of an answer that points cannot tell from a right one.
NOT_GRADED = {
    "8.2": {"the error should name the axis", "the error should tell a size that is fine",  # the words of an error
            "for width 63 the nearest fine sizes are 60 and 66, not 72"},
    "10.2": {"of equal codes top_p keeps the fewest that reach it"},  # which of them, is left open
    "18.2": {"dropout comes before each sum"},  # what it drops is drawn: no two answers can be compared
    "22.4": {"with a weight both are one pass, of twice as many clips", "without a weight one pass is enough"},  # cost
    "12.1": {"Moments are asked for"},  # a plain tuple of the same values: values are graded
}


@pytest.mark.parametrize("number", notebooks_with_checks())
def test_each_wrong_answer_that_a_check_lists_gets_no_points(number):
    for id, exercise in exercises_of(number).items():
        judged = graded(exercise, POINTS, 0, [], {})
        cases = pickle.loads(judged.cases)
        rights = [observe(exercise.reference, case, state) for case, state in cases]
        assert first_difference(judged, rights) is None, id
        not_graded = {
            message for message, wrong in exercise.wrong.items()
            if not first_difference(judged, [observe(wrong, case, state) for case, state in cases])}
        assert not_graded == NOT_GRADED.get(id, set()), id


def test_a_seed_of_its_own_changes_sizes_and_numbers():
    exercise = exercises_of(2)["2.1"]
    common, one, same = (graded(exercise, POINTS, seed, [], {}) for seed in (0, 7, 7))
    inputs = [[x for case, _ in pickle.loads(some.cases) for x in case.args] for some in (common, one, same)]
    shapes = [[x.shape for x in some] for some in inputs]
    assert shapes[0] != shapes[1] == shapes[2]
    assert all(map(torch.equal, inputs[1], inputs[2]))


# What is left open.

@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_lvlib_can_be_left_open_for_each_notebook(source):
    ids = set(exercise_ids(source))
    texts = left_open(ROOT, [source], ids)
    stubs = re.findall(r'raise NotImplementedError\("exercise ([\d.]+)"\)', "".join(texts.values()))
    exported = {tagged(cell, "ex-") for cell in source.notebook.cells
                if "exercise" in tags(cell) and tagged(cell, "export:")}
    by_hand = {id for id, e in exercises_of(source.number).items() if e.reference.__module__.startswith("lvlib.data")}
    assert set(stubs) == exported | by_hand and len(stubs) == len(set(stubs))
    for name, text in texts.items():
        compile(text, name, "exec")


def test_metadata_that_a_student_has_changed_is_as_the_course_wrote_it():
    from lvlib.course.tool.assign_nbgrader import Sanitize

    def cell(id, source="", **fields):
        return new_code_cell(source, metadata={"nbgrader": {**NO_FLAGS, "grade_id": id, **fields}})

    strange = [cell("ex-2-1", grade=True, points=500), cell("ex-2-2", "old"), cell("test-2-2", schema_version=1),
               cell(["x"]), cell("mine"), new_code_cell(metadata={"nbgrader": "x"}), new_markdown_cell(),
               cell("ex-2-2", "pasted again")]
    notebook, _ = Sanitize().preprocess(new_notebook(cells=strange), {})
    kept = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}
    assert set(kept) == {"ex-2-1", "ex-2-2", "test-2-2"} and len(notebook.cells) == len(strange)
    assert kept["ex-2-2"].source == "pasted again"
    first, test = kept["ex-2-1"].metadata.nbgrader, kept["test-2-2"].metadata.nbgrader
    assert first.solution and not first.grade and test.grade and test.locked and test.schema_version == 3
