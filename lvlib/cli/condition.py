"""What samples are conditioned on besides frames: by `--condition.NAME`, or by the clips that they go on with."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lvlib.cli.arguments import with_fields
from lvlib.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from lvlib.configs import Config
    from lvlib.stages import ConditionSpec

MANY = 20  # classes that are not all listed


@dataclass(frozen=True)
class Conditions:
    """The condition of all samples, without given frames; names for the samples."""

    values: dict[str, "Tensor"]
    names: list[str]


def condition_options(config: "Config", fields: dict[str, list[str]]) -> dict[str, Any]:
    """What was given as --condition.NAME, by name: the name or number of a class, or a .npy file.

    Raises UserError for a condition that the prior does not take.
    """
    specs = {spec.name: str if spec.kind == "class" else Path for spec in _stated(config)}
    if fields and not specs:
        raise UserError(f"this prior is not conditioned on anything: leave --condition.{next(iter(fields))} out")
    kinds = [(name, kind | None, None) for name, kind in specs.items()]
    options = with_fields(dataclasses.make_dataclass("Condition", kinds, frozen=True)(), "condition", fields)
    return {name: value for name in specs if (value := getattr(options, name)) is not None}


def conditions_for(config: "Config", options: dict[str, Any], n: int, classes: list[str], items: Sequence[dict],
                   given: Path | None) -> Conditions:
    """What the options say; where they do not, what the items of a data set hold that the samples begin with, if there
    are any. Without either, classes are spread evenly. Prints the classes. classes: names that the prior learned.

    Raises UserError for a value that the prior cannot take, and where one is missing.
    """
    from lvlib.data.conditions import conditions_of

    specs, names = _stated(config), [f"sample {i + 1}" for i in range(n)]
    clips = [dict(item) for item in items] or [{} for _ in range(n)]
    for spec in specs:
        for i, clip in enumerate(clips):
            if spec.kind == "class":
                clip.setdefault(spec.name, i * spec.num_classes // n)
        if spec.name in options:
            option = options[spec.name]
            value = (class_number(option, classes, spec.num_classes) if spec.kind == "class" else
                     read_array(spec.name, option))
            clips = [clip | {spec.name: value} for clip in clips]
        if not all(spec.name in clip for clip in clips):
            raise UserError(f"this prior is conditioned on {spec.name}: give --condition.{spec.name} FILE.npy, of "
                            f"{' x '.join(map(str, spec.shape))} numbers")
    try:
        values = conditions_of(clips, specs)
    except UserError as error:
        raise UserError(f"{next((v for v in options.values() if isinstance(v, Path)), given)}: {error}") from error
    for spec in specs:
        if spec.kind == "class":
            labels = [class_name(number, classes) for number in values[spec.name].tolist()]
            names = [f"class {label}" for label in labels]
            print(f"{spec.name}: {', '.join(labels)}")
    return Conditions(values, names)


def class_number(label: str, named: list[str], num_classes: int) -> int:
    """The class of that name, or else of that number. Raises UserError if there is neither."""
    if label in named[:num_classes]:
        return named.index(label)
    if label.isdecimal() and label.isascii() and len(label) < 10 and int(label) < num_classes:
        return int(label)
    listed = [class_name(number, named) for number in range(min(num_classes, MANY))]
    raise unknown("class", label, listed if num_classes <= MANY else [*listed, f"{num_classes - MANY} more"])


def class_name(number: int, named: list[str]) -> str:
    """Classes that the data did not name go by their number."""
    return named[number] if number < len(named) else str(number)


def read_array(name: str, path: Path) -> np.ndarray:
    """A .npy file of numbers. Raises UserError if it is none."""
    from lvlib.data.arrays import open_array

    try:
        array = open_array(path)
    except OSError as error:
        raise UserError(f"--condition.{name}: cannot read {path}: {error.strerror or error}") from error
    except ValueError:
        array = None
    if array is None or array.dtype.kind not in "biuf":
        raise UserError(f"--condition.{name}: {path} is not a .npy file of numbers")
    return array


def _stated(config: "Config") -> "list[ConditionSpec]":
    """The conditions that are not frames."""
    return [spec for spec in config.up_to("prior").conditions if spec.kind != "given-frames"]
