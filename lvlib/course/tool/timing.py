"""Runs the executed notebooks under nbval, two at a time on one thread each, and says what each one costs.

A slow machine is not a fault: what takes longer than the budget is named, and only ten times that fails.
"""

import ast
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import nbformat

from lvlib.course.tool.build import BUDGET, TIME_LIMIT, kernel_environment
from lvlib.course.tool.notebook import code_cells

PYTEST = ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={TIME_LIMIT}", "-n2", "--dist=loadscope"]


def timing(root: Path, notebooks: list[PurePosixPath], profile: str) -> bool:
    """Prints pytest's report and a table of seconds, cells and assertions. True if all passed, and none hung."""
    if not notebooks:
        print("no notebooks yet")
        return True
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", *PYTEST, f"--junit-xml={report}", *map(str, notebooks)]
        passed = subprocess.run(command, cwd=root, env=kernel_environment(root, profile)).returncode == 0
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
        seconds: dict[str, float] = defaultdict(float)
        for case in cases:  # one for each cell; its class is solutions.NN_name.ipynb
            seconds[case.attrib["classname"].split(".")[-2]] += float(case.attrib["time"])
    width = max(len(path.stem) for path in notebooks)
    print(f"\n{'notebook':{width}}  seconds  cells  assertions")
    for path in notebooks:
        cells = code_cells(nbformat.read(root / path, as_version=4))
        assertions = sum(isinstance(node, ast.Assert) for cell in cells for node in ast.walk(ast.parse(cell.source)))
        spent = seconds[path.stem]
        passed &= spent <= TIME_LIMIT
        note = next((f"  over {most} s" for most in (TIME_LIMIT, BUDGET) if spent > most), "")
        print(f"{path.stem:{width}}  {spent:7.1f}  {len(cells):5}  {assertions:10}{note}")
    return passed
