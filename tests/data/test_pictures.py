"""Pictures are upright, of eight bits, and of square pixels, whoever made them."""

import struct
import warnings

import numpy as np
import pytest
from PIL import Image
from small_videos import numbers, save_images, save_video

from lvlib.data import VideoFolder, read_video
from lvlib.data.pictures import as_rgb, opened_image
from lvlib.errors import UserError

# What EXIF's orientations 1 to 8 say: which turn or mirror makes the stored picture upright.
UPRIGHT = [lambda p: p, np.fliplr, lambda p: np.rot90(p, 2), np.flipud, lambda p: p.swapaxes(0, 1),
           lambda p: np.rot90(p, -1), lambda p: np.rot90(p, 2).swapaxes(0, 1), np.rot90]
# a, b, c, d of a display matrix: (x, y) is shown at (a x + c y, b x + d y).
MATRICES = [(1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1), (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0),
            (0, -1, 1, 0)]


def corners() -> np.ndarray:
    """uint8 (96, 128, 3): red, green, blue and white corners."""
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:48, :64, 0] = picture[:48, 64:, 1] = picture[48:, :64, 2] = 255
    picture[48:, 64:] = 255
    return picture


@pytest.mark.parametrize("suffix, tolerance", [(".png", 0), (".webp", 0), (".jpg", 60)])
def test_all_orientations_of_exif(tmp_path, suffix, tolerance):
    for number, upright in enumerate(UPRIGHT, 1):
        exif = Image.Exif()
        exif[0x0112] = number
        options = {"lossless": True} if suffix == ".webp" else {"quality": 95} if suffix == ".jpg" else {}
        folder = tmp_path / str(number)
        folder.mkdir()
        for i in range(2):
            Image.fromarray(corners()).save(folder / f"{i}{suffix}", exif=exif, **options)
        video, _ = read_video(folder)
        expected = upright(corners())
        assert video.shape == (2, *expected.shape)
        assert abs(video[1].astype(int) - expected)[10:-10, 10:-10].mean() <= tolerance / 10
        single, _ = read_video(folder / f"0{suffix}")
        assert (single[0] == video[0]).all()


@pytest.mark.parametrize("matrix", MATRICES)
def test_all_orientations_of_a_display_matrix(tmp_path, matrix):
    path = save_video(tmp_path / "a.mp4", 6, options={"g": "3"})
    one = 1 << 16
    stored = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    a, b, c, d = (one * number for number in matrix)
    head, mark, track = path.read_bytes().partition(b"tkhd")
    plain, _ = read_video(path)
    path.write_bytes(head + mark + track.replace(stored, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30), 1))
    shown, _ = read_video(path)

    a, b, c, d = matrix  # pixel by pixel, as the definition says
    height, width = plain.shape[1:3] if a else plain.shape[2:0:-1]
    y, x = np.mgrid[: plain.shape[1], : plain.shape[2]]
    new_x, new_y = a * x + c * y, b * x + d * y
    expected = np.empty((6, height, width, 3), np.uint8)
    expected[:, new_y - new_y.min(), new_x - new_x.min()] = plain[:, y, x]
    assert shown.shape == expected.shape and (shown == expected).all()
    assert (read_video(path, 2, 3)[0] == expected[3:5]).all()
    assert VideoFolder(tmp_path, 6, size=16, split="all")[0]["video"].shape == (6, 16, 16, 3)


def test_sixteen_bits_of_grey_are_scaled(tmp_path):
    values = np.arange(0, 65536, 16, np.int32).reshape(64, 64)
    for name, array in (("a.png", values.astype(np.uint16)), ("b.png", (values >> 8).astype(np.uint8))):
        Image.fromarray(array).save(tmp_path / name)
    video, _ = read_video(tmp_path)
    assert (video[0] == np.round(values / 257)[..., None]).all()
    assert abs(video[0].astype(int) - video[1]).max() <= 1 and video[0].max() == 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_modes_of_images(tmp_path, mode):
    source = Image.fromarray(np.full((8, 8, 3), 255, np.uint8))
    image = Image.fromarray(np.full((8, 8), 65535, np.uint16)) if mode == "I;16" else source.convert(mode)
    image.save(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    assert (read_video(tmp_path)[0] == 255).all()


@pytest.mark.parametrize("suffix", [".webp", ".png", ".apng", ".gif"])
def test_animations_are_videos(tmp_path, suffix):
    frames = [Image.fromarray(np.full((48, 64, 3), 20 * i, np.uint8)) for i in range(6)]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = tmp_path / f"moves{suffix}"
    kind = {".apng": "PNG", ".webp": "WEBP", ".png": "PNG", ".gif": "GIF"}[suffix]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], duration=[40, 80, 40, 40, 40, 60], **options)
    video, fps = read_video(path)
    assert video[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 80, 100] and fps == pytest.approx(20, rel=0.05)
    for start in range(4):
        assert (read_video(path, 3, start)[0] == video[start : start + 3]).all()
    if suffix != ".png":  # a folder of images as well as of animations
        assert VideoFolder(tmp_path, 6, split="all").videos[0].path == path


def test_only_what_changed_is_stored_in_a_gif(tmp_path):
    still = np.zeros((48, 64, 3), np.uint8)
    frames = []
    for i in range(6):
        still[8 * i : 8 * i + 4, 4:60] = 255 - 20 * i
        frames.append(Image.fromarray(still.copy()))
    for disposal in (1, 2):
        path = tmp_path / f"{disposal}.gif"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, disposal=disposal)
        video, _ = read_video(path)
        assert (video == np.stack([np.asarray(frame) for frame in frames])).all()
        assert (read_video(path, 2, 3)[0] == video[3:5]).all()


def test_an_animation_among_the_frames_of_a_video_is_named(tmp_path, caplog):
    folder = save_images(tmp_path / "walk", 6)
    frames = [Image.fromarray(np.full((48, 64, 3), 20 * i, np.uint8)) for i in range(3)]
    frames[0].save(folder / "frame3.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="frame3.png is animated, and no single frame"):
        read_video(folder)
    assert numbers(read_video(folder, 3, 3)[0]) == [3, 4, 5]


def test_an_image_of_too_many_pixels_is_named(tmp_path, monkeypatch, caplog):
    save_images(tmp_path / "a", 4)
    save_images(tmp_path / "b", 4)
    Image.new("L", (400, 300)).save(tmp_path / "a" / "frame2.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50 * 70)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = VideoFolder(tmp_path, 4, split="all")
        assert (folder[0]["video"] == folder[1]["video"]).all()
    assert caplog.messages == [f"skipped: {tmp_path / 'a'} is damaged: frame 1 cannot be decoded"]
    with pytest.raises(Image.DecompressionBombWarning), opened_image(_wide(tmp_path, 80, 48)):
        pass
    assert as_rgb(Image.new("I;16", (2, 2), 65535)).getpixel((0, 0)) == (255, 255, 255)


def _wide(folder, width, height):
    Image.new("L", (width, height)).save(folder / "wide.png")
    return folder / "wide.png"
