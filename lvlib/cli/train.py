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
    parser.add_argument("--autoencoder", metavar="RUN", help="for a prior: the run whose codes it learns, or the name "
                        "of a shipped model; not needed to go on")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes where there is none (default: 1)")
    parser.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    parser.add_argument("--precision", help="short for --training.precision")
    options, config = parser.parse(arguments)
    if options.precision:
        config = override(config, {"training.precision": [options.precision]})
    if min(options.devices, options.nodes) < 1:
        raise UserError(f"--devices and --nodes must be at least 1, not {options.devices} and {options.nodes}")
    if options.autoencoder is not None and config.prior is None:
        raise UserError(f"{options.config} has no prior: --autoencoder is for a configuration with one")
    _check_folder(options.out)
    import torch

    from lvlib.data.conditions import check_data, needs
    from lvlib.reports.describe import build
    from lvlib.runs import latents as frozen
    from lvlib.training import train
    from lvlib.training.engine import processes
    from lvlib.training.run import check_agrees

    processes(config.training, options.devices, options.nodes)  # a mistake is better known before hours of encoding
    if config.prior:
        autoencoder = frozen.find_autoencoder(options.autoencoder, options.out)
        config = frozen.with_autoencoder(config, autoencoder, options.fields)
    torch.manual_seed(config.training.seed)  # for the new weights
    model = build(config)
    data = _open_data(config)
    about = {"name": options.config, **config.to_dict()}
    if config.prior:
        asked = needs(config.prior)
        check_data(data, asked, config.data.frames)
        about |= {"fps": data["train"].fps, "codes": frozen.made_from(autoencoder, data, config)}
        about |= {"classes": data["train"].classes} if "label" in asked else {}
        check_agrees(options.out, about | {"clips": len(data["train"])})  # before hours of encoding
        data = frozen.codes_of(data, autoencoder, options.out, config)
    steps = train(model, data["train"], config.training, options.out, val_data=data.get("val"),
                  devices=options.devices, nodes=options.nodes, describe=about, progress=True)
    _say(f"{options.out}: {steps:,} steps taken, {config.training.steps:,} in all")


def _open_data(config: "Config") -> dict[str, "Dataset"]:
    """The clips of "train", and of "val" if there are any."""
    from lvlib.runs.data import open_split

    data = {"train": open_split(config, "train")}
    try:
        data["val"] = open_split(config, "val")
    except UserError as error:
        _say(f"training without validation: {error}")
    return data


def _check_folder(run: Path) -> None:
    """A run may start in a new folder, an empty one, or one where a run was begun (which may have left a lock)."""
    from lvlib.runs.latents import FILES

    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: --out takes the folder of a run")
    others = {path.name for path in run.iterdir()} - {"lock", "config.tmp"} - FILES if run.exists() else set()
    if others and not (run / "config.json").exists():
        raise UserError(f"{run} holds something that is no run: give --out a new or an empty folder")


def _say(line: str) -> None:
    """Prints, in one process of those that train together."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(line)
