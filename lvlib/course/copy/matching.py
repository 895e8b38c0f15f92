"""Which cell of one version of the course is which of another: by its exercise, by its text, by likeness.

Numbers of notebooks, exercises and cells all change when the course grows. What an exercise defines stays.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from nbformat import NotebookNode

from lvlib.course.tool.notebook import code_cells, parsed, tagged, tags

STUB = 'raise NotImplementedError("exercise '
LIKE = 0.6  # share of words in common, from which on two texts are two versions of one


@dataclass(eq=False)  # two cells of the same text are two cells
class Cell:
    """A cell, and the name of the notebook that it stands in. `exercise` is what its exercise defines."""

    notebook: str
    node: NotebookNode
    exercise: str | None = None

    @property
    def source(self) -> str:
        return self.node.source.rstrip()

    @property
    def text(self) -> tuple[str, str]:
        return self.node.cell_type, self.source

    @property
    def role(self) -> str:
        return next((tag for tag in tags(self.node) if tag in ("exercise", "check")), self.node.cell_type)

    @property
    def topic(self) -> str:
        return re.sub(r"^\d+_", "", self.notebook)


def cells_of(name: str, notebook: NotebookNode) -> list[Cell]:
    names = {id: exercise_name(notebook, id) for id in exercise_ids(notebook)}
    return [Cell(name, node, names.get(tagged(node, "ex-") or "")) for node in notebook.cells]


def exercise_ids(notebook: NotebookNode) -> list[str]:
    """Ids of the exercises, such as "2.3", in order."""
    ids = (tagged(cell, "ex-") for cell in code_cells(notebook) if "exercise" in tags(cell))
    return list(dict.fromkeys(id for id in ids if id))


def exercise_name(notebook: NotebookNode, id: str) -> str | None:
    """The name of the function or class that an exercise asks for; None if neither its check nor its cell tells."""
    cells = [cell for cell in code_cells(notebook) if tagged(cell, "ex-") == id]
    for cell in cells:
        if checked := re.search(rf'^(\w+) *= *check\("{re.escape(id)}"', cell.source, re.MULTILINE):
            return checked[1]
    trees = [parsed(cell) for cell in cells if "exercise" in tags(cell)]
    names = [node.name for tree in trees if tree for node in tree.body if hasattr(node, "name")]
    return names[0] if names else None


def has_stub(cell: NotebookNode) -> bool:
    """Does a cell raise what an exercise's stub raises? A comment, or a line behind a return, does not."""
    tree = parsed(cell)
    if tree is None:
        return STUB in cell.source
    rest: list[ast.AST] = [tree]
    while rest:
        node = rest.pop()
        if isinstance(node, ast.Raise) and ast.unparse(node).startswith(STUB.replace('"', "'")):
            return True
        for _, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    rest.append(child)
                if isinstance(child, ast.Return):
                    break
    return False


def match(old: list[Cell], new: list[Cell], by_id: bool = False) -> dict[Cell, Cell]:
    """The cells that both versions have, each with at most one other. Cells that are in neither pair are left out.

    by_id: cells with the same id are the same. True of a copy and what it was made from; the ids of the course itself
    are numbers of places.
    """
    pairs: dict[Cell, Cell] = {}
    if by_id:
        _pair(pairs, old, new, lambda cell: "id" in cell.node and (cell.notebook, cell.node.id))
    _pair(pairs, old, new, lambda cell: cell.exercise and (cell.topic, cell.role, cell.exercise))
    _pair(pairs, old, new, lambda cell: cell.exercise and (cell.role, cell.exercise), alone=True)
    _pair(pairs, old, new, lambda cell: (cell.topic, *cell.text))
    _pair(pairs, old, new, lambda cell: cell.text, alone=True)
    _pair_alike(pairs, old, new)
    return pairs


def _pair(pairs: dict[Cell, Cell], old: list[Cell], new: list[Cell], key: Callable[[Cell], Hashable],
          alone: bool = False) -> None:  # fmt: skip
    """Pairs what is left by a key; cells that share one in the order of their places, or not at all if `alone`."""
    groups = defaultdict(list)
    for cell in _left(new, pairs.values()):
        groups[key(cell)].append(cell)
    mine = defaultdict(list)
    for cell in _left(old, pairs):
        mine[key(cell)].append(cell)
    for value, cells in mine.items():
        others = groups[value]
        if value and not (alone and (len(cells) > 1 or len(others) > 1)):
            pairs.update(zip(cells, others, strict=False))


def _pair_alike(pairs: dict[Cell, Cell], old: list[Cell], new: list[Cell]) -> None:
    """Pairs texts that were edited: the likest first, in notebooks that have cells in common."""
    linked = {(a.notebook, b.notebook) for a, b in pairs.items()}
    candidates = []
    others = _left(new, pairs.values())
    for a in _left(old, pairs):
        words = SequenceMatcher(None, autojunk=False)
        words.set_seq2(a.source.split())
        for b in others:
            if a.role != b.role or not ((a.notebook, b.notebook) in linked or a.topic == b.topic):
                continue
            words.set_seq1(b.source.split())
            if words.real_quick_ratio() >= LIKE and words.quick_ratio() >= LIKE and (likeness := words.ratio()) >= LIKE:
                candidates.append((likeness, a, b))
    taken: set[Cell] = set()
    for _, a, b in sorted(candidates, key=lambda candidate: -candidate[0]):
        if not {a, b} & taken:
            pairs[a] = b
            taken |= {a, b}


def _left(cells: list[Cell], paired: Iterable[Cell]) -> list[Cell]:
    paired = set(paired)
    return [cell for cell in cells if cell not in paired]
