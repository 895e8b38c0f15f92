import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_videos import cut, numbered, numbers, save_images, save_video

from lvlib.data import VideoFolder, read_video, write_video
from lvlib.data.pictures import fit
from lvlib.data.video_files import decode, probe
from lvlib.data.video_writer import writer_of
from lvlib.errors import UserError

SHORT_GOPS = {"g": "8", "bf": "2"}  # key frames inside, and frames that are stored out of order
FASTSTART = {"movflags": "faststart"}  # the index in front, where it survives a cut
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.avi", "a.mkv", "a.gif"])
@pytest.mark.parametrize("options", [{}, SHORT_GOPS])
def test_any_frames_are_the_ones_asked_for(tmp_path, name, options):
    path = save_video(tmp_path / name, 30, options={} if name.endswith("gif") else options)
    whole, fps = read_video(path)
    assert whole.shape == (30, 48, 64, 3) and fps == 25
    if not name.endswith("gif"):  # whose 8 bits a pixel are too coarse to tell the frames apart
        assert numbers(whole) == list(range(30))
    for start in (0, 7, 13, 22):
        part, fps = read_video(path, frames=3, start=start, stride=3)
        assert (part == whole[start : start + 9 : 3]).all() and fps == 25 / 3


def test_frames_that_need_more_than_the_key_frame_before_them(tmp_path):
    open_gops = {"x264-params": "keyint=8:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
    path = save_video(tmp_path / "a.mp4", 30, options=open_gops)
    assert [numbers(read_video(path, 2, start)[0]) for start in range(28)] == [[i, i + 1] for i in range(28)]


def test_a_fragmented_mp4_is_read_though_it_announces_no_frames(tmp_path):
    assert numbers(read_video(save_video(tmp_path / "a.mp4", 20, 25, SHORT_GOPS, FRAGMENTS))[0]) == list(range(20))


def test_images_are_read_in_the_order_of_their_numbers(tmp_path):
    video, fps = read_video(save_images(tmp_path / "walk", 12))
    assert (video == numbered(12)).all() and fps == 25


@pytest.mark.parametrize(
    "name, options, container",
    [
        ("a.mp4", {}, {}),
        ("a.mp4", {}, FASTSTART),
        ("a.mp4", SHORT_GOPS, FASTSTART),
        ("a.mp4", SHORT_GOPS, FRAGMENTS),
        ("a.webm", {}, {}),
        ("a.avi", {}, {}),
        ("a.gif", {}, {}),
    ],
)
def test_a_file_cut_off_in_the_middle_is_refused(tmp_path, name, options, container):
    path = cut(save_video(tmp_path / name, 40, 25, options, container))
    with pytest.raises(UserError, match="cut off") as error:
        read_video(path, frames=1)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content, message", [(b"", "is empty"), (b"no video" * 99, "not a video")])
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_video(tmp_path / "a.mp4")


def test_sound_alone_is_refused(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(UserError, match="only sound"):
        read_video(tmp_path / "a.mp4")


def test_missing_files_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match="nothing.mp4: No such file"):
        read_video(tmp_path / "nothing.mp4")
    with pytest.raises(UserError, match="holds no images"):
        read_video(tmp_path)


@pytest.mark.parametrize(
    "wanted", [{"frames": 21}, {"frames": 3, "start": 18}, {"start": 20}, {"frames": 7, "stride": 4}]
)
def test_more_frames_than_there_are(tmp_path, wanted):
    with pytest.raises(UserError, match="has 20 frames, too few"):
        read_video(save_video(tmp_path / "a.mp4", 20), **wanted)


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"stride": 0}, {"start": -1}])
def test_impossible_numbers(tmp_path, wrong):
    with pytest.raises(UserError, match="1 or more"):
        read_video(save_video(tmp_path / "a.mp4", 20), **wrong)


def test_a_damaged_image_is_named_by_its_frame(tmp_path):
    folder = save_images(tmp_path / "walk")
    cut(folder / "frame4.png", 0.5)
    assert len(decode(probe(folder), range(3))) == 3
    with pytest.raises(UserError, match="frame 3 cannot be decoded"):
        read_video(folder)
    (folder / "frame4.png").write_bytes(b"")
    with pytest.raises(UserError, match="empty image: frame4.png"):
        read_video(folder)


def test_a_file_that_changed_is_probed_again(tmp_path):
    assert probe(save_video(tmp_path / "a.mp4", 20)).frames == 20
    assert probe(save_video(tmp_path / "a.mp4", 12)).frames == 12


@pytest.mark.posix
def test_what_is_neither_a_file_nor_a_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "endless.mp4").symlink_to("/dev/zero")
    (tmp_path / "itself.mp4").symlink_to("itself.mp4")
    for name in ("pipe.mp4", "endless.mp4"):
        with pytest.raises(UserError, match=f"{name} is neither a file nor a folder"):
            read_video(tmp_path / name)
    with pytest.raises(UserError, match="cannot read"):
        read_video(tmp_path / "itself.mp4")
    with pytest.raises(UserError, match="cannot read"):
        read_video("a\0b.mp4")
    folder = save_images(tmp_path / "walk", 3)
    os.mkfifo(folder / "frame9.png")
    with pytest.raises(UserError, match="has an image that is no file: frame9.png"):
        read_video(folder)
    save_video(tmp_path / "good.mp4")
    assert {path.name for path in VideoFolder(tmp_path, split="all").skipped} == {
        "pipe.mp4", "endless.mp4", "itself.mp4", "walk"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    for name in ("a.mp4", "b.webm"):
        save_video(path / name, 20)
    write_video(path / "c.gif", numbered(20))
    assert numbers(read_video(path / "a.mp4")[0]) == list(range(20))
    folder = VideoFolder(path, 8, split="all")
    assert len(folder) == 6 and folder.fingerprint() == VideoFolder(path, 8, split="all").fingerprint()
    assert len(VideoFolder(path.parent, 8, split="all").classes) == 1
    with pytest.raises(UserError):
        read_video(cut(path / "a.mp4"))


def test_fit_covers_the_size_and_keeps_the_middle():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 96, 3), np.uint8))
    lanczos = Image.Resampling.LANCZOS
    square = image.resize((48, 24), lanczos).crop((12, 0, 36, 24))
    assert abs(np.asarray(fit(image, 24)).astype(int) - np.asarray(square)).max() <= 1
    flat = image.resize((96, 48), lanczos).crop((0, 12, 96, 36))
    assert (np.asarray(fit(image, (24, 96))) == np.asarray(flat)).all()
    assert fit(image, (100, 100)).size == (100, 100)


# ---- writing


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height, width", [(48, 64), (33, 47)])
def test_mp4_comes_back_as_it_was(tmp_path, channels, height, width):
    video = numbered(10, height, width)[..., :channels]
    write_video(tmp_path / "a.mp4", video, fps=12.5)
    back, fps = read_video(tmp_path / "a.mp4")
    assert fps == 12.5 and back.shape == (10, height + height % 2, width + width % 2, 3)
    error = (back[:, :height, :width].astype(float) - video) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 38


def test_gif_keeps_few_colours_and_equal_frames_exactly(tmp_path):
    video = numbered(12).repeat(2, axis=0)
    write_video(tmp_path / "a.gif", video, fps=10)
    back, fps = read_video(tmp_path / "a.gif")
    assert (back == video).all() and fps == 10
    assert (back[::2] == read_video(save_images(tmp_path / "walk", 12))[0]).all()


def test_gif_of_many_colours_stays_close(tmp_path):
    y, x, t = np.ogrid[:32, :32, :6]
    video = np.stack(np.broadcast_arrays(y * 8, x * 8, t * 40), -1).transpose(2, 0, 1, 3).astype(np.uint8)
    write_video(tmp_path / "a.gif", video)
    assert abs(read_video(tmp_path / "a.gif")[0].astype(int) - video).mean() < 15


@pytest.mark.posix
def test_a_name_with_a_colon_is_written_and_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cam1:12.mp4", "http:x.gif", "a%03d.gif", "-y.mp4"):
        write_video(name, numbered(5))
        assert read_video(name)[0].shape == (5, 48, 64, 3)
    assert len(list(tmp_path.iterdir())) == 4


def end(path) -> float:
    """When the last frame of a file ends to be shown, in seconds."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as file:
        return max(float((p.pts + p.duration) * p.time_base) for p in file.demux(video=0) if p.size)


@pytest.mark.parametrize("fps, frames", [(50, 50), (60, 42), (120, 21), (240, 11), (1000, 3)])
def test_a_gif_of_many_frames_a_second_keeps_those_that_it_can_show(tmp_path, fps, frames):
    video = numbered(25).repeat(2, axis=0)  # 50 frames
    write_video(tmp_path / "a.gif", video, fps)
    back, rate = read_video(tmp_path / "a.gif")
    assert len(back) == pytest.approx(frames, abs=1) and rate <= 50.01
    assert numbers(back)[0] == 0 and numbers(back) == sorted(numbers(back))
    assert end(tmp_path / "a.gif") == pytest.approx(50 / fps, abs=0.021)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_frames_of_different_rates_each_keep_their_time(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    fps = [25.0] * 10 + [120.0] * 12 + [10.0] * 5
    write_video(path, numbered(27), fps)
    assert end(path) == pytest.approx(0.4 + 0.1 + 0.5, abs=0.03)
    back, _ = read_video(path)
    assert numbers(back) == list(range(27)) if suffix == ".mp4" else 10 + 4 + 5 <= len(back) <= 10 + 6 + 5
    write_video(path, numbered(27), [8] * 27)
    assert read_video(path)[1] == pytest.approx(8, rel=0.01)


def test_rates_are_refused_before_the_work(tmp_path):
    for rate in (1001, 10**9, 0, -1, float("nan"), float("inf"), 1e-9, [25, 2000]):
        with pytest.raises(UserError, match="fps must be above 0 and up to 1000"):
            writer_of(tmp_path / "a.mp4", rate)
    assert writer_of(tmp_path / "a.mp4", [25, 30])
    with pytest.raises(UserError, match="fps must be one number, or 3, one for each frame"):
        write_video(tmp_path / "a.mp4", numbered(3), [25, 25])


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_a_strip_and_npy_the_array(tmp_path, channels):
    video = numbered(5)[..., :channels]
    write_video(tmp_path / "deeper" / "a.png", video)
    strip = np.asarray(Image.open(tmp_path / "deeper" / "a.png")).reshape(48, 5 * 64, channels)
    assert all((strip[:, 64 * i : 64 * i + 64] == frame).all() for i, frame in enumerate(video))
    write_video(tmp_path / "a.npy", video)
    assert (np.load(tmp_path / "a.npy") == video).all()
    write_video(tmp_path / "A.NPY", video)
    assert (np.load(tmp_path / "A.NPY") == video).all()


@pytest.mark.parametrize(
    "name, video, fps, message",
    [
        ("a.mp5", numbered(2), 8, r"must end in one of \.mp4 \.gif \.png \.npy"),
        ("a.mp4", numbered(2)[0], 8, r"uint8 \(t, h, w, 1 or 3\)"),
        ("a.mp4", numbered(2) / 255, 8, "not float64"),
        ("a.mp4", numbered(2)[:0], 8, r"not uint8 \(0, "),
        ("a.mp4", numbered(2), 0, "fps must be above 0"),
        ("a.npy/b.mp4", numbered(2), 8, "cannot write"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, video, fps, message):
    (tmp_path / "a.npy").write_text("in the way")
    with pytest.raises(UserError, match=message):
        write_video(tmp_path / name, video, fps)


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_video(tmp_path / "a.npy", numbered(3))

    def full(file, _video):
        file.write(b"the beginning")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="No space left"):
        write_video(tmp_path / "a.npy", numbered(20))
    assert len(np.load(tmp_path / "a.npy")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize(("out", "why"), [("folder.mp4", "it is a folder"), ("file/a.mp4", "file is no folder"),
                                          pytest.param("closed/new/a.mp4", "you may not write into .*closed",
                                                       marks=pytest.mark.posix)])
def test_a_place_that_nobody_can_write_to_is_known_before_the_work(tmp_path, out, why, monkeypatch):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()
    # Whoever runs the tests may write everywhere.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "closed")
    with pytest.raises(UserError, match=f"cannot write .*{why}"):
        writer_of(tmp_path / out)
    assert writer_of(tmp_path / "new" / "a.mp4") and not (tmp_path / "new").exists()
