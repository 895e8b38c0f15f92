"""A course of two notebooks about nothing, and a learner who works in a copy of it, for the tests of that copy."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

Course = dict[str, list[NotebookNode]]


def text(source: str) -> NotebookNode:
    return v4.new_markdown_cell(source)


def code(source: str, *tags: str) -> NotebookNode:
    return v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def exercise(id: str, name: str, doc: str = "What is asked for.") -> list[NotebookNode]:
    """Its text, its stub, its check."""
    stub = f'def {name}(x):\n    """{doc}"""\n    raise NotImplementedError("exercise {id}")'
    return [text(f"### Exercise {id} · {name}\nWrite it, in a line or two, as section {name} says."),
            code(stub, "exercise", f"ex-{id}"), code(f'{name} = check("{id}", {name})', "check", f"ex-{id}")]


def first_course() -> Course:
    return {
        "01_waves": [text("# Waves\nAll about waves and water."), code("import math"), *exercise("1.1", "sine"),
                     text("A sine goes up and down for ever."), *exercise("1.2", "wave"), code("progress()")],
        "02_water": [text("# Water\nIt is wet, and it is deep."), code("import math"), *exercise("2.1", "depth"),
                     code("print('the end of water')"), code("progress()")],
    }  # fmt: skip


def write_course(root: Path, course: Course) -> None:
    """As the build does: ids are the numbers of places."""
    shutil.rmtree(root / "notebooks", ignore_errors=True)
    (root / "notebooks").mkdir(parents=True)
    for name, notebook in as_notebooks(course).items():
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


def as_notebooks(course: Course) -> dict[str, NotebookNode]:
    notebooks = {}
    for name, cells in course.items():
        cells = copy.deepcopy(cells)
        for place, cell in enumerate(cells, 1):
            cell.id = f"{name[:2]}-{place:03d}"
        notebooks[name] = v4.new_notebook(cells=cells)
    return notebooks


def read(root: Path, name: str) -> NotebookNode:
    notebook = nbformat.read(root / "my" / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    return notebook


def edit(root: Path, name: str, change: Callable[[list[NotebookNode]], object]) -> None:
    notebook = read(root, name)
    change(notebook.cells)
    nbformat.write(notebook, root / "my" / f"{name}.ipynb")


def sources(root: Path, name: str) -> list[str]:
    return [cell.source for cell in read(root, name).cells]


def find(cells: list[NotebookNode], tag: str, part: str) -> NotebookNode:
    return next(cell for cell in cells if tag in cell.metadata.get("tags", []) and part in cell.source)


def answer(root: Path, notebook: str, name: str) -> str:
    """Writes an answer, with its outputs. Returns its text."""
    source = f"def {name}(x):\n    return 'my {name}'"

    def write(cells):
        cell = find(cells, "exercise", f"def {name}(")
        cell.source, cell.execution_count = source, 7
        cell.outputs = [v4.new_output("stream", text="mine")]

    edit(root, notebook, write)
    return source


def files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "my").glob("*.ipynb")}
