"""A sample of the campaign of bad calls, files and run folders (`python tests/campaign.py --help`)."""

import os
import signal
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cases are run in forked processes of limited memory")

CASES, SEED = 60, 0


@pytest.fixture(scope="module")
def root():
    from campaign import campaign

    with campaign() as root:
        yield root


@pytest.mark.parametrize("number", range(CASES))
def test_whatever_is_wrong_gets_one_line_and_nothing_is_lost(number, root):
    from campaign import in_words, run_case

    result = run_case(root, SEED, number)
    assert not result.faults, in_words(result) + "\n" + result.printed


def refuse(line: str = "lvlib: error: no") -> int:
    print(line, file=sys.stderr)
    return 2


def write(name: str, status: int = 0) -> int:
    Path(name).write_text("new")
    return refuse() if status else 0


WRONG = {
    "a traceback": (lambda: 1 / 0, "traceback"),
    "no line": (lambda: 2, "not one line"),
    "two lines": (lambda: refuse("lvlib: error: one\nlvlib: error: two"), "not one line"),
    "a warning": (lambda: print("UserWarning", file=sys.stderr), "not one line"),
    "a long line": (lambda: refuse("lvlib: error: " + "x" * 1000), "characters"),
    "a line of control characters": (lambda: refuse("lvlib: error: \x1b[31m"), "printable False"),
    "another status": (lambda: sys.exit(3), "status 3"),
    "a signal": (lambda: signal.raise_signal(signal.SIGTERM), "status -15"),
    "an input that is changed": (lambda: write("input"), "changed: place/input"),
    "an input that is lost": (lambda: os.remove("input"), "lost: place/input"),
    "a draft": (lambda: write(".out.npy.part"), "left behind: place/.out.npy.part"),
    "output of what was refused": (lambda: write("out.npy", 2), "left behind: place/out.npy"),
}


@pytest.mark.parametrize("work, fault", WRONG.values(), ids=WRONG)
def test_the_judge_sees(work, fault, root, tmp_path):
    from bad_inputs.case import Case
    from bad_inputs.child import run_forked
    from bad_inputs.judge import faults, snapshot

    (tmp_path / "place").mkdir()
    (tmp_path / "place/input").write_text("old")
    before = snapshot(tmp_path)
    call = ["sample", "run", "--out", "out.npy"]
    assert fault in " ".join(faults(Case(call, ""), run_forked(work, tmp_path, tmp_path / "place"), before, tmp_path))


def test_what_is_right_is_no_fault(root, tmp_path):
    from bad_inputs.case import Case
    from bad_inputs.child import run_forked
    from bad_inputs.judge import faults, snapshot

    (tmp_path / "place").mkdir()
    before = snapshot(tmp_path)
    for work in refuse, lambda: write("out.npy"):
        end = run_forked(work, tmp_path, tmp_path / "place")
        assert not faults(Case(["sample", "run", "--out", "out.npy"], ""), end, before, tmp_path)
