import itertools

import numpy as np
import pytest
import torch

from lvlib.errors import UserError
from lvlib.viz import change_mask, changes, code_map, code_strip, palette, show_codes
from lvlib.viz.codes import CHANGED, STILL
from lvlib.viz.strips import MARGIN, to_clips

# What green-blind and red-blind eyes see of linear RGB, after Machado, Oliveira and Fernandes 2009 (severity 1).
EYES = {
    "all": np.eye(3),
    "green-blind": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "red-blind": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def cielab(colours: np.ndarray, eyes: str = "all") -> np.ndarray:
    """CIE L*a*b* of sRGB bytes: another measure than the palette is made with."""
    rgb = colours / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.asarray(EYES[eyes]).T
    f = np.cbrt(linear.clip(0, 1) @ XYZ.T / [0.9505, 1, 1.089])
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def nearest(points: np.ndarray) -> float:
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2))


@pytest.mark.parametrize("eyes, colours, apart", [  # 2.3 is a just noticeable difference
    ("all", 8, 35), ("all", 16, 18), ("all", 64, 8),
    ("green-blind", 8, 14), ("green-blind", 16, 6), ("red-blind", 8, 18), ("red-blind", 16, 9)])
def test_colours_are_far_apart(eyes, colours, apart):
    assert nearest(cielab(palette()[:colours], eyes)) > apart


def test_all_colours_differ():
    assert len(np.unique(palette(), axis=0)) == 1024


def test_a_code_keeps_its_colour_whatever_the_codebook():
    assert np.array_equal(palette(64), palette(1024)[:64])
    codes = torch.arange(16).reshape(1, 4, 4)
    assert np.array_equal(code_map(codes, 16), code_map(codes, 512))


def test_code_map_colours_each_code_alone():
    codes = torch.randint(0, 50, (3, 4, 5, 2), generator=torch.Generator().manual_seed(0))
    colours = code_map(codes, 50)
    assert colours.shape == (3, 4, 5, 2, 3) and colours.dtype == np.uint8
    for place in itertools.product(*map(range, codes.shape)):
        assert np.array_equal(colours[place], palette()[codes[place]])


@pytest.mark.parametrize("codes, message", [
    (torch.tensor([[[0, 8]]]), r"lie in 0\.\.7; got 0 to 8"), (torch.tensor([[[-1, 2]]]), "got -1 to 2"),
    (torch.zeros(1, 2, 2), "whole numbers, not torch.float32")])
def test_codes_outside_the_codebook_are_refused(codes, message):
    with pytest.raises(UserError, match=message):
        code_map(codes, 8)


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 3, 4, 2), (1, 2, 2)])
def test_change_mask_by_brute_force(shape):
    codes = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))
    mask = change_mask(codes)
    assert mask.dtype == torch.bool and mask.shape == codes.shape
    for t, *place in itertools.product(*map(range, shape)):
        expected = t > 0 and codes[(t, *place)] != codes[(t - 1, *place)]
        assert mask[(t, *place)] == expected


def test_code_strip_lines_up_frames_codes_and_changes():
    """Two codebooks, codes at a quarter of the frame rate: cell by cell against the definition."""
    codes = torch.randint(0, 9, (4, 8, 8, 2), generator=torch.Generator().manual_seed(0))
    video = torch.rand(3, 16, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    image = np.asarray(code_strip(video, codes, 9, frames=16, gap=2))
    mask = np.where(change_mask(codes).numpy()[..., None], np.uint8(CHANGED), np.uint8(STILL))
    rows = [code_map(codes[..., 0], 9), code_map(codes[..., 1], 9), mask[..., 0, :], mask[..., 1, :]]
    for row, pictures in enumerate(rows, start=1):
        for t in range(16):
            y = image.shape[0] - MARGIN - (5 - row) * 66 + 2
            x = image.shape[1] - MARGIN - (16 - t) * 66 + 2
            cell = image[y:y + 64, x:x + 64]
            assert np.array_equal(cell[::8, ::8], pictures[t // 4])
            assert np.array_equal(cell[7::8, 7::8], pictures[t // 4])


def test_code_strip_says_what_does_not_fit():
    video = torch.zeros(1, 16, 32, 32)
    with pytest.raises(UserError, match="shows one clip, not 2"):
        code_strip(video.expand(2, 1, 16, 32, 32), torch.zeros(16, 4, 4).long(), 8)
    with pytest.raises(UserError, match="5 time steps of codes do not divide the video's 16"):
        code_strip(video, torch.zeros(5, 4, 4).long(), 8)
    with pytest.raises(UserError, match=r"not \(4, 4\)"):
        code_strip(video, torch.zeros(4, 4).long(), 8)


def test_show_codes_is_one_small_picture(displayed):
    codes = torch.randint(0, 512, (16, 16, 16, 4), generator=torch.Generator().manual_seed(0))
    show_codes(torch.zeros(1, 16, 64, 64), codes, 512, alt="Codes at random.")
    assert len(displayed) == 1 and displayed[0]["text/plain"] == "Codes at random."
    assert len(displayed[0]["text/html"]) < 36_000


def test_changes_are_a_clip_that_is_yellow_where_one_of_the_codes_has_changed():
    codes = torch.zeros(3, 2, 2, 2, dtype=torch.int64)
    codes[1:, 0, 1, 0] = 5
    codes[2, 1, 0, 1] = 7
    clip = changes(codes, 3)
    assert clip.shape == (3, 3, 6, 6)
    expected = torch.zeros(3, 2, 2, dtype=torch.bool)
    expected[1, 0, 1] = expected[2, 1, 0] = True
    yellow = (to_clips(clip)[0] == CHANGED).all(-1)
    assert np.array_equal(yellow, expected.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert (to_clips(clip)[0][~yellow] == STILL).all()
