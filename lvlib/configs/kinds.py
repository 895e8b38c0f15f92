"""The types that fields of configurations are annotated with: in words, and whether a value from JSON is of one."""

from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

WORDS = {int: "an integer", float: "a number", str: "a text", bool: "True or False", NoneType: "None", Path: "a file"}


def in_words(kind: Any) -> str:
    """int | None -> "an integer or None"."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple and get_args(kind)[-1] is ...:
        return f"one or more of: {in_words(get_args(kind)[0])}"
    if get_origin(kind) is tuple:
        return " and ".join(map(in_words, get_args(kind)))
    return WORDS.get(kind) or " or ".join(map(in_words, get_args(kind)))


def fits(value: Any, kind: Any) -> bool:
    """Whether a value, as JSON holds it, can be a field's of this type. A list may be a tuple, an integer a number."""
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return value in parts
    if get_origin(kind) in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if get_origin(kind) is tuple:
        if isinstance(value, list | tuple) and parts[-1] is ...:
            parts = parts[:1] * len(value)
        return isinstance(value, list | tuple) and len(value) == len(parts) and all(map(fits, value, parts))
    return type(value) is kind or (kind is float and type(value) is int)


def from_json(value: Any) -> Any:
    """Lists of JSON as the tuples that they were, however deep."""
    return tuple(map(from_json, value)) if isinstance(value, list) else value
