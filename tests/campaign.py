"""A thousand bad calls, files and run folders: whatever is typed or lies there, one clear line, and nothing lost.

    python tests/campaign.py --cases 1000 --seed 0              a table by kind, and each fault with its number
    python tests/campaign.py --cases 1000 --seed 0 --only 417   that one alone, with all that it printed

Each case is a function of the seed and its number. It is run in a process of its own, forked from this one, which has
loaded lvlib; in a copy of the place that `bad_inputs.place` makes; with little memory and small files only, so that
absurd sizes end soon. That is why it wants Linux.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

from bad_inputs import calls, files, runs
from bad_inputs.case import Case, Place
from bad_inputs.child import load, run_forked
from bad_inputs.judge import faults, snapshot
from bad_inputs.place import CONFIGS, make_place

KINDS = {"calls": calls, "files": files, "runs": runs}


class Result(NamedTuple):
    number: int
    kind: str
    case: Case
    status: int | None
    faults: list[str]
    printed: str
    cpu_s: float


@contextmanager
def campaign() -> Iterator[Path]:
    """A folder for the cases, with the place in order in "origin"."""
    from lvlib.configs import CONFIGS as TABLE

    load()
    added = {name: config for name, config in CONFIGS.items() if name not in TABLE}
    TABLE.update(added)
    with tempfile.TemporaryDirectory(prefix="campaign", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve()
        (root / "origin").mkdir()
        end = run_forked(lambda: make_place(root / "origin"), root, root)
        assert end.status == 0, (root / "stderr").read_text()
        try:
            yield root
        finally:
            for name in added:
                del TABLE[name]


def run_case(root: Path, seed: int, number: int) -> Result:
    """root: of `campaign`. The case is number `number` of the campaign with this seed."""
    kind = list(KINDS)[number % len(KINDS)]
    folder = root / f"case{number}"
    place = folder / "place"
    shutil.copytree(root / "origin", place, symlinks=True)
    (folder / "tmp").mkdir()
    case = KINDS[kind].prepare(Place(place, Random(f"{seed}:{number}")))
    before = snapshot(folder)
    end = run_forked(lambda: _lvlib(case.call), folder, place)
    printed = "".join((folder / name).read_text(errors="backslashreplace") for name in ("stdout", "stderr"))
    found = faults(case, end, before, folder)
    shutil.rmtree(folder)
    return Result(number, kind, case, end.status, found, printed, end.cpu_s)


def _lvlib(call: list[str]) -> int:
    from lvlib.cli import main, reported

    if call and call[0] == "merge_codes":  # a command of maintainers
        from lvlib.cli import merge_codes

        return reported(lambda: merge_codes.main(call[1:]))
    return main(call)


def table(results: Iterable[Result]) -> str:
    counts = Counter()
    for result in results:
        for kind in result.kind, "all":
            counts[kind, "cases"] += 1
            counts[kind, f"status {result.status}"] += 1
            counts[kind, "faults"] += bool(result.faults)
    columns = ["cases", "status 0", "status 2", "faults"]
    rows = [["kind", *columns]] + [[kind, *(str(counts[kind, c]) for c in columns)] for kind in (*KINDS, "all")]
    return "\n".join("".join(f"{value:>10}" for value in row) for row in rows)


def in_words(result: Result) -> str:
    call = " ".join(word if word.isprintable() and word and len(word) < 60 else f"{word!r:.60}"
                    for word in result.case.call)
    return (f"{result.number} {result.kind}: {result.case.about!r}\n    lvlib {call}\n    status {result.status}, "
            + "\n    ".join(result.faults))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="these cases alone")
    options = parser.parse_args()
    results = []
    with campaign() as root:
        for number in options.only or range(options.cases):
            result = run_case(root, options.seed, number)
            results.append(result)
            if result.faults or options.only:
                print(in_words(result), flush=True)
            if options.only:
                print(result.printed)
    print(table(results))
    print(f"{sum(result.cpu_s for result in results):.0f} CPU-s in cases")
    sys.exit(any(result.faults for result in results))


if __name__ == "__main__":
    main()
