"""`python -m lvlib.course`: `update | progress`, a learner's copy; `assign`, a teacher's; `build | check | timing`."""

import argparse
import sys
from pathlib import Path

from lvlib.course.copy.folder import update
from lvlib.course.copy.progress import progress
from lvlib.course.tool.assign import assign
from lvlib.course.tool.build import build, executed_path
from lvlib.course.tool.notebook import Source, read_sources
from lvlib.course.tool.timing import timing
from lvlib.course.tool.verify import disagreements
from lvlib.errors import UserError

ROOT = Path(__file__).parents[2]


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Returns the exit status: 0 if all is well, 1 if not, 2 for a wrong argument."""
    options = _parser().parse_args(argv)
    try:
        if options.command in ("update", "progress"):
            line = None
            for line in {"update": update, "progress": progress}[options.command](root):
                print(line, flush=True)
            if line is None:
                print("nothing new")
            return 0
        if options.command == "check":
            return _report(list(disagreements(root, options.strict)), "all generated files agree")
        sources = _chosen(root, options.numbers)
        if options.command == "build":
            numbers = {source.number for source in sources}
            return _report(build(root, numbers, not options.no_run, options.force), "built")
        if options.command == "assign":
            assign(root, sources, options.points, options.out, options.varied)
            return 0
        missing = [str(executed_path(s)) for s in sources if not (root / executed_path(s)).exists()]
        if missing:
            raise UserError(f"not built yet: {', '.join(missing)}; run `python -m lvlib.course build`")
        return 0 if timing(root, [executed_path(source) for source in sources], options.profile) else 1
    except UserError as error:
        print(f"lvlib.course: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lvlib.course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("update", help="make my/ from notebooks/, or bring a newer course into it; your answers stay")
    commands.add_parser("progress", help="which exercises of my/ are done, from the files alone")
    make = commands.add_parser("build", help="make notebooks/, lvlib's extracted modules and the executed notebooks")
    make.add_argument("--no-run", action="store_true", help="leave the executed notebooks as they are")
    make.add_argument("--force", action="store_true", help="run the notebooks whose code has not changed too")
    look = commands.add_parser("check", help="fail if a generated file is not what its source makes")
    look.add_argument("--strict", action="store_true", help="notebooks that were opened or run since the build, too")
    time = commands.add_parser("timing", help="run the executed notebooks; seconds, cells and assertions of each")
    time.add_argument("--profile", choices=["smoke", "course", "full"], default="course")
    grade = commands.add_parser("assign", help="write a course for nbgrader: assignments of these notebooks, graded")
    grade.add_argument("numbers", nargs="+", metavar="NN", help="the notebooks, such as 02 08")
    grade.add_argument("--points", default="1", metavar="P", help="points of each exercise (1)")
    grade.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")
    grade.add_argument("--varied", metavar="SEED", help="try answers on sizes and numbers of this course alone")
    for command in make, time:
        command.add_argument("numbers", nargs="*", metavar="NN", help="only these notebooks, such as 02 03")
    return parser


def _chosen(root: Path, numbers: list[str]) -> list[Source]:
    sources = read_sources(root)
    known = {f"{source.number:02d}": source for source in sources}
    for number in numbers:
        if number not in known:
            raise UserError(f"there is no notebook {number}; there are: {', '.join(known) or 'none yet'}")
    return [source for source in sources if not numbers or f"{source.number:02d}" in numbers]


def _report(problems: list[str], success: str) -> int:
    print("\n".join(problems) or success)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
