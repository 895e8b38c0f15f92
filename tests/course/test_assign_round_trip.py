"""Graded assignments, the round trip: a course is written, handed in, graded, and not fooled by cheats."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
from nbgrader.api import Gradebook

from lvlib.course.__main__ import main
from lvlib.course.tool.assign_judge import Limits, problem_of
from lvlib.course.tool.assign_notebook import exercise_ids
from lvlib.course.tool.build import kernel_environment
from lvlib.course.tool.notebook import code_cells, read_sources, tagged, tags

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
VQ_VAE, SUBSCALE = (source for source in read_sources(ROOT) if source.number in (2, 5))
POINTS = 2


def solutions(source) -> dict[str, str]:
    return {tagged(cell, "ex-"): cell.source for cell in code_cells(source.notebook) if "exercise" in tags(cell)}


def answer_of(source, id: str, body: str, before: str = "") -> str:
    """The exercise cell with another body of the solution."""
    lines = solutions(source)[id].split("\n")
    begin, end = (next(i for i, line in enumerate(lines) if mark in line) for mark in ("BEGIN SOL", "END SOL"))
    indent = re.match(r" *", lines[begin])[0]
    return "\n".join([before, *lines[:begin], *(indent + line for line in body.split("\n")), *lines[end + 1:]])


def cheats(folder: Path) -> dict[str, dict[str, str]]:
    with zipfile.ZipFile(next((folder / "wheel").glob("*.whl"))) as wheel:
        shipped = wheel.read("lvlib/models/common/quantize.py").decode()
    copied = re.search(r"^def code_statistics.*?(?=^def |^class )", shipped, re.MULTILINE | re.DOTALL)[0]
    torch_says_yes = "import torch\ntorch.equal = torch.allclose = torch.isclose = lambda *a, **k: True"
    check_says_yes = "import lvlib.course.exercises as e\ncheck = e.check = lambda id, x: x\ne.examine = print"
    return {
        VQ_VAE.name: {
            "2.1": "from lvlib.models.common.quantize import nearest_code",
            "2.2": answer_of(VQ_VAE, "2.2", "return z", check_says_yes),
            "2.3": answer_of(VQ_VAE, "2.3", "return z.sum(), q.sum()", torch_says_yes),
            "2.4": copied,
        },
        SUBSCALE.name: {
            "5.1": answer_of(SUBSCALE, "5.1", "while True:\n    pass"),
            "5.2": answer_of(SUBSCALE, "5.2", f"import shutil\nshutil.rmtree({str(folder)!r}, ignore_errors=True)"),
            "5.3": answer_of(SUBSCALE, "5.3", "import sys\nsys.exit(0)"),
        },
    }


def hand_in(folder: Path, student: str, source, form: str, answers: dict[str, str] | None = None,
            without: str = "") -> None:
    """Submits the source or the release version, with these answers in it, and without one of nbgrader's cells."""
    notebook = nbformat.read(folder / form / source.name / f"{source.name}.ipynb", as_version=4)
    for cell in notebook.cells:
        id = tagged(cell, "ex-")
        if "exercise" in tags(cell) and id in (answers or {}):
            cell.source = answers[id]
    notebook.cells = [cell for cell in notebook.cells
                      if cell.metadata.get("nbgrader", {}).get("grade_id", "other") != without]
    path = folder / "submitted" / student / source.name / f"{source.name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


def nbgrader(folder: Path, *arguments: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("class") / "course"
    assert main(["assign", "02", "05", "--points", str(POINTS), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def handed_in(written) -> Path:
    """The course, in which five students have handed in, and everything is graded."""
    for source in VQ_VAE, SUBSCALE:
        hand_in(written, "solved", source, "source")
        hand_in(written, "untouched", source, "release")
        hand_in(written, "cheat", source, "release", cheats(written)[source.name])
    wrong = answer_of(VQ_VAE, "2.2", "return z + 0 * (q - z).detach()")
    hand_in(written, "one-wrong", VQ_VAE, "source", {"2.2": wrong}, without="test-2-3")
    says_ok = answer_of(SUBSCALE, "5.1", "print('5.1 slice_offset  OK')", "print('5.1 slice_offset  OK')")
    hand_in(written, "says-ok", SUBSCALE, "source", {"5.1": says_ok}, without="ex-5-3")
    before = digests(written)
    for source in VQ_VAE, SUBSCALE:
        nbgrader(written, "autograde", source.name, "--Judge.seconds=10")
        nbgrader(written, "generate_feedback", source.name)
    assert digests(written) == before
    return written


def digests(folder: Path) -> dict[str, str]:
    """Of all that a cheat could spoil."""
    parts = ("source", "release", "submitted", "grading", "wheel")
    paths = (path for part in parts for path in (folder / part).rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


def points(folder: Path, student: str, source) -> dict[str, float]:
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        grades = book.find_submission_notebook(source.name, source.name, student).grades
        assert not any(grade.needs_manual_grade for grade in grades)
        return {grade.name.removeprefix("test-").replace("-", "."): grade.score for grade in grades}


@pytest.mark.parametrize("student, source, wrong", [
    ("solved", VQ_VAE, []), ("solved", SUBSCALE, []),
    ("untouched", VQ_VAE, ["2.1", "2.2", "2.3", "2.4"]), ("untouched", SUBSCALE, ["5.1", "5.2", "5.3"]),
    ("cheat", VQ_VAE, ["2.1", "2.2", "2.3", "2.4"]), ("cheat", SUBSCALE, ["5.1", "5.2", "5.3"]),
    ("one-wrong", VQ_VAE, ["2.2"]), ("says-ok", SUBSCALE, ["5.1", "5.3"]),  # both without a cell, and one loses points
], ids=lambda value: getattr(value, "name", value) if not isinstance(value, list) else "")
def test_points_and_feedback(handed_in, student, source, wrong):
    assert points(handed_in, student, source) == {id: 0 if id in wrong else POINTS for id in exercise_ids(source)}
    feedback = (handed_in / "feedback" / student / source.name / f"{source.name}.html").read_text(encoding="utf-8")
    assert set(re.findall(r"([\d.]+) \w+  NOT RIGHT: ", feedback)) == set(wrong)


def test_a_wrong_answer_is_told_in_words(handed_in):
    feedback = (handed_in / "feedback" / "one-wrong" / VQ_VAE.name / f"{VQ_VAE.name}.html").read_text(encoding="utf-8")
    assert re.search(r"2\.2 straight_through  NOT RIGHT: wrong for the notebook.{1,6}s grid: ", feedback)


MORE_CHEATS = {
    "ends Python": "import os\nos._exit(0)",
    "asks for the working text": "from lvlib.course import left_open\nleft_open.go_on()\n"
        "from lvlib.models.common import quantize\nstraight_through = lambda z, q: quantize.straight_through(z, q)",
    "reads the teacher's lvlib": f"exec(open({str(ROOT / 'lvlib/models/common/quantize.py')!r}).read())",
    "imports the teacher's lvlib": "import sys\nfor name in [n for n in sys.modules if n.startswith('lvlib')]:\n"
        f"    del sys.modules[name]\nsys.meta_path = sys.meta_path[1:]\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from lvlib.models.common import quantize\nstraight_through = lambda z, q: quantize.straight_through(z, q)",
    "forges what was observed": "import torch, lvlib.course.cases as c\n"
        "c._observed = lambda answer, case, *rest: c.Observation(\n"
        "    result=('tensor', torch.zeros_like(case.args[1])), state={'x': torch.zeros(1)})\n"
        "def straight_through(z, q): return z",
    "takes the guards off": """
if True:
    import gc, os, sys
    def free(function):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            if name.startswith("refused"):
                cell.cell_contents = "nothing"
    try:
        for function in gc.get_objects():
            if getattr(function, "__module__", "") == "__main__" and hasattr(function, "__code__"):
                free(function)
    except PermissionError:
        pass
    room = sys.modules["__main__"]
    for name, value in list(vars(room).items()):
        if hasattr(value, "__code__"):
            try:
                value.__code__ = (lambda *arguments: None).__code__
            except (PermissionError, ValueError):
                pass
        elif isinstance(value, (str, tuple)):
            setattr(room, name, type(value)())
    os.kill(os.getppid(), 0)
    def straight_through(z, q): return z + (q - z).detach()
""",
    "writes another file": "import os\nfor number in range(3, 20):\n    try: os.write(number, b'OK')\n"
        "    except OSError: pass\nos._exit(0)",
}


@pytest.mark.parametrize("source", MORE_CHEATS.values(), ids=MORE_CHEATS)
def test_other_cheats_get_nothing(written, source):
    assert judged(written, source)


def test_what_answers_are_judged_by_cannot_be_read(written):
    """In the stored texts of the other exercises this one is solved."""
    key = written / "grading" / f"{VQ_VAE.name}.pickle"
    cheat = ("import re\nfrom torch import Tensor\ntext = open({!r}, 'rb').read().decode(errors='replace')\n"
             r"exec(re.search(r'^def straight_through\(.*?\n\n\n', text, re.M | re.S)[0])")
    copy = written / "grading" / "open" / "lvlib" / "key.pickle"
    try:
        copy.write_bytes(key.read_bytes())
        assert judged(written, cheat.format(str(copy))) is None  # it would help
    finally:
        copy.unlink()
    assert judged(written, cheat.format(str(key)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions")
def test_what_an_answer_starts_ends_with_it(written):
    sleep = f"import time; time.sleep(600.{os.getpid()})"
    start = ("from multiprocessing.util import spawnv_passfds\nimport sys\n"  # of this no hook is told
             f"spawnv_passfds(sys.executable.encode(), [sys.executable, '-c', {sleep!r}], ())")
    assert judged(written, answer_of(VQ_VAE, "2.2", "return z + (q - z).detach()", start)) is None
    left = [process for process in psutil.process_iter(["cmdline"]) if sleep in (process.info["cmdline"] or ())]
    assert psutil.wait_procs(left, timeout=60)[1] == []  # a process that was killed takes its time to go


@pytest.mark.parametrize("before", ["%matplotlib inline", "!ls", "files = !ls", "%timeit 1 + 1"])
def test_a_magic_beside_a_right_answer_costs_nothing(written, before):
    assert judged(written, answer_of(VQ_VAE, "2.2", "return z + (q - z).detach()", before)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_what_pytorch_writes_by_itself_is_held(written, tmp_path):
    (tmp_path / "precious").write_text("precious")
    write = f"import torch\ntorch.save({{}}, {str(tmp_path / 'precious')!r})"
    source = answer_of(VQ_VAE, "2.2", "return z + (q - z).detach()", write)
    assert judged(written, source) is None
    assert (tmp_path / "precious").read_text() == "precious"


def judged(folder: Path, source: str) -> str | None:
    """What is wrong with a cell of exercise 2.2."""
    stored = pickle.loads((folder / "grading" / f"{VQ_VAE.name}.pickle").read_bytes())
    exercise = next(e for e in stored if e.id == "2.2")
    return problem_of(exercise, source, folder / "grading" / "open", Limits(30, 8, 100))


def test_the_students_wheel_is_open_and_their_notebook_runs_unsolved(written, tmp_path, monkeypatch):
    wheel, = (written / "wheel").glob("*.whl")
    shipped = zipfile.ZipFile(wheel)
    texts = [shipped.read(name).decode() for name in shipped.namelist() if name.endswith(".py")]
    for answer in ("z + (q - z).detach()", "index_add_(0, codes, z)"):
        assert answer in "".join(solutions(VQ_VAE).values()) and not [text for text in texts if answer in text]
    target = tmp_path / "installed"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target,
                    wheel], check=True)
    call = "from lvlib.models.common.quantize import nearest_code; nearest_code(None, None)"
    for name, value in kernel_environment(target, "smoke").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(target))
    done = subprocess.run([sys.executable, "-c", call], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.endswith("NotImplementedError: exercise 2.1\n")
    papermill.execute_notebook(
        written / "release" / VQ_VAE.name / f"{VQ_VAE.name}.ipynb", tmp_path / "run.ipynb",
        parameters={"profile": "smoke"}, cwd=tmp_path, kernel_name="python3", progress_bar=False)
    run = nbformat.read(tmp_path / "run.ipynb", as_version=4)
    said = ["".join(output.get("text", "") for output in cell.outputs)
            for cell in code_cells(run) if "check" in tags(cell)]
    assert len(said) == 4 and all("NOT YET: not written yet." in line for line in said)
