"""`python -m lvlib.course build | check | timing` on a small course: what it makes, and what it refuses."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from small_course import SECOND, write_sources

from lvlib.course.__main__ import main
from lvlib.course.tool import build, timing, verify
from lvlib.course.tool.forms import dumps
from lvlib.course.tool.notebook import code_cells, tags

REPOSITORY = Path(__file__).parents[2]
STUDENT, EXECUTED, MODULE = "notebooks/91_first.ipynb", "solutions/91_first.ipynb", "lvlib/models/numbers.py"


def files(root: Path) -> dict[str, bytes]:
    paths = [path for path in root.rglob("*") if path.is_file() and "cache" not in str(path)]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def edit(root: Path, path: str, old: str, new: str) -> None:
    text = text_of(root / path)
    assert text.count(old) == 1
    (root / path).write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def edit_notebook(root: Path, path: str, change) -> None:
    notebook = nbformat.read(root / path, as_version=4)
    change(code_cells(notebook))
    (root / path).write_text(dumps(notebook), encoding="utf-8", newline="\n")


def problems(root: Path) -> list[str]:
    return list(verify.disagreements(root, strict=True))


# ---- what build makes


@pytest.mark.parametrize("path", [STUDENT, EXECUTED])
def test_what_is_folded_stays_folded(built, path):
    cells = nbformat.read(built / path, as_version=4).cells
    folded = [cell for cell in cells if cell.metadata.get("jupyter") == {"source_hidden": True}]
    assert [cell.source.split("\n")[0] for cell in folded] == ['"""Numbers that double."""']
    assert all(set(cell.metadata) <= {"jupyter", "tags"} for cell in cells)


def test_student_form(built):
    notebook = nbformat.read(built / STUDENT, as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [f"91-{n:03d}" for n in (1, 2, 3, 4, 5, 6, 7, 9, 10)]  # 8: solution
    exercise = notebook.cells[5]
    assert exercise.source.endswith('    """Twice x."""\n    raise NotImplementedError("exercise 91.1")')
    assert [tags(cell) for cell in notebook.cells if tags(cell)] == [
        ["parameters"], ["exercise", "ex-91.1"], ["check", "ex-91.1"], ["nbval-check-output"]
    ]  # fmt: skip
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))
    assert "SOLUTION" not in text_of(built / STUDENT) and "fsum" not in text_of(built / STUDENT)
    assert notebook.metadata.kernelspec.name == "python3" and "jupytext" not in notebook.metadata


def test_executed_form(built):
    notebook = nbformat.read(built / EXECUTED, as_version=4)
    *_, check, only_here, bar, last = code_cells(notebook)
    assert "91.1" in check.outputs[0].text
    assert only_here.outputs[0].text == "only here course 1\n"  # profile and number of threads
    progress_bar = next(output for output in bar.outputs if output.get("name") == "stderr").text
    assert progress_bar.count("%") == 1 and "50/50" in progress_bar
    assert last.outputs[0].text == "4.0\n" and "### BEGIN SOLUTION" in text_of(built / EXECUTED)
    assert set(notebook.metadata) == {"kernelspec", "language_info", "lvlib"}


def test_extracted_module(built):
    assert text_of(built / MODULE) == '''\
# Never edit this file: `python -m lvlib.course build` makes it from solutions/91_first.py and solutions/92_second.py.
"""Numbers that double."""

import math
import sys

LIMIT = 10


def double(x: float) -> float:
    """Twice x."""
    return math.fsum([x, x])


# Introduced in solutions/92_second.py
def quadruple(x: float) -> float:
    # two steps
    return double(double(x))


class Pi:
    value = math.pi
'''
    code = "import lvlib.models.numbers as n; assert n.quadruple(1) == 4"
    subprocess.run([sys.executable, "-c", code], cwd=built, check=True)
    config = REPOSITORY / "pyproject.toml"
    lint = [sys.executable, "-m", "ruff", "check", f"--config={config}", "--select=I,W,E", built / MODULE]
    subprocess.run(lint, check=True)


def test_a_folder_of_modules_says_where_it_is_from(course):
    first, second, package = FIRST_PY, "solutions/92_second.py", "lvlib/models/doubled/__init__.py"
    edit(course, second, '["export:models.numbers"]\n', '["export:models.doubled.twice"]\n"""Twice."""\n')
    assert build.build(course, {91}, run=False) == [] and not (course / package).exists()
    assert build.build(course, {92}, run=False) == []
    assert text_of(course / package) == '"""doubled: extracted from notebook 92."""\n'
    for tag in '["export:models.numbers"]\n"""', '"ex-91.1", "export:models.numbers"':
        edit(course, first, tag, tag.replace("models.", "models.doubled."))
    assert any(line.startswith(f"{package}: ") for line in problems(course))
    assert build.build(course, {91}, run=False) == []
    assert text_of(course / package) == '"""doubled: extracted from notebooks 91, 92."""\n'
    assert not any(line.startswith(f"{package}: ") for line in problems(course))


def test_build_is_deterministic(built, tmp_path):
    again = write_sources(tmp_path)
    assert build.build(again, {91, 92}, run=False) == []
    made, expected = files(again), files(built)
    assert set(expected) - set(made) == {EXECUTED, "solutions/92_second.ipynb"}
    assert all(expected[path] == data for path, data in made.items())


def test_a_second_build_writes_and_runs_nothing(course, capsys):
    before = files(course)
    assert build.build(course, {91, 92}) == []
    assert capsys.readouterr().out == "" and files(course) == before


def test_changed_text_is_taken_over_without_a_run(course, capsys):
    edit(course, "solutions/91_first.py", "# # First", "# # Changed\n# More.\n\n# %% [markdown]\n# A new cell.")
    assert build.build(course, {91}) == []
    assert "ran" not in capsys.readouterr().out
    assert "A new cell." in text_of(course / EXECUTED) and problems(course) == []


def test_only_the_chosen_notebooks_are_made(course):
    edit(course, "solutions/92_second.py", "# two steps", "# in two steps")
    edit(course, "solutions/91_first.py", "# # First", "# # Changed")
    build.build(course, {92}, run=False)
    assert "in two steps" in text_of(course / MODULE) and "Changed" not in text_of(course / STUDENT)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("assert double(2) == 4", "assert double(2) == 5, 'no'", "AssertionError: no"),
        ("print(double(2))", "print('x' * 500_000)", "500 KB of output; at most 400 KB"),
        (', alt="one pixel"', "", "a picture without alt text"),
        ("import Image, display", "import HTML, Image, display\ndisplay(HTML('<img src=a alt=b>'))",
         "a picture in text/html, which pages on the web leave out"),
    ],
)
def test_a_run_that_cannot_be_kept_leaves_the_old_one(course, old, new, message, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    before = (course / EXECUTED).read_bytes()
    edit(course, "solutions/91_first.py", old, new)
    [problem] = build.build(course, {91})
    assert problem.startswith(f"{EXECUTED}: not made: ") and message in problem
    assert (course / EXECUTED).read_bytes() == before


def test_a_source_with_a_problem_makes_nothing(course):
    before = files(course)
    edit(course, "solutions/91_first.py", "LIMIT = 10", "LIMIT = max(1, 2)")
    [problem] = build.build(course, {92})  # which feeds the same module
    assert "solutions/91_first.py: cell 91-006: only definitions, imports and constants can be exported" in problem
    before.pop("solutions/91_first.py")
    assert before.items() <= files(course).items()


# ---- what check refuses: every line names the file and the reason


@pytest.mark.parametrize("strict", [[], ["--strict"]])
def test_what_was_built_agrees(built, capsys, strict):
    assert main(["check", *strict], root=built) == 0
    assert capsys.readouterr().out == "all generated files agree\n"


def spoil_outputs(cells):
    cells[-1].outputs[0].text = "5\n"


def spoil_code(cells):
    cells[-1].source += "\nassert True"


def spoil_order(cells):
    cells[0].execution_count = 2


def spoil_error(cells):
    cells[-1].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]


def drop_cell(cells):
    cells[0].cell_type = "raw"
    del cells[0]["outputs"], cells[0]["execution_count"]


SPOILED = [
    ("an edited student notebook", lambda r: edit(r, STUDENT, "# First", "# Premier"), STUDENT, "differs from line"),
    ("a missing student notebook", lambda r: (r / STUDENT).unlink(), STUDENT, "missing"),
    ("a magic in a student notebook", lambda r: edit(r, STUDENT, "import os", "%pip"), STUDENT, "(`\"%pip"),
    ("an edited executed notebook", lambda r: edit(r, EXECUTED, "# First", "# Premier"), EXECUTED, "differs from line"),
    ("edited executed code", lambda r: edit_notebook(r, EXECUTED, spoil_code), EXECUTED, "its code is not that of"),
    ("a missing executed cell", lambda r: edit_notebook(r, EXECUTED, drop_cell), EXECUTED, "its outputs were edited"),
    ("edited outputs", lambda r: edit_notebook(r, EXECUTED, spoil_outputs), EXECUTED, "its outputs were edited"),
    ("cells out of order", lambda r: edit_notebook(r, EXECUTED, spoil_order), EXECUTED, "not run once each"),
    ("an error output", lambda r: edit_notebook(r, EXECUTED, spoil_error), EXECUTED, "ended in ValueError: no"),
    ("a truncated notebook", lambda r: (r / EXECUTED).write_text('{"cells'), EXECUTED, "not a notebook"),
    ("another JSON file", lambda r: (r / EXECUTED).write_text("{}"), EXECUTED, "not a notebook"),
    ("a missing executed notebook", lambda r: (r / EXECUTED).unlink(), EXECUTED, "missing"),
    ("a stale output", lambda r: edit(r, "solutions/91_first.py", "(2) == 4", "(2) == 4.0"), EXECUTED, "stale output"),
    ("an edited module", lambda r: edit(r, MODULE, "fsum", "sumprod"), MODULE, "differs from line 12 on (`return"),
    ("a shortened module", lambda r: edit(r, MODULE, "    value = math.pi\n", ""), MODULE, "differs from line"),
    ("windows line ends", lambda r: (r / MODULE).write_bytes(b"\r\n"), MODULE, "differs from line 1"),
    ("a missing module", lambda r: (r / MODULE).unlink(), MODULE, "missing"),
    ("an orphan module", lambda r: (r / "lvlib/models/old.py").touch(), "lvlib/models/old.py", "orphan"),
    ("an orphan metric", lambda r: write_new(r, "lvlib/metrics/a.py"), "lvlib/metrics/a.py", "orphan"),
    ("an orphan notebook", lambda r: (r / "notebooks/03_a.ipynb").touch(), "notebooks/03_a.ipynb", "orphan"),
    ("an orphan run", lambda r: (r / "solutions/03_a.ipynb").touch(), "solutions/03_a.ipynb", "orphan"),
]


def write_new(root: Path, path: str) -> None:
    (root / path).parent.mkdir()
    (root / path).touch()


RUN_AGAIN = {"a missing executed cell", "edited outputs", "cells out of order", "an error output"}


@pytest.mark.parametrize("name, spoil, path, reason", SPOILED, ids=[case[0] for case in SPOILED])
def test_check_names_file_and_reason(course, capsys, name, spoil, path, reason):
    spoil(course)
    for strict in [["--strict"]] if name in RUN_AGAIN else [[], ["--strict"]]:
        assert main(["check", *strict], root=course) == 1
        lines = capsys.readouterr().out.splitlines()
        assert any(line.startswith(f"{path}: ") and reason in line for line in lines), lines
        named = {line.split(":")[0] for line in lines}
        assert named <= {path, STUDENT}  # an edited source makes the student form old too


def open_in_jupyterlab(notebook):
    notebook.metadata.language_info.update(version="3.11.7", file_extension=".py")
    notebook.metadata.kernelspec.display_name = "Python 3"
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}}}


def run_in_jupyterlab(notebook):
    open_in_jupyterlab(notebook)
    *_, first, last = code_cells(notebook)
    first.outputs, first.execution_count = [], 17
    last.outputs = [nbformat.v4.new_output("display_data", {"text/html": f"<img src=a>{'x' * 500_000}"})]
    last.metadata.execution = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    first.metadata.collapsed = True


def interrupt_in_jupyterlab(notebook):
    run_in_jupyterlab(notebook)
    code_cells(notebook)[-1].outputs = [nbformat.v4.new_output("error", ename="KeyboardInterrupt", evalue="")]


@pytest.mark.parametrize("path", [EXECUTED, STUDENT])
@pytest.mark.parametrize("change", [open_in_jupyterlab, run_in_jupyterlab, interrupt_in_jupyterlab])
def test_who_opens_or_runs_a_notebook_breaks_nothing_and_ci_still_sees_it(course, capsys, path, change):
    notebook = nbformat.read(course / path, as_version=4)
    change(notebook)
    (course / path).write_text(dumps(notebook), encoding="utf-8")
    assert main(["check"], root=course) == 0
    assert main(["check", "--strict"], root=course) == 1
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{path}: ")


@pytest.mark.parametrize("path", [EXECUTED, STUDENT])
def test_run_again_and_edited_is_edited(course, capsys, path):
    notebook = nbformat.read(course / path, as_version=4)
    run_in_jupyterlab(notebook)
    notebook.cells[0].source += " of all"
    (course / path).write_text(dumps(notebook), encoding="utf-8")
    assert main(["check"], root=course) == 1
    assert capsys.readouterr().out.startswith(f"{path}: edited, or older than solutions/91_first.py: it differs from")


FIRST_PY, SECOND_PY = "solutions/91_first.py", "solutions/92_second.py"
CHECK = '# %% tags=["check", "ex-91.1"]'
RULES = [
    (SECOND_PY, "class Pi:", "class double:", "`double` is exported twice, first by solutions/91_first.py: cell"),
    (FIRST_PY, "import os\n", "%matplotlib inline\n", "line magic `%matplotlib inline`"),
    (FIRST_PY, "import os\n", "# %matplotlib inline\n", "line magic"),  # conversion makes it a live one
    (FIRST_PY, "import os\n", "!ls\n", "line magic `!ls`"),
    (FIRST_PY, "import os\n", "x = !ls\n", "line magic"),
    (FIRST_PY, "import os\n", "os?\n", "line magic"),
    (FIRST_PY, '# %%\nfor _', '# %% language="bash"\nfor _', "line magic `%%bash`"),
    (FIRST_PY, "import os\n", "import os os\n", "not plain Python: invalid syntax in `import os os`"),
    (FIRST_PY, "import os\n", 'x = "http://a"\n', "a network address in code"),
    (FIRST_PY, '"parameters"', '"params"', "unknown tag 'params'"),
    (FIRST_PY, '"parameters"', '"nbval-check-output"', "there must be one cell with the tag `parameters`"),
    (FIRST_PY, "# %% [markdown]\n# # First", '# %% [markdown] tags=["check"]\n# a', "a text cell can have no tag"),
    (FIRST_PY, "    ### END SOLUTION\n", "", "must come in pairs"),
    (FIRST_PY, '# %% tags=["exercise"', '# %% jupyter={"source_hidden": true} tags=["exercise"', "can be folded"),
    (FIRST_PY, "# %% [markdown]\n# # First", '# %% [markdown] jupyter={"source_hidden": true}\n# a', "can be folded"),
    (FIRST_PY, "    ### BEGIN SOLUTION\n", "    # BEGIN SOLUTION\n", "must come in pairs"),
    (FIRST_PY, '# %% tags=["exercise", "ex-91.1", ', "# %% tags=[", "a solution outside an exercise cell"),
    (FIRST_PY, '    ### BEGIN SOLUTION\n    return math.fsum([x, x])\n    ### END SOLUTION', "    return 2 * x",
     "an exercise needs a solution"),
    (FIRST_PY, "LIMIT = 10\n", "### BEGIN SOLUTION\nLIMIT = 10\n### END SOLUTION\n", "must be inside a function"),
    (FIRST_PY, '"exercise", "ex-91.1"', '"exercise", "ex-2.1"', "exercise 2.1 in notebook 91"),
    (FIRST_PY, '"exercise", "ex-91.1"', '"exercise"', "an exercise has the tags"),
    (FIRST_PY, '"exercise", "ex-91.1"', '"exercise", "ex-91.2"', "exercise 91.2 has no check cell"),
    (FIRST_PY, CHECK, f"# %%\n1\n\n{CHECK}", "the check of 91.1 must directly follow its exercise"),
    (FIRST_PY, 'check("91.1"', 'check("91.2"', 'must call check("91.1", ...)'),
    (FIRST_PY, CHECK, f'{CHECK}\ncheck("91.1", double)\n\n# %% tags=["exercise", "ex-91.1"]\ndef again():\n'
     f"    ### BEGIN SOLUTION\n    pass\n    ### END SOLUTION\n\n{CHECK}", "exercise 91.1 comes twice"),
    (FIRST_PY, '"export:models.numbers"]\n"""Numbers', '"export:training.numbers"]\n"""Numbers', "unknown tag"),
    (FIRST_PY, '"export:models.numbers"]\n"""Numbers', '"export:models.numbers", "export:models.a"]\n"""Numbers',
     "exported to two modules"),
    (FIRST_PY, '"""Numbers that double."""', "", "must begin with the docstring"),
    (FIRST_PY, "LIMIT = 10", "print(LIMIT := 10)", "not `print((LIMIT := 10))`"),
]  # fmt: skip


@pytest.mark.parametrize("path, old, new, message", RULES, ids=[rule[-1][:40] for rule in RULES])
def test_rules_of_a_source(tmp_path, path, old, new, message):
    write_sources(tmp_path)
    edit(tmp_path, path, old, new)
    found = problems(tmp_path)
    assert any(line.startswith(f"{path}: ") and message in line for line in found), found
    assert any(message in line for line in build.build(tmp_path, {91, 92}, run=False))


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("first.py", b"", "the name must be like 02_vq_vae.py"),
        ("91_other.py", SECOND.encode(), "notebook 91 is 91_first already"),
        ("03_third.py", b"\xff", "cannot be read: "),
        ("03_third.py", b"# ---\n# jupyter:\n#   kernelspec: {}\n# ---\n1", "cannot be read: 'name' is a required"),
    ],
)
def test_sources_that_are_none(tmp_path, name, data, message):
    write_sources(tmp_path)
    (tmp_path / "solutions" / name).write_bytes(data)
    assert any(line.startswith(f"solutions/{name}: {message}") for line in problems(tmp_path))


def test_no_sources_at_all(tmp_path, capsys):
    assert main(["check"], root=tmp_path) == 0
    assert main(["build"], root=tmp_path) == 0
    assert main(["timing"], root=tmp_path) == 0
    assert "no notebooks yet" in capsys.readouterr().out


def test_the_tool_starts_without_torch():
    code = "import sys; from lvlib.course.__main__ import main; main(['check']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True)


# ---- timing, and the command line


def test_timing(course, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    assert main(["timing"], root=course) == 0
    out = capfd.readouterr().out
    assert re.search(r"notebook +seconds +cells +assertions\n91_first +\d+\.\d +8 +1\n92_second +\d+\.\d +3 +1\n", out)

    edit_notebook(course, EXECUTED, lambda cells: cells[-1].update(source="print(7)"))
    assert main(["timing", "91", "--profile", "smoke"], root=course) == 1
    out = capfd.readouterr().out
    assert "1 failed" in out and re.search(r"91_first +\d+\.\d +8 +0\n", out) and "92_second" not in out


REPORT = """<testsuites><testsuite><testcase classname="solutions.92_second.ipynb" name="Cell 0" time="1.5" />
<testcase classname="solutions.92_second.ipynb" name="Cell 1" time="2.0" /></testsuite></testsuites>"""


@pytest.mark.parametrize("budget, limit, status, row", [
    (3.5, 9, 0, "3.5 3 1"),
    (3, 9, 0, "3.5 3 1 over 3 s"),  # a slow machine is no fault: that is said
    (3, 3.25, 1, "3.5 3 1 over 3.25 s"),
])
def test_what_takes_long_is_named(course, monkeypatch, capsys, budget, limit, status, row):
    def passes(command, **_):
        report = next(word for word in command if word.startswith("--junit-xml="))
        Path(report.removeprefix("--junit-xml=")).write_text(REPORT)  # as pytest's that has run in `test_timing`
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(timing.subprocess, "run", passes)
    monkeypatch.setattr(timing, "BUDGET", budget)
    monkeypatch.setattr(timing, "TIME_LIMIT", limit)
    assert main(["timing", "92"], root=course) == status
    assert capsys.readouterr().out.split("\n")[-2].split() == ["92_second", *row.split()]


def test_wrong_arguments(course, capsys):
    assert main(["build", "07"], root=course) == 2
    assert capsys.readouterr().err == "lvlib.course: error: there is no notebook 07; there are: 91, 92\n"
    (course / EXECUTED).unlink()
    assert main(["timing"], root=course) == 2
    assert capsys.readouterr().err.startswith(f"lvlib.course: error: not built yet: {EXECUTED}")
    for arguments in [], ["biuld"], ["timing", "--profile", "huge"]:
        with pytest.raises(SystemExit) as exit:
            main(arguments, root=course)
        assert exit.value.code == 2


