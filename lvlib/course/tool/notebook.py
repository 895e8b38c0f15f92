"""The source of a notebook: `solutions/NN_name.py`, jupytext's percent format, and the rules it keeps."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import jupytext
import nbformat
from nbformat import NotebookNode, ValidationError

PACKAGES = ("models", "metrics")  # what `export:<package>.<module>` may name
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
COMPUTING = (ast.Call, ast.BinOp, ast.Await, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
TAG = re.compile(
    rf"parameters|exercise|check|ex-\d+\.\d+|export:({'|'.join(PACKAGES)})(\.[a-z]\w*){{1,2}}|solution-only|nbval-check-output"
)


@dataclass(frozen=True)
class Source:
    """A notebook as its author wrote it; `problems` says, a line each, which rules it breaks."""

    path: PurePosixPath  # relative to the root, as in every message and every generated file, on Windows too
    number: int
    notebook: NotebookNode
    problems: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def read_sources(root: Path) -> list[Source]:
    """All sources, in order. What cannot be read is a source without cells, and has a problem."""
    sources = [_read(path, root) for path in sorted((root / "solutions").glob("*.py"))]
    names: dict[int, str] = {}
    for source in sources:
        names.setdefault(source.number, source.name)
    return [
        s if names[s.number] == s.name else _with_problem(s, f"notebook {s.number:02d} is {names[s.number]} already")
        for s in sources
    ]


def read_notebook(path: Path) -> NotebookNode | None:
    """The notebook in a file, or None if there is none that can be read."""
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError, ValidationError):
        return None
    return notebook


def relative_path(path: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(root).as_posix())


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def is_folded(cell: NotebookNode) -> bool:
    """Does JupyterLab show the cell without its source?"""
    return cell.metadata.get("jupyter", {}).get("source_hidden") is True


def metadata(tags: list[str], folded: bool) -> NotebookNode:
    """All that a cell keeps besides its text."""
    kept = {"jupyter": {"source_hidden": True} if folded else {}, "tags": tags}
    return nbformat.from_dict({name: value for name, value in kept.items() if value})


def tagged(cell: NotebookNode, prefix: str) -> str | None:
    """What follows `prefix` in the cell's tags: "2.3" for "ex-" and a cell with the tag ex-2.3."""
    return next((tag.removeprefix(prefix) for tag in tags(cell) if tag.startswith(prefix)), None)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parsed(cell: NotebookNode) -> ast.Module | None:
    """The syntax tree of a code cell, or None if it is not plain Python."""
    try:
        return ast.parse(cell.source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # null bytes, and what is nested too deep
        return None


def is_constant(value: ast.expr | None) -> bool:
    """Is nothing computed: a literal, another name, a type such as tuple[int, int], a lambda?"""
    parts = ast.walk(value) if value else ()
    return isinstance(value, ast.Lambda) or not any(isinstance(part, COMPUTING) for part in parts)


def _read(path: Path, root: Path) -> Source:
    number = re.fullmatch(r"(\d\d)_[a-z0-9_]+", path.stem)
    relative = relative_path(path, root)
    source = Source(relative, int(number[1]) if number else -1, NotebookNode(cells=[]), ())
    if not number:
        return _with_problem(source, "the name must be like 02_vq_vae.py")
    try:
        notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    except (ValueError, ValidationError) as error:
        return _with_problem(source, f"cannot be read: {str(error).splitlines()[0]}")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for index, cell in enumerate(notebook.cells, 1):
        cell.id = f"{number[1]}-{index:03d}"  # conversion makes random ones
        cell.metadata = metadata(tags(cell), is_folded(cell))
    problems = tuple(f"{relative}: {problem}" for problem in _broken_rules(notebook, source.number))
    return Source(relative, source.number, notebook, problems)


def _with_problem(source: Source, problem: str) -> Source:
    return Source(source.path, source.number, source.notebook, (*source.problems, f"{source.path}: {problem}"))


def _broken_rules(notebook: NotebookNode, number: int) -> Iterator[str]:
    seen: set[str] = set()
    previous = None
    for cell in notebook.cells:
        rules = [_tag_rules(cell)]
        if cell.cell_type == "code":
            rules += [_code_rules(cell), _marker_rules(cell), _exercise_rules(cell, previous, number, seen)]
        for problem in (problem for rule in rules for problem in rule):
            first_line = cell.source.strip().split("\n")[0][:60]
            yield f"cell {cell.id} ({first_line}): {problem}"
        previous = cell
    if sum("parameters" in tags(cell) for cell in code_cells(notebook)) != 1:
        yield "there must be one cell with the tag `parameters`"
    checked = {tagged(cell, "ex-") for cell in notebook.cells if "check" in tags(cell)}
    for id in sorted(seen - checked):
        yield f"exercise {id} has no check cell"


def _tag_rules(cell: NotebookNode) -> Iterator[str]:
    for tag in tags(cell):
        if not TAG.fullmatch(tag):
            yield f"unknown tag {tag!r}"
    if cell.cell_type != "code" and set(tags(cell)) - {"solution-only"}:
        yield "a text cell can have no tag but `solution-only`"
    if is_folded(cell) and (cell.cell_type != "code" or {"exercise", "check"} & set(tags(cell))):
        yield "only code that is no exercise and no check can be folded"
    if sum(tag.startswith("export:") for tag in tags(cell)) > 1:
        yield "exported to two modules"


def _code_rules(cell: NotebookNode) -> Iterator[str]:
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        line = cell.source.split("\n")[(error.lineno or 1) - 1].strip()
        magic = re.match(r"[%!?]|.*\?$|\w+ *= *[%!]", line)
        yield f"line magic `{line}`: write plain Python" if magic else f"not plain Python: {error.msg} in `{line}`"
    if re.search(r"https?://", cell.source):
        yield "a network address in code"


def _marker_rules(cell: NotebookNode) -> Iterator[str]:
    lines = cell.source.split("\n")
    markers = [line.strip() for line in lines if "BEGIN SOLUTION" in line or "END SOLUTION" in line]
    if markers != [BEGIN, END] * (len(markers) // 2):
        yield f"`{BEGIN}` and `{END}` must come in pairs, each alone on its line"
    elif bool(markers) != ("exercise" in tags(cell)):
        yield "an exercise needs a solution between markers" if not markers else "a solution outside an exercise cell"
    elif any(line.strip() == BEGIN and not _in_function(cell, i) for i, line in enumerate(lines, 1)):
        yield "the solution must be inside a function: its stub raises an error when it is reached"


def _in_function(cell: NotebookNode, line: int) -> bool:
    tree = parsed(cell)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)) if tree else ()
    return any(node.lineno < line <= (node.end_lineno or 0) for node in functions)


def _exercise_rules(cell: NotebookNode, previous: NotebookNode | None, number: int, seen: set[str]) -> Iterator[str]:
    ids = [tag.removeprefix("ex-") for tag in tags(cell) if tag.startswith("ex-")]
    kinds = {"exercise", "check"} & set(tags(cell))
    if len(ids) != len(kinds) or len(kinds) > 1:
        yield "an exercise has the tags `exercise` and `ex-N.M`, its check has `check` and `ex-N.M`"
        return
    for id in ids:
        if int(id.split(".")[0]) != number:
            yield f"exercise {id} in notebook {number}"
        if "exercise" in kinds:
            if id in seen:
                yield f"exercise {id} comes twice"
            seen.add(id)
            continue
        if previous is None or not {"exercise", f"ex-{id}"} <= set(tags(previous)):
            yield f"the check of {id} must directly follow its exercise"
        if f'check("{id}"' not in cell.source:
            yield f'the check of {id} must call check("{id}", ...)'
