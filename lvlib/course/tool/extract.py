"""The modules of lvlib that notebooks write: cells tagged `export:<package>.<module>`, gathered in order."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from nbformat import NotebookNode

from lvlib.course.tool.notebook import BEGIN, END, Source, code_cells, parsed, tagged

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
WIDTH = 120  # of a line, as in pyproject.toml
SORT_IMPORTS = ["--isolated", "--select=I", "--fix", "--quiet", f"--line-length={WIDTH}"]


@dataclass(frozen=True)
class Export:
    """One exported cell, taken apart: `text` is what is left without docstring, imports and markers."""

    module: str  # as in the tag: models.quantize
    path: PurePosixPath  # of the source
    cell: str
    docstring: str
    imports: tuple[str, ...]
    names: tuple[str, ...]
    text: str
    problems: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{self.path}: cell {self.cell}"


def exports(sources: list[Source]) -> dict[str, list[Export]]:
    """The exported cells of each module, in the order of the notebooks. A cell that does not parse is left out."""
    modules: dict[str, list[Export]] = {}
    for source in sources:
        for cell in code_cells(source.notebook):
            module, tree = tagged(cell, "export:"), parsed(cell)
            if module and tree:
                cells = modules.setdefault(module, [])
                cells.append(_export(module, source, cell, tree, is_first=not cells))
    return modules


def export_problems(modules: dict[str, list[Export]]) -> Iterator[str]:
    """What cannot be part of a module, and names that two cells define, in one module or in two."""
    owners: dict[str, Export] = {}
    for export in (export for cells in modules.values() for export in cells):
        yield from (f"{export.place}: {problem}" for problem in export.problems)
        for name in export.names:
            first = owners.setdefault(name, export)
            if first is not export:
                yield f"{export.place}: `{name}` is exported twice, first by {first.place}"


def module_path(module: str) -> PurePosixPath:
    return PurePosixPath("lvlib", *module.split(".")).with_suffix(".py")


def module_text(cells: list[Export]) -> str:
    """The whole text of a module."""
    paths = list(dict.fromkeys(str(export.path) for export in cells))
    named = " and ".join([*([", ".join(paths[:-1])] if paths[1:] else []), paths[-1]])
    notice = f"Never edit this file: `python -m lvlib.course build` makes it from {named}."
    head = textwrap.fill(notice, WIDTH, initial_indent="# ", subsequent_indent="# ") + "\n" + cells[0].docstring
    imports = _sorted_imports([line for export in cells for line in export.imports])
    if imports:
        head += f"\n\n{imports}"
    blocks, path = [], cells[0].path
    for export in (export for export in cells if export.text):
        blocks.append(export.text if export.path == path else f"# Introduced in {export.path}\n{export.text}")
        path = export.path
    if not blocks:
        return head + "\n"
    # isort wants two empty lines between imports and a definition, and one between imports and anything else.
    begins_with_definition = isinstance(ast.parse(blocks[0]).body[0], DEFINITIONS)
    return head + ("\n\n\n" if begins_with_definition else "\n\n") + "\n\n\n".join(blocks) + "\n"


def package_texts(modules: dict[str, list[Export]]) -> dict[PurePosixPath, str]:
    """The `__init__.py` of each folder of modules, which says where they are from."""
    numbers: dict[PurePosixPath, set[str]] = {}
    for module, cells in modules.items():
        if module.count(".") == 2:
            folder = module_path(module).parent
            numbers.setdefault(folder, set()).update(cell.path.name.partition("_")[0] for cell in cells)
    return {folder / "__init__.py":
            f'"""{folder.name}: extracted from notebook{"s" * (len(found) > 1)} {", ".join(sorted(found))}."""\n'
            for folder, found in numbers.items()}


def _export(module: str, source: Source, cell: NotebookNode, tree: ast.Module, is_first: bool) -> Export:
    docstring, imports, names, problems = "", [], [], []
    taken: set[int] = set()  # numbers of the lines that the head of the module has
    for index, node in enumerate(tree.body):
        lines_of_node = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        if index == 0 and is_first and ast.get_docstring(tree):
            docstring = ast.get_source_segment(cell.source, node) or ""
            taken.update(lines_of_node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            taken.update(lines_of_node)
            if getattr(node, "module", None) != f"lvlib.{module}":  # a later notebook imports what it adds to
                imports.append(ast.unparse(node))
        elif isinstance(node, DEFINITIONS):
            names.append(node.name)
        elif constant := _constant(node):
            names.append(constant)
        else:
            problems.append(f"only definitions, imports and constants can be exported, not `{ast.unparse(node)[:60]}`")
    if is_first and not docstring:
        problems.append(f"the first cell of {module} must begin with the docstring of the module")
    lines = cell.source.split("\n")
    kept = [line for n, line in enumerate(lines, 1) if n not in taken and line.strip() not in (BEGIN, END)]
    text = "\n".join(kept).strip("\n")
    return Export(module, source.path, cell.id, docstring, (*imports,), (*names,), text, (*problems,))


def _constant(node: ast.stmt) -> str | None:
    """The name of a constant such as `WIDTH = 3`, or of a type such as `Triple = tuple[int, int, int]`."""
    target: ast.expr
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
    elif isinstance(node, ast.AnnAssign) and node.value:
        target, value = node.target, node.value
    else:
        return None
    try:
        if not isinstance(value, ast.Subscript):
            ast.literal_eval(value)
    except (TypeError, ValueError):
        return None
    return target.id if isinstance(target, ast.Name) else None


def _sorted_imports(lines: list[str]) -> str:
    """Imports without repetition, in ruff's order, so that it is content with the module."""
    own = '--config=lint.isort.known-first-party=["lvlib"]'
    command = [sys.executable, "-m", "ruff", "check", *SORT_IMPORTS, own, "--stdin-filename=module.py", "-"]
    text = "\n".join(lines)
    return subprocess.run(command, input=text, encoding="utf-8", capture_output=True, check=True).stdout.strip()
