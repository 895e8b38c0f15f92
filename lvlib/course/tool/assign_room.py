"""The process in which one exercise is run to be graded: `python -I assign_room.py`, a job on stdin, what was observed
on stdout.

What it says is not believed, only compared, elsewhere, with what the reference gives. And two audit hooks (PEP 578)
refuse it every write, other processes, the network, native code, and every file that is not Python's or a package's.
They keep an answer from harm by mistake, and are no boundary against malice: they see only what goes through Python,
and run in the process that they watch. What holds the files is Landlock (Linux 5.13 and later).
"""

import ctypes
import io
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

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
    _limit(job["memory"])
    readable = tuple({os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, job["folder"])})
    _lock_files(readable)
    sys.addaudithook(files_guard(readable, os.path.realpath(job["refused"])))
    sys.addaudithook(_refuse_calls)
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


def files_guard(readable: tuple[str, ...], refused: str) -> Callable[[str, tuple], None]:
    """A hook that refuses every file but those in the folders `readable`, of which those in `refused`, too."""
    realpath, fspath, sep, writing = os.path.realpath, os.fsdecode, os.sep, WRITING
    readable, refused = tuple(os.path.join(path, "") for path in readable), os.path.join(refused, "")

    def refuse_files(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):
                return
            real = realpath(fspath(path))
            if flags & writing:
                raise PermissionError(f"a graded exercise may not write {real}")
            if not f"{real}{sep}".startswith(readable) or f"{real}{sep}".startswith(refused):
                raise PermissionError(f"a graded exercise may not read {real}")

    return refuse_files


def _refuse_calls(event: str, arguments: tuple) -> None:
    """A hook that refuses what else could do harm. It has constants alone, no variables that an answer could set."""
    if event.startswith((
        "os.", "shutil.", "subprocess.", "socket.", "ctypes.", "pty.", "sqlite3.", "mmap.", "fcntl.", "signal.",
        "resource.", "urllib.", "http.", "ftplib.", "webbrowser.", "winreg.", "_winapi.", "gc.",
    )) and event not in ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv"):
        raise PermissionError(f"a graded exercise may not call {event}")
    if event == "object.__setattr__" and arguments[1] == "__code__":
        raise PermissionError("a graded exercise may not change the code of a function")


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


def _limit(gigabytes: float) -> None:
    """Limits the memory, and lets this process start no other and no thread; root may, whatever its limits say."""
    try:
        import resource
    except ImportError:  # on Windows
        return
    most = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


if __name__ == "__main__":
    main()
