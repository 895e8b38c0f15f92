"""Files as people have them: whatever a container announces, every clip is what a decode from the start gives."""

from fractions import Fraction

import numpy as np
import pytest
from every_clip import GOPS, OPEN_GOPS, check_every_clip
from small_videos import copy_stream, cut, numbered, numbers, patch, save_images, save_video

from lvlib.data import VideoFolder, read_video
from lvlib.errors import UserError

av = pytest.importorskip("av")


# ---- what was reported


def test_an_edit_list_hides_what_was_cut_off_without_encoding_again(tmp_path):
    source = save_video(tmp_path / "source.mp4", 30, options={"g": "250", "bf": "2"})

    def earlier(i, packet):
        packet.pts, packet.dts = packet.pts - 20 * 512, packet.dts - 20 * 512
        return packet

    path = copy_stream(source, tmp_path / "trimmed.mp4", earlier, {"avoid_negative_ts": "disabled"})
    with av.open(str(path)) as file:
        assert file.streams.video[0].frames == 30  # announced
    assert numbers(check_every_clip(path, 10)) == list(range(20, 30))
    with pytest.raises(UserError, match="cut off|not a video"):
        read_video(cut(path))


def test_an_avi_with_slots_that_hold_no_picture(tmp_path):
    for options in ({"g": "8"}, GOPS):
        path = save_video(tmp_path / "slots.avi", 30, 50, options, stamps=range(0, 60, 2))
        with av.open(str(path)) as file:
            assert file.streams.video[0].frames > 55
        assert numbers(check_every_clip(path, 30)) == list(range(30))
    path = save_video(tmp_path / "frozen.avi", 30, 25, {"g": "8"}, stamps=[*range(15), *range(75, 90)])
    check_every_clip(path, 30)  # a webcam that stood still for a while


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi", ".mpg", ".ts", ".flv", ".mov"])
def test_sound_that_goes_on_when_the_pictures_have_ended(tmp_path, suffix):
    path = save_video(tmp_path / f"a{suffix}", 30, options={"g": "8"}, sound=4)
    assert numbers(check_every_clip(path, 30)) == list(range(30))


@pytest.mark.parametrize("old, new", [(b"DURATION", b"DURATIOX"), (b"00:00:01.2", b"about one "),
                                      (b"00:00:01.2", b"00:00:09.2"), (b"00:00:01.2", b"00:\xff\xfe:01.2")])
def test_a_matroska_that_does_not_say_how_long_its_pictures_last_or_says_it_wrong(tmp_path, old, new):
    path = patch(save_video(tmp_path / "a.mkv", 30, options={"g": "8"}, sound=4), old, new)
    assert numbers(check_every_clip(path, 30)) == list(range(30))


def test_a_cut_at_an_open_group_of_pictures_leaves_those_out_that_have_no_reference(tmp_path, caplog):
    source = save_video(tmp_path / "a.mkv", 30, codec="mpeg2video", options=GOPS)
    with av.open(str(source)) as file:
        keys = [i for i, p in enumerate(file.demux(video=0)) if p.is_keyframe]
    path = copy_stream(source, tmp_path / "cut.mkv", lambda i, packet: packet if i >= keys[1] else None)
    lost = 2  # two frames between the references lie before the first key frame
    whole = check_every_clip(path, 30 - keys[1] - lost)
    assert numbers(whole) == list(range(keys[1] + lost, 30))
    assert f"2 of its {30 - keys[1]} frames cannot be decoded and are left out" in caplog.text


@pytest.mark.posix
def test_a_name_with_a_colon_is_read_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_video(tmp_path / "cam1:12.mp4")
    assert numbers(read_video("cam1:12.mp4")[0]) == list(range(20))


@pytest.mark.parametrize("suffix", [".mpg", ".ts", ".MPEG", ".m2ts", ".mts", ".vob", ".mov", ".flv", ".wmv", ".ogv",
                                    ".WebM", ".m4v", ".3gp", ".nut", ".ivf"])
def test_every_usual_suffix_is_used(tmp_path, suffix):
    codecs = {".3gp": "mpeg4", ".m4v": "mpeg4", ".MPEG": "mpeg1video", ".WebM": "libvpx-vp9"}
    options = {"g": "8"} if suffix not in (".mpg", ".MPEG", ".vob", ".mts") else GOPS
    path = save_video(tmp_path / f"a{suffix}", 30, 25, options, codec=codecs.get(suffix))
    assert numbers(check_every_clip(path, 30)) == list(range(30))
    assert [folder_video.path for folder_video in VideoFolder(tmp_path, split="all").videos] == [path]


def test_suffixes_that_are_not_used_are_named(tmp_path, caplog):
    save_video(tmp_path / "a.mp4")
    for name in ("b.xyz", "c.xyz", "thumb.jpg", "notes.txt", "labels.csv"):
        (tmp_path / name).write_bytes(b"?")
    VideoFolder(tmp_path, split="all")
    assert caplog.messages == [f"not read in {tmp_path}: 2 .xyz, 1 .jpg"]


def test_several_rates_in_a_folder_are_told_with_the_seconds_of_a_clip(tmp_path, caplog):
    for fps in (10, 25, 50):
        save_video(tmp_path / f"{fps}.mp4", 20, fps)
    save_video(tmp_path / "again.mp4", 20, 50)
    save_images(tmp_path / "images" / "walk")
    folder = VideoFolder(tmp_path, 8, stride=2, split="all")
    assert caplog.messages == [
        f"the videos in {tmp_path} have different rates: a clip of 8 frames is 1.6 s in 1 of 10 frames a second, "
        "0.64 s in 1 of 25 frames a second, 0.32 s in 2 of 50 frames a second"]
    assert folder.fps is None
    caplog.clear()
    for i, fps in enumerate((Fraction(30000, 1001), 30)):  # one rate, for all that anybody sees
        save_video(tmp_path / "film" / f"{i}.mp4", 20, fps)
    VideoFolder(tmp_path / "film", 8, split="all")
    assert not caplog.messages


# ---- others of the kind


@pytest.mark.parametrize("name, stamps, options, container", [
    ("a.mp4", range(-10, 20), GOPS, {"avoid_negative_ts": "disabled", "use_editlist": "0"}),
    ("a.mkv", range(-10, 20), GOPS, {"avoid_negative_ts": "disabled"}),
    ("a.mp4", range(100, 130), GOPS, {}),  # begins after four seconds
    ("a.mkv", range(100, 130), GOPS, {}),
    ("a.ts", range(100_000, 100_030), GOPS, {}),
    ("a.ts", range(2**33 // 3600 - 12, 2**33 // 3600 + 18), GOPS, {}),  # where its clock begins again
])
def test_clocks_that_do_not_begin_at_nought(tmp_path, name, stamps, options, container):
    path = save_video(tmp_path / name, 30, options=options, container=container, stamps=stamps)
    assert numbers(check_every_clip(path, 30)) == list(range(30))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.ts", "a.flv"])
def test_frames_that_are_shown_for_different_times(tmp_path, name):
    stamps = np.cumsum([0, *[1, 3, 2, 1, 5] * 6])[:30].tolist()
    path = save_video(tmp_path / name, 30, options={"g": "8"}, stamps=stamps)
    assert numbers(check_every_clip(path, 30, fps=None)) == list(range(30))
    assert read_video(path)[1] == pytest.approx(30 / 70 * 25, rel=0.03)


@pytest.mark.parametrize("name, codec, options", [
    ("a.mp4", "libx264", OPEN_GOPS), ("a.mkv", "libx264", OPEN_GOPS), ("a.ts", "libx264", OPEN_GOPS),
    ("a.mkv", "libx265", {"x265-params": "keyint=8:open-gop=1:bframes=3:log-level=none"}),
    ("a.mkv", "libx264", {"x264-params": "intra-refresh=1:keyint=10"}),  # no key frame but the first
    ("a.ts", "libx264", {"x264-params": "interlaced=1:keyint=8"}),
    ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme", "g": "6", "bf": "2"}),
    ("a.avi", "mpeg4", GOPS), ("a.avi", "libx264", GOPS), ("a.avi", "mjpeg", {}), ("a.mov", "mjpeg", {}),
    ("a.webm", "libvpx", {"g": "8"}), ("a.mkv", "ffv1", {}), ("a.apng", "apng", {}), ("a.mov", "png", {}),
])
def test_ways_to_store_pictures(tmp_path, name, codec, options):
    path = save_video(tmp_path / name, 30, options=options, codec=codec)
    assert numbers(check_every_clip(path, 30)) == list(range(30))


def test_frames_that_are_stored_but_never_shown(tmp_path):
    source = save_video(tmp_path / "source.webm", 30, codec="libvpx", options={"g": "8"})

    def hidden(i, packet):
        content = bytearray(bytes(packet))
        content[0] &= 255 if i % 7 != 3 else 255 - 16  # VP8's show_frame
        changed = av.Packet(bytes(content))
        changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
        changed.duration, changed.is_keyframe = packet.duration, packet.is_keyframe
        return changed

    path = copy_stream(source, tmp_path / "a.webm", hidden)
    assert numbers(check_every_clip(path, 26, fps=None)) == [i for i in range(30) if i % 7 != 3]


def test_time_stamps_that_two_frames_share(tmp_path):
    source = save_video(tmp_path / "source.mkv", 30, codec="mpeg4", options={"g": "6"})

    def doubled(i, packet):
        packet.pts = packet.dts = packet.pts // 80 * 80
        return packet

    check_every_clip(copy_stream(source, tmp_path / "a.mkv", doubled), 30, fps=None)


def test_a_stream_that_changes_its_size_or_its_clock_in_the_middle(tmp_path):
    sizes = [save_video(tmp_path / f"{i}.ts", 15, options=GOPS, first=15 * i, stamps=range(15 * i, 15 * i + 15),
                        size=((48, 64), (64, 96))[i]) for i in range(2)]
    path = tmp_path / "sizes.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in sizes))
    whole, _ = read_video(path)
    assert whole.shape == (30, 48, 64, 3) and numbers(whole) == list(range(30))
    assert all((read_video(path, 2, i)[0] == whole[i : i + 2]).all() for i in range(29))

    clocks = [save_video(tmp_path / f"{i}.ts", 15, options=GOPS, first=15 * i, stamps=range(start, start + 15))
              for i, start in enumerate((270_000, 0))]
    path = tmp_path / "clocks.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in clocks))
    assert numbers(check_every_clip(path, 30)) == list(range(30))


def test_a_cover_is_no_video_and_of_several_videos_the_first_is_read(tmp_path):
    def save(path, cover):
        with av.open(str(path), "w") as file:
            sizes = ((48, 64), (32, 32))
            streams = [file.add_stream("mjpeg" if cover and i else "libx264", rate=25) for i in range(2)]
            for stream, (height, width) in zip(streams, sizes, strict=True):
                stream.height, stream.width = height, width
                stream.pix_fmt = "yuvj420p" if stream.codec.name == "mjpeg" else "yuv420p"
            if cover:
                streams[1].disposition = av.stream.Disposition.attached_pic
            for i, frame in enumerate(numbered(20)):
                for stream in streams if not cover or not i else streams[:1]:
                    picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                    file.mux(stream.encode(picture.reformat(stream.width, stream.height, stream.pix_fmt)))
            for stream in streams:
                file.mux(stream.encode())
        return path

    for path in (save(tmp_path / "two.mkv", False), save(tmp_path / "cover.mp4", True)):
        assert read_video(path)[0].shape == (20, 48, 64, 3) and numbers(read_video(path)[0]) == list(range(20))


@pytest.mark.parametrize("pixel, width", [(Fraction(2), 128), (Fraction(1, 2), 32), (Fraction(16, 11), 93)])
@pytest.mark.parametrize("name, codec", [("a.mp4", None), ("a.mkv", None), ("a.avi", "mpeg4"), ("a.ts", None)])
def test_pixels_that_are_not_square_are_made_so(tmp_path, name, codec, pixel, width):
    path = save_video(tmp_path / name, 6, pixel=pixel, codec=codec)
    whole, _ = read_video(path)
    assert whole.shape == (6, 48, width, 3) and numbers(whole) == list(range(6))
    assert whole[0, :10, : width // 4 - 3].mean() > 240 and whole[0, :10, width // 4 + 3 :].mean() < 15
    square, _ = read_video(path, size=48)  # the middle of what is shown
    left = (width - 48) / 2 if width > 48 else 0
    assert (square[0, 4, :, 0] > 128).sum() == pytest.approx(max(0, 48 * width / 64 / 3 - left), abs=width / 16 + 12)


@pytest.mark.parametrize("pixels, codec, name", [
    ("yuv420p10le", "libx264", "a.mp4"), ("yuv444p", "libx264", "a.mp4"), ("yuv422p10le", "prores_ks", "a.mov"),
    ("gray", "ffv1", "a.mkv"), ("gray10le", "ffv1", "a.mkv"), ("gray16le", "ffv1", "a.mkv"),
    ("gbrp16le", "ffv1", "a.mkv"), ("gray16be", "png", "a.mov"), ("rgba", "png", "a.mov"),
])
def test_any_depth_keeps_its_brightness(tmp_path, pixels, codec, name):
    path = save_video(tmp_path / name, 20, pixels=pixels, codec=codec)
    assert numbers(check_every_clip(path, 20)) == list(range(20))


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi", "a.gif", "a.mpg"])
def test_very_short_ones(tmp_path, name, frames):
    check_every_clip(save_video(tmp_path / name, frames), frames, fps=None)
