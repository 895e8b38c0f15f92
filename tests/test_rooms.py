"""Which room may import which: the arrows go one way. An import counts wherever it stands: in a function, or for types
alone."""

import ast
from pathlib import Path

import pytest

import lvlib

LVLIB = Path(lvlib.__file__).parent
FLOORS = [{"errors", "stages"}, {"pretrained"}, {"models", "metrics"}, {"data", "viz", "training"}, {"configs"},
          {"evaluation", "reports"}, {"runs"}, {"cli"}]
ACROSS = {("viz", "data"), ("training", "data")}  # besides what lies on lower floors
KNOW_NO_SYSTEM = {"data", "viz", "training", "metrics"}
ROOMS = sorted({path.relative_to(LVLIB).parts[0].removesuffix(".py") for path in LVLIB.rglob("*.py")} - {"__init__"})


def imports(file: Path) -> set[str]:
    """Modules of lvlib that the file imports, in full: of `from a import b` both a and a.b, as b may be a module."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: {ast.unparse(node)}"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == "lvlib"}


def rooms_of(names: set[str]) -> set[str]:
    """"lvlib.data.clips" -> "data"; `import lvlib`, and what it says of itself, are of no room."""
    return {name.split(".")[1] for name in names if "." in name} & set(ROOMS)


def files(room: str) -> list[Path]:
    return [LVLIB / f"{room}.py"] if (LVLIB / f"{room}.py").exists() else sorted((LVLIB / room).rglob("*.py"))


def allowed(room: str) -> set[str]:
    if room == "course":
        return set(ROOMS)
    floor = next(number for number, rooms in enumerate(FLOORS) if room in rooms)
    below = set().union(*FLOORS[:floor]) | {other for one, other in ACROSS if one == room} | {room}
    return below - {"models"} if room in KNOW_NO_SYSTEM else below


def test_every_room_has_its_floor():
    assert set(ROOMS) == set().union(*FLOORS) | {"course"}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_lies_below_them(room):
    found = {f"{file.relative_to(LVLIB)}: {other}" for file in files(room)
             for other in rooms_of(imports(file)) - allowed(room)}
    assert not found


def test_scripts_of_data_sets_know_data_and_how_a_command_is_written():
    for script in (LVLIB.parent / "data_scripts").glob("*.py"):
        names = imports(script)
        assert rooms_of(names) <= {"data", "errors", "cli"}
        of_commands = {name for name in names if name.startswith("lvlib.cli.")}
        assert {name.split(".")[2] for name in of_commands} <= {"arguments", "digit_sets", "reported"}, script
