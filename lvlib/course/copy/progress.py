"""What of the working copy is done, from its files alone."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

import lvlib
from lvlib.course.copy.folder import FOLDER
from lvlib.course.copy.matching import exercise_ids, exercise_name, has_stub
from lvlib.course.tool.notebook import code_cells, read_notebook, tagged, tags
from lvlib.errors import UserError, printable

START, ONE = 120.0, 30.0  # seconds that Python and torch may take to start, and one exercise
NOT_WRITTEN = "not written yet"


def progress(root: Path) -> Iterator[str]:
    """A line for each exercise of the working copy: done, or why not yet; and how many of a notebook are done.

    What is still a stub is not run, and neither is anything else if all are. One process runs the answers; if one
    ends or blocks it, another goes on behind that. Raises UserError where Python cannot run any.
    """
    paths = [path for path in sorted((root / FOLDER).glob("*.ipynb")) if (root / "notebooks" / path.name).exists()]
    if not paths:
        yield f"no working copy yet: `lvlib lab` makes {FOLDER}/"
        return
    notebooks = {path: notebook for path in paths if (notebook := read_notebook(path))}
    yield from (f"{_shown(path)}: not a notebook that can be read" for path in paths if path not in notebooks)
    verdicts = _judged(notebooks)
    done = total = 0
    for path, notebook in notebooks.items():
        if not (ids := exercise_ids(notebook)):
            continue
        right = [id for id in ids if verdicts[path, id] is None]
        yield f"{_shown(path)}: {len(right)} of {len(ids)} done"
        for id in ids:
            problem = verdicts[path, id]
            yield f"  {id} {exercise_name(notebook, id) or '?'}  {'done' if problem is None else f'NOT YET: {problem}'}"
        done, total = done + len(right), total + len(ids)
    yield f"{done} of {total} done"


def _judged(notebooks: dict[Path, NotebookNode]) -> dict[tuple[Path, str], str | None]:
    """What is wrong with each exercise of each notebook; None where it is right."""
    verdicts: dict[tuple[Path, str], str | None] = {}
    waiting = []
    for path, notebook in notebooks.items():
        for id in exercise_ids(notebook):
            verdicts[path, id] = NOT_WRITTEN
            if _answered(notebook, id):
                waiting.append((path, id))
    while waiting:
        heard = _run(notebooks, waiting)
        verdicts.update(zip(waiting, heard, strict=False))
        if len(heard) < len(waiting):
            verdicts[waiting[len(heard)]] = f"stopped: it ends Python, or takes over {ONE:g} s"
        waiting = waiting[len(heard) + 1 :]
    return verdicts


def _answered(notebook: NotebookNode, id: str) -> bool:
    cells = [cell for cell in code_cells(notebook) if tagged(cell, "ex-") == id and "exercise" in tags(cell)]
    return not any(map(has_stub, cells))


def _run(notebooks: dict[Path, NotebookNode], waiting: list[tuple[Path, str]]) -> list[str | None]:
    """The problem of each that waits, in order; fewer where one of them has ended or blocked the process."""
    job = [_cells(notebooks[path], {id for p, id in waiting if p == path}) for path, _ in dict(waiting).items()]
    path = os.pathsep.join(filter(None, [str(Path(lvlib.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty:
        process = subprocess.Popen(
            [sys.executable, "-m", "lvlib.course.copy.answers"], cwd=empty, env=environment, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_talk, args=(process, json.dumps(job), lines), daemon=True).start()
        heard: list[str | None] = []
        try:
            if not _first(lines):
                raise UserError(f"answers cannot be run: {_last_line(process)}")
            while len(heard) < len(waiting) and (line := lines.get(timeout=ONE)):
                heard.append(json.loads(line))
        except queue.Empty:
            pass
        finally:
            process.kill()
            process.wait()
    return heard


def _talk(process: subprocess.Popen, job: str, lines: queue.Queue) -> None:
    """Gives the job, and passes on what is said; an empty line at the end."""
    try:
        process.stdin.write(job)  # type: ignore[union-attr]
        process.stdin.close()  # type: ignore[union-attr]
        for line in process.stdout or ():
            lines.put(line)
    except (OSError, ValueError):  # it has ended
        pass
    lines.put("")


def _first(lines: queue.Queue[str]) -> str:
    try:
        return lines.get(timeout=START)
    except queue.Empty:
        raise UserError(f"answers cannot be run: Python and torch take over {START:g} s to start; try again") from None


def _last_line(process: subprocess.Popen) -> str:
    said = process.stderr.read().strip() if process.stderr else ""
    return said.rpartition("\n")[2] or "Python does not start"


def _cells(notebook: NotebookNode, waiting: set[str]) -> list[dict]:
    """The code cells up to the last exercise that waits. An exercise is judged at its last cell; one that does not wait
    is not run, and what comes after it has lvlib's."""
    cells = code_cells(notebook)
    last = {tagged(cell, "ex-"): number for number, cell in enumerate(cells) if "exercise" in tags(cell)}
    job = []
    for number, cell in enumerate(cells[: max(last[id] for id in waiting) + 1]):
        id = tagged(cell, "ex-") if "exercise" in tags(cell) else None
        name = exercise_name(notebook, id) if id else None
        run = id is None or id in waiting
        is_last = id is not None and last[id] == number
        job.append({"source": cell.source, "exercise": id, "name": name, "run": run, "last": is_last})
    return job


def _shown(path: Path) -> str:
    return printable(f"{FOLDER}/{path.name}")
