"""One case of the campaign: a command line, and what was done to the place before it."""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple


class Place(NamedTuple):
    """Where a case is prepared: its own copy of the place, and random numbers of its own."""

    root: Path
    random: Random


@dataclass(frozen=True)
class Case:
    """What is run, in the folder of the place; `about` says what was done. `refused`: only status 2 is right."""

    call: list[str]
    about: str
    refused: bool = False


def resume(name: str) -> list[str]:
    """Goes on with runs/NAME, which has taken two steps, to its four."""
    return ["train", name, "--out", f"runs/{name}", "--data.root", "clips", "--device", "cpu",
            "--training.checkpoint_every", "1", "--training.log_every", "1"]
