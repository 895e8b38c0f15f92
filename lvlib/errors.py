"""The two errors a user can meet. Both carry one plain line; the command line prints it and exits with status 2."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something the user gave is wrong. The message says what, and what is allowed."""


class TrainingStopped(RuntimeError):
    """Training cannot go on. The message says at which step, why, and what is safe on disk."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that does not exist: which names do, and the one that was probably meant.

    unknown("config", "lvt-b", ...): "unknown config 'lvt-b'; did you mean lvt-bair? There are: ...".
    """
    allowed = list(allowed)
    close = get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]}? There are" if close else "there are"
    return UserError(f"unknown {kind} {name!r}; {hint}: {', '.join(allowed) or 'none'}")
