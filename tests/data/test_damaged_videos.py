"""Files of every container with bytes changed, left out, put in or cut off: a line, or frames of the right shape."""

import random
import warnings

import numpy as np
import pytest
from PIL import Image
from small_videos import numbered, save_images, save_video

from lvlib.data import VideoFolder, read_video
from lvlib.errors import UserError

pytest.importorskip("av")

CASES = 12  # of each kind of file
GOPS = {"g": "5", "bf": "2"}
KINDS = {
    "a.mp4": {"options": GOPS, "container": {"movflags": "faststart"}},
    "fragments.mp4": {"options": GOPS, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "a.mkv": {"options": GOPS, "sound": 1}, "a.webm": {}, "a.avi": {"options": GOPS, "sound": 1},
    "slots.avi": {"options": GOPS, "fps": 50, "stamps": range(0, 32, 2)}, "a.ts": {"options": GOPS, "sound": 1},
    "a.mpg": {"options": GOPS}, "a.flv": {"options": {"g": "5"}}, "a.wmv": {}, "a.ogv": {}, "a.gif": {},
    "a.mov": {"codec": "mjpeg"}, "a.apng": {"codec": "apng"}, "a.nut": {}, "a.m2v": {"codec": "mpeg2video"},
    "a.mxf": {"codec": "mpeg2video"},
}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content with one or two damages."""
    new = bytearray(content)
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.randrange(len(new))
        match draw.randrange(5):
            case 0:
                for _ in range(draw.choice((1, 3, 30, 100))):
                    new[draw.randrange(len(new))] = draw.randrange(256)
            case 1:
                del new[max(1, place):]
            case 2:
                new[place:place] = draw.randbytes(draw.choice((1, 4, 100)))
            case 3:
                del new[place : place + draw.choice((1, 4, 100, 1000))]
                new = new or bytearray(b"x")
            case 4:  # a number of the header
                place = draw.randrange(min(len(new), 1000))
                new[place : place + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
    return bytes(new)


def check(path, draw: random.Random) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            video, fps = read_video(path, size=draw.choice((None, 16)))
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            return
        assert video.ndim == 4 and video.shape[3] == 3 and video.dtype == np.uint8 and 0 < fps < float("inf")
        start = draw.randrange(len(video))
        assert (read_video(path, 1, start, size=video.shape[1:3])[0] == read_video(path, size=video.shape[1:3])[0][
            start : start + 1]).all()


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files(tmp_path, name):
    content = save_video(tmp_path / name, 16, **KINDS[name]).read_bytes()
    for case in range(CASES):
        draw = random.Random(f"{name} {case}")
        (tmp_path / f"{case}{name}").write_bytes(damaged(content, draw))
        check(tmp_path / f"{case}{name}", draw)


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.jpg", "a.bmp"])
def test_damaged_images(tmp_path, name):
    first, *others = map(Image.fromarray, numbered(4))
    first.save(tmp_path / name, **({} if name in ("a.jpg", "a.bmp") else {"save_all": True, "append_images": others}))
    content = (tmp_path / name).read_bytes()
    for case in range(CASES):
        draw = random.Random(f"{name} {case}")
        (tmp_path / f"{case}{name}").write_bytes(damaged(content, draw))
        check(tmp_path / f"{case}{name}", draw)


def test_a_folder_of_damaged_files_gives_clips_of_those_that_can_be_read(tmp_path, caplog):
    draw = random.Random(0)
    for name, options in KINDS.items():
        save_video(tmp_path / name, 16, **options)
        for case in range(3):
            (tmp_path / f"{case}{name}").write_bytes(damaged((tmp_path / name).read_bytes(), draw))
    for i in range(3):
        frames = save_images(tmp_path / f"images {i}", 6)
        (frames / "frame3.png").write_bytes(damaged((frames / "frame3.png").read_bytes(), draw))
    folder = VideoFolder(tmp_path, 3, size=16, split="all")
    assert all(clip["video"].shape == (3, 16, 16, 3) for clip in folder)
    for path, reason in folder.skipped.items():
        assert str(path) in reason and f"skipped: {reason}" in caplog.messages
    assert {name for name in KINDS if tmp_path / name not in folder.skipped} == set(KINDS)
