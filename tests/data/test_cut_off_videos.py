"""Files that are cut off or damaged, headers that state another length, and what is no video at all."""

import struct

import numpy as np
import pytest
from every_clip import GOPS, OPEN_GOPS, check_every_clip, decoded
from small_videos import numbers, patch, save_video

from lvlib.data import VideoFolder, containers, read_video
from lvlib.data.video_files import decode, probe
from lvlib.errors import UserError

av = pytest.importorskip("av")


@pytest.mark.parametrize("name, codec, options, container", [
    ("a.mp4", None, GOPS, {"movflags": "faststart"}), ("a.mov", "mjpeg", {}, {"movflags": "faststart"}),
    ("a.mkv", None, GOPS, {}), ("a.avi", None, GOPS, {}), ("a.flv", None, {"g": "8"}, {}),
])
def test_a_file_is_refused_only_where_more_than_a_tenth_is_missing(tmp_path, name, codec, options, container):
    path = save_video(tmp_path / name, 30, options=options, container=container, codec="mjpeg" if codec else None)
    whole, content = decoded(path), path.read_bytes()
    refused = read = 0
    for share in np.linspace(0.5, 1, 26)[:-1]:
        path.write_bytes(content[: int(share * len(content))])
        try:
            there = len(decoded(path))
        except (av.FFmpegError, ValueError):
            there = 0
        if there < 27:
            with pytest.raises(UserError, match="cut off|damaged"):
                read_video(path)
            refused += 1
        else:
            frames, _ = read_video(path)
            assert len(frames) == there and (frames[:20] == whole[:20]).all()
            read += 1
    assert refused > 3 and read > 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".gif", ".webm"])
@pytest.mark.parametrize("more", [b"something at the end", bytes(5000)])
def test_what_follows_the_end_of_a_file_does_no_harm(tmp_path, suffix, more):
    path = save_video(tmp_path / f"a{suffix}", 20, options=None if suffix == ".gif" else {"g": "8"})
    path.write_bytes(path.read_bytes() + more)
    check_every_clip(path, 20)


def test_a_gif_whose_program_forgot_the_end_mark(tmp_path):
    path = save_video(tmp_path / "a.gif", 20)
    path.write_bytes(path.read_bytes()[:-1])
    check_every_clip(path, 20)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is cut off"):
        read_video(path)


def test_lengths_that_a_header_states_wrong(tmp_path):
    def changed(name, tag, offset, new, **options):
        path = save_video(tmp_path / name, 30, options={"g": "8"}, **options)
        content = bytearray(path.read_bytes())
        place = content.index(tag) + offset
        content[place : place + len(new)] = new
        path.write_bytes(content)
        return path

    for path in (
        changed("a.avi", b"strh", 40, bytes(4)),  # frames: none, of a recording that was never finished
        changed("b.avi", b"strh", 40, struct.pack("<I", 300)),
        changed("a.flv", b"duration\0", 9, struct.pack(">d", 100)),
        changed("b.flv", b"duration\0", 9, struct.pack(">d", 0)),
        changed("a.mkv", b"\x44\x89", 3, struct.pack(">d", 99_999)),
        changed("a.mp4", b"mvhd", 20, struct.pack(">I", 99_999)),
        changed("b.mp4", b"mdhd", 20, struct.pack(">I", 9_999_999)),
        save_video(tmp_path / "live.webm", 30, options={"g": "8"}, container={"live": "1"}),
    ):
        assert numbers(check_every_clip(path, 30)) == list(range(30))


def test_parts_that_were_joined_end_to_end(tmp_path):
    for suffix in (".ts", ".mpg"):
        parts = [save_video(tmp_path / f"{i}{suffix}", 15, options=GOPS, first=15 * i) for i in range(2)]
        (tmp_path / f"whole{suffix}").write_bytes(b"".join(part.read_bytes() for part in parts))
        assert numbers(check_every_clip(tmp_path / f"whole{suffix}", 30)) == list(range(30))


def test_damage_inside_leaves_out_what_cannot_be_decoded(tmp_path, caplog):
    path = save_video(tmp_path / "a.mov", 30, codec="png")  # each picture stands alone
    with av.open(str(path)) as file:
        packets = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    broken = [4, 17, 23]
    for i in broken:
        position, size = packets[i]
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    left = [i for i in range(30) if i not in broken]
    assert numbers(read_video(path)[0]) == left
    assert [numbers(read_video(path, 3, i)[0]) for i in range(25)] == [left[i : i + 3] for i in range(25)]
    assert "3 of its 30 frames cannot be decoded" in caplog.text

    folder = VideoFolder(tmp_path, 9, split="all")  # its packets promise one clip more than there is
    assert [numbers(folder.clip(i)["video"]) for i in range(3)] == [left[:9], left[9:18], left[18:27]]

    position, size = packets[9]
    content[position : position + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: only 26 of its 30 frames can be decoded"):
        read_video(path)
    with pytest.raises(UserError, match="no video in .* can be decoded any more"):
        VideoFolder(tmp_path, 9, split="all")[0]


def test_a_tag_that_is_not_utf8_and_a_playlist_that_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    save_video(path, 20)
    patch(path, b"VideoHandler", b"Vid\xff\xfeHandler")
    assert numbers(read_video(path)[0]) == list(range(20))
    for name, text in (("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.mp4\n#EXT-X-ENDLIST\n"),
                       ("script.mp4", "ffconcat version 1.0\nfile a.mp4\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match="is not a video that can be read"):
            read_video(tmp_path / name)


def test_long_files_are_believed_by_their_packets_and_still_checked(tmp_path, monkeypatch):
    monkeypatch.setattr("lvlib.data.video_files._MOST_PIXELS", 0)
    for name, options in (("a.mp4", GOPS), ("b.mkv", OPEN_GOPS), ("c.ts", OPEN_GOPS), ("d.avi", {"g": "8"})):
        check_every_clip(save_video(tmp_path / name, 30, options=options), 30)


@pytest.mark.parametrize("name, options", [
    ("a.avi", {"g": "8"}), ("a.avi", GOPS), ("a.mp4", GOPS), ("a.ts", GOPS), ("a.mpg", GOPS)])
def test_a_clip_is_decoded_from_the_key_frame_before_it(tmp_path, monkeypatch, name, options):
    path = save_video(tmp_path / name, 30, options=options)
    video = probe(path)
    given = []

    def counted(*arguments):
        for frame in containers.read_frames(*arguments):
            given.append(frame)
            yield frame

    monkeypatch.setattr("lvlib.data.seeking.read_frames", counted)
    assert numbers(decode(video, range(26, 29))) == [26, 27, 28]
    assert len(given) <= 16  # two groups of pictures, and not 29 frames
