"""lvlib train: trains a configuration on a folder of data; goes on where a run of it stopped."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lvlib.cli.arguments import ConfigParser, override
from lvlib.errors import UserError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from lvlib.configs import Config


def main(arguments: list[str]) -> None:
    parser = ConfigParser("train", "Train a configuration. If RUN holds a run of it, go on from its last checkpoint.")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes where there is none (default: 1)")
    parser.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    parser.add_argument("--precision", help="short for --training.precision")
    options, config = parser.parse(arguments)
    if options.precision:
        config = override(config, {"training.precision": [options.precision]})
    if min(options.devices, options.nodes) < 1:
        raise UserError(f"--devices and --nodes must be at least 1, not {options.devices} and {options.nodes}")
    _check_folder(options.out)
    import torch

    from lvlib.describe import build
    from lvlib.training import train

    torch.manual_seed(config.training.seed)  # for the new weights
    model = build(config)
    data, val_data = open_split(config, "train"), _validation(config)
    about = {"name": options.config, **config.to_dict()}
    steps = train(model, data, config.training, options.out, val_data=val_data, devices=options.devices,
                  nodes=options.nodes, describe=about, progress=True)
    _say(f"{options.out}: {steps:,} steps taken, {config.training.steps:,} in all")


def open_split(config: "Config", split: str) -> "Dataset":
    """The data set. Raises UserError if it cannot be read, or its clips are not those that the model takes."""
    from lvlib.data import open_data

    root = config.data.root
    if root is None:
        raise UserError("no data: give --data.root FOLDER, of your videos or one that `lvlib data NAME --out` made")
    data = open_data(root, split, config.data.frames, config.data.stride, config.data.size)
    channels = data[0]["video"].shape[-1]
    if channels != config.autoencoder.channels:
        raise UserError(f"clips in {root} have {channels} channels, the model takes {config.autoencoder.channels}: "
                        f"set --autoencoder.channels {channels}, or take other data")
    return data


def _validation(config: "Config") -> "Dataset | None":
    try:
        return open_split(config, "val")
    except UserError as error:
        _say(f"training without validation: {error}")
        return None


def _check_folder(run: Path) -> None:
    """A run may start in a new folder, an empty one, or one where a run was begun (which may have left its lock)."""
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: --out takes the folder of a run")
    if run.exists() and not (run / "config.json").exists() and {path.name for path in run.iterdir()} - {"lock"}:
        raise UserError(f"{run} holds something that is no run: give --out a new or an empty folder")


def _say(line: str) -> None:
    """Prints, in one process of those that train together."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(line)
