"""What a prior is told of a clip besides its codes: its label, its actions, its first frames."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lvlib.configs import PriorConfig
from lvlib.data.tensors import as_inputs
from lvlib.errors import UserError
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.training import load_run


def needs(prior: PriorConfig) -> dict[str, int]:
    """Those of {"label": classes, "actions": numbers a frame, "frames": how many} that the prior takes. LVT: none."""
    if not isinstance(prior, VideoGPTConfig):
        return {}
    sizes = {"label": prior.classes, "actions": prior.actions, "frames": prior.frames}
    return {field: sizes[field] for field in prior.fields}


def condition_of(item: dict, needs: Mapping[str, int], frames: int) -> dict[str, np.ndarray]:
    """From an item of a data set: "label" int64 (), "actions" float32 (t, a), "frames" uint8 (n, h, w, c).

    frames: t, of a clip. Raises UserError for what is missing or does not fit.
    """
    parts = {"label": lambda size: _label(item, size), "actions": lambda size: _actions(item, size, frames),
             "frames": lambda size: np.asarray(item["video"][:size])}
    return {field: parts[field](size) for field, size in needs.items()}


def conditions_of(items: Iterable[dict], needs: Mapping[str, int], frames: int) -> dict[str, Tensor]:
    """The conditions of several clips, as `VideoGPT` takes them: a first axis b, given frames as video."""
    conditions = [condition_of(item, needs, frames) for item in items]
    return as_inputs({field: torch.as_tensor(np.stack([one[field] for one in conditions])) for field in needs})


def check_data(data: Mapping[str, Dataset], needs: Mapping[str, int], frames: int) -> None:
    """Looks at the names of the classes and at one clip a split: mistakes are better known before hours of encoding.

    Raises UserError as `condition_of`, and for data of more classes than the prior has.
    """
    for split, clips in data.items():
        if "label" in needs and len(clips.classes) > needs["label"]:
            raise UserError(f"the data has {len(clips.classes)} classes, the prior {needs['label']}: set "
                            f"--prior.classes {len(clips.classes)}")
        try:
            condition_of(clips[0], needs, frames)
        except UserError as error:
            raise UserError(f"clips of {split}: {error}") from error


def check_classes(classes: Sequence[str], run: Path) -> None:
    """Raises UserError if a data set names its classes otherwise than the one that the run learned from.

    A set or a run without names says nothing: then labels are numbers.
    """
    learned = load_run(run).get("classes", [])
    if not classes or not learned:
        return
    for number, (here, there) in enumerate(zip_longest(classes, learned, fillvalue="missing")):
        if here != there:
            raise UserError(f"class {number} is {here} in the data, and {there} in what {run} learned from: its labels "
                            "would mean others")


def example_condition(needs: Mapping[str, int], video_shape: tuple[int, ...], clips: int) -> dict[str, Tensor]:
    """A condition of the right shapes, as `VideoGPT.loss` takes it; one label for all clips. video_shape: (c, t, h, w).

    The label comes from `torch.tensor`: of a single number so made a fake tensor knows the value, and the model looks.
    """
    channels, frames, height, width = video_shape
    make = {"label": lambda size: torch.tensor([size - 1]), "actions": lambda size: torch.zeros(clips, frames, size),
            "frames": lambda size: torch.zeros(clips, channels, size, height, width)}
    return {field: make[field](size) for field, size in needs.items()}


def _label(item: dict, classes: int) -> np.ndarray:
    if "label" not in item:
        raise UserError(f"they have no label, and the prior is told one of {classes} classes: take data with classes "
                        "(videos in a folder for each), or set --prior.classes 0")
    if not 0 <= item["label"] < classes:
        raise UserError(f"the label is {item['label']}, and the prior's classes are 0 to {classes - 1}")
    return np.asarray(item["label"], np.int64)


def _actions(item: dict, width: int, frames: int) -> np.ndarray:
    if "actions" not in item:
        raise UserError(f"they have no actions, and the prior is told {width} numbers a frame: take data with actions, "
                        "or set --prior.actions 0")
    actions = np.asarray(item["actions"], np.float32)
    if actions.shape != (frames, width):
        shape = " x ".join(map(str, actions.shape))
        raise UserError(f"the actions are {shape} numbers, and must be {frames} x {width}: a row for each of the "
                        f"video's {frames} frames, {width} numbers a row")
    if not np.isfinite(actions).all():
        raise UserError("the actions hold numbers that are not finite")
    return actions
