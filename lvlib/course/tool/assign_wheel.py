"""lvlib with the graded units left open: as a wheel for the students, and as a folder for the grading."""

import ast
import copy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from lvlib.course.exercises import exercises_of
from lvlib.course.left_open import WORKING, encoded
from lvlib.course.tool.extract import exports, module_path
from lvlib.course.tool.forms import student_form
from lvlib.course.tool.notebook import Source, code_cells, tagged, tags
from lvlib.errors import UserError

PROJECT = ("pyproject.toml", "README.md", "LICENSE")
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index")
VERSION = "+graded"  # so that pip puts it in the place of an lvlib of the same version
HIDDEN = '"""The checks of notebook {}, which is graded: see `lvlib/course/left_open.py`."""\n'


def left_open(root: Path, sources: list[Source], ids: set[str]) -> dict[str, str]:
    """The texts, by module, of what changes in lvlib when these exercises are left open. Their checks are not in it.

    A unit that a notebook exports gets the stub that learners get. One that is written in lvlib by hand (`to_video`),
    and that an exercise has for its reference, raises NotImplementedError.
    """
    texts: dict[str, str] = {}
    for module, solved, stub in _exported(sources, ids):
        name = f"lvlib.{module}"
        text = texts.get(name) or (root / module_path(module)).read_text(encoding="utf-8")
        if text.count(solved) != 1:
            raise UserError(f"{module_path(module)} is not what its source makes: run `python -m lvlib.course build`")
        texts[name] = text.replace(solved, stub)
    for id in ids:
        reference = exercises_of(int(id.split(".")[0]))[id].reference
        name = reference.__module__
        if name not in texts and not name.startswith("lvlib.course."):
            text = Path(sys.modules[name].__file__ or "").read_text(encoding="utf-8")
            texts[name] = _opened(text, reference.__name__, id)
    return texts


def open_tree(root: Path, texts: dict[str, str], hidden: set[int], folder: Path, without: tuple[str, ...] = ()) -> Path:
    """Writes lvlib into `folder`, with these texts, and without the checks of the notebooks in `hidden`."""
    tree = folder / "lvlib"
    shutil.copytree(root / "lvlib", tree, ignore=shutil.ignore_patterns("__pycache__", *without))
    for module, text in {**texts, **{checks(number): HIDDEN.format(f"{number:02d}") for number in hidden}}.items():
        _file(folder, module).write_text(text, encoding="utf-8", newline="\n")
    return tree


def build_wheel(root: Path, texts: dict[str, str], hidden: set[int], out: Path) -> Path:
    """Builds the students' wheel, without a network. It holds the working texts, too, for notebooks to go on with."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in PROJECT:
            shutil.copy(root / name, project)
        tree = open_tree(root, texts, hidden, project)
        working = working_texts(root, [*texts, *map(checks, hidden)])
        about = '"""The working text of what this wheel leaves open: see `left_open.py`."""'
        text = f'{about}\n\nTEXTS = "{encoded(working)}"\n'
        _file(project, WORKING).write_text(text, encoding="utf-8", newline="\n")
        for path, key in (project / "pyproject.toml", "version"), (tree / "__init__.py", "__version__"):
            _mark(path, key)
        command = [sys.executable, "-m", "pip", "wheel", str(project), f"--wheel-dir={out}", *OFFLINE]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            raise UserError(f"the wheel cannot be built: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return next(out.glob("lvlib-*.whl"))


def working_texts(root: Path, modules: Iterable[str]) -> dict[str, str]:
    return {name: _file(root, name).read_text(encoding="utf-8") for name in modules}


def checks(number: int) -> str:
    return f"lvlib.course.checks.c{number:02d}"


def _file(folder: Path, module: str) -> Path:
    return folder.joinpath(*module.split(".")).with_suffix(".py")


def _exported(sources: list[Source], ids: set[str]) -> Iterator[tuple[str, str, str]]:
    """(module, text of the unit, text of its stub) of each exercise that is exported."""
    solved = {export.cell: export for cells in exports(sources).values() for export in cells}
    stubs = {export.cell: export for cells in exports(list(map(_unsolved, sources))).values() for export in cells}
    for source in sources:
        for cell in code_cells(source.notebook):
            if "exercise" in tags(cell) and tagged(cell, "ex-") in ids and cell.id in solved:
                yield solved[cell.id].module, solved[cell.id].text, stubs[cell.id].text


def _unsolved(source: Source) -> Source:
    stubs = {cell.id: cell.source for cell in student_form(source).cells}
    notebook = copy.deepcopy(source.notebook)
    for cell in notebook.cells:
        cell.source = stubs.get(cell.id, cell.source)
    return Source(source.path, source.number, notebook, source.problems)


def _opened(text: str, name: str, id: str) -> str:
    """The text of a module in which the body of one function raises NotImplementedError."""
    lines = text.split("\n")
    node = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == name)
    first = node.body[1 if ast.get_docstring(node) else 0]
    lines[first.lineno - 1 : node.end_lineno] = [f'{" " * first.col_offset}raise NotImplementedError("exercise {id}")']
    return "\n".join(lines)


def _mark(path: Path, key: str) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    number = next(i for i, line in enumerate(lines) if line.startswith(f"{key} = "))
    lines[number] = f'{lines[number].removesuffix(chr(34))}{VERSION}"'
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
