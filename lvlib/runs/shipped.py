"""The trained models that ship with the course, each a run folder in lvlib/checkpoints, whose README.md has the command
that made each."""

from pathlib import Path

import lvlib
from lvlib.errors import unknown

FOLDER = Path(lvlib.__file__).parent / "checkpoints"


def shipped() -> list[str]:
    """The names; a prior's autoencoder is "PRIOR/autoencoder"."""
    return sorted(path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("config.json"))


def run_folder(run: str) -> Path:
    """The run folder at that path, or else the shipped one of that name. Raises UserError if there is neither."""
    if Path(run).is_dir():
        return Path(run)
    if run not in shipped():
        raise unknown("run folder, or shipped model,", run, shipped())
    return FOLDER / run
