"""The two errors a user can meet. Both carry one plain line; the command line prints it and exits with status 2."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


class UserError(ValueError):
    """Something the user gave is wrong. The message says what, and what is allowed."""


class TrainingStopped(RuntimeError):
    """Training cannot go on. The message says at which step, why, and what is safe on disk."""


def said_plainly(work: Callable[[], T]) -> T:
    """What `work` returns; a ValueError of a model, which knows no users, becomes a UserError."""
    try:
        return work()
    except ValueError as error:
        raise UserError(str(error)) from error


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that does not exist: which names do, and the one that was probably meant.

    unknown("config", "lvt-b", ...): "unknown config 'lvt-b'; did you mean lvt-bair? There are: ...".
    """
    allowed = list(allowed)
    close = get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]}? There are" if close else "there are"
    return UserError(f"unknown {kind} {shortened(name)!r}; {hint}: {', '.join(allowed) or 'none'}")


def shortened(text: str, most: int = 100) -> str:
    """The beginning of a text that is too long for a message."""
    return text if len(text) <= most else f"{text[:most]}..."


def printable(text: object) -> str:
    """The same; what is no text in it, as in names of files that are not UTF-8, as \\udc.. escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def in_one_line(error: BaseException) -> str | None:
    """What an error says that is nobody's mistake but the user's: sizes that fit no memory, numbers that no computer
    takes, weights that make no numbers, files and names from elsewhere. None for any other error. torch and NumPy have
    classes for few of these: the others are told by their text."""
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return "out of memory: smaller sizes, or fewer clips, take less"
    if isinstance(error, OverflowError) or any(words in text for words in _TOO_LARGE):
        return f"a number is too large: {shortened(text.strip().partition(chr(10))[0])}"
    if isinstance(error, RecursionError):
        return "a file holds more levels, one inside the other, than can be read"
    if isinstance(error, UnicodeEncodeError):
        return f"a name that is not text cannot be used here: {shortened(error.object)!r}"
    if any(words in text for words in _NOT_FINITE):
        return "the model makes probabilities that are not finite: its weights are of no use"
    return None


_NO_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory", "Cannot allocate memory")
_TOO_LARGE = ("Storage size calculation overflowed", "Overflow when unpacking", "multiplication overflow",
              "array is too big", "Maximum allowed dimension exceeded", "Python int too large")
_NOT_FINITE = ("probability tensor contains either", "Expected parameter logits", "Expected parameter probs")
