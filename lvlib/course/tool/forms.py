"""The two notebooks made from a source: the student form (solutions blanked) and the executed form (with outputs)."""

import copy
import hashlib
import json
import re
from collections.abc import Iterator

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from lvlib.course.tool.notebook import Source, code_cells, is_folded, metadata, tagged, tags

MOST_OUTPUT = 400_000  # bytes of output that a notebook may hold
WIDGET = "application/vnd.jupyter.widget-view+json"


def student_form(source: Source) -> NotebookNode:
    """What learners open: no solutions, no outputs, and a stub that raises `NotImplementedError("exercise N.M")`."""
    notebook = copy.deepcopy(source.notebook)
    notebook.cells = [cell for cell in notebook.cells if "solution-only" not in tags(cell)]
    from nbgrader.preprocessors import ClearSolutions  # here: on Unix it imports pwd, which need not be there

    clear = ClearSolutions(enforce_metadata=False)
    for cell in code_cells(notebook):
        clear.code_stub = {"python": f'raise NotImplementedError("exercise {tagged(cell, "ex-")}")'}
        clear.preprocess_cell(cell, {"language": "python"}, 0)
        kept = [tag for tag in tags(cell) if not tag.startswith("export:")]
        cell.metadata = metadata(kept, is_folded(cell))
    return notebook


def executed_form(source: Source, run: NotebookNode) -> NotebookNode:
    """What people read: the source with the outputs of `run`, a notebook with the same code cells.

    Its metadata holds the digests by which `stale` knows later that code or outputs have changed.
    """
    notebook = copy.deepcopy(source.notebook)
    for cell, ran in zip(code_cells(notebook), code_cells(run), strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    notebook.metadata.lvlib = {"code": code_digest(notebook), "outputs": outputs_digest(notebook)}
    return notebook


def dumps(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def code_digest(notebook: NotebookNode) -> str:
    return _digest([cell.source for cell in code_cells(notebook)])


def outputs_digest(notebook: NotebookNode) -> str:
    return _digest([[cell.execution_count, cell.outputs] for cell in code_cells(notebook)])


def stale(run: NotebookNode, source: Source) -> str | None:
    """Why the outputs of an executed notebook are not those of its source, or None if they are."""
    if _recorded(run).get("code") != code_digest(source.notebook):
        return "stale output: the code has changed since it was run"
    return "its outputs were edited, or it was run again" if run_again(run, source) else None


def run_again(run: NotebookNode, source: Source) -> bool:
    """Are the outputs not those of the build, though it ran the code of the source?"""
    recorded = _recorded(run)
    return recorded.get("code") == code_digest(source.notebook) and recorded.get("outputs") != outputs_digest(run)


def _recorded(run: NotebookNode) -> dict:
    return run.metadata.get("lvlib", {})


def tidy_outputs(notebook: NotebookNode) -> None:
    """Keeps a progress bar's last line alone, and drops widgets: they are dead without the kernel that made them."""
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)


def output_problems(notebook: NotebookNode) -> Iterator[str]:
    """What is wrong with the outputs of an executed notebook, a line each."""
    size = len(json.dumps([cell.outputs for cell in code_cells(notebook)], ensure_ascii=False).encode())
    if size > MOST_OUTPUT:
        yield f"{size // 1000} KB of output; at most {MOST_OUTPUT // 1000} KB"
    ran = [cell for cell in code_cells(notebook) if cell.source.strip()]
    if [cell.execution_count for cell in ran] != list(range(1, len(ran) + 1)):
        yield "cells were not run once each, from top to bottom"
    for cell in ran:
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {cell.id} ended in {output.ename}: {output.evalue}"
            yield from (f"cell {cell.id}: {problem}" for problem in _picture_problems(output))


def _picture_problems(output: NotebookNode) -> Iterator[str]:
    """A still picture must be where pages on the web show it, and its alt text beside it."""
    for kind in output.get("data", {}):
        if kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt"):
            yield "a picture without alt text"
        if kind == "text/html" and re.search(r"<(img|svg)\b", output.data[kind]):
            yield "a picture in text/html, which pages on the web leave out: `lvlib.viz.show` gives image/png"


def _digest(value: list) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
