"""Runs the executed notebooks under nbval, two at a time on one thread each, and says what each one costs."""

import ast
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import nbformat

from lvlib.course.tool.build import kernel_environment
from lvlib.course.tool.notebook import code_cells, parsed

BUDGET = 150.0  # seconds for one notebook, on two quiet cores
LIMIT = 2.0  # budgets: what a machine that others use too may take
PYTEST = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", "-n2", "--dist=loadscope"]


def timing(root: Path, notebooks: list[Path], profile: str) -> bool:
    """Prints pytest's report and a table of seconds, cells and assertions. True if all passed within the limit."""
    if not notebooks:
        print("no notebooks yet")
        return True
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", *PYTEST, f"--junit-xml={report}", *map(str, notebooks)]
        passed = subprocess.run(command, cwd=root, env=kernel_environment(root, profile)).returncode == 0
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
        seconds: Counter[str] = Counter()
        for case in cases:  # one for each cell; its class is solutions.NN_name.ipynb
            seconds[case.get("classname").split(".")[-2]] += float(case.get("time"))
    width = max(len(path.stem) for path in notebooks)
    print(f"\n{'notebook':{width}}  seconds  cells  assertions")
    for path in notebooks:
        cells = code_cells(nbformat.read(root / path, as_version=4))
        assertions = sum(isinstance(node, ast.Assert) for cell in cells for node in ast.walk(parsed(cell)))
        spent = seconds[path.stem]
        passed &= spent <= LIMIT * BUDGET
        note = f"  over {BUDGET:.0f} s" if spent > BUDGET else ""
        print(f"{path.stem:{width}}  {spent:7.1f}  {len(cells):5}  {assertions:10}{note}")
    return passed
