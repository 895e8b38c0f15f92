import numpy as np
import pytest

from lvlib.data import write_video


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Ten videos: of 20, 21, ... 24 frames in the class "long", of 5 frames in the class "short"."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(10):
        name, frames = ("long", 20 + number) if number < 5 else ("short", 5)
        (root / name).mkdir(exist_ok=True)
        video = np.random.default_rng(number).integers(256, size=(frames, 16, 16, 3), dtype=np.uint8)
        write_video(root / name / f"{number}.mp4", video, fps=10)
    return root


def test_the_tables_of_a_folder(lvlib, videos):
    """16 frames need 16, 6 every fourth need 21: the last is at frame 20."""
    status, out, errors = lvlib("data", "--stats", videos, "--frames", "16", "6", "--stride", "1", "4")
    assert status == 0 and errors == ""
    assert out.replace(str(videos), "VIDEOS") == """\
VIDEOS: 10 videos of 5 to 24 frames, 13.5 on average

at least   videos   share
4 frames       10  100.0%
8 frames        5   50.0%
16 frames       5   50.0%

clips of             need frames  videos too short  share
16 frames, stride 1           16                 5  50.0%
6 frames, stride 4            21                 6  60.0%

class  videos  mean frames
long        5         22.0
short       5          5.0
"""


def test_a_prepared_set_and_one_of_its_splits(lvlib, acted):
    _, out, _ = lvlib("data", "--stats", acted)
    assert out.startswith(f"{acted}: 11 videos of 4 frames\n")
    assert "4 frames      11  100.0%" in out and "clips of" not in out and "sit         2          4.0" in out
    _, out, _ = lvlib("data", "--stats", acted, "--split", "val", "--frames", "2", "5", "--stride", "3")
    assert out.startswith(f"{acted}, val: 2 videos of 4 frames\n")
    assert "2 frames, stride 3            4                 0    0.0%" in out
    assert "5 frames, stride 3           13                 2  100.0%" in out


@pytest.mark.parametrize("options, line", [
    (["--frames", "0"], "--frames must be from 1 to 1,000,000,000, not 0"),
    (["--frames", "4", "--stride", "-1"], "--stride must be from 1 to 1,000,000,000, not -1"),
    (["--frames", str(10**30)], "must be from 1 to"),
    (["--frames", "many"], "invalid int value: 'many'"),
    (["--stride", "2"], "--stride goes with --frames"),
    (["--frames", "1", "2", "3", "--stride", "1", "2"], "one number, or as many as --frames, 3, not 2"),
    (["--split", "tests"], "unknown split in"),
    (["--list"], "--list stands alone"),
    (["moving_digits"], "unrecognized arguments: moving_digits"),
])
def test_bad_options_are_one_line(refused, acted, options, line):
    assert line in refused("data", "--stats", acted, *options)


def test_places_without_a_video_are_one_line(refused, tmp_path):
    assert "there is no folder" in refused("data", "--stats", tmp_path / "nowhere")
    assert "no video in" in refused("data", "--stats", tmp_path)
    assert "expected one argument" in refused("data", "--stats")
    assert "required: NAME" in refused("data", "--frames", "3")
    (tmp_path / "meta.json").write_text("{}")
    assert "is not of a data set of lvlib" in refused("data", "--stats", tmp_path)
