"""The lists of packages agree: pyproject.toml, environment.yml, constraints.txt."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements() -> set[str]:
    lists = [project()["dependencies"], *project()["optional-dependencies"].values()]
    return {requirement for requirements in lists for requirement in requirements if "lvlib[" not in requirement}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_environment_yml_lists_what_pyproject_lists():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    options = {line for line in pip["pip"] if line.startswith("--")}
    assert options == {"--constraint constraints.txt", "--editable ."}
    assert set(pip["pip"]) - options == requirements()


def test_every_requirement_has_a_tested_pin():
    names = {canonical(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements()}
    assert names - set(pins()) == set()


def test_torch_is_pinned_and_its_companions_are_not_pulled_in():
    assert pins()["torch"] == "2.13.0"
    assert not {"torchvision", "torchaudio"} & set(pins())
    assert not [name for name in pins() if name.startswith("nvidia")]
