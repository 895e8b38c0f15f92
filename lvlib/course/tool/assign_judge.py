"""The verdict on one exercise of an assignment, from the text of its cell alone.

The text is run in a process of its own, with lvlib as the students have it: the exercise left open. It gets inputs, and
gives back what was observed. Here, where no student's code runs, that is compared with what the reference gave. So an
answer that prints, patches or ends what it likes can do no more than be wrong.
"""

import ast
import io
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import torch

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
    """What is wrong with an answer, in one line; None if it is right. `folder` holds lvlib with the exercises open."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return f"not plain Python: {error.msg if isinstance(error, SyntaxError) else error}"
    job = {
        "folder": str(folder),
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
    environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    most = int(limits.megabytes * 10**6)
    with (
        tempfile.TemporaryDirectory() as empty,
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(job)
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", assign_room.__file__],
            stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, cwd=empty, env=environment,
        )
        ended, late = threading.Event(), threading.Event()
        watch = threading.Thread(target=_stop_if_late, args=(process, limits.seconds, ended, late))
        watch.start()
        try:
            said = process.stdout.read(most + 1) if process.stdout else b""
        finally:
            ended.set()
            watch.join()
            process.kill()
            process.wait()
        stderr.seek(0)
        faults = stderr.read().decode(errors="replace")
    if late.is_set():
        return f"stopped: it takes over {limits.seconds:g} s"
    if not said.startswith(assign_room.READY):
        raise RuntimeError(f"exercises cannot be run here: {faults}")
    if len(said) > most:
        return f"stopped: it gives over {limits.megabytes:g} MB"
    return said.removeprefix(assign_room.READY) or "it ended Python before it gave a result"


def _stop_if_late(process: subprocess.Popen, seconds: float, ended: threading.Event, late: threading.Event) -> None:
    """By the clock and by its CPU time, so that a busy machine stops nobody. What only waits may take IDLE times as
    long."""
    started, watched = time.monotonic(), psutil.Process(process.pid)
    while not ended.wait(0.1):
        passed = time.monotonic() - started
        try:
            computed = sum(watched.cpu_times()[:2])
        except psutil.Error:  # it has just ended
            return
        if passed > IDLE * seconds or min(passed, computed) > seconds:
            late.set()
            process.kill()
            return


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
