"""The `lvlib` command: one module a sub-command, loaded when it is asked for."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TextIO

from lvlib import __version__
from lvlib.errors import TrainingStopped, UserError, in_one_line, shortened, unknown

COMMANDS = {
    "configs": "list the configurations",
    "describe": "parameters, latent shape, tokens and training memory of a configuration",
    "train": "train a configuration, or go on with a run",
    "sample": "make clips with a trained prior: from nothing, a label, actions or first frames",
    "reconstruct": "turn videos into codes and back, and show them beside the originals",
    "evaluate": "score a run: likelihood, prediction, reconstruction, each beside simple baselines",
    "score": "compare generated videos with real ones, whoever made them",
    "data": "fetch or make a data set",
    "lab": "open JupyterLab at the first notebook of the course, with its data",
    "bench": "measure the speed of training and sampling, and memory, on this machine",
}

LONGEST = 900  # characters of a message


def main(arguments: list[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 2, after one line on stderr, where the user got it wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return reported(lambda: _run(arguments))


def reported(work: Callable[[], None]) -> int:
    """Does the work, and says in one line on stderr what stopped it. Returns the exit status."""
    if hasattr(sys.stdout, "reconfigure"):  # names of files need not be text, nor each text of the terminal's letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_as_ctrl_c():
            work()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        _drop(sys.stdout)
        return 2
    except (UserError, TrainingStopped, OSError) as error:
        return _refused(str(error))
    except Exception as error:
        if (line := in_one_line(error)) is None:
            raise
        return _refused(line)
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    return 0


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """While entered, the first SIGTERM raises KeyboardInterrupt, so that drafts are removed and games closed. The
    second ends the process, whatever it waits for.

    Python lets the main thread alone handle signals; elsewhere this does nothing, nor where SIGTERM is ignored.
    """
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return

    def once(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)  # None: of a handler that is not Python's


def _refused(line: str) -> int:
    if os.environ.get("LOCAL_RANK", "0") == "0":  # one line, however many processes train
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(line.split()))
        _say(f"error: {shortened(line, LONGEST)}")
    return 2


def _say(line: str) -> None:
    try:
        print("lvlib:", line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Forgets what the stream has not written yet: at the end of Python it would raise once more."""
    with suppress(OSError, ValueError):  # a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(arguments: list[str]) -> None:
    name = arguments[0] if arguments else "--help"
    if name in COMMANDS:
        import_module(f"lvlib.cli.{name}").main(arguments[1:])
    elif name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print("lvlib", __version__)
    else:
        raise unknown("command", name, COMMANDS)


def _help() -> str:
    commands = "\n".join(f"  {name:<12} {line}" for name, line in COMMANDS.items())
    return f"usage: lvlib COMMAND ...\n\n{commands}\n\n`lvlib COMMAND --help` says more."
