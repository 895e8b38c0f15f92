"""One case in a process of its own, forked from one that has loaded lvlib, watched until it ends."""

import importlib
import os
import pkgutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MEMORY = 2 << 30  # bytes that a case may take on top of what is loaded
FILE = 64 << 20  # bytes of the largest file that it may write
LIMIT = 60.0  # seconds: of the clock without any CPU time, or of the clock once BUSY are gone, that are a hang
BUSY = 20.0  # CPU seconds


class End(NamedTuple):
    """status: None where it hung, minus the signal where one ended it."""

    status: int | None
    cpu_s: float
    left_over: bool  # a process of it lives on


def load() -> None:
    """Imports lvlib, and whatever it imports when it works, so that a case need not."""
    import lvlib

    for module in pkgutil.walk_packages(lvlib.__path__, "lvlib."):
        if not module.name.startswith("lvlib.course") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("av", "tyro", "lightning.fabric", "torch._dynamo", "torch.utils.tensorboard", "mlxtend.data",
                 "PIL.PngImagePlugin", "PIL.WebPImagePlugin", "safetensors.numpy", "sympy"):
        importlib.import_module(name)


def run_forked(work: Callable[[], int | None], folder: Path, place: Path) -> End:
    """Does the work in the folder `place`, with what it prints in folder/stdout and folder/stderr, and waits for it."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _prepare(folder, place)
            status = _status_of(work)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return _watch(pid)


def _prepare(folder: Path, place: Path) -> None:
    """Streams, limits and folders as a command of its own would have them."""
    import resource

    import psutil
    import torch

    torch.set_num_threads(1)  # a forked process has no other threads, nor a GPU
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.setsid()
    os.chdir(place)
    for number, name, flags in (0, os.devnull, os.O_RDONLY), (1, folder / "stdout", -1), (2, folder / "stderr", -1):
        descriptor = os.open(name, flags if flags >= 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    os.environ["TMPDIR"] = str(folder / "tmp") if (folder / "tmp").exists() else str(folder)
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever a test before this one has left
    memory = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _in_this_process()


def _in_this_process() -> None:
    """What would start other Python processes does not: they know nothing of the systems of the tests, and each would
    load torch anew."""
    import lvlib.reports.bench as bench
    import lvlib.training.engine as engine
    import lvlib.training.loop as loop

    bench._in_fresh_process = lambda work, *arguments: work(*arguments)
    bench.PRODUCT = 64
    launch = engine.launch

    def launch_alone(precision, device, devices, nodes):
        if devices * nodes > 1:
            raise SystemExit(0)
        return launch(precision, device, devices, nodes)

    loop.launch = engine.launch = launch_alone


def _status_of(work: Callable[[], int | None]) -> int:
    try:
        return work() or 0
    except SystemExit as exit:
        return exit.code or 0


def _watch(pid: int) -> End:
    """Waits until it ends, or hangs: a loaded machine is not a fault, so CPU time counts, too."""
    start = moved = time.monotonic()
    cpu = used = 0.0
    pause = 0.002
    while True:
        done, raw, usage = os.wait4(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(raw)
            return End(status, usage.ru_utime + usage.ru_stime, _end_group(pid))
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
        now = time.monotonic()
        if now - start < 1:
            continue
        cpu = _cpu_seconds(pid)
        if cpu > used + 0.05:
            used, moved = cpu, now
        if now - moved > LIMIT or (now - start > LIMIT and cpu > BUSY):
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return End(None, cpu, False)


def _cpu_seconds(pid: int) -> float:
    """Of the process and its children."""
    import psutil

    total = 0.0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            total += times.user + times.system
    except psutil.Error:
        pass
    return total


def _end_group(pid: int) -> bool:
    """Ends what lives on of its process group five seconds after it. Returns whether there was anything."""
    for _ in range(50):
        try:
            os.killpg(pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        time.sleep(0.1)
    os.killpg(pid, signal.SIGKILL)
    return True
