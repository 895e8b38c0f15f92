"""Whatever stops a command is one line on stderr, and status 2; a mistake in lvlib is not hidden."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lvlib.cli import LONGEST, main, reported
from lvlib.errors import TrainingStopped, UserError

COMMAND = [sys.executable, "-c", "import sys; from lvlib.cli import main; sys.exit(main())"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
MEMORY = "out of memory: smaller sizes, or fewer clips, take less"


def stop(error: BaseException):
    def work() -> None:
        raise error

    return work


TOO_LARGE = {
    "torch's allocator": lambda: torch.empty(10**15),
    "torch's sizes": lambda: torch.empty(10**12, 10**12, device="meta"),
    "torch's numbers": lambda: torch.empty(10**30),
    "NumPy's allocator": lambda: np.empty(10**15),
    "NumPy's sizes": lambda: np.empty((10**12, 10**12)),
    "NumPy's numbers": lambda: np.int64(10**30),
}


@pytest.mark.parametrize("work", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_too_large_is_one_line(work, capsys):
    assert reported(work) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert errors.startswith(("lvlib: error: out of memory", "lvlib: error: a number is too large"))


@pytest.mark.parametrize("error, line", [
    (UserError("--n must be\n at least 1"), "--n must be at least 1"),
    (OSError(28, "No space left on device", "a.mp4"), "[Errno 28] No space left on device: 'a.mp4'"),
    (TrainingStopped("out of memory at step 3; the checkpoint of step 2 is whole"),
     "out of memory at step 3; the checkpoint of step 2 is whole"),
    (MemoryError(), MEMORY),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), MEMORY),
    (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), MEMORY),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), MEMORY),
    (RecursionError(), "a file holds more levels, one inside the other, than can be read"),
    (UnicodeEncodeError("utf-8", "d\udcff", 1, 2, "surrogates not allowed"),
     "a name that is not text cannot be used here: 'd\\udcff'"),
], ids=lambda value: type(value).__name__)
def test_what_stops_a_command_is_said(error, line, capsys):
    assert reported(stop(error)) == 2
    assert capsys.readouterr().err == f"lvlib: error: {line}\n"


def test_ctrl_c_is_one_word(capsys):
    assert reported(stop(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "lvlib: stopped\n"


STOPPED = """
import os, signal, sys
from lvlib.cli import reported
from lvlib.data import new_folder

def work():
    with new_folder("set"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            if "twice" in sys.argv:
                os.kill(os.getpid(), signal.SIGTERM)

status = reported(work)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
sys.exit(status)
"""


def stopped(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", STOPPED, *arguments], cwd=folder, env=ENVIRONMENT,
                          capture_output=True, text=True)


@pytest.mark.posix
def test_sigterm_is_the_same_and_leaves_no_draft(tmp_path):
    done = stopped(tmp_path)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (130, "lvlib: stopped\n", [])


@pytest.mark.posix
def test_a_second_sigterm_ends_it(tmp_path):
    assert stopped(tmp_path, "twice").returncode == -signal.SIGTERM


@pytest.mark.posix
def test_sigterm_that_was_ignored_stays_so(tmp_path):
    code = ("import os, signal; from lvlib.cli import reported\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "assert reported(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0")
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT).returncode == 0


def test_torch_is_not_loaded_to_find_out():
    code = ("import sys; from lvlib.cli import reported\ndef work(): raise MemoryError\n"
            "assert reported(work) == 2 and 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, f"lvlib: error: {MEMORY}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
@pytest.mark.parametrize("arguments", [["configs"], ["--help"], ["describe", "lvt-bair", "--json"]])
def test_a_reader_that_has_gone_is_no_error(arguments):
    """As `lvlib configs | head -1`, but nobody reads at all."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *arguments], env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
@pytest.mark.parametrize("command", [["describe", "NAME"], ["sample", "NAME", "--out", "NAME.mp4"],
                                     ["reconstruct", "NAME", "NAME", "--out", "NAME.npy"]])
def test_a_name_that_is_not_utf_8_is_refused_in_one_line(command, tmp_path):
    name = os.fsencode(tmp_path) + b"/d\xff"
    done = subprocess.run([*COMMAND, *(word.encode().replace(b"NAME", name) for word in command)], env=ENVIRONMENT,
                          capture_output=True)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.startswith(b"lvlib: error: ") and done.stderr.count(b"\n") == 1
    assert b"d\\udcff" in done.stderr


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), ValueError("a mistake"), KeyError("a mistake")])
def test_a_mistake_is_not_hidden(error):
    with pytest.raises(type(error), match="a mistake"):
        reported(stop(error))


@pytest.mark.parametrize("draw", [
    lambda nothing: torch.multinomial(nothing, 1), lambda nothing: torch.distributions.Categorical(logits=nothing),
])
def test_draws_from_what_is_no_number_are_one_line(draw, capsys):
    assert reported(lambda: draw(torch.full((2, 3), float("nan")))) == 2
    assert "the model makes probabilities that are not finite" in capsys.readouterr().err


def test_names_that_are_not_text_are_printed(capsys):
    assert reported(lambda: print("\udcff.mp4: \U0001f600")) == 0
    assert capsys.readouterr().out == "\\udcff.mp4: \U0001f600\n"


def test_a_line_is_printable_and_short(capsys):
    assert reported(stop(UserError("red \x1b[31m, not\nUTF-8 \udcff, long " + "x" * 10_000))) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lvlib: error: red \\x1b[31m, not UTF-8 \\udcff, long xxx")
    assert errors.rstrip("\n").isprintable() and len(errors) < LONGEST + 30


def test_a_long_name_is_shortened(capsys):
    assert main(["x" * 10_000]) == 2
    assert "x...'; there are: configs" in capsys.readouterr().err
