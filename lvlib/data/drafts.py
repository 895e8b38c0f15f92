"""Writing beside a place, to take it only once all is there: whoever looks sees the old, or the whole new one.

A draft lies in a folder of its own, whose name cannot be guessed and did not exist: no link is followed, nothing that
is there is touched. The folder says which process works in it. What a killed one left is deleted by the next that
writes to the same place, and by nobody else: a folder that does not say so, or of another machine, stays.
"""

import json
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvlib.errors import printable

_PREFIX, _SUFFIX, _OWNER = ".lvlib-", ".part", "owner.json"

log = logging.getLogger(__name__)


@contextmanager
def draft_beside(path: Path) -> Iterator[Path]:
    """What to make, a file or a folder, of the same name. It is moved to `path` at the end: an existing file is
    replaced, and so is an empty folder. If anything goes wrong it is deleted. Raises OSError where `path` cannot be
    written to."""
    path = Path(os.path.realpath(path)) if path.is_dir() else Path(os.path.realpath(path.parent), path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path.parent)
    room = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, path.parent))
    try:
        (room / _OWNER).write_text(json.dumps({"machine": platform.node(), "process": _me()}), encoding="utf-8")
        draft = room / "draft" / path.name
        draft.parent.mkdir()
        yield draft
        if draft.is_dir() and path.is_dir():
            path.rmdir()  # Windows moves no folder over another
        os.replace(draft, path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _me() -> list:
    """A process, not confused with a later one of the same number."""
    import psutil  # here: its Linux form imports what Windows lacks

    return [os.getpid(), psutil.Process().create_time()]


def _clear(folder: Path) -> None:
    for room in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        machine, process = _owner(room)
        if machine == platform.node() and not _is_alive(*process):
            shutil.rmtree(room, ignore_errors=True)
        elif machine not in (platform.node(), None):
            log.warning("%s is a draft of another machine: delete it if nobody writes there any more", printable(room))


def _owner(room: Path) -> tuple[str | None, list]:
    """The machine and the process that a draft is of; None where the folder does not say."""
    note = room / _OWNER
    try:
        if room.is_symlink() or note.is_symlink() or not note.is_file():
            return None, []
        owner = json.loads(note.read_text(encoding="utf-8"))
        number, since = owner["process"]
        return str(owner["machine"]), [int(number), float(since)]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None, []


def _is_alive(number: int, since: float) -> bool:
    import psutil

    try:
        return abs(psutil.Process(number).create_time() - since) < 1
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, ValueError, OverflowError):
        return True  # for all that is known
