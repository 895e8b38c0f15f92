"""The trained models that ship with the course, each a run folder. README.md has the command that made each."""

from pathlib import Path

from torch import nn

from lvlib.errors import unknown
from lvlib.runs.load import load_model

FOLDER = Path(__file__).parents[1] / "checkpoints"


def shipped() -> list[str]:
    """The names; a prior's autoencoder is "PRIOR/autoencoder"."""
    return sorted(path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("config.json"))


def load_checkpoint(name: str) -> nn.Module:
    """The trained model `name`, in eval mode. Raises UserError with the names there are, if there is no such one."""
    if name not in shipped():
        raise unknown("checkpoint", name, shipped())
    return load_model(FOLDER / name)[1]


def run_folder(run: str) -> Path:
    """The run folder at that path, or else the shipped one of that name. Raises UserError if there is neither."""
    if Path(run).is_dir():
        return Path(run)
    if run not in shipped():
        raise unknown("run folder, or shipped model,", run, shipped())
    return FOLDER / run
