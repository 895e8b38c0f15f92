"""Damage to bytes, to JSON, and to what stands under a name."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

RAW = "@raw@"  # stands for text that json.dumps cannot be made to write
NASTY_JSON = [
    None, True, False, 0, -1, 1, 2, 1.5, 10**12, 2**63, 10**30, [], {}, [[]], [1, 2, 3], [None], {"a": 1}, "", "x",
    "nan", "1", "a\0b", "\ud800", "\U0001f600", "x" * 5000, "..", "../precious/run", "line\nline", "\x1b[31m", "%s{0}",
]
NASTY_RAW = ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 5000, "[" * 100_000 + "]" * 100_000,
             '{"a":' * 30 + "1" + "}" * 30, "1 2", "", "//", "'a'", '"\\ud800"', "1e-400", "-0.0"]


def damage_bytes(data: bytes, random: Random) -> tuple[bytes, str]:
    """Other bytes, and what was done to them."""
    if not data:
        return random.randbytes(20), "random bytes"
    at = random.randrange(len(data))
    kind = random.choice(("flipped", "flipped early", "inserted", "removed", "truncated", "emptied", "doubled",
                          "zeroed", "random"))
    if kind.startswith("flipped"):
        changed = bytearray(data)
        reach = len(data) if kind == "flipped" else min(len(data), 256)
        for _ in range(random.choice((1, 3, 30))):
            changed[random.randrange(reach)] ^= random.randrange(1, 256)
        return bytes(changed), kind
    new = {
        "inserted": lambda: data[:at] + random.randbytes(random.choice((1, 50))) + data[at:],
        "removed": lambda: data[:at] + data[at + random.choice((1, 50)):],
        "truncated": lambda: data[:at],
        "emptied": lambda: b"",
        "doubled": lambda: data + data,
        "zeroed": lambda: data[:at] + bytes(min(100, len(data) - at)) + data[at + 100:],
        "random": lambda: random.randbytes(len(data)),
    }
    return new[kind](), f"{kind} at {at}"


def damage_json(text: str, random: Random) -> tuple[str, str]:
    """One value replaced, one key dropped or added, or all of it replaced."""
    document = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                walk(value[key])

    walk(document)
    bad = random.choice(NASTY_JSON + [RAW] * (len(NASTY_JSON) // 2))
    raw = random.choice(NASTY_RAW)
    shown = raw if bad == RAW else repr(bad)
    kind = random.choices(("value", "drop", "add", "whole"), (8, 2, 1, 1))[0]
    if kind == "whole" or not places:
        document, done = bad, f"all of it {shown:.40}"
    else:
        holder, key = random.choice(places)
        done = f"{kind} {key} {shown:.40}"
        if kind == "value":
            holder[key] = bad
        elif kind == "drop":
            del holder[key]
            done = f"drop {key}"
        elif isinstance(holder, dict):
            holder[random.choice(("new", "class", "", "steps", "codes", "latents", "a.b"))] = bad
        else:
            holder.append(bad)
    return json.dumps(document, indent=1).replace(f'"{RAW}"', raw), done


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def stand_in(path: Path, random: Random, kinds: tuple[str, ...] = ()) -> str:
    """Puts something else under that name: returns what."""
    kind = random.choice(kinds or tuple(STAND_INS))
    remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    STAND_INS[kind](path)
    return kind


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name[:90])
    finally:
        os.chdir(here)


def _up_to_precious(path: Path) -> Path:
    root = next(parent for parent in path.parents if (parent / "precious").is_dir())
    return root / "precious"


STAND_INS: dict[str, Callable[[Path], None]] = {
    "a folder": lambda path: path.mkdir(),
    "a folder with a file": lambda path: (path.mkdir(), (path / "file").write_text("x")),
    "nothing": lambda path: None,
    "a fifo": lambda path: os.mkfifo(path),
    "a socket": _socket,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to the folder above": lambda path: path.symlink_to(".."),
    "a link to a file": lambda path: path.symlink_to(_up_to_precious(path) / "file"),
    "a link to a run": lambda path: path.symlink_to(_up_to_precious(path) / "run"),
    "an empty file": lambda path: path.write_bytes(b""),
}
