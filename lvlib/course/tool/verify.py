"""Do the generated files agree with their sources? Rebuilds all of them in memory; runs nothing, writes nothing.

Whoever opens a notebook in JupyterLab and saves it changes its metadata; whoever runs it, its outputs. Neither is a
fault of the course: of a notebook the cells count, unless `strict` asks for what the build wrote, byte for byte.
"""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from nbformat import NotebookNode

from lvlib.course.tool.build import executed_path, read_executed, student_path
from lvlib.course.tool.extract import export_problems, exports, module_path, module_text, package_texts
from lvlib.course.tool.forms import code_digest, dumps, executed_form, output_problems, run_again, stale, student_form
from lvlib.course.tool.notebook import (
    PACKAGES,
    Source,
    code_cells,
    read_notebook,
    read_sources,
    relative_path,
    tagged,
    tags,
)

REMEDY = "change the source, then run `python -m lvlib.course build`"


def disagreements(root: Path, strict: bool = False) -> Iterator[str]:
    """A line for each rule that a source breaks, and for each file that is not what its source makes."""
    sources = read_sources(root)
    for source in sources:
        yield from source.problems
    modules = exports(sources)
    yield from export_problems(modules)

    sound = [source for source in sources if not source.problems]
    for source in sound:
        yield from _student(root, source, strict)
        yield from _executed(root, source, strict)
    for module, cells in modules.items():
        paths = {cell.path for cell in cells}
        if paths <= {source.path for source in sound} and not any(cell.problems for cell in cells):
            yield from _difference(root, module_path(module), module_text(cells), " and ".join(map(str, sorted(paths))))
    for path, text in package_texts(modules).items():
        yield from _difference(root, path, text, "its notebooks")
    yield from _orphans(root, sources)


def _student(root: Path, source: Source, strict: bool) -> Iterator[str]:
    path, expected = student_path(source), student_form(source)
    if strict or not _same_cells(read_notebook(root / path), expected):
        yield from _difference(root, path, dumps(expected), str(source.path))


def _executed(root: Path, source: Source, strict: bool) -> Iterator[str]:
    path, notebook = executed_path(source), read_executed(root, source)
    if notebook is None:
        yield f"{path}: missing, or not a notebook; run `python -m lvlib.course build`"
        return
    same_code = code_digest(notebook) == code_digest(source.notebook)
    if run_again(notebook, source) and not strict and same_code:
        if not _same_cells(notebook, source.notebook):
            yield from _difference(root, path, dumps(executed_form(source, notebook)), str(source.path))
        return
    if reason := stale(notebook, source):
        yield f"{path}: {reason}; run `python -m lvlib.course build`"
    elif not same_code:
        yield f"{path}: its code is not that of {source.path}; {REMEDY}"
    elif strict or not _same_cells(notebook, source.notebook):
        yield from _difference(root, path, dumps(executed_form(source, notebook)), str(source.path))
    yield from (f"{path}: {problem}" for problem in output_problems(notebook))


def _same_cells(found: NotebookNode | None, expected: NotebookNode) -> bool:
    """Are text, type, tags and id of all cells the same?"""
    found_cells = [] if found is None else found.cells
    return [_told(cell) for cell in found_cells] == [_told(cell) for cell in expected.cells]


def _told(cell: NotebookNode) -> tuple:
    return cell.cell_type, cell.source, tags(cell), cell.get("id")


def _difference(root: Path, path: PurePosixPath, expected: str, origin: str) -> Iterator[str]:
    if not (root / path).exists():
        yield f"{path}: missing; run `python -m lvlib.course build`"
        return
    found = (root / path).read_bytes().decode(errors="replace")
    if found == expected:
        return
    pairs = enumerate(zip_longest(found.split("\n"), expected.split("\n")), 1)
    number, line = next((number, line) for number, (line, other) in pairs if line != other)
    shown = f" (`{line.strip()[:60]}`)" if line else ""
    yield f"{path}: edited, or older than {origin}: it differs from line {number} on{shown}; {REMEDY}"


def _orphans(root: Path, sources: list[Source]) -> Iterator[str]:
    notebooks = {path for source in sources for path in (student_path(source), executed_path(source))}
    tags = {tagged(cell, "export:") for source in sources for cell in code_cells(source.notebook)}
    modules = {module_path(tag) for tag in tags if tag}
    for folder in "notebooks", "solutions":
        for file in sorted((root / folder).glob("*.ipynb")):
            if (path := relative_path(file, root)) not in notebooks:
                yield f"{path}: orphan: no source in solutions/ makes it; delete it"
    for package in PACKAGES:
        for file in sorted((root / "lvlib" / package).rglob("*.py")):
            if (path := relative_path(file, root)) not in modules and path.name != "__init__.py":
                yield f"{path}: orphan: no notebook exports it; delete it, or export it from one"
