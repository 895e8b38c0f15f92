"""Arguments of a command, and `--part.field VALUE`, which sets any field of a configuration."""

import argparse
import contextlib
import dataclasses
import io
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from lvlib.errors import UserError, shortened, unknown

if TYPE_CHECKING:
    from lvlib.configs import Config


MANY_WORDS = 100  # of a field that takes as many as there are


class Parser(argparse.ArgumentParser):
    """Reports a mistake as UserError, one line, instead of a page of usage."""

    def __init__(self, *args, **options):
        super().__init__(*args, allow_abbrev=False, **options)

    def error(self, message: str):
        message = " ".join(map(shortened, message.split()))
        raise UserError(f"{message} (see {self.prog} --help)")


class ConfigParser(Parser):
    """A parser with a CONFIG argument, whose fields can be set and are listed by `CONFIG --help`."""

    def __init__(self, command: str, description: str):
        super().__init__(f"lvlib {command}", description=description, add_help=False,
                         epilog=f"`lvlib {command} CONFIG --help` lists the fields that you can set.")
        self.usage = f"{self.prog} CONFIG [options] [--part.field VALUE ...]"
        self.add_argument("config", metavar="CONFIG", help="a name that `lvlib configs` lists")
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="show this help message and exit")

    def parse(self, arguments: list[str]) -> tuple[argparse.Namespace, "Config"]:
        """The options, with the names of the `fields` that were set; and the configuration with its fields set."""
        rest, overrides = split_overrides(arguments)
        options = self.parse_args(rest)
        options.fields = list(overrides)
        from lvlib.configs import named_config

        for name in overrides:
            if name.startswith(("sampling.", "condition.")):
                raise UserError(f"--{name} is of `lvlib sample`, not of `{self.prog}`")
        return options, override(named_config(options.config), overrides)


class _Help(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        parser.print_help()
        if namespace.config:
            from lvlib.configs import named_config

            config = named_config(namespace.config)
            parts = {"data": config.data, **config.stages, "training": config.training}
            print(f"\nfields of {namespace.config}:\n{fields_help(parts)}")
        parser.exit()


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", metavar="DEVICE",
                        help="auto (a GPU if there is one), cpu, cuda or mps (default: auto)")


def check_positive(name: str, value: float | None) -> None:
    """Raises UserError for a value of the option `name` that is given, and not above 0 or not finite."""
    if value is not None and not 0 < value < float("inf"):
        allowed = "at least 1" if isinstance(value, int) else "above 0"
        raise UserError(f"{name} must be {allowed}, not {value}")


def check_seed(seed: int) -> None:
    """Raises UserError for a --seed that torch does not take."""
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed must be from 0 to 2**63 - 1, not {seed}")


def split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Takes `--part.field VALUE ...` and `--part.field=VALUE` out: the other arguments, field -> values.

    A field takes one word, or as many as it has numbers: what follows is an argument of the command again.
    """
    rest, overrides = [], {}
    words = list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not (name.startswith("--") and "." in name):
            rest.append(name + equals + value)
            continue
        field = name[2:].replace("-", "_")
        values = overrides[field] = [value] if equals else []
        while words and len(values) < _word_count(field) and not _is_option(words[0]):
            values.append(words.pop(0))
    return rest, overrides


def _is_option(word: str) -> bool:
    return word == "-h" or word.startswith("--")


def _word_count(name: str) -> int:
    """How many words the field "part.field" takes, in whichever configuration: more than one for tuples alone."""
    part_name, _, field = name.partition(".")
    stages = {"sampling": "prior", "refiner_sampling": "refiner"}
    parts = {type(part) for named in _configs().values()
             if (part := getattr(named.config, stages.get(part_name, part_name), None)) is not None}
    classes = {part.Sampling for part in parts} if part_name in stages else parts
    tuples = [get_args(kind) for part in classes if get_origin(kind := get_type_hints(part).get(field)) is tuple]
    return max((MANY_WORDS if ... in kinds else len(kinds) for kinds in tuples), default=1)


def _configs() -> dict:
    from lvlib.configs import CONFIGS

    return CONFIGS


def override(config: "Config", overrides: dict[str, list[str]]) -> "Config":
    """A copy with each `part.field` set to its value, read as the field's type.

    Raises UserError for an unknown part or field, naming those there are, or a value of the wrong type.
    """
    changes: dict[str, dict[str, list[str]]] = {}
    for name, words in overrides.items():
        part_name, _, field = name.partition(".")
        parts = [part.name for part in dataclasses.fields(config)]
        if part_name not in parts:
            raise unknown(f"part in --{name}:", part_name, parts)
        if getattr(config, part_name) is None:
            raise UserError(f"--{name}: this configuration has no {part_name}")
        changes.setdefault(part_name, {})[field] = words
    try:
        parts = {name: with_fields(getattr(config, name), name, fields) for name, fields in changes.items()}
        return dataclasses.replace(config, **parts)
    except ValueError as error:
        raise UserError(str(error)) from error


def with_fields(values: Any, prefix: str, fields: dict[str, list[str]]) -> Any:
    """A copy of a frozen dataclass with each field set to its words, read as the field's type.

    Raises UserError that calls a field "--prefix.field": for one that is not there, for words of the wrong type, and
    for a value that the class refuses.
    """
    types = {field.name: get_type_hints(type(values))[field.name] for field in dataclasses.fields(values)}
    for field in fields:
        if field not in types:
            raise unknown(f"key --{prefix}.{field}:", field, types)
    new = {field: _parse(f"{prefix}.{field}", types[field], words, getattr(values, field))
           for field, words in fields.items()}
    try:
        return dataclasses.replace(values, **new)
    except ValueError as error:
        of_sampling = prefix in ("sampling", "refiner_sampling", "condition")
        raise UserError(f"--{prefix}: {error}" if of_sampling else str(error)) from error


def _parse(name: str, kind: Any, words: list[str], default: Any) -> Any:
    from lvlib.configs.kinds import in_words

    if words in ([], [""]) and kind is not str:
        raise UserError(f"--{name} takes {in_words(kind)} (default: {default}), not nothing")
    tyro = _tyro()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro explains itself in a box of several lines
            return tyro.cli(tyro.conf.Positional[kind], args=words)
    except SystemExit:
        given = repr(shortened(" ".join(words))) if words else "nothing"
        raise UserError(f"--{name} takes {in_words(kind)} (default: {default}), not {given}") from None


def fields_help(parts: dict[str, Any]) -> str:
    """The fields of dataclasses by their name, one after the other, as `--name.field`."""
    tyro, text = _tyro(), io.StringIO()
    kind = dataclasses.make_dataclass("Fields", [(name, type(part)) for name, part in parts.items()], frozen=True)
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(kind, default=kind(**parts), args=["--help"], use_underscores=True,
                 config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands))
    return text.getvalue().partition("\n\n")[2]  # without tyro's own usage line


def _tyro():
    try:
        import tyro
    except ImportError as error:
        raise UserError('setting fields needs tyro: pip install "lvlib[train]"') from error
    return tyro
