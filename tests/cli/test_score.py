"""lvlib score: videos from folders, data sets and arrays against each other, and what cannot be compared."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lvlib.data import MovingDigits, write_clip_set, write_video
from lvlib.evaluation.networks.course import course_classifier
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import moments_of

CLIPS = 56  # four batches


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same clips as a data set, as .npy and as video files; and others, noisy."""
    root, random = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    clips = MovingDigits(CLIPS, size=32, color=True, split="test").batch(slice(CLIPS))["video"]
    write_clip_set(root / "real", "real", {}, {"test": [{"video": clips}]}, fps=8, per_frame=("video",), classes=[])
    noisy = (clips + random.normal(0, 60, clips.shape)).clip(0, 255).astype(np.uint8)
    np.save(root / "real.npy", clips)
    np.save(root / "noisy.npy", noisy)
    for name, videos in ("real_videos", clips), ("noisy_videos", noisy):
        (root / name).mkdir()
        for number, video in enumerate(videos):
            write_video(root / name / f"{number:03}.mp4", video, fps=8)
    return root


@pytest.fixture
def score(lvlib):
    def go(*arguments) -> dict:
        status, out, errors = lvlib("score", *arguments, "--json")
        assert status == 0, errors
        return json.loads(out)

    return go


def test_kinds_of_files_make_no_difference(sets, score):
    report = score(sets / "real", sets / "noisy.npy", "--metrics", "fvd,kvd,psnr,nearest_frame")
    assert report == {**score(sets / "real.npy", sets / "noisy.npy", "--metrics", "fvd,kvd,psnr,nearest_frame"),
                      "real": str(sets / "real")}
    network = course_classifier()
    features = [network.look(video).features for video in map(as_video, ("real.npy", "noisy.npy"), [sets] * 2)]
    expected = frechet_distance(*map(moments_of, features)).item()
    assert report["frechet_course"]["model"] == pytest.approx(expected, rel=1e-4)
    assert report["frechet_course"]["model"] > 2 * report["frechet_course"]["real_halves"]
    assert 5 < report["psnr"]["model"] < 20 and (report["real_clips"], report["generated_clips"]) == (CLIPS, CLIPS)
    videos = score(sets / "real_videos", sets / "noisy_videos", "--metrics", "fvd")
    assert videos["shape"] == [16, 32, 32, 3] and videos["frechet_course"]["model"] > 1


def as_video(name, sets):
    from lvlib.data import to_video

    return to_video(np.load(sets / name))


def test_equal_sets_have_no_distance(sets, score):
    report = score(sets / "real", sets / "real.npy", "--metrics", "fvd,kvd,psnr,ssim")
    assert abs(report["frechet_course"]["model"]) < 1e-6 and report["psnr"]["model"] is None
    assert report["ssim"]["model"] == pytest.approx(1)
    assert report["kernel_course"]["model"] < 0  # the pairs of a clip with itself count between the sets, not within


def test_the_protocol_stands_beside_the_scores(sets, lvlib, score):
    report = score(sets / "real", sets / "noisy.npy", "--clips", 9, "--protocol.choice", "clip", "--protocol.runs", 3)
    assert report["protocol_changed"] == {"clips": 9, "choice": "clip", "runs": 3}
    assert report["choices"]["clips"] == report["real_clips"] == 9
    assert report["networks"]["features"]["name"] == "course"
    assert report["standard_deviation"]["frechet_course"]["model"] > 0
    assert "9 clips leave a covariance of 64 features with rank 8" in report["warnings"][0]
    status, table, _ = lvlib("score", sets / "real", sets / "noisy.npy", "--clips", 9, "--protocol.runs", 2)
    assert status == 0 and "protocol course" in table and "CHANGED: clips 9, runs 2" in table
    assert "warning: frechet_course: 9 clips" in table and " +- " in table


def test_protocols_are_named(lvlib):
    text = " ".join(lvlib("score", "--help")[1].split())
    for name in ("lvt", "videogpt", "tats-short", "tats-long", "mebt-16", "mebt-128", "pvdm-16", "pvdm-128"):
        assert name in text


def test_what_cannot_be_compared_is_one_line(sets, refused, tmp_path):
    real, noisy = sets / "real", sets / "noisy.npy"

    def message(*arguments, to=noisy):
        return refused("score", real, to, *arguments)

    (tmp_path / "empty").mkdir()
    assert "no video in" in message(to=tmp_path / "empty")
    assert "there is no " in message(to=tmp_path / "nowhere")
    (tmp_path / "half.npy").write_bytes(noisy.read_bytes()[:1000])
    assert "half.npy cannot be read as an array" in message(to=tmp_path / "half.npy")
    np.save(tmp_path / "floats.npy", np.zeros((3, 16, 32, 32, 3), np.float32))
    assert "must hold uint8 clips (n, t, h, w, c)" in message(to=tmp_path / "floats.npy")
    np.save(tmp_path / "grey.npy", np.zeros((3, 16, 32, 32, 1), np.uint8))
    assert "have 3 channels, in" in message(to=tmp_path / "grey.npy")
    np.save(tmp_path / "large.npy", np.zeros((3, 16, 64, 64, 3), np.uint8))
    assert "are 32 x 32, in" in message(to=tmp_path / "large.npy")
    np.save(tmp_path / "short.npy", np.zeros((3, 3, 32, 32, 3), np.uint8))
    assert "3 frames" in message("--protocol.frames", 16, to=tmp_path / "short.npy")
    np.save(tmp_path / "few.npy", np.zeros((2, 16, 32, 32, 3), np.uint8))
    assert "psnr compares pairs" in message("--metrics", "psnr", to=tmp_path / "few.npy")
    np.save(tmp_path / "one.npy", np.zeros((1, 16, 32, 32, 3), np.uint8))
    assert "at least 4 real clips" in message(to=tmp_path / "one.npy")
    assert "is one file: give the folder" in message(to=sets / "real_videos" / "000.mp4")
    assert "unknown protocol 'tats'; did you mean tats" in message("--protocol", "tats")
    assert "unknown metric 'fid'" in message("--metrics", "fid")
    assert "r_fvd: it is a score of a run" in message("--metrics", "r_fvd")
    assert "give --i3d FILE" in message("--protocol", "tats-short", "--protocol.size", 32, "--split", "test")
    assert "clips in" in message("--protocol.size", 64) and "only video files" in message("--protocol.size", 64)
    assert "--protocol.clip" in message("--protocol.clip", 3)
    assert "protocol.clips must be at least 1" in message("--protocol.clips", 0)
    assert "windows have 32 frames, and the clips 16" in message("--metrics", "ccs", "--protocol.window", 32)
    assert "4 frames or more" in message("--metrics", "ccs", "--protocol.window", 3)
    assert "there are: course" in message("--protocol.features", "inception").replace("There", "there")
    assert "is no field of a protocol" in message("--sampling.top_p", 1)
    assert "did you mean test" in message("--split", "tests")


def test_other_rates_are_refused(sets, refused, tmp_path):
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", np.load(sets / "real.npy")[number], fps=24)
    line = refused("score", sets / "real", tmp_path)
    assert "8 frames a second" in line and "24" in line and "--protocol.stride" in line


def test_a_video_that_is_cut_off_is_named_and_left_out(sets, lvlib, tmp_path):
    for path in (sets / "noisy_videos").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = tmp_path / "003.mp4"
    broken.write_bytes(broken.read_bytes()[:broken.stat().st_size // 2])
    status, out, _ = lvlib("score", sets / "real", tmp_path, "--json")
    report = json.loads(out)
    assert status == 0 and list(report["skipped"]) == [str(broken)] and report["generated_clips"] == CLIPS - 1
    assert "could not be read" in lvlib("score", sets / "real", tmp_path)[1]


def test_a_command_that_was_stopped_goes_on(sets, score, tmp_path, monkeypatch):
    from lvlib.evaluation.clip_files import FileSource

    arguments = sets / "real", sets / "noisy.npy", "--work", tmp_path / "work", "--protocol.runs", 2
    whole = score(*arguments[:2], *arguments[4:])
    read, batches = FileSource.batch, []

    def batch(source, number):
        batches.append(number)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return read(source, number)

    monkeypatch.setattr(FileSource, "batch", batch)
    from lvlib.cli import main

    assert main(["score", *map(str, arguments)]) == 130
    assert score(*arguments) == whole
    assert len(batches) == 3 + 2 + 4  # two of the first run were done, and the second run had not begun


def test_work_of_other_clips_is_refused(sets, score, refused, tmp_path):
    made = tmp_path / "made.npy"
    made.write_bytes((sets / "noisy.npy").read_bytes())
    arguments = sets / "real", made, "--metrics", "fvd", "--work", tmp_path / "work"
    first = score(*arguments)
    assert score(*arguments) == first
    np.save(made, np.load(made)[::-1])
    assert "is the work of other settings (clips)" in refused("score", *arguments)


def test_two_commands_do_not_share_their_work(sets, refused, tmp_path):
    from filelock import FileLock

    (tmp_path / "work").mkdir()
    with FileLock(tmp_path / "work" / "run-0-process-0-of-1.lock"):
        line = refused("score", sets / "real", sets / "noisy.npy", "--work", tmp_path / "work")
    assert "another process is at work in" in line
    line = refused("score", sets / "real", sets / "noisy.npy", "--devices", 5)
    assert "--devices must be at most 4, as 56 clips are 4 batches of 16, not 5" in line


@pytest.mark.slow
def test_four_processes_give_what_one_gives(sets, score):
    arguments = [str(sets / "real"), str(sets / "noisy.npy"), "--metrics", "fvd,kvd,is,ccs,psnr", "--json"]
    one = score(*arguments[:-1])
    command = [Path(sys.executable).with_name("lvlib"), "score", *arguments, "--devices", "4", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    four = json.loads(done.stdout)
    for name in one["scores"]:
        for of, value in one[name].items():
            assert four[name][of] == pytest.approx(value, rel=1e-5, abs=1e-7), (name, of)
