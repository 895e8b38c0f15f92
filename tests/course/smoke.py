"""Runs a notebook at smoke size."""

from pathlib import Path

import nbformat
import papermill

from lvlib.course.tool.build import TIME_LIMIT, kernel_environment
from lvlib.course.tool.notebook import code_cells, tagged, tags

ROOT = Path(__file__).parents[2]


def said_by_checks(path: Path, tmp_path: Path, monkeypatch) -> list[tuple[str, str]]:
    """Runs a notebook in an empty folder. Returns the exercise of each check cell, and all that it has printed."""
    for name, value in kernel_environment(ROOT, "smoke").items():
        monkeypatch.setenv(name, value)
    papermill.execute_notebook(
        path,
        tmp_path / "run.ipynb",
        parameters={"profile": "smoke"},
        cwd=tmp_path,
        kernel_name="python3",
        progress_bar=False,
        execution_timeout=TIME_LIMIT,
        request_save_on_cell_execute=False,
        autosave_cell_every=0,
    )
    run = nbformat.read(tmp_path / "run.ipynb", as_version=4)
    cells = [cell for cell in code_cells(run) if "check" in tags(cell)]
    return [(tagged(cell, "ex-"), "".join(output.get("text", "?") for output in cell.outputs)) for cell in cells]
