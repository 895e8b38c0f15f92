"""What samples are told besides frames: a label, actions. By options, or by the clips that they go on with."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from lvlib.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from lvlib.configs import Config

MANY = 20  # classes that are not all listed


@dataclass(frozen=True)
class Told:
    """"label" and "actions" of each sample, those that the prior is told; names for the samples."""

    condition: dict[str, "Tensor"]
    names: list[str]
    fps: float
    """Of the clips that the prior learned from."""


def check_taken(config: "Config", label: str | None, actions: Path | None, sampling: Iterable[str]) -> None:
    """Raises UserError for an option that the prior cannot use. sampling: names of those for drawing that were set."""
    from lvlib.data.conditions import needs
    from lvlib.models.lvt.prior import LVTConfig

    for field, words, given in (("label", "a label", label), ("actions", "actions", actions)):
        if given is not None and field not in needs(config.prior):
            raise UserError(f"this prior is not told {words}: leave --{field} out")
    if isinstance(config.prior, LVTConfig) and {"top_k", "top_p"} & set(sampling):
        raise UserError("LVT's prior draws from all codes: leave --top-k and --top-p out (it takes --temperature)")


def told_of(options: argparse.Namespace, config: "Config", run: Path, items: list[dict]) -> Told:
    """What `--label` and `--actions` say; where they do not, what the items of a data set hold that the samples begin
    with, if there are any. Without either, labels are spread evenly over the classes. Prints the labels.

    Raises UserError for a label or an action file that the prior cannot take, and where there are no actions.
    """
    from lvlib.data.conditions import conditions_of, needs
    from lvlib.training import load_run

    about, names = load_run(run), [f"sample {i + 1}" for i in range(options.n)]
    asked = {field: size for field, size in needs(config.prior).items() if field != "frames"}
    clips = [dict(item) for item in items] or [{} for _ in range(options.n)]
    if "label" in asked:
        named = about.get("classes", [])
        classes = [*named, *map(str, range(len(named), asked["label"]))]  # those that the data did not name: by number
        labels = [clip.get("label", i * asked["label"] // options.n) for i, clip in enumerate(clips)]
        if options.label is not None:
            labels = options.n * [label_number(options.label, classes)]
        clips = [clip | {"label": label} for clip, label in zip(clips, labels, strict=True)]
    if options.actions is not None:
        clips = [clip | {"actions": read_actions(options.actions)} for clip in clips]
    if "actions" in asked and not all("actions" in clip for clip in clips):
        raise UserError(f"this prior is told the actions of every frame: give --actions FILE.npy, of "
                        f"{config.data.frames} x {asked['actions']} numbers")
    try:
        condition = conditions_of(clips, asked, config.data.frames)
    except UserError as error:
        raise UserError(f"{options.actions or options.prime}: {error}") from error
    if "label" in asked:
        names = [f"class {classes[label]}" for label in condition["label"].tolist()]
        print(f"labels: {', '.join(classes[label] for label in condition['label'].tolist())}")
    return Told(condition, names, about.get("fps") or 8)


def label_number(label: str, classes: list[str]) -> int:
    """The class of that name, or else of that number. Raises UserError if there is neither."""
    if label in classes:
        return classes.index(label)
    if label.isdecimal() and int(label) < len(classes):
        return int(label)
    listed = classes if len(classes) <= MANY else [*classes[:MANY], f"{len(classes) - MANY} more"]
    raise unknown("class", label, listed)


def read_actions(path: Path) -> np.ndarray:
    """A .npy file of numbers. Raises UserError if it is none."""
    try:
        actions = np.load(path)
    except OSError as error:
        raise UserError(f"--actions: cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, BadZipFile):
        actions = None
    if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "biuf":
        raise UserError(f"--actions: {path} is not a .npy file of numbers")
    return actions
