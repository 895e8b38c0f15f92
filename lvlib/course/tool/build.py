"""Writes every generated file: student notebooks, extracted modules, executed notebooks."""

import copy
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from lvlib.course.tool.extract import export_problems, exports, module_path, module_text, package_texts
from lvlib.course.tool.forms import dumps, executed_form, output_problems, stale, student_form, tidy_outputs
from lvlib.course.tool.notebook import Source, read_notebook, read_sources

BUDGET = 150  # seconds for one notebook, on two quiet cores
TIME_LIMIT = 10 * BUDGET  # a slow machine is not a fault; what takes longer than this hangs


def student_path(source: Source) -> PurePosixPath:
    return PurePosixPath("notebooks", f"{source.name}.ipynb")


def executed_path(source: Source) -> PurePosixPath:
    return source.path.with_suffix(".ipynb")


def kernel_environment(root: Path, profile: str) -> dict[str, str]:
    """One thread for each of the two notebooks that run at a time; lvlib is the one of this checkout; pictures as they
    are read on the web."""
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return {**os.environ, **threads, "LVLIB_PROFILE": profile, "LVLIB_PICTURES": "png", "PYTHONPATH": path}


def build(root: Path, numbers: set[int], run: bool = True, force: bool = False) -> list[str]:
    """Writes what these notebooks make. Runs those whose code has changed, or all of them with `force`.

    Returns the problems, a line each. If a source breaks a rule, nothing is written; if a notebook cannot be run to
    its end, its executed form stays as it is.
    """
    sources = read_sources(root)
    chosen = [source for source in sources if source.number in numbers]
    paths = {source.path for source in chosen}
    modules = {m: cells for m, cells in exports(sources).items() if paths & {cell.path for cell in cells}}
    paths |= {cell.path for cells in modules.values() for cell in cells}
    problems = [problem for source in sources if source.path in paths for problem in source.problems]
    problems += export_problems(modules)
    if problems:
        return problems
    for module, cells in modules.items():
        _write(root, module_path(module), module_text(cells))
    folders = {module_path(module).parent for module in modules}
    for path, text in package_texts(exports(sources)).items():
        if path.parent in folders:
            _write(root, path, text)
    for source in chosen:
        _write(root, student_path(source), dumps(student_form(source)))
    if not run:
        return []
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(lambda source: _execute_if_needed(root, source, force), chosen)
        return [f"{executed_path(s)}: {problem}" for s, found in zip(chosen, results, strict=True) for problem in found]


def read_executed(root: Path, source: Source) -> NotebookNode | None:
    """The executed form on disk, or None if there is none that can be read."""
    return read_notebook(root / executed_path(source))


def _execute_if_needed(root: Path, source: Source, force: bool) -> list[str]:
    notebook = read_executed(root, source)
    if force or notebook is None or stale(notebook, source):
        start = time.monotonic()
        notebook = copy.deepcopy(source.notebook)
        client = NotebookClient(
            notebook,
            timeout=TIME_LIMIT,
            resources={"metadata": {"path": str(root)}},
            store_widget_state=False,
            extra_arguments=["--log-level=ERROR"],
        )
        try:
            client.execute(env=kernel_environment(root, "course"))
        except CellExecutionError as error:
            print(f"{source.path}: {error}", file=sys.stderr)
            return [f"not made: {error.ename}: {error.evalue} (see above)"]
        except (CellTimeoutError, DeadKernelError) as error:
            return [f"not made: {str(error).splitlines()[0]}"]
        print(f"ran {source.path} in {time.monotonic() - start:.0f} s", flush=True)
        tidy_outputs(notebook)
    problems = [f"not made: {problem}" for problem in output_problems(notebook)]
    if not problems:
        _write(root, executed_path(source), dumps(executed_form(source, notebook)))
    return problems


def _write(root: Path, path: PurePosixPath, text: str) -> None:
    target, data = root / path, text.encode()
    if target.exists() and target.read_bytes() == data:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    print(f"wrote {path}", flush=True)
