"""From the clips of a data set to what a prior is conditioned on: labels, actions, first frames, tokens, sound."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lvlib.data.tensors import to_video
from lvlib.data.text import tokenizer
from lvlib.errors import UserError
from lvlib.stages import ConditionSpec, shape_in_words

Specs = Sequence[ConditionSpec]


def condition_of(item: Mapping, specs: Specs, stretches: int = 1) -> dict[str, np.ndarray]:
    """From an item of a data set: an array for each spec, of its shape and dtype; given frames as uint8 (n, h, w, c).

    Text becomes tokens, where the spec has a tokenizer. stretches: how many times as long as a clip to learn from the
    item is; it may have a text for each, and then a row of tokens.

    Raises UserError for what is missing or does not fit.
    """
    return {spec.name: _value(item, spec, stretches) for spec in specs}


def conditions_of(items: Iterable[Mapping], specs: Specs, stretches: int = 1) -> dict[str, Tensor]:
    """The conditions of several clips, as a prior takes them: a first axis b, given frames as video."""
    conditions = [condition_of(item, specs, stretches) for item in items]
    stacked = {spec.name: torch.as_tensor(np.stack([one[spec.name] for one in conditions])) for spec in specs}
    frames = {spec.name for spec in specs if spec.kind == "given-frames"}
    return {name: to_video(value) if name in frames else value for name, value in stacked.items()}


def check_data(data: Mapping[str, Dataset], specs: Specs) -> None:
    """Looks at the names of the classes and at one clip a split: mistakes are better known before hours of encoding.

    Raises UserError as `condition_of`, and for data of more classes than the prior has.
    """
    for split, clips in data.items():
        for spec in specs:
            if spec.kind == "class" and len(clips.classes) > spec.num_classes:
                remedy = f": set --prior.{spec.option} {len(clips.classes)}" if spec.option else ""
                raise UserError(f"the data has {len(clips.classes)} classes, the prior {spec.num_classes}{remedy}")
        try:
            condition_of(clips[0], specs)
        except UserError as error:
            raise UserError(f"clips of {split}: {error}") from error


def check_classes(classes: Sequence[str], learned: Sequence[str], run: Path) -> None:
    """Raises UserError if a data set names its classes otherwise than the one that the run `learned` from.

    A set or a run without names says nothing: then labels are numbers.
    """
    if not classes or not learned:
        return
    for number, (here, there) in enumerate(zip_longest(classes, learned, fillvalue="missing")):
        if here != there:
            raise UserError(f"class {number} is {here} in the data, and {there} in what {run} learned from: its labels "
                            "would mean others")


def _value(item: Mapping, spec: ConditionSpec, stretches: int) -> np.ndarray:
    if spec.kind == "given-frames":
        return np.asarray(item["video"][:spec.shape[1]])
    if spec.name not in item:
        off = f", or set --prior.{spec.option} 0" if spec.option else ""
        with_classes = " with classes (videos in a folder for each)" if spec.kind == "class" else f" with {spec.name}"
        raise UserError(f"they have no {spec.name}, and the prior is conditioned on {_in_words(spec)}: take data"
                        f"{with_classes}{off}")
    if spec.kind == "class":
        return _class(item[spec.name], spec)
    value = np.asarray(item[spec.name])
    if spec.tokenizer and value.dtype.kind == "U":
        value = _written(value, spec, stretches)
    if value.dtype.kind not in ("biu" if spec.kind == "tokens" else "biuf"):
        raise UserError(f"the {spec.name} are {value.dtype}, and must be {_in_words(spec)}")
    of_stretches = spec.kind == "tokens" and stretches > 1 and value.shape == (stretches, *spec.shape)
    if value.shape != spec.shape and not of_stretches:
        raise UserError(f"the {spec.name} are {shape_in_words(value.shape)} numbers, and must be "
                        f"{shape_in_words(spec.shape)}{_rows(spec)}")
    with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite
        value = value.astype(np.int64 if spec.kind == "tokens" else np.float32)
    if not np.isfinite(value).all():
        raise UserError(f"the {spec.name} hold numbers that are not finite")
    if spec.kind == "tokens" and value.size and not 0 <= value.min() <= value.max() < spec.num_classes:
        raise UserError(f"the {spec.name} must lie in 0..{spec.num_classes - 1}; got {value.min()} to {value.max()}")
    return value


def _written(text: np.ndarray, spec: ConditionSpec, stretches: int) -> np.ndarray:
    """The tokens of a text, (n,); or of one for each stretch, (stretches, n)."""
    words = tokenizer(spec.tokenizer)
    if words.size > spec.num_classes:
        raise UserError(f"the prior has {spec.num_classes} tokens, and the tokenizer {spec.tokenizer} {words.size}")
    if text.size == 1:
        return words.tokens(text.item(), *spec.shape)
    if text.shape != (stretches,):
        allowed = "one" if stretches == 1 else f"one, or {stretches}, one for each stretch of the clip"
        raise UserError(f"there are {shape_in_words(text.shape)} texts, and there must be {allowed}")
    return np.stack([words.tokens(part, *spec.shape) for part in text.tolist()])


def _class(label, spec: ConditionSpec) -> np.ndarray:
    if np.ndim(label) or label not in range(spec.num_classes):
        raise UserError(f"the {spec.name} is {label}, and the prior's classes are 0 to {spec.num_classes - 1}")
    return np.asarray(label, np.int64)


def _in_words(spec: ConditionSpec) -> str:
    shape = shape_in_words(spec.shape)
    return {"class": f"one of {spec.num_classes} classes",
            "per-frame": f"{shape_in_words(spec.shape[-1:])} numbers a frame",
            "tokens": f"a text of up to {shape} tokens" if spec.tokenizer else f"{shape} whole numbers",
            "signal": f"{shape} numbers"}[spec.kind]


def _rows(spec: ConditionSpec) -> str:
    if spec.kind != "per-frame":
        return ""
    frames, numbers = spec.shape
    return f": a row for each of the video's {frames} frames, {numbers} numbers a row"
