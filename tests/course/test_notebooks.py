"""The notebooks of the course: generated files agree, and both forms run from top to bottom at smoke size."""

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from jupytext.config import find_jupytext_configuration_file, load_jupytext_configuration_file
from smoke import said_by_checks

from lvlib.course.tool.build import student_path
from lvlib.course.tool.extract import exports
from lvlib.course.tool.forms import dumps
from lvlib.course.tool.notebook import code_cells, read_sources, tagged, tags
from lvlib.course.tool.verify import disagreements

ROOT = Path(__file__).parents[2]
SOURCES = read_sources(ROOT)
by_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def test_generated_files_agree():
    problems = list(disagreements(ROOT))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("module", exports(SOURCES))
def test_an_extracted_module_imports_alone(module):
    subprocess.run([sys.executable, "-c", f"import lvlib.{module}"], cwd=ROOT, check=True)


@by_notebook
def test_saving_a_source_from_jupyterlab_adds_nothing(source):
    path = ROOT / source.path
    config = load_jupytext_configuration_file(find_jupytext_configuration_file(str(path)))
    assert jupytext.writes(jupytext.read(path), fmt="py:percent", config=config) == path.read_text(encoding="utf-8")


@by_notebook
def test_a_notebook_is_one_sitting_and_its_code_fits_the_screen(source):
    lines = (ROOT / source.path).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 900
    for cell in code_cells(source.notebook):
        code = cell.source.splitlines()
        assert len(code) <= 60, cell.source[:300]
        assert [line for line in code if len(line) > 100] == []


@pytest.mark.slow
@by_notebook
def test_the_student_form_runs_unsolved(source, tmp_path, monkeypatch):
    said = dict(said_by_checks(ROOT / student_path(source), tmp_path, monkeypatch))
    exercises = [tagged(cell, "ex-") for cell in source.notebook.cells if "exercise" in tags(cell)]
    assert list(said) == exercises
    for id, line in said.items():
        assert re.fullmatch(rf"{id} \w+  NOT YET: not written yet\. \(going on with lvlib's\)\n", line), line


@pytest.mark.slow
@by_notebook
def test_the_solution_form_is_right_everywhere(source, tmp_path, monkeypatch):
    (tmp_path / "solved.ipynb").write_text(dumps(source.notebook), encoding="utf-8")
    for id, line in said_by_checks(tmp_path / "solved.ipynb", tmp_path, monkeypatch):
        assert re.fullmatch(rf"{id} \w+  OK\n", line), line
