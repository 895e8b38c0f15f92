import numpy as np
import pytest
import torch
from PIL import Image

from lvlib.data import to_video
from lvlib.errors import UserError
from lvlib.viz import save_strip, strip
from lvlib.viz.strips import MARGIN, spaced, to_clips


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_cells_hold_the_frames_enlarged():
    clips = noise(2, 16, 32, 32, 3)
    image = np.asarray(strip(clips, frames=4, gap=3))
    for row in range(2):
        for column, t in enumerate([0, 5, 10, 15]):
            x = MARGIN + column * (64 + 3)
            y = image.shape[0] - MARGIN - (2 - row) * (64 + 3) + 3
            assert np.array_equal(image[y:y + 64:2, x:x + 64:2], clips[row, t])
            assert np.array_equal(image[y + 1:y + 64:2, x + 1:x + 64:2], clips[row, t])
    assert image.shape[1] == 2 * MARGIN + 4 * 64 + 3 * 3


def test_titles_take_room_on_the_left_and_are_never_cut():
    clips = noise(2, 4, 64, 64, 3)
    plain, titled = strip(clips), strip(clips, titles=["a rather long title of a row", "b"])
    cells = 4 * 66 + MARGIN
    assert titled.height == plain.height
    assert np.array_equal(np.asarray(titled)[:, -cells:], np.asarray(plain)[:, -cells:])
    ink = np.asarray(titled.convert("L"))[:, :-cells] < 128
    assert ink.any() and not ink[:, :MARGIN - 1].any()


@pytest.mark.parametrize("length, frames, expected", [
    (16, 8, [0, 2, 4, 6, 9, 11, 13, 15]), (16, 4, [0, 5, 10, 15]), (3, 8, [0, 1, 2]), (5, 1, [0]), (1, 8, [0])])
def test_frames_are_evenly_spaced_from_first_to_last(length, frames, expected):
    assert spaced(length, frames).tolist() == expected


def test_all_forms_of_a_video_give_the_same_clips():
    frames = noise(2, 5, 8, 8, 3)
    video = to_video(frames)
    for form in (video, video.double(), frames, torch.from_numpy(frames), [*video], [*frames], (video[:1], frames[1])):
        assert np.array_equal(to_clips(form), frames)
    grey = noise(5, 8, 8, 1)
    for form in (to_video(grey), grey, grey[::-1][::-1], [grey]):
        assert np.array_equal(to_clips(form), np.repeat(grey, 3, -1)[None])


def test_values_beyond_the_range_are_clipped():
    assert set(to_clips(torch.tensor([-9.0, 9.0]).reshape(1, 2, 1, 1)).ravel()) == {0, 255}


@pytest.mark.parametrize("videos, message", [
    ([], "the list is empty"),
    (torch.zeros(3, 8, 8), r"got \(3, 8, 8\)"),
    (torch.zeros(2, 4, 8, 8), r"1 or 3 channels .* got \(2, 4, 8, 8\)"),
    (torch.zeros(3, 0, 8, 8), "at least one frame"),
    (torch.zeros(3, 4, 8, 8, dtype=torch.int64), "not torch.int64"),
    (torch.full((3, 4, 8, 8), float("nan")), "NaN"),
    ([torch.zeros(3, 4, 8, 8), torch.zeros(3, 5, 8, 8)], r"got \(4, 8, 8\), \(5, 8, 8\)"),
])
def test_what_is_no_video_is_named(videos, message):
    with pytest.raises(UserError, match=message):
        strip(videos)


def test_titles_and_frames_are_checked():
    with pytest.raises(UserError, match="1 titles for 2 clips"):
        strip(noise(2, 4, 8, 8, 3), titles=["a"])
    with pytest.raises(UserError, match="frames must be at least 1"):
        strip(noise(4, 8, 8, 3), frames=0)


def test_save_strip_writes_the_strip(tmp_path):
    clip = noise(4, 16, 16, 3)
    save_strip(tmp_path / "strip.png", clip, titles=["clip"])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "strip.png")), np.asarray(strip(clip, titles=["clip"])))
