"""The folder of the working copy, `my/`: what is made there, and what a newer course changes in it.

Each copy says in its metadata which version it was made from; `my/.course/` keeps those versions, under their digest.
So one atomic write takes a copy from one version to the next. What it replaces is copied into `my/.course/` before.
An answer may move from one file to another: an update that was stopped between two writes is undone by the next.
"""

import copy
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from filelock import FileLock
from nbformat import NotebookNode

from lvlib.course.copy.matching import cells_of
from lvlib.course.copy.merge import Merged, merge
from lvlib.course.tool.notebook import read_notebook
from lvlib.errors import UserError, printable

FOLDER, RECORDS = "my", ".course"
UNFINISHED = "unfinished"  # beside a backup, until all is written: the names of the notebooks that the update makes


@dataclass(frozen=True)
class Copy:
    """A notebook of the working copy, and the version of the course that it was made from."""

    name: str
    mine: NotebookNode
    base: NotebookNode


def update(root: Path) -> Iterator[str]:
    """Makes `my/` from `notebooks/`, or brings what is new there into it. Yields what was done, a line each.

    Raises UserError where there are no notebooks, one of them cannot be read, or `my/` cannot be written.
    """
    course = _course(root)
    folder = root / FOLDER
    try:
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        with FileLock(folder / RECORDS / "lock"):
            yield from _undo_what_was_stopped(folder)
            yield from _update(folder, course)
    except OSError as error:
        raise UserError(f"{FOLDER}/ cannot be written: {printable(error)}") from None


def digest(notebook: NotebookNode) -> str:
    """Of what a notebook of the course says: equal for equal cells, whatever has been run."""
    cells = [[cell.cell_type, cell.source, cell.metadata] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:16]


def _course(root: Path) -> dict[str, NotebookNode]:
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    if not paths:
        raise UserError(f"there are no notebooks in {root / 'notebooks'}: they are part of a checkout of the course")
    course = {}
    for path in paths:
        notebook = read_notebook(path)
        if notebook is None:
            raise UserError(f"notebooks/{path.name} cannot be read; `git checkout notebooks` brings it back")
        course[path.stem] = notebook
    return course


def _update(folder: Path, course: dict[str, NotebookNode]) -> Iterator[str]:
    copies, left_alone = _read_copies(folder, course)
    yield from left_alone
    current = {c.name for c in copies if c.name in course and digest(c.base) == digest(course[c.name])}
    old = [c for c in copies if c.name not in current]
    present = {path.stem for path in folder.glob("*.ipynb")}
    others = present - {c.name for c in old}  # up to date, or left alone
    wanted = {name: notebook for name, notebook in course.items() if name not in others}
    if not wanted and not old:
        return
    if not copies and not left_alone:
        yield f"made {FOLDER}/ from notebooks/: your copy, to work in"
    gone = [c for c in old if not _lives_on(c, wanted)]
    old = [c for c in old if c not in gone]
    for c in gone:
        c.mine.metadata.pop("lvlib")
        _write(folder / f"{c.name}.ipynb", c.mine)
        yield f"{_path(c.name)}: no longer part of the course; it stays as it is"
    merged = merge(
        [cell for c in old for cell in cells_of(c.name, c.base)],
        [cell for c in old for cell in cells_of(c.name, c.mine)],
        [cell for name, notebook in wanted.items() for cell in cells_of(name, notebook)],
    )
    backup = _back_up(folder, [c.name for c in old])
    if old:
        _replace(backup / UNFINISHED, json.dumps(list(wanted)).encode())
    for name in sorted(wanted, key=lambda name: (name in present, name)):  # new files first: nothing is gone meanwhile
        before = _before(name, old)
        notebook = copy.deepcopy(wanted[name])
        if before:
            notebook.metadata = before.mine.metadata
        notebook.cells = merged.cells.get(name, [])
        notebook.metadata.lvlib = {"made_from": _keep(folder, name, wanted[name])}
        _write(folder / f"{name}.ipynb", notebook)
    divided = sorted({c.name for c in old} - set(wanted))
    for name in divided:
        (folder / f"{name}.ipynb").unlink()
    (backup / UNFINISHED).unlink(missing_ok=True)
    if copies:
        yield from (_report(name, old, merged) for name in wanted)
    for name in divided:
        if _topic(name) not in map(_topic, wanted):
            yield f"{_path(name)}: divided; what you wrote there is in the notebooks above"
    if old:
        yield f"as they were before: {_shown(folder, backup)}"


def _undo_what_was_stopped(folder: Path) -> Iterator[str]:
    """Brings back each notebook that the stopped update has replaced, and takes away those that it has made. What it
    had written is copied before: somebody may have worked in it since."""
    for marker in (folder / RECORDS).glob(f"before-*/{UNFINISHED}"):
        saved = {path.stem: path for path in marker.parent.glob("*.ipynb")}
        now = {path.stem: read_notebook(path) for path in folder.glob("*.ipynb")}
        versions = {name: made_from(notebook) for name, notebook in now.items() if notebook}
        replaced = [name for name, path in saved.items() if versions.get(name) != _version_in(path)]
        made = [name for name in json.loads(marker.read_bytes()) if name not in saved and versions.get(name)]
        if written := [name for name in [*replaced, *made] if name in now]:
            kept = _back_up(folder, written)
            yield f"the last update was stopped half-way, and is undone; what it had written: {_shown(folder, kept)}"
        for name in replaced:
            _replace(folder / f"{name}.ipynb", saved[name].read_bytes())
        for name in made:
            (folder / f"{name}.ipynb").unlink()
        marker.unlink()


def _version_in(path: Path) -> str | None:
    notebook = read_notebook(path)
    return made_from(notebook) if notebook else None


def _read_copies(folder: Path, course: dict[str, NotebookNode]) -> tuple[list[Copy], list[str]]:
    """The copies, and a line for each file that has the name of one and is none. Other files are the learner's."""
    copies, left_alone = [], []
    for path in sorted(folder.glob("*.ipynb")):
        mine = read_notebook(path)
        base = mine and read_notebook(_record(folder, path.stem, made_from(mine)))
        if mine and base:
            copies.append(Copy(path.stem, mine, base))
        elif path.stem in course:
            why = "no record of what it was made from" if mine else "not a notebook that can be read"
            left_alone.append(f"{_path(path.stem)}: {why}; left alone. Rename it, and a new copy is made")
    return copies, left_alone


def made_from(mine: NotebookNode) -> str:
    record = mine.metadata.get("lvlib")
    return str(record.get("made_from", "")) if isinstance(record, dict) else ""


def _record(folder: Path, name: str, version: str) -> Path:
    version = version if version.isalnum() else "none"  # it comes from a file, and must not lead elsewhere
    return folder / RECORDS / f"{name}-{version}.ipynb"


def _keep(folder: Path, name: str, notebook: NotebookNode) -> str:
    version = digest(notebook)
    if not _record(folder, name, version).exists():
        _write(_record(folder, name, version), notebook)
    return version


def _lives_on(c: Copy, wanted: dict[str, NotebookNode]) -> bool:
    """Is anything of the course's notebook of that name still there, under whatever name and number?"""
    said = {cell.exercise or cell.text for cell in cells_of(c.name, c.base)}
    return _topic(c.name) in map(_topic, wanted) or any(
        cell.exercise in said for name, notebook in wanted.items() for cell in cells_of(name, notebook) if cell.exercise
    )


def _topic(name: str) -> str:
    return name.lstrip("0123456789")


def _back_up(folder: Path, names: list[str]) -> Path:
    backup = folder / RECORDS / time.strftime("before-%Y%m%d-%H%M%S")
    number = 1
    while backup.exists():
        number += 1
        backup = backup.with_name(f"{backup.name.partition('_')[0]}_{number}")
    for name in names:
        backup.mkdir(exist_ok=True)
        (backup / f"{name}.ipynb").write_bytes((folder / f"{name}.ipynb").read_bytes())
    return backup


def _write(path: Path, notebook: NotebookNode) -> None:
    _replace(path, (nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever it is killed. (`lvlib.data.drafts` does more, and brings torch along.)"""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(content)
    os.replace(draft, path)


def _shown(folder: Path, backup: Path) -> str:
    return f"{backup.relative_to(folder.parent).as_posix()}/"


def _path(name: str) -> str:
    return f"{FOLDER}/{name}.ipynb"


def _before(name: str, copies: list[Copy]) -> Copy | None:
    """The copy that goes on in a notebook, whatever its number was."""
    return next((c for c in copies if _topic(c.name) == _topic(name)), None)


def _report(name: str, old: list[Copy], merged: Merged) -> str:
    before, happened = _before(name, old), merged.happened[name]
    counts = [(happened[what], what) for what in ("changed", "new", "removed") if happened[what]]
    said = [f"{number} cell{'s' * (number > 1)} {what}" for number, what in counts] if before else ["new"]
    answers = merged.answers[name]
    said += [f"your answers kept: {', '.join(answers)}"] if answers else []
    if happened["both"]:
        said.append(f'{happened["both"]} changed by you and by the course: look for "From the newer course"')
    if happened["dropped"]:
        said.append(f'{happened["dropped"]} of yours not in the course any more: look for "No longer in the course"')
    was = f" (was {before.name})" if before and before.name != name else ""
    return f"{_path(name)}{was}: {'; '.join(said) or 'nothing but numbers changed'}"
