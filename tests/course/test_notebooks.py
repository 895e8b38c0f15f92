"""The notebooks of the course: generated files agree. (`test_answers.py` runs them at smoke size.)"""

import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from jupytext.config import find_jupytext_configuration_file, load_jupytext_configuration_file

from lvlib.course.exercises import exercises_of
from lvlib.course.tool.build import read_executed
from lvlib.course.tool.extract import exports
from lvlib.course.tool.notebook import code_cells, read_sources, tagged, tags
from lvlib.course.tool.verify import disagreements

ROOT = Path(__file__).parents[2]
SOURCES = read_sources(ROOT)
by_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def test_generated_files_agree():
    problems = list(disagreements(ROOT))
    assert not problems, "\n".join(problems)


IMPORT_EACH = """
import importlib, sys
import torch
failed = []
for name in {modules}:
    for other in [other for other in sys.modules if other.split(".")[0] == "lvlib"]: del sys.modules[other]
    try:
        importlib.import_module("lvlib." + name)
    except Exception as error:
        failed.append(f"{{name}}: {{error}}")
sys.exit("\\n".join(failed) or 0)
"""


def test_each_extracted_module_imports_alone():
    """No other module of lvlib is there before it. One process for all: most of the time goes into torch."""
    code = IMPORT_EACH.format(modules=list(exports(SOURCES)))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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


@by_notebook
def test_each_check_of_an_executed_notebook_says_ok(source):
    """`test_generated_files_agree` holds that it is this source that was executed."""
    checks = [cell for cell in code_cells(read_executed(ROOT, source)) if "check" in tags(cell)]
    said = {tagged(cell, "ex-"): [output.get("text") for output in cell.outputs] for cell in checks}
    exercises = exercises_of(source.number)
    assert said == {id: [f"{id} {exercises[id].name}  OK\n"] for id in exercises}
