"""What is right, whatever was wrong: status 0 or 2, one clear line, and nothing lost."""

import json
import os
import re
import stat
from pathlib import Path

from bad_inputs.case import Case
from bad_inputs.child import End

# What is printed beside the one line: bars, and what was passed over.
BAR = re.compile(r"\d+%\||(it|step|steps|batch|clips|s)/(s|it|step|batch|clips)\b|\?(it|step|batch| clips)/s")
NOTICES = ("skipped", "left out a clip", "training without validation", "not read in ", "the videos in ")

Files = dict[str, bytes | str]


def snapshot(folder: Path) -> Files:
    """The content of each file below the folder, the target of each link, the kind of whatever else there is."""
    found: Files = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            key = os.path.relpath(path, folder)
            if stat.S_ISLNK(mode):
                found[key] = f"link to {os.readlink(path)}"
            elif stat.S_ISREG(mode):
                found[key] = Path(path).read_bytes()
            else:
                found[key] = "folder" if stat.S_ISDIR(mode) else "special"
    return found


def faults(case: Case, end: End, before: Files, folder: Path) -> list[str]:
    """What is not as it must be, in words; folder: that of the case, after it was run."""
    if end.status is None:
        return [f"hangs: {end.cpu_s:.0f} CPU-s"]
    found = []
    allowed = (2,) if case.refused and not {"--help", "-h"} & set(case.call) else (0, 2)
    if end.status not in allowed:
        found.append(f"status {end.status} is wrong")
    if end.left_over:
        found.append("a process lives on")
    out, err = ((folder / name).read_text(errors="backslashreplace") for name in ("stdout", "stderr"))
    if "Traceback" in out + err:
        found.append("traceback: " + " ".join(err.split())[-400:])
    elif not (found and end.status not in (0, 2)):
        found += _wrong_lines(err, end.status)
    elif err:
        found.append(f"stderr: {err[-300:]}")
    return found + _losses(case, end.status, before, snapshot(folder))


def _wrong_lines(err: str, status: int) -> list[str]:
    lines = [line.strip() for line in re.split(r"[\r\n]+", err)]
    lines = [line for line in lines if line and not BAR.search(line) and not line.startswith(NOTICES)]
    said = [line for line in lines if line.startswith("lvlib: error: ")]
    if len(said) != (status == 2) or len(lines) != len(said):
        return [f"stderr is not one line: {lines!r:.400}"]
    if said and (len(said[0]) >= 1000 or not said[0].isprintable()):
        return [f"the line has {len(said[0])} characters, printable {said[0].isprintable()}: {said[0]!r:.150}"]
    return []


def _losses(case: Case, status: int, before: Files, after: Files) -> list[str]:
    """Files that are lost or changed, and those that are left behind. A run of before lvlib 0.2 has its latents in
    "codes", and they move."""
    out = f"place/{_out(case.call)}"
    trains = case.call[:1] == ["train"]
    found = []
    for name in sorted(before.keys() | after.keys()):
        if name in ("stdout", "stderr") or before.get(name) == after.get(name):
            continue
        below = f"{os.path.normpath(name)}/".startswith(f"{os.path.normpath(out)}/")
        if name in before:
            allowed = below and (status == 0 or trains and _may_change(name))
            allowed = allowed or "/codes" in name and before[name] == after.get(name.replace("/codes", "/latents"))
            if not allowed:
                found.append(f"{'lost' if name not in after else 'changed'}: {name}")
        else:
            parent_of_out = f"{os.path.normpath(out)}/".startswith(f"{os.path.normpath(name)}/")
            draft = not (below and trains) and re.search(r"\.part\b|^tmp", Path(name).name)
            if draft or not (below or parent_of_out) or (status and not trains):
                found.append(f"left behind: {name}")
    return found[:5] + (_lost_lines(out, before, after) if trains else [])


def _out(call: list[str]) -> str:
    """What was given as --out; "no-such-file" if nothing was."""
    given = "no-such-file"
    for i, word in enumerate(call):
        if word.startswith("--out="):
            given = word.removeprefix("--out=")
        elif word == "--out" and i + 1 < len(call):
            given = call[i + 1]
    return given


def _may_change(name: str) -> bool:
    """In the folder of a run that was gone on with and then stopped: settings that may change, the log (see
    `_lost_lines`), and what a killed process has left."""
    path = Path(name)
    leftover = any(part.startswith("tmp-") or part.endswith(".tmp") for part in path.parts)
    return leftover or path.name in ("config.json", "metrics.jsonl", "lock", "latents.lock")


def _lost_lines(out: str, before: Files, after: Files) -> list[str]:
    """Lines of the log, of steps that a checkpoint holds, that were there."""
    steps = [int(part) for name in before if name.startswith(f"{out}/checkpoints/") and name.endswith("/manifest.json")
             and (part := Path(name).parent.name).isascii() and part.isdigit()]
    log = before.get(f"{out}/metrics.jsonl")
    if not isinstance(log, bytes) or not steps:
        return []
    now = after.get(f"{out}/metrics.jsonl")
    kept = now.splitlines() if isinstance(now, bytes) else []
    lost = [line for line in log.splitlines(keepends=True) if _is_record(line, max(steps))
            and line.rstrip(b"\n") not in kept]
    return [f"lost {len(lost)} lines of {out}/metrics.jsonl"] if lost else []


def _is_record(line: bytes, last: int) -> bool:
    try:
        step = json.loads(line)["step"]
        return line.endswith(b"\n") and type(step) is int and step <= last
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
