"""The verdict on one exercise of an assignment, from the text of its cell alone.

The text is run in a process of its own, with lvlib as the students have it: the exercise left open. It gets inputs, and
gives back what was observed. Here, where no student's code runs, that is compared with what the reference gave. So an
answer that prints, patches or ends what it likes can do no more than be wrong.
"""

import ast
import contextlib
import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from IPython.core.inputtransformer2 import TransformerManager

import lvlib
from lvlib.course.cases import Observation, difference, observe
from lvlib.course.exercises import Exercise
from lvlib.course.interrupts import IDLE
from lvlib.course.tool import assign_room
from lvlib.course.tool.assign_given import Given, needed

NOT_WRITTEN = "not written yet"
KEPT = ("PATH", "SYSTEMROOT", "TEMP", "LD_LIBRARY_PATH")  # of the environment; the rest is not a student's business


@dataclass(frozen=True)
class Limits:
    seconds: float
    gigabytes: float
    """Of memory, where the system can limit it."""
    megabytes: float
    """Of results."""


@dataclass(frozen=True)
class Graded:
    """All that the verdict on an exercise needs, but for the answer."""

    id: str
    name: str
    points: float
    given: list[Given]
    texts: dict[str, str]
    """Of the modules that the course leaves open, with this exercise alone left open."""
    cases: bytes
    """Pickled: (case, the state that an instance of a class starts from) for each."""
    expected: list[dict[str, Any]]
    about: list[str]


def graded(exercise: Exercise, points: float, seed: int, given: list[Given], texts: dict[str, str]) -> Graded:
    """Makes the inputs of an exercise, and the reference's outputs."""
    cases = exercise.cases(seed)
    expected = [observe(exercise.reference, case) for case in cases]
    with_states = [(case, seen.state) for case, seen in zip(cases, expected, strict=True)]
    module = sys.modules[exercise.body.__module__]
    cloudpickle.register_pickle_by_value(module)  # what a case has from there goes along: the room has no checks
    pickled = cloudpickle.dumps(with_states)
    about = [case.about for case in cases]
    return Graded(exercise.id, exercise.name, points, given, texts, pickled, list(map(vars, expected)), about)


def problem_of(exercise: Graded, source: str, folder: Path, limits: Limits) -> str | None:
    """What is wrong with an answer, in one line; None if it is right.

    folder: holds lvlib with the exercises open, and nothing else: the answer can read all that is there.
    """
    try:
        tree = ast.parse(TransformerManager().transform_cell(source))  # a magic fails there, alone
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"not plain Python: {error.msg if isinstance(error, SyntaxError) else error}"
    job = {
        "folder": str(folder),
        "refused": str(Path(lvlib.__file__).parent),  # the teacher's lvlib, which has the answers
        "texts": exercise.texts,
        "given": needed(exercise.given, tree),
        "source": [ast.unparse(node) for node in tree.body],
        "name": exercise.name,
        "cases": exercise.cases,
        "memory": limits.gigabytes,
    }
    said = _run(pickle.dumps(job), limits)
    if isinstance(said, str):
        return said
    try:
        found = torch.load(io.BytesIO(said), weights_only=True)
        return found["problem"] or first_difference(exercise, [Observation(**seen) for seen in found["seen"]])
    except Exception:  # it has written there itself
        return "what it gave cannot be read"


def _run(job: bytes, limits: Limits) -> bytes | str:
    """What the process has written, or why there is nothing to be had."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    most = int(limits.megabytes * 10**6)
    with (
        tempfile.TemporaryDirectory() as empty,
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,  # no pipe: a process that outlives its parent would keep it open
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(job)
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", assign_room.__file__],
            stdin=stdin, stdout=stdout, stderr=stderr, cwd=empty, env=environment, start_new_session=True,
        )
        try:
            late = _is_late(process, limits.seconds, lambda: os.fstat(stdout.fileno()).st_size > most)
        finally:
            _kill(process)
        for file in stdout, stderr:
            file.seek(0)
        said, faults = stdout.read(most + 1), stderr.read().decode(errors="replace")
    if late:
        return f"stopped: it takes over {limits.seconds:g} s"
    if not said.startswith(assign_room.READY):
        raise RuntimeError(f"exercises cannot be run here: {faults}")
    if len(said) > most:
        return f"stopped: it gives over {limits.megabytes:g} MB"
    return said.removeprefix(assign_room.READY) or "it ended Python before it gave a result"


def _is_late(process: subprocess.Popen, seconds: float, too_large: Callable[[], bool]) -> bool:
    """Waits until it ends, or gives too much, or is late: by the clock and by its CPU time, so that a busy machine
    stops nobody. What only waits may take IDLE times as long."""
    import psutil  # here: its Linux form imports what Windows lacks

    started, watched = time.monotonic(), psutil.Process(process.pid)
    while not too_large():
        try:
            process.wait(0.1)
            return False
        except subprocess.TimeoutExpired:
            passed = time.monotonic() - started
        try:
            computed = sum(watched.cpu_times()[:2])
        except psutil.Error:  # it has just ended
            continue
        if passed > IDLE * seconds or min(passed, computed) > seconds:
            return True
    return False


def _kill(process: subprocess.Popen) -> None:
    """Ends the process, and what it has started in its session."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def first_difference(exercise: Graded, found: list[Observation]) -> str | None:
    """What is wrong, in words, with what was observed on the cases in their order; None if nothing is."""
    last_right = None
    for about, expected, seen in zip(exercise.about, exercise.expected, found, strict=True):
        wanted = Observation(**expected)
        if words := difference(wanted, seen):
            return words if words == NOT_WRITTEN else f"{_right_for(last_right)}wrong for {about}: {words}"
        if _shapes(wanted) != _shapes(seen):  # `difference` has compared no values then
            return f"parameters and buffers must be those that the notebook gives: {', '.join(wanted.state) or 'none'}"
        last_right = about
    return None


def _shapes(seen: Observation) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in seen.state.items()}


def _right_for(case: str | None) -> str:
    return f"right for {case}, " if case else ""
