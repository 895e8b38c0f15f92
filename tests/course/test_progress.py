"""`python -m lvlib.course progress`: what of the working copy is done, from its files alone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from lvlib.course.__main__ import main
from lvlib.course.copy import answers
from lvlib.course.copy import progress as my_progress
from lvlib.course.copy.folder import update
from lvlib.course.tool.assign_given import given_by
from lvlib.course.tool.forms import dumps
from lvlib.course.tool.notebook import code_cells, read_sources, tags

REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = "02_vq_vae"


@pytest.fixture
def root(tmp_path) -> Path:
    """A copy of notebook 02, in which nothing is done."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "notebooks" / f"{NOTEBOOK}.ipynb", tmp_path / "notebooks")
    list(update(tmp_path))
    return tmp_path


def write(root: Path, answers: dict[str, str], helper: str = "") -> None:
    """Writes answers into the copy, and a cell of the learner's own before the first of them."""
    path = root / "my" / f"{NOTEBOOK}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        for id, source in answers.items():
            if tags(cell)[:2] == ["exercise", f"ex-{id}"]:
                cell.source = source
    notebook.cells.insert(1, nbformat.v4.new_code_cell(helper))
    nbformat.write(notebook, path)


def said(root: Path, capsys) -> list[str]:
    assert main(["progress"], root=root) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("folder", [None, "my"])
def test_without_a_copy_nothing_is_loaded(tmp_path, folder):
    if folder:
        (tmp_path / folder).mkdir()
    code = ("import sys, pathlib; from lvlib.course.__main__ import main; "
            "main(['progress'], pathlib.Path(sys.argv[1])); assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no working copy yet: `lvlib lab` makes my/\n"), done.stderr


def test_stubs_are_not_run(root, capsys, monkeypatch):
    monkeypatch.setattr(my_progress.subprocess, "Popen", None)
    assert said(root, capsys) == [
        f"my/{NOTEBOOK}.ipynb: 0 of 4 done", "  2.1 nearest_code  NOT YET: not written yet",
        "  2.2 straight_through  NOT YET: not written yet", "  2.3 vq_losses  NOT YET: not written yet",
        "  2.4 code_statistics  NOT YET: not written yet", "0 of 4 done"]  # fmt: skip


STRAIGHT = "def straight_through(z, q):\n    return z + (q - z).detach()"


def test_right_wrong_and_not_the_learners_own(root, capsys):
    write(root, {
        "2.1": "print(undefined)\nfind = lambda z, e: squared(z, e).argmin(-1)\nnearest_code = find\nfind(z, 3)",
        "2.2": "def straight_through(z, q):\n    return q",
        "2.3": "from lvlib.models.common.quantize import vq_losses",
        "2.4": "def code_statistics(z, codes, num_codes)\n    return 1",
    }, helper="%matplotlib inline\nTWO = 2\nraise SystemExit\n"
              "def squared(z, e): return (z[..., None, :] - e).abs().pow(TWO).sum(-1)")
    _, first, second, third, fourth, last = said(root, capsys)
    assert first == "  2.1 nearest_code  done"
    assert second.startswith("  2.2 straight_through  NOT YET: ") and "z" in second
    assert third.startswith("  2.3 vq_losses  NOT YET: ") and "lvlib's own" in third
    assert fourth.startswith("  2.4 code_statistics  NOT YET: not plain Python: ")
    assert last == "1 of 4 done"


@pytest.mark.parametrize("left", ["    # {stub}\n    return z + (q - z).detach()",
                                  "    '{stub}'\n    return z + (q - z).detach()",
                                  "    return z + (q - z).detach()\n    {stub}"])
def test_an_answer_that_keeps_its_stub_where_nothing_raises_it_is_written(root, capsys, left):
    stub = 'raise NotImplementedError("exercise 2.2")'
    write(root, {"2.2": "def straight_through(z, q):\n" + left.format(stub=stub)})
    assert said(root, capsys)[2] == "  2.2 straight_through  done"


@pytest.mark.parametrize("source", [
    'def straight_through(z, q):\n    if q is None:\n        return z\n    raise NotImplementedError("exercise 2.2")',
    'def straight_through(z, q)\n    raise NotImplementedError("exercise 2.2")',
])
def test_an_answer_that_raises_its_stub_on_any_way_is_not_written(root, capsys, source):
    write(root, {"2.2": source})
    assert said(root, capsys)[2] == "  2.2 straight_through  NOT YET: not written yet"


def test_an_answer_in_two_cells_is_judged_at_the_last(root, capsys):
    """As after `Split Cell`, which leaves the tags with both."""
    path = root / "my" / f"{NOTEBOOK}.ipynb"
    write(root, {"2.1": "def nearest_code(z, codebook)\n    return 1", "2.2": STRAIGHT})
    notebook = nbformat.read(path, as_version=4)
    for id, second in ("2.1", "tried = 1"), ("2.2", "straight_through.tried = True"):
        at = next(i for i, cell in enumerate(notebook.cells) if tags(cell)[:2] == ["exercise", f"ex-{id}"])
        notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(second, metadata=notebook.cells[at].metadata))
    nbformat.write(notebook, path)
    _, first, second, *_ = said(root, capsys)
    assert first == "  2.1 nearest_code  NOT YET: not plain Python: expected ':' in line 1"
    assert second == "  2.2 straight_through  done"


def test_a_line_is_counted_within_its_cell(root, capsys):
    write(root, {"2.2": "\n\nimport math\ndef straight_through(z, q)\n    return 1"})
    assert said(root, capsys)[2].endswith("  NOT YET: not plain Python: expected ':' in line 4")


@pytest.mark.parametrize(("statement", "found"), [
    ("import os.path", {"os"}), ("from math import pi as p, e", {"p", "e"}), ("def f(): return 1", {"f"}),
    ("async def f(): return 1", {"f"}), ("class A: pass", {"A"}), ("WIDTH = -2", {"WIDTH"}), ("W: int = 2", {"W"}),
    ("A = B = 3", {"A", "B"}), ("A, [B, *C] = 1, [2, 3]", {"A", "B", "C"}), ("S = {1, 2}", {"S"}), ("I = int", {"I"}),
    ("Triple = tuple[int, int, int]", {"Triple"}), ("double = lambda x: 2 * x", {"double"}), ("A = f'{1}'", {"A"}),
    ("T = 2 * 3", set()), ("data = open('x')", set()), ("first = list(range(3))[0]", set()),
    ("all = [n for n in (1, 2)]", set()), ("for n in (1, 2): pass", set()), ("print('x')", set()),
])  # fmt: skip
def test_an_answer_finds_the_same_here_and_where_it_is_graded(statement, found):
    names: dict[str, object] = {"__name__": "__main__"}
    answers._run({"source": statement, "exercise": None}, "<cell>", names)
    assert set(names) - {"__name__", "__builtins__", "__annotations__"} == found
    assert {name for given in given_by([statement]) for name in given.makes} == found


@pytest.mark.slow
def test_answers_that_end_python_hang_or_delete_stop_none_of_the_others(root, capsys, monkeypatch):
    monkeypatch.setattr(my_progress, "ONE", 15.0)
    write(root, {
        "2.1": "import os\ndef nearest_code(z, codebook):\n    os._exit(0)",
        "2.2": STRAIGHT,
        "2.3": "def vq_losses(z, q):\n    while True:\n        try:\n            while True: pass\n"
               "        except BaseException: pass",
        "2.4": "import os, shutil\ndef code_statistics(z, codes, num_codes):\n    shutil.rmtree(os.getcwd(), True)\n"
               "    print('x' * 100_000)\n    raise SystemExit",
    })
    before = sorted(path for path in root.rglob("*"))
    lines = said(root, capsys)
    assert lines[1:3] == ["  2.1 nearest_code  NOT YET: stopped: it ends Python, or takes over 15 s",
                          "  2.2 straight_through  done"]
    # Either limit may stop it: the check's own counts its CPU time.
    assert re.match(r"  2\.3 vq_losses  NOT YET: stopped: it (ends Python, or )?takes over 1[05] s", lines[3])
    assert re.match(r"  2\.4 code_statistics  NOT YET: it raised SystemExit", lines[4])
    assert sorted(path for path in root.rglob("*")) == before


def test_what_is_no_exercise_of_this_course_says_so(root, capsys):
    path = root / "my" / f"{NOTEBOOK}.ipynb"
    write(root, {"2.1": "def nearest_code(z, codebook): ...", "2.2": STRAIGHT})
    text = path.read_text(encoding="utf-8").replace("ex-2.1", "ex-2.77").replace('check(\\"2.1', 'check(\\"2.77')
    path.write_text(text, encoding="utf-8")
    _, first, second, *_ = said(root, capsys)
    assert first == ("  2.77 nearest_code  NOT YET: not an exercise of this course: "
                     "`python -m lvlib.course update` brings the notebook up to date")
    assert second == "  2.2 straight_through  done"


def test_a_broken_file_and_files_of_the_learners_own(root, capsys):
    shutil.copy(root / "my" / f"{NOTEBOOK}.ipynb", root / "my" / "mine.ipynb")
    (root / "my" / f"{NOTEBOOK}.ipynb").write_text("{")
    assert said(root, capsys) == [f"my/{NOTEBOOK}.ipynb: not a notebook that can be read", "0 of 0 done"]


@pytest.mark.slow
def test_of_a_solved_course_all_is_done(tmp_path, capsys):
    """Every exercise is judged without what its notebook computes."""
    for folder in "notebooks", "my":
        (tmp_path / folder).mkdir()
    sources = read_sources(REPOSITORY)
    for source in sources:
        for folder in "notebooks", "my":
            (tmp_path / folder / f"{source.name}.ipynb").write_text(dumps(source.notebook), encoding="utf-8")
    exercises = sum("exercise" in tags(cell) for source in sources for cell in source.notebook.cells)
    lines = said(tmp_path, capsys)
    assert [line for line in lines if "NOT YET" in line] == [] and exercises > 0
    assert lines[-1] == f"{exercises} of {exercises} done"


def test_where_python_cannot_run_them_it_says_why(root, capsys, monkeypatch):
    monkeypatch.setattr(my_progress.lvlib, "__file__", str(root / "nowhere" / "lvlib" / "__init__.py"))
    (root / "nowhere" / "torch").mkdir(parents=True)
    (root / "nowhere" / "torch" / "__init__.py").write_text("raise ImportError('no torch here')")
    write(root, {"2.2": STRAIGHT})
    assert main(["progress"], root=root) == 2
    assert capsys.readouterr().err.startswith("lvlib.course: error: answers cannot be run: ")


def test_a_slow_start_is_no_fault_of_the_answers(root, capsys, monkeypatch):
    monkeypatch.setattr(my_progress, "START", 0.01)
    write(root, {"2.2": STRAIGHT})
    assert main(["progress"], root=root) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "lvlib.course: error: answers cannot be run: "
                              "Python and torch take over 0.01 s to start; try again\n")
