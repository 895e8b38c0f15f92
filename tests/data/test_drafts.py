"""Drafts beside what is written: nobody's files are touched, and what a killed process left is cleared away."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lvlib.data import new_folder, write_video
from lvlib.data.drafts import draft_beside
from lvlib.errors import UserError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("old", [None, "a file"])
def test_a_file_appears_whole(tmp_path, old):
    target = tmp_path / "deep" / "a.txt"
    if old:
        target.parent.mkdir()
        target.write_text(old)
    with draft_beside(target) as draft:
        draft.write_text("new")
        assert draft.name == "a.txt" and (target.read_text() if old else not target.exists()) in (old, True)
        assert names(target.parent) - {"a.txt"} == {draft.parents[1].name}
    assert target.read_text() == "new" and names(target.parent) == {"a.txt"}


def test_what_goes_wrong_leaves_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), draft_beside(tmp_path / "a") as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == {"a"}


@pytest.mark.posix
def test_rights_are_the_usual_ones(tmp_path):
    before = os.umask(0o027)
    try:
        with draft_beside(tmp_path / "file") as draft:
            draft.write_text("")
        with new_folder(tmp_path / "folder") as draft:
            (draft / "x").write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


@pytest.mark.posix
def test_files_that_are_named_like_drafts_stay(tmp_path):
    precious = tmp_path / "elsewhere.txt"
    precious.write_text("precious")
    for name in (".out.part", ".out.part.mp4", ".lvlib-1.part", ".lvlib-2.part"):
        path = tmp_path / name
        if name == ".lvlib-2.part":
            path.mkdir()
            (path / "mine").write_text("precious")
        else:
            path.symlink_to(precious)
    (tmp_path / ".lvlib-3.part").mkdir()
    (tmp_path / ".lvlib-3.part" / "owner.json").write_text("[" * 100_000)
    before = names(tmp_path)
    with new_folder(tmp_path / "out") as draft:
        (draft / "x").write_text("")
    with draft_beside(tmp_path / "out.mp4") as draft:
        draft.write_text("")
    assert names(tmp_path) == before | {"out", "out.mp4"} and precious.read_text() == "precious"
    assert (tmp_path / ".lvlib-2.part" / "mine").read_text() == "precious"


@pytest.mark.posix
def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "mine")
    with draft_beside(tmp_path / "a") as draft:
        draft.write_text("new")
    assert (tmp_path / "mine").read_text() == "precious" and (tmp_path / "a").read_text() == "new"

    (tmp_path / "large disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large disk", target_is_directory=True)  # an empty folder, elsewhere
    with new_folder(tmp_path / "out") as draft:
        (draft / "x").write_text("new")
    assert (tmp_path / "large disk" / "x").read_text() == "new" and (tmp_path / "out").is_symlink()


def test_what_a_killed_process_left_is_cleared_by_the_next_and_what_a_living_one_writes_is_not(tmp_path):
    writes = ("import sys, time; from pathlib import Path; from lvlib.data.drafts import draft_beside\n"
              "with draft_beside(Path(sys.argv[1])) as draft:\n"
              "    draft.write_text('half'); print('there', flush=True); time.sleep(600)")
    running = [subprocess.Popen([sys.executable, "-c", writes, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True)
               for _ in range(2)]
    try:
        assert all(process.stdout.readline() == "there\n" for process in running)
        drafts = {path: json.loads((path / "owner.json").read_text())["process"][0] for path in tmp_path.iterdir()}
        assert set(drafts.values()) == {process.pid for process in running}
        running[0].kill()
        running[0].wait()
        with draft_beside(tmp_path / "b") as draft:
            draft.write_text("whole")
        living = {path.name for path, process in drafts.items() if process == running[1].pid}
        assert names(tmp_path) == living | {"b"}
    finally:
        for process in running:
            process.kill()
            process.communicate()


def test_a_later_process_of_the_same_number_and_another_machine(tmp_path, caplog):
    here = platform.node()
    owners = {"old": {"machine": here, "process": [os.getpid(), time.time() - 10**7]},
              "far": {"machine": "another", "process": [1, 1.0]}, "odd": {"machine": here}}
    for name, owner in owners.items():
        (tmp_path / f".lvlib-{name}.part").mkdir()
        (tmp_path / f".lvlib-{name}.part" / "owner.json").write_text(json.dumps(owner))
    with draft_beside(tmp_path / "a") as draft:
        draft.write_text("")
    assert names(tmp_path) == {"a", ".lvlib-far.part", ".lvlib-odd.part"}
    assert ".lvlib-far.part is a draft of another machine" in caplog.text


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError), draft_beside(tmp_path / "file" / "a") as draft:
        draft.write_text("")
    with pytest.raises(UserError, match="cannot write"), new_folder(tmp_path / "file" / "a"):
        pass
    (tmp_path / "folder.npy").mkdir()
    import numpy as np

    with pytest.raises(UserError, match="cannot write .*folder.npy"):
        write_video(tmp_path / "folder.npy", np.zeros((1, 2, 2, 3), np.uint8))
    assert names(tmp_path) == {"file", "folder.npy"}
