"""The trained models that ship with the course. `README.md` beside this file has the command that made each."""

import json
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from lvlib.configs import config_from_dict, named_config
from lvlib.suggest import unknown

FOLDER = Path(__file__).parent


def load_checkpoint(name: str) -> nn.Module:
    """The model `name`, with its trained weights, in eval mode on the CPU.

    Raises UserError with the names there are, if there is no such checkpoint.
    """
    names = sorted(path.parent.name for path in FOLDER.glob("*/model.safetensors"))
    if name not in names:
        raise unknown("checkpoint", name, names)
    config = config_from_dict(json.loads((FOLDER / name / "config.json").read_text()), named_config(name))
    model = config.autoencoder.build()
    model.load_state_dict(load_file(FOLDER / name / "model.safetensors"))
    return model.eval()
