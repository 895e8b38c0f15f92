"""What a notebook gives to an exercise: the imports, definitions and constants that stand before it.

An exercise cell is judged alone. Of the notebook's other cells it needs the imports and definitions that it names, and
nothing that is computed: no data, no trained model.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from lvlib.course.tool.notebook import is_constant


@dataclass(frozen=True)
class Given:
    """An import, a definition or a constant: the names that it makes, the names that it uses, its text."""

    makes: frozenset[str]
    uses: frozenset[str]
    text: str


def given_by(cells: list[str]) -> list[Given]:
    """What these cells define, in their order."""
    return [
        Given(frozenset(makes), frozenset(names(node)), ast.unparse(node))
        for cell in cells
        for node in ast.parse(cell).body
        if (makes := set(_makes(node)))
    ]


def needed(given: list[Given], source: ast.Module) -> list[str]:
    """The texts of all that the source uses, and of all that this uses in turn."""
    wanted, size = names(source), -1
    while len(wanted) > size:
        size = len(wanted)
        for item in given:
            if item.makes & wanted:
                wanted |= item.uses
    return [item.text for item in given if item.makes & wanted]


def names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _makes(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign) and is_constant(node.value):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = (part for target in targets for part in ast.walk(target))
        yield from (part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
