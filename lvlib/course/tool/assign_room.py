"""The process in which one exercise is run to be graded: `python -I assign_room.py`, a job on stdin, what was observed
on stdout.

What it says is not believed, only compared, elsewhere, with what the reference gives. And it does no harm: an audit
hook (PEP 578), which cannot be taken off, refuses it every write, other processes, the network, native code, and every
file that is not Python's or a package's. The hook sees what goes through Python; what PyTorch writes by itself it does
not see. On Linux Landlock refuses that too (kernel 5.13 and later).
"""

import ctypes
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
ADD_RULE, CREATE_RULESET, RESTRICT_SELF, NO_NEW_PRIVILEGES = 445, 444, 446, 38  # numbers of Linux
OF_THE_SYSTEM = ("/usr", "/lib", "/lib64", "/sys", "/proc/cpuinfo")  # libraries; what PyTorch asks about processors
EXECUTE, READ_FILE, READ_DIR = 1, 4, 8
READY = b"ready\n"  # what comes before it has gone wrong without the student's doing
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
    readable = tuple({os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, job["folder"])})
    _lock_files(readable)
    sys.addaudithook(_guard(readable, os.path.realpath(job["folder"])))
    out.write(READY)
    out.flush()
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


def _guard(readable: tuple[str, ...], own: str) -> Callable[[str, tuple], None]:
    """Refuses all other files, lvlib elsewhere than in `own`, and what else could do harm."""
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


def _lock_files(readable: tuple[str, ...]) -> None:
    """Lets this process read and run what is in these folders, and touch no other file, as far as Linux can do so."""
    if sys.platform != "linux":
        return
    call = ctypes.CDLL(None).syscall
    version = call(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    rights = ctypes.c_uint64((1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1)  # all that this version knows
    rules = call(CREATE_RULESET, ctypes.byref(rights), 8, 0)
    for path in (*readable, *OF_THE_SYSTEM):
        if os.path.exists(path):
            opened = os.open(path, os.O_PATH)
            right = EXECUTE | READ_FILE | (READ_DIR if os.path.isdir(path) else 0)
            call(ADD_RULE, rules, 1, right.to_bytes(8, sys.byteorder) + opened.to_bytes(4, sys.byteorder), 0)
            os.close(opened)
    ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    call(RESTRICT_SELF, rules, 0)


def _limit_memory(gigabytes: float) -> None:
    try:
        import resource
    except ImportError:  # on Windows
        return
    most = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    main()
