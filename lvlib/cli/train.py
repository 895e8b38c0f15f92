"""lvlib train: trains a configuration on a folder of data; goes on where a run of it stopped."""

import argparse
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lvlib.cli.arguments import ConfigParser, add_device, override
from lvlib.errors import UserError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from lvlib.configs import Config
    from lvlib.evaluation.networks.network import VideoNetwork


def main(arguments: list[str]) -> None:
    parser = ConfigParser("train", "Train a configuration. If RUN holds a run of it, go on from its last checkpoint.")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--autoencoder", metavar="RUN", help="for a prior: the run whose latents it learns, or "
                        "the name of a shipped model; not needed to go on")
    parser.add_argument("--prior", metavar="RUN", help="for a refiner: the run of the prior that it completes")
    parser.add_argument("--i3d", type=Path, metavar="FILE", help="with --training.early_stopping, for an autoencoder: "
                        "its score is R-FVD by this TorchScript file; without, the course's network looks")
    add_device(parser)
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes where there is none (default: 1)")
    parser.add_argument("--nodes", type=int, default=1, help="machines (default: 1)")
    parser.add_argument("--precision", help="short for --training.precision")
    options, config = parser.parse(arguments)
    if options.precision is not None:
        config = override(config, {"training.precision": [options.precision]})
    if min(options.devices, options.nodes) < 1:
        raise UserError(f"--devices and --nodes must be at least 1, not {options.devices} and {options.nodes}")
    for stage in "autoencoder", "prior":
        if getattr(options, stage) is not None and config.stands_on != stage:
            raise UserError(f"{options.config} trains {config.stage}, which stands on {config.stands_on or 'nothing'}: "
                            f"leave --{stage} out")
    _check_folder(options.out)
    import torch

    from lvlib.data.conditions import check_data
    from lvlib.evaluation.rebuilt import RebuiltDistance
    from lvlib.pretrained.perceptual import perceptual_network
    from lvlib.reports.limits import check_training
    from lvlib.runs.latents import find_below, latents_of, made_from, standing_on
    from lvlib.runs.load import load_settings, renamed_tensors
    from lvlib.training import train
    from lvlib.training.checkpoint import load_state, steps_saved
    from lvlib.training.early_stopping import check_early_stopping
    from lvlib.training.engine import processes
    from lvlib.training.run import check_agrees

    world = processes(config.training, options.devices, options.nodes)  # better known before hours of encoding
    if config.stands_on:
        below = find_below(config, getattr(options, config.stands_on), options.out)
        config = standing_on(config, below, options.fields)
    check_training(config, math.prod(world))
    if perceptual := getattr(config.stages[config.stage], "perceptual", None):
        perceptual_network(perceptual)  # it is read at the first loss, when the run has begun
    load_network = _network(options, config)  # of early stopping
    torch.manual_seed(config.training.seed)  # for the new weights
    model = config.build()
    learned = config.learned
    data = _open_data(config)
    check_early_stopping(config.training, "val" in data)
    about = {"name": options.config, **config.to_dict()}
    run = {"may_change": ("data.root",), "read_settings": load_settings}
    if config.stands_on:
        check_data(data, learned.conditions)
        about |= {"fps": data["train"].fps, "latents": made_from(below, data, learned)}
        if any(spec.kind == "class" for spec in config.up_to("prior").conditions):
            about["classes"] = data["train"].classes
        check_agrees(options.out, about | {"clips": len(data["train"])}, **run)  # before hours of encoding
        data = latents_of(data, below, options.out, learned)
    if load_network is not None:
        run |= {"score": RebuiltDistance(load_network, data["val"])}
    steps = train(model, data["train"], config.training, options.out, val_data=data.get("val"), device=options.device,
                  devices=options.devices, nodes=options.nodes, describe=about, renamed=renamed_tensors(config),
                  progress=True, **run)
    taken = steps_saved(options.out)[-1]
    why = ""
    if taken < config.training.steps:
        stopped = load_state(options.out, taken)["early_stopping"]
        why = (f": {stopped['score']} was lowest at step {stopped['step']:,}, {stopped['lowest']:.4g}; the weights "
               "of then are kept")
    _say(f"{options.out}: {steps:,} steps taken, {taken:,} in all{why}")


def _network(options: argparse.Namespace, config: "Config") -> "Callable[[str], VideoNetwork] | None":
    """Loads, for a device, what looks at rebuilt clips, on which early stopping of an autoencoder hangs; None where the
    loss decides."""
    from lvlib.evaluation.networks.load import video_network

    if not config.training.early_stopping or config.stage != "autoencoder" or config.data.frames < 2:
        if options.i3d is not None:
            raise UserError("--i3d is for --training.early_stopping of an autoencoder of clips: leave it out")
        return None
    files = {} if options.i3d is None else {"i3d": options.i3d}
    load = partial(video_network, "i3d" if files else "course", files)
    network = load("cpu")
    if config.data.frames < network.least_frames:
        raise UserError(f"{network.name} looks at {network.least_frames} frames or more, and the clips have "
                        f"{config.data.frames}: leave --training.early_stopping out")
    return load


def _open_data(config: "Config") -> dict[str, "Dataset"]:
    """The clips of "train", and of "val" if there are any."""
    from lvlib.runs.data import open_split

    def opened(split: str) -> "Dataset":
        try:
            return open_split(config.learned, split)
        except UserError as error:
            if config.learned == config:
                raise
            raise UserError(f"{error} (this prior learns from several clips of {config.data.frames} frames in a row, "
                            f"{config.learned.data.frames} together)") from error

    data = {"train": opened("train")}
    try:
        data["val"] = opened("val")
    except UserError as error:
        _say(f"training without validation: {error}")
    return data


def _check_folder(run: Path) -> None:
    """A run may start in a new folder, an empty one, or one where a run was begun (which may have left a lock)."""
    from lvlib.runs.latents import FILES

    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: --out takes the folder of a run")
    leftovers = FILES | {"lock", "config.tmp", "metrics.tmp"}
    names = [path.name for path in run.iterdir()] if run.exists() else []
    others = [name for name in names if name not in leftovers and not (name[0] == "." and name.endswith(".part"))]
    if others and not (run / "config.json").exists():
        raise UserError(f"{run} holds something that is no run: give --out a new or an empty folder")


def _say(line: str) -> None:
    """Prints, in one process of those that train together."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(line)
