"""The clips that a configuration takes, and whether they pass as fast as those that a run learned from."""

from pathlib import Path

from torch.utils.data import Dataset

from lvlib.configs import Config
from lvlib.data import open_data
from lvlib.errors import UserError
from lvlib.runs.load import learned_from


def open_split(config: Config, split: str, hop: int | None = None) -> Dataset:
    """The data set; hop: as of `open_data`. Raises UserError if it cannot be read, or its clips are not those that the
    model takes."""
    root = config.data.root
    if root is None:
        raise UserError("no data: give --data.root FOLDER, of your videos or one that `lvlib data NAME --out` made")
    if not Path(root).exists():
        raise UserError(f"there is no folder {root}: give --data.root FOLDER, where the clips are")
    data = open_data(root, split, config.data.frames, config.data.stride, config.data.size, hop)
    channels = data[0]["video"].shape[-1]
    if channels != config.autoencoder.channels:
        remedy = f"set --autoencoder.channels {channels}"
        if config.stands_on:
            remedy = f"give another {config.stands_on}"
        raise UserError(f"clips in {root} have {channels} channels, the model takes {config.autoencoder.channels}: "
                        f"{remedy}, or take other data")
    return data


def check_rate(path: Path | str, fps: float | None, stride: int, run: Path, option: str) -> None:
    """Raises UserError if the frames taken follow each other faster or slower than those the run learned from.

    fps: of the frames taken, every stride-th of those at `path`; `option` sets the stride. Nothing is known of images,
    nor of runs that do not say their rate.
    """
    learned = learned_from(run).fps
    if not fps or not learned or abs(fps / learned - 1) < 0.02:
        return
    fitting = round(fps * stride / learned)
    if fitting and abs(fps * stride / learned / fitting - 1) < 0.02:
        way_out = f"add {option} {fitting}"
    else:
        way_out = "convert it to that rate first"
    raise UserError(f"{path} gives {fps:.4g} frames a second, {run} learned from {learned:.4g}: {way_out}")
