"""lvlib train: trains a configuration on a folder of data; goes on where a run of it stopped."""

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
    from lvlib.cli.runs import save_config
    from lvlib.describe import build
    from lvlib.training import train

    model = build(config)
    data = open_split(config, "train")
    save_config(options.out, options.config, config)
    train(model, data, config.training, options.out, devices=options.devices, nodes=options.nodes)


def open_split(config: "Config", split: str) -> "Dataset":
    """The data set. Raises UserError if it cannot be read, or its clips are not those that the model takes."""
    from lvlib.data import open_data

    if config.data.root is None:
        raise UserError("no data: give --data.root FOLDER, of your videos or one that `lvlib data NAME --out` made")
    data = open_data(config.data.root, split, config.data.frames, config.data.stride, config.data.size)
    channels = data[0]["video"].shape[-1]
    if channels != config.autoencoder.channels:
        raise UserError(f"clips in {config.data.root} have {channels} channels, the model takes "
                        f"{config.autoencoder.channels}: set --autoencoder.channels {channels}, or take other data")
    return data
