"""A run folder: the models in it, the latents that they learn from, the data, and the runs that ship."""

from torch import nn

from lvlib.errors import unknown
from lvlib.runs.load import load_config, load_model, load_pipeline
from lvlib.runs.shipped import FOLDER, shipped

__all__ = ["load_checkpoint", "load_config", "load_model", "load_pipeline", "shipped"]


def load_checkpoint(name: str) -> nn.Module:
    """The trained model that ships as `name`, in eval mode, on the CPU.

    Raises UserError with the names there are, if there is no such one.
    """
    if name not in shipped():
        raise unknown("checkpoint", name, shipped())
    return load_model(FOLDER / name, device="cpu")[1]
