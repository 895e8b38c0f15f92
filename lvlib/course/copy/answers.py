"""Runs the answers of notebooks, and says of each whether it is right: `python -m lvlib.course.copy.answers`.

A process of its own, as an answer may do anything: hang, end Python, print. It reads a list of notebooks, each a list
of cells, as JSON, says that it is ready, and writes a line of JSON for each exercise as soon as it is judged. Of a
notebook it runs imports, definitions and constants alone, in their order: no training, no pictures.
"""

import ast
import json
import linecache
import os
import sys
from types import ModuleType
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from lvlib.course.exercises import examine, exercises_of, is_lvlibs_own
from lvlib.course.interrupts import Interrupts
from lvlib.course.sandbox import TIME_LIMIT
from lvlib.course.tool.notebook import is_constant

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign)


def main() -> None:
    job = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for stream in 1, 2:  # what is printed goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    print("ready", file=out, flush=True)
    for cells in job:
        module = ModuleType("__main__")  # dataclasses and the like look their own module up
        sys.modules["__main__"] = module
        failed: dict[str | None, str] = {}  # the last failure in the cells of each exercise
        for number, cell in enumerate(cells):
            id = cell["exercise"]
            if cell["run"] and (problem := _run(cell, f"<cell {number}>", vars(module))):
                failed[id] = problem
            if cell["last"]:
                verdict = _judge(cell, vars(module), failed.get(id))
                if cell["run"]:
                    print(json.dumps(verdict), file=out, flush=True)
    out.flush()
    os._exit(0)  # whatever threads are left


def _judge(cell: dict, names: dict[str, Any], failed: str | None) -> str | None:
    """What is wrong with the answer, or None. The notebook goes on with lvlib's where it is not right."""
    id, name = cell["exercise"], cell["name"]
    exercise = exercises_of(int(id.split(".")[0])).get(id)
    if exercise is None or exercise.name != name:
        return "not an exercise of this course: `python -m lvlib.course update` brings the notebook up to date"
    answer = names.get(name)
    problem: object = None
    if not cell["run"]:
        problem = "not judged"
    elif answer is None:
        problem = failed or f"the cell does not define {name}"
    elif is_lvlibs_own(exercise, answer):
        problem = f"this {name} is lvlib's own"
    else:
        problem = examine(exercise, answer)
    if problem is not None:
        names[name] = exercise.reference
    return None if problem is None else str(problem)


def _run(cell: dict, file: str, names: dict[str, Any]) -> str | None:
    """Runs the statements of a cell that define something; of an exercise all assignments, too. A statement may fail:
    the last failure is returned."""
    source = cell["source"]
    problem = None
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file  # for the lines in messages
    try:
        tree = ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError, RecursionError) as error:
        return f"not plain Python: {_said(error, source) if isinstance(error, SyntaxError) else error}"
    for node in tree.body:
        assigns = isinstance(node, ASSIGNMENTS) and (cell["exercise"] or is_constant(node.value))
        if isinstance(node, DEFINITIONS) or assigns:
            code = compile(ast.Module([node], []), file, "exec")
            try:
                with Interrupts(TIME_LIMIT).watched():
                    exec(code, names)
            except BaseException as error:  # SystemExit, and the end of the time, too
                problem = f"it raised {type(error).__name__}: {error}"
    return problem


def _said(error: SyntaxError, source: str) -> str:
    """Its message, and the line of the cell. IPython has left out the empty lines before the first."""
    empty = source[: len(source) - len(source.lstrip())].count("\n")
    return error.msg + (f" in line {error.lineno + empty}" if error.lineno else "")


if __name__ == "__main__":
    main()
