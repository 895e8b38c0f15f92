"""The lists of packages agree: pyproject.toml, environment.yml, constraints.txt, lowest.txt. So do the pages that say
what the project is: CITATION.cff, CHANGELOG.md."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import lvlib

ROOT = Path(__file__).parent.parent


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras: str) -> set[str]:
    """Of the core and of these extras, and of the extras that they name."""
    found = set(project()["dependencies"])
    for extra in extras:
        for requirement in project()["optional-dependencies"][extra]:
            more = re.fullmatch(r"lvlib\[(.+)\]", requirement)
            found |= requirements(*more[1].split(",")) if more else {requirement}
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_environment_yml_lists_what_a_learner_needs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    options = {line for line in pip["pip"] if line.startswith("--")}
    assert options == {"--constraint constraints.txt", "--editable ."}
    assert set(pip["pip"]) - options == requirements("course")


def test_nbgrader_is_for_teachers_and_maintainers():
    """It puts its buttons into every JupyterLab that it is installed beside."""
    named = {extra: {re.match(r"[\w-]+", requirement)[0] for requirement in requirements(extra)}
             for extra in project()["optional-dependencies"]}
    assert {extra for extra, names in named.items() if "nbgrader" in names} == {"teach", "dev"}


def test_every_requirement_has_a_tested_pin():
    everything = requirements(*project()["optional-dependencies"])
    names = {canonical(re.match(r"[\w.-]+", requirement)[0]) for requirement in everything}
    assert names - set(pins()) == set()


def test_torch_is_pinned_and_its_companions_are_not_pulled_in():
    assert pins()["torch"] == "2.13.0"
    assert not {"torchvision", "torchaudio"} & set(pins())
    assert not [name for name in pins() if name.startswith("nvidia")]


def test_the_oldest_packages_that_are_tested_are_the_oldest_that_are_allowed():
    """Of the core; the others come as new as fits."""
    lowest = dict(line.split("==") for line in (ROOT / "lowest.txt").read_text().split())
    bounds = dict(requirement.split(">=") for requirement in project()["dependencies"])
    assert lowest.keys() == bounds.keys()
    for name, bound in bounds.items():
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", lowest[name]), name


def test_one_version_everywhere():
    assert lvlib.__version__ == project()["version"] == citation()["version"]
    newest = re.search(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == lvlib.__version__


def test_the_changelog_has_the_form_of_keep_a_changelog():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    assert lines[0] == "# Changelog" and headings[0] == "## [Unreleased]"
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", line) for line in headings[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {line.removeprefix("### ") for line in lines if line.startswith("### ")} <= kinds


def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_fits_its_published_schema_and_names_the_five_papers():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format"]
    done = subprocess.run([*command, str(ROOT / "CITATION.cff")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert citation()["license"] == project()["license"]
    papers = [(paper["authors"][0]["family-names"], paper["year"]) for paper in citation()["references"]]
    assert papers == [("Rakhimov", 2020), ("Yan", 2021), ("Ge", 2022), ("Yoo", 2023), ("Yu", 2023)]


def test_every_room_that_mypy_passes_over_exists():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    passed_over, = (override["module"] for override in settings["overrides"] if override.get("ignore_errors"))
    for name in passed_over:
        place = ROOT / name.removesuffix(".*").replace(".", "/")
        assert place.is_dir() if name.endswith(".*") else place.with_suffix(".py").exists(), name
    assert {"lvlib.*", "lvlib"} & set(passed_over) == set() and settings["files"] == ["lvlib"]
