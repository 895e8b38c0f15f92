"""The trained models that ship with the course, each a run folder. README.md has the command that made each."""

from pathlib import Path

from torch import nn

from lvlib.runs import load_model
from lvlib.suggest import unknown

FOLDER = Path(__file__).parent


def load_checkpoint(name: str) -> nn.Module:
    """The trained model `name`, in eval mode. Raises UserError with the names there are, if there is no such one."""
    names = sorted(path.parent.name for path in FOLDER.glob("*/config.json"))
    if name not in names:
        raise unknown("checkpoint", name, names)
    return load_model(FOLDER / name)[1]
