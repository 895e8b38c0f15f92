"""lvlib data: runs one of the scripts that fetch or make a data set."""

import ast
import runpy
from pathlib import Path

import lvlib
from lvlib.cli.arguments import Parser
from lvlib.errors import UserError, unknown

SCRIPTS = Path(lvlib.__file__).parents[1] / "data_scripts"


def main(arguments: list[str]) -> None:
    parser = Parser("lvlib data", usage="lvlib data NAME --out DIR [options]\n       lvlib data --list",
                    description="Fetch or make a data set. `lvlib data NAME --help` lists its options.")
    parser.add_argument("--list", action="store_true", help="list the data sets")
    if not arguments or arguments[0].startswith("-"):
        if not parser.parse_args(arguments).list:
            parser.error("the following arguments are required: NAME")
        print(_list())
    else:
        name, *options = arguments
        scripts = _scripts()
        if name not in scripts:
            raise unknown("data set", name, scripts)
        runpy.run_path(str(scripts[name]))["main"](options)


def _scripts() -> dict[str, Path]:
    if not SCRIPTS.is_dir():
        raise UserError(f"data scripts are part of a checkout, not of the installed package: no {SCRIPTS}")
    return {path.stem: path for path in sorted(SCRIPTS.glob("[a-z]*.py"))}


def _list() -> str:
    lines = []
    for name, path in _scripts().items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        lines.append(f"{name:<16} {docstring.splitlines()[0]}")
    return "\n".join(lines)
