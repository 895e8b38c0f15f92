"""What samples are conditioned on besides frames: by `--condition.NAME`, or by the clips that they go on with."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lvlib.cli.arguments import with_fields
from lvlib.errors import UserError, unknown
from lvlib.stages import ConditionSpec, shape_in_words

if TYPE_CHECKING:
    from torch import Tensor

    from lvlib.configs import Config

MANY = 20  # classes that are not all listed
BETWEEN = "|"  # texts of the stretches of a long sample


@dataclass(frozen=True)
class Conditions:
    """The condition of all samples, without given frames; names for the samples."""

    values: dict[str, "Tensor"]
    names: list[str]


@dataclass(frozen=True)
class Known:
    """What is known where options are read: the names of the classes that the prior learned, the frames of the clips
    that it learned from and their rate, and how many times as long the samples are."""

    classes: list[str]
    frames: int
    fps: float | None
    stretches: int


def condition_options(config: "Config", fields: dict[str, list[str]]) -> dict[str, Any]:
    """What was given as --condition.NAME, by name: a class, a text, or a file.

    Raises UserError for a condition that the prior does not take.
    """
    specs = {spec.name: str if spec.kind == "class" or spec.tokenizer else Path for spec in _stated(config)}
    if fields and not specs:
        raise UserError(f"this prior is not conditioned on anything: leave --condition.{next(iter(fields))} out")
    kinds = [(name, kind | None, None) for name, kind in specs.items()]
    options = with_fields(dataclasses.make_dataclass("Condition", kinds, frozen=True)(), "condition", fields)
    return {name: value for name in specs if (value := getattr(options, name)) is not None}


def options_in_words(config: "Config") -> list[str]:
    """For --help: each condition, with what can be given."""
    ways = {"class": "the name or the number of a class, of {classes}; left out, samples are spread over all",
            "text": 'a text of up to {sizes} tokens ("{tokenizer}"); of a long sample several, one for each {frames} '
                    "frames, with | between them; or FILE.npy of tokens",
            "audio": "a sound file, resampled, and cut or repeated to fit; or FILE.npy, of {sizes} numbers",
            "array": "FILE.npy, of {sizes} numbers"}
    return [f"  --condition.{spec.name}  " + ways[_way(spec)].format(
        classes=spec.num_classes, sizes=shape_in_words(spec.shape), tokenizer=spec.tokenizer, frames=config.data.frames)
        for spec in _stated(config)]


def conditions_for(config: "Config", options: dict[str, Any], n: int, items: Sequence[dict], given: Path | None,
                   known: Known) -> Conditions:
    """What the options say; where they do not, what the items of a data set hold that the samples begin with, if there
    are any. Without either, classes are spread evenly. Prints the classes, the tokens of a text, and what was done to a
    sound.

    Raises UserError for a value that the prior cannot take, and where one is missing.
    """
    from lvlib.data.conditions import conditions_of

    names, values = [f"sample {i + 1}" for i in range(n)], {}
    clips = [dict(item) for item in items] or [{} for _ in range(n)]
    for spec in _stated(config):
        if spec.name in options:
            value = _read(spec, options[spec.name], known)
            clips = [clip | {spec.name: value} for clip in clips]
        elif spec.kind == "class":
            for i, clip in enumerate(clips):
                clip.setdefault(spec.name, i * spec.num_classes // n)
        if not all(spec.name in clip for clip in clips):
            raise UserError(f"this prior is conditioned on {spec.name}: give --condition.{spec.name} {_what(spec)}")
        try:
            values |= conditions_of(clips, [spec], known.stretches)
        except UserError as error:
            option = options.get(spec.name, given)
            source = option if isinstance(option, Path) else f"--condition.{spec.name}"
            raise UserError(f"{source}: {error}") from error
        if spec.kind == "class":
            labels = [class_name(number, known.classes) for number in values[spec.name].tolist()]
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


def read_texts(spec: ConditionSpec, text: str, known: Known) -> str | list[str]:
    """One text, or one for each stretch of a long sample. Prints how each is cut into tokens, and which words are not
    known. Raises UserError for another number of texts, and for one without words."""
    from lvlib.data.text import tokenizer

    texts = [part.strip() for part in text.split(BETWEEN)]
    if len(texts) not in (1, known.stretches):
        allowed = "1: samples are as long as the clips that it learned from" if known.stretches == 1 else (
            f"1 or {known.stretches}, one for each {known.frames} frames")
        raise UserError(f"--condition.{spec.name}: there are {len(texts)} texts, and there must be {allowed}")
    words = tokenizer(spec.tokenizer)
    for number, part in enumerate(texts):
        if not part:
            raise UserError(f"--condition.{spec.name}: a text is empty: say what is to be seen")
        words.tokens(part, *spec.shape)  # too long: known before much is printed
        pieces = words.pieces(part)
        count = sum(map(len, pieces)) + len(words.start) + len(words.end)
        place = "" if len(texts) == 1 else f" from frame {number * known.frames}"
        print(f"{spec.name}{place}: {' '.join('+'.join(word) for word in pieces)} ({count} tokens)")
        for word, parts in words.unknown_words(part).items():
            print(f"  {word!r} is not a word of {words.title}: read as {' '.join(parts)}")
    return texts if len(texts) > 1 else texts[0]


def read_sound(spec: ConditionSpec, path: Path, fps: float | None) -> np.ndarray:
    """The sound of a file, as long as the samples: float32 (t, samples a frame). Prints what was done to it.

    Raises UserError where it cannot be read, or nobody knows how fast the frames pass.
    """
    from lvlib.data.sound_files import fitted

    if fps is None:
        raise UserError(f"--condition.{spec.name}: the run does not say how fast its frames pass, so that no sound can "
                        f"be laid beside them: give FILE.npy, of {shape_in_words(spec.shape)} numbers")
    frames, samples = spec.shape
    sound, lines = fitted(path, round(samples * fps), frames * samples)
    for line in lines:
        print(f"{spec.name}: {path}: {line}")
    return sound.reshape(spec.shape)


def _read(spec: ConditionSpec, option: Any, known: Known) -> Any:
    """What an option says, as an item of a data set would hold it."""
    if spec.kind == "class":
        return class_number(option, known.classes, spec.num_classes)
    if Path(option).suffix.lower() == ".npy" or _way(spec) == "array":
        return read_array(spec.name, Path(option))
    return read_texts(spec, option, known) if spec.tokenizer else read_sound(spec, option, known.fps)


def _way(spec: ConditionSpec) -> str:
    """How it can be given."""
    if spec.kind == "class":
        return "class"
    if spec.kind == "tokens" and spec.tokenizer:
        return "text"
    return "audio" if spec.is_sound else "array"


def _what(spec: ConditionSpec) -> str:
    array = f"FILE.npy, of {shape_in_words(spec.shape)} numbers"
    return {"text": '"A TEXT"', "audio": "FILE, a sound"}.get(_way(spec), array)


def _stated(config: "Config") -> list[ConditionSpec]:
    """The conditions that are not frames."""
    return [spec for spec in config.up_to("prior").conditions if spec.kind != "given-frames"]
