"""Checks in a real kernel: what stops the notebook, and what does not."""

import os
import time
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds: many times what a quiet machine needs
SETUP = """
from pathlib import Path
from lvlib.course import check, exercises
from lvlib.course.cases import Case

@exercises.exercise("98.1", reference=abs, wrong={}, cases=lambda draw: [Case("-2", (-2,))])
def _(fn, expect):
    expect(fn(-1) == 1, "not the size")

def raises(x):
    raise KeyboardInterrupt

def hangs(x):
    Path(START).touch()
    while True: pass
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    manager, client = start_new_kernel(startup_timeout=PATIENCE, env=environment)
    client.start = tmp_path_factory.mktemp("kernel") / "start"
    assert run(client, f"START = {str(client.start)!r}" + SETUP) == ("ok", "")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code: str) -> tuple[str, str]:
    """Runs a cell. Returns "ok" or the name of its error, and what it printed."""
    printed = []

    def collect(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=PATIENCE, output_hook=collect)["content"]
    return reply.get("ename", reply["status"]), "".join(printed)


def test_an_answer_that_raises_keyboard_interrupt_stops_nothing(kernel):
    _, client = kernel
    status, printed = run(client, "check('98.1', raises); print('went on')")
    assert status == "ok" and printed.startswith("98.1 abs  NOT YET: it raised KeyboardInterrupt. Look: line ")
    assert printed.endswith("(going on with lvlib's)\nwent on\n")


def test_the_user_interrupts_a_check(kernel):
    manager, client = kernel
    request = client.execute("check('98.1', hangs)")
    deadline = time.monotonic() + PATIENCE
    while not client.start.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=PATIENCE)
    assert reply["parent_header"]["msg_id"] == request and reply["content"]["ename"] == "KeyboardInterrupt"
    assert run(client, "check('98.1', lambda x: max(x, -x))") == ("ok", "98.1 abs  OK\n")
