"""What a wheel carries: the whole library, its trained weights, and nothing else."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
CHECKPOINTS = ROOT / "lvlib" / "checkpoints"
LIMIT_MB = 60
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
IN_THE_REPOSITORY_ALONE = tuple(f"lvlib/{pattern.removesuffix('*')}"
                                for pattern in SETTINGS["exclude-package-data"]["lvlib"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Built from a copy: a build leaves folders beside its sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "lvlib", source / "lvlib", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests").mkdir()
    (source / "tests" / "__init__.py").touch()  # a package beside lvlib must not slip in
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation",
                           "--wheel-dir", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built, = out.glob("lvlib-*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return set(wheel.namelist())


def shipped(pattern: str) -> set[str]:
    paths = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lvlib").rglob(pattern)}
    return {path for path in paths if not path.startswith(IN_THE_REPOSITORY_ALONE)}


def test_it_is_small(wheel):
    assert Path(wheel.filename).stat().st_size < LIMIT_MB * 10**6


def test_it_holds_every_module_and_every_weight(names):
    assert shipped("*.py") <= names
    assert shipped("*.safetensors") and shipped("*.safetensors") <= names
    assert shipped("config.json") <= names and shipped("manifest.json") <= names
    assert {"lvlib/viz/player.html", "lvlib/data/stories_vocabulary.json"} <= names


def test_it_holds_nothing_else(names):
    """No optimizer's state, no tests, no notebooks, nothing of a build, and no model that is too large."""
    assert not any(name.startswith(IN_THE_REPOSITORY_ALONE) for name in names)
    assert all((ROOT / folder / "config.json").exists() for folder in IN_THE_REPOSITORY_ALONE)
    kinds = {".py", ".safetensors", ".json", ".jsonl", ".md", ".html"}
    inside = {name for name in names if not re.match(r"lvlib-[\w.]+\.dist-info/", name)}
    assert {name for name in inside if PurePosixPath(name).suffix not in kinds} == set()
    assert {PurePosixPath(name).parts[0] for name in inside} == {"lvlib"}


def test_every_package_says_what_it_is(names):
    folders = {PurePosixPath(name).parent for name in names if name.startswith("lvlib/") and name.endswith(".py")}
    assert {f"{folder}/__init__.py" for folder in folders} <= names


def test_its_metadata_ask_for_the_core_and_offer_the_extras(wheel, names):
    path, = (name for name in names if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(path).decode())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {requirement for requirement in metadata.get_all("Requires-Dist") if "extra ==" not in requirement}
    assert core == set(project["dependencies"])
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    scripts, = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert wheel.read(scripts).decode().split() == ["[console_scripts]", "lvlib", "=", "lvlib.cli:main"]


def imported(module: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:import|from) (\w+)", module.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_library_imports_every_core_dependency():
    """One that nobody imports is one that nobody needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = {"pillow": "PIL"}
    core = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}
    used = set().union(*map(imported, (ROOT / "lvlib").rglob("*.py")))
    assert {name for name in core if modules.get(name, name) not in used} == set()


@pytest.mark.parametrize("manifest", sorted(CHECKPOINTS.rglob("manifest.json")),
                         ids=lambda path: path.parents[2].relative_to(CHECKPOINTS).as_posix())
def test_every_file_that_a_manifest_lists_is_there(manifest):
    listed = json.loads(manifest.read_text())["files"]
    beside = {path.name for path in manifest.parent.iterdir()} - {"manifest.json"}
    assert set(listed) == beside and "state.pt" not in listed
    for name, recorded in listed.items():
        data = (manifest.parent / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (recorded["bytes"], recorded["sha256"])
