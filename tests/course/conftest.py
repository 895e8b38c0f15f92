"""A small course, built once; each test spoils its own copy."""

import shutil
from pathlib import Path

import pytest
from small_course import write_sources

from lvlib.course.tool.build import build


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The course with all its generated files."""
    root = write_sources(tmp_path_factory.mktemp("course"))
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert build(root, {91, 92}) == []
    patch.undo()
    return root


@pytest.fixture
def course(built, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(built, tmp_path / "course"))
