"""Wrong answers made by machine: the solution of an exercise with one thing changed.

`python tests/course/mutants.py 02 03` makes those of two notebooks, and prints how many their checks catch.
"""

import ast
import copy
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutations
from equal_mutants import EQUAL
from torch import Tensor

from lvlib.course import sandbox
from lvlib.course.cases import observe
from lvlib.course.exercises import Exercise, examine, exercises_of, notebooks_with_checks
from lvlib.course.tool.notebook import BEGIN, END, code_cells, read_sources, tags

ROOT = Path(__file__).parents[2]
LIMIT = 2.0  # seconds for one mutant: endless loops are ended


@functools.cache
def exercise_cells() -> dict[str, str]:
    """The text of each exercise cell, with its solution, by the exercise's id."""
    cells = [cell for source in read_sources(ROOT) for cell in code_cells(source.notebook)]
    return {tag.removeprefix("ex-"): cell.source for cell in cells if "exercise" in tags(cell)
            for tag in tags(cell) if tag.startswith("ex-")}


def defined_by(exercise: Exercise, tree: ast.Module, **helpers: Any) -> Callable:
    """The exercise's function or class as `tree` defines it, among the names of the module of the reference."""
    names = {**vars(sys.modules[exercise.reference.__module__]), **mutations.HELPERS, **helpers, "__name__": "__main__"}
    exec(compile(tree, f"mutant of {exercise.id}", "exec"), names)
    return names[exercise.name]


@dataclass
class Solution:
    """The exercise cell as a tree, the nodes between its markers, and what these were worth in the first case."""

    tree: ast.Module
    inside: list[ast.AST]
    worth: dict[ast.AST, Any]


def solution(exercise: Exercise) -> Solution:
    text = exercise_cells()[exercise.id]
    tree = ast.parse(text)
    lines, within = set(), False
    for number, line in enumerate(text.split("\n"), 1):
        within = (within or line.strip() == BEGIN) and line.strip() != END
        lines |= {number} if within else set()
    nodes = list(ast.walk(tree))
    numbers = [i for i, node in enumerate(nodes) if getattr(node, "lineno", 0) in lines]
    worth = {nodes[i]: value for i, value in _worth(exercise, tree, numbers).items()}
    return Solution(tree, [nodes[i] for i in numbers], worth)


def _worth(exercise: Exercise, tree: ast.Module, numbers: list[int]) -> dict[int, Any]:
    """Runs the solution on the first case, which is the notebook's own, and notes what each expression gives."""
    worth: dict[int, Any] = {}

    def note(number: int, value: Any) -> Any:
        worth[number] = value
        return value

    noted = copy.deepcopy(tree)
    nodes = list(ast.walk(noted))
    for i in numbers:
        if isinstance(nodes[i], ast.expr) and isinstance(getattr(nodes[i], "ctx", ast.Load()), ast.Load):
            nodes[i].number = i  # type: ignore[attr-defined]
    noting = ast.fix_missing_locations(_Note().visit(noted))
    seen = observe(defined_by(exercise, noting, _note=note), exercise.cases()[0])
    assert not seen.raised, f"{exercise.id}: the solution fails on its first case: {seen.said}"
    return worth


class _Note(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        number = getattr(node, "number", None)
        if number is None or isinstance(node, ast.Starred):
            return node
        return ast.Call(ast.Name("_note", ast.Load()), [ast.Constant(number), node], [])

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        node.value = self.visit(node.value)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node


def mutants(exercise: Exercise) -> dict[str, ast.Module]:
    """Changed solutions, by the line that is changed as it then stands."""
    original, (first, expected) = solution(exercise), exercise.expected[0]
    found: dict[str, ast.Module] = {}
    seen = {ast.unparse(original.tree)}
    for node, new in mutations.of(original.inside, original.worth, gradients=bool(expected.gradients)):
        tree = _replaced(original.tree, node, new)
        text = ast.unparse(tree)
        if text not in seen:
            seen.add(text)
            found[_changed_line(original.tree, tree)] = tree
    takes_tensors = any(isinstance(x, Tensor) for x in first.args)
    return found | dict(mutations.of_the_whole(original.tree, original.inside, takes_tensors, bool(expected.gradients)))


def _replaced(tree: ast.Module, old: ast.AST, new: ast.AST) -> ast.Module:
    number = list(ast.walk(tree)).index(old)
    tree = copy.deepcopy(tree)
    target = list(ast.walk(tree))[number]

    class Replace(ast.NodeTransformer):
        def visit(self, node):
            return copy.deepcopy(new) if node is target else self.generic_visit(node)

    return ast.fix_missing_locations(Replace().visit(tree))


def _changed_line(old: ast.Module, new: ast.Module) -> str:
    before, after = (ast.unparse(tree).split("\n") for tree in (old, new))
    pairs = enumerate(zip(before, after, strict=False))
    same = next((i for i, (x, y) in pairs if x != y), min(len(before), len(after)))
    if after[same].strip() == "pass":
        return f"without: {before[same].strip()}"
    return after[same].strip()


def passes(exercise: Exercise, tree: ast.Module) -> bool:
    """Whether the check takes a mutant for a right answer."""
    try:
        answer = defined_by(exercise, tree)
    except Exception:  # it is not even defined
        return False
    return examine(exercise, answer) is None


def survivors(exercise: Exercise) -> tuple[int, list[str]]:
    """How many mutants there are, and those that pass."""
    made = mutants(exercise)
    limit, sandbox.TIME_LIMIT = sandbox.TIME_LIMIT, LIMIT
    try:
        return len(made), [line for line, tree in made.items() if passes(exercise, tree)]
    finally:
        sandbox.TIME_LIMIT = limit


def main(numbers: list[int]) -> None:
    total = [0, 0, 0, 0]
    form = "{:25}{:>6}{:>8}{:>7}{:>6}"
    print(form.format("exercise", "made", "caught", "equal", "pass"))
    for exercise in (e for number in numbers or notebooks_with_checks() for e in exercises_of(number).values()):
        made, alive = survivors(exercise)
        equal = [line for line in alive if line in EQUAL.get(exercise.id, {})]
        row = [made, made - len(alive), len(equal), len(alive) - len(equal)]
        total = [a + b for a, b in zip(total, row, strict=True)]
        print(form.format(f"{exercise.id} {exercise.name}", *row))
        for line in alive:
            if line not in equal:
                print(f"      passes: {line}")
    print(form.format("all", *total))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
