"""lvlib data: runs one of the scripts that fetch or make a data set, and tells how long the videos of one are."""

import ast
import runpy
from pathlib import Path

import lvlib
from lvlib.cli.arguments import Parser
from lvlib.errors import UserError, unknown

SCRIPTS = Path(lvlib.__file__).parents[1] / "data_scripts"


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        print(_told(arguments))
    else:
        name, *options = arguments
        scripts = _scripts()
        if name not in scripts:
            raise unknown("data set", name, scripts)
        runpy.run_path(str(scripts[name]))["main"](options)


def _told(arguments: list[str]) -> str:
    parser = Parser("lvlib data", usage="lvlib data NAME --out DIR [options]\n       lvlib data --list\n"
                    "       lvlib data --stats DIR [--split SPLIT] [--frames N ...] [--stride S ...]",
                    description="Fetch or make a data set. `lvlib data NAME --help` lists its options.")
    parser.add_argument("--list", action="store_true", help="list the data sets")
    parser.add_argument("--stats", type=Path, metavar="DIR", help="tell how many videos of a data set, or of a folder "
                        "of videos, have at least so many frames, and their mean in each class")
    parser.add_argument("--split", default="all", help="for --stats: train, val or test (default: all)")
    parser.add_argument("--frames", type=int, nargs="+", default=[], metavar="N",
                        help="for --stats: which share of the videos is too short for clips of N frames")
    parser.add_argument("--stride", type=int, nargs="+", default=[], metavar="S",
                        help="every S-th frame of the video; one for all, or one for each N (default: 1)")
    options = parser.parse_args(arguments)
    if options.stats is not None and not options.list:
        from lvlib.cli.data_stats import stats

        return stats(options.stats, options.split, options.frames, options.stride)
    if not options.list:
        parser.error("the following arguments are required: NAME")
    if len(arguments) > 1:
        parser.error("--list stands alone")
    return _list()


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
