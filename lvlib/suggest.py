"""The error for a name that does not exist: which names do, and the one that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

from lvlib.errors import UserError


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """unknown("config", "lvt-b", ...): "unknown config 'lvt-b'; did you mean lvt-bair? There are: ..."."""
    allowed = list(allowed)
    close = get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]}? There are" if close else "there are"
    return UserError(f"unknown {kind} {name!r}; {hint}: {', '.join(allowed) or 'none'}")
