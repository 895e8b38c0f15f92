"""Arguments of a command, and `--part.field VALUE`, which sets any field of a configuration."""

import argparse
import contextlib
import dataclasses
import io
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from lvlib.errors import UserError, unknown

if TYPE_CHECKING:
    from lvlib.configs import Config


class Parser(argparse.ArgumentParser):
    """Reports a mistake as UserError, one line, instead of a page of usage."""

    def __init__(self, *args, **options):
        super().__init__(*args, allow_abbrev=False, **options)

    def error(self, message: str):
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

        return options, override(named_config(options.config), overrides)


class _Help(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        parser.print_help()
        if namespace.config:
            from lvlib.configs import named_config

            print(f"\nfields of {namespace.config}:\n{_fields_help(named_config(namespace.config))}")
        parser.exit()


def check_positive(name: str, value: float) -> None:
    """Raises UserError for a value of the option `name` that is not above 0, or not finite."""
    if not 0 < value < float("inf"):
        allowed = "at least 1" if isinstance(value, int) else "above 0"
        raise UserError(f"{name} must be {allowed}, not {value}")


def check_temperature_and_seed(options: argparse.Namespace) -> None:
    """Raises UserError for a --temperature (None: as usual) or a --seed that no sampler takes."""
    if options.temperature is not None and not 1e-6 <= options.temperature < float("inf"):
        raise UserError(f"--temperature must be at least 1e-6, not {options.temperature}")
    if not 0 <= options.seed < 2**63:
        raise UserError(f"--seed must be from 0 to 2**63 - 1, not {options.seed}")


def split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Takes `--part.field VALUE ...` and `--part.field=VALUE` out: the other arguments, field -> values."""
    rest, overrides, values = [], {}, None
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and "." in name:
            values = overrides[name[2:].replace("-", "_")] = [value] if equals else []
        elif argument.startswith("--") or argument == "-h" or values is None:
            values = None
            rest.append(argument)
        else:
            values.append(argument)
    return rest, overrides


def override(config: "Config", overrides: dict[str, list[str]]) -> "Config":
    """A copy with each `part.field` set to its value, read as the field's type.

    Raises UserError for an unknown part or field, naming those there are, or a value of the wrong type.
    """
    changes: dict[str, dict[str, Any]] = {}
    for name, words in overrides.items():
        part_name, _, field = name.partition(".")
        parts = [part.name for part in dataclasses.fields(config)]
        if part_name not in parts:
            raise unknown(f"part in --{name}:", part_name, parts)
        part = getattr(config, part_name)
        if part is None:
            raise UserError(f"--{name}: this configuration has no {part_name}")
        types = get_type_hints(type(part))
        if field not in types:
            raise unknown(f"key --{name}:", field, types)
        changes.setdefault(part_name, {})[field] = _parse(name, types[field], words, getattr(part, field))
    try:
        parts = {name: dataclasses.replace(getattr(config, name), **new) for name, new in changes.items()}
        return dataclasses.replace(config, **parts)
    except ValueError as error:
        raise UserError(str(error)) from error


def _parse(name: str, kind: Any, words: list[str], default: Any) -> Any:
    tyro = _tyro()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro explains itself in a box of several lines
            return tyro.cli(tyro.conf.Positional[kind], args=words)
    except SystemExit:
        given = repr(" ".join(words)) if words else "nothing"
        raise UserError(f"--{name} takes {_in_words(kind)} (default: {default}), not {given}") from None


def _in_words(kind: Any) -> str:
    names = {int: "an integer", float: "a number", str: "a text", bool: "True or False", type(None): "None"}
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return " and ".join(_in_words(item) for item in get_args(kind))
    return names.get(kind) or " or ".join(_in_words(item) for item in get_args(kind))


def _fields_help(config: "Config") -> str:
    tyro, text = _tyro(), io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(type(config), default=config, args=["--help"], use_underscores=True,
                 config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands))
    return text.getvalue().partition("\n\n")[2]  # without tyro's own usage line


def _tyro():
    try:
        import tyro
    except ImportError as error:
        raise UserError('setting fields needs tyro: pip install "lvlib[train]"') from error
    return tyro
