"""The process in which one exercise is run to be graded: `python -I assign_room.py`, a job on stdin, what was observed
on stdout.

What it says is not believed, only compared, elsewhere, with what the reference gives. What is run here can do no harm:
Python's audit hooks (PEP 578), which cannot be taken off again, refuse it every write, other processes, the network,
native code, and every file that is not Python's or a package's. This stops what Python code does by Python's means. It
is not a jail for native code.
"""

import io
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REFUSED = ("os.", "shutil.", "subprocess.", "socket.", "ctypes.", "pty.", "sqlite3.", "mmap.", "fcntl.", "signal.",
           "resource.", "urllib.", "http.", "ftplib.", "webbrowser.", "winreg.", "_winapi.")
HARMLESS = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


def main() -> None:
    job = pickle.load(sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "wb")
    for stream in 1, 2:  # what is printed goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.dont_write_bytecode = True
    sys.path.insert(0, job["folder"])
    import torch

    from lvlib.course.cases import observe
    from lvlib.course.left_open import Texts

    sys.meta_path.insert(0, Texts(job["texts"]))
    cases = pickle.loads(job["cases"])
    _limit_memory(job["memory"])
    sys.addaudithook(_guard(job["folder"]))
    answer, problem = _run(job["given"], job["source"], job["name"])
    seen = [] if problem else [vars(observe(answer, case, state)) for case, state in cases]
    buffer = io.BytesIO()
    torch.save({"problem": problem, "seen": seen}, buffer)
    out.write(buffer.getvalue())
    out.flush()
    os._exit(0)


def _run(given: list[str], source: list[str], name: str) -> tuple[Any, str]:
    """Runs the statements; what an exercise cell has besides the answer may fail. Returns (the answer, a problem)."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    failures = []
    for text in (*given, *source):
        try:
            exec(compile(text, "<exercise>", "exec"), namespace)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
    if name not in namespace:
        return None, f"the cell does not define {name}" + (f" ({failures[-1]})" if failures else "")
    answer = namespace[name]
    if str(getattr(answer, "__module__", "")).split(".")[0] == "lvlib":
        return None, f"this {name} is lvlib's own"
    return answer, ""


def _guard(folder: str) -> Callable[[str, tuple], None]:
    readable = tuple({os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, folder)})
    own = os.path.realpath(folder)
    realpath, fspath, parts = os.path.realpath, os.fsdecode, lambda path: Path(path).parts
    allowed_flags, refused, harmless = ~WRITING, REFUSED, HARMLESS

    def refuse(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):
                return
            real = realpath(fspath(path))
            if flags & ~allowed_flags:
                raise PermissionError(f"a graded exercise may not write {real}")
            if not real.startswith(readable) or ("lvlib" in parts(real) and not real.startswith(own)):
                raise PermissionError(f"a graded exercise may not read {real}")
        elif event.startswith(refused) and event not in harmless:
            raise PermissionError(f"a graded exercise may not call {event}")

    return refuse


def _limit_memory(gigabytes: float) -> None:
    try:
        import resource
    except ImportError:  # on Windows
        return
    most = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
