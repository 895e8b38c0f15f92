"""The horizontal shift of clips, on pictures moved by a known number of pixels."""

import pytest
import torch
import torch.nn.functional as F

from lvlib.evaluation.flow import horizontal_shift, turn_agreement

SHIFTS = [3, -5, 0, 12, -12, 1, -1, 8, 0]


def panning(shifts, seed=0, size=64) -> torch.Tensor:
    """A clip (1, 3, t, size, size): a window slides over a wide picture, so that what is seen moves by `shifts`."""
    wide = torch.rand(3, size // 4, 60, generator=torch.Generator().manual_seed(seed))
    wide = F.interpolate(wide[None], (size, 240))[0] * 2 - 1  # blocks of 4 pixels
    starts = [88]
    for shift in shifts:
        starts.append(starts[-1] - shift)
    return torch.stack([wide[..., s:s + size] for s in starts], 1)[None]


def blurred(video, kernel):
    frames = video.transpose(1, 2).flatten(0, 1)
    return F.avg_pool2d(frames, kernel, stride=1).unflatten(0, (len(video), -1)).transpose(1, 2)


@pytest.mark.parametrize("kernel", [1, 4, 8])
def test_known_shifts_are_found_also_in_blurred_pictures(kernel):
    video = torch.cat([panning(SHIFTS), panning(SHIFTS[::-1], seed=1)])
    expected = torch.tensor([SHIFTS, SHIFTS[::-1]])
    assert (horizontal_shift(blurred(video, kernel)) == expected).all()


def test_light_sky_and_dark_floor_do_not_hide_the_shift():
    profile = torch.linspace(1, -1, 64)[:, None]
    assert (horizontal_shift(0.05 * panning(SHIFTS) + profile) == torch.tensor(SHIFTS)).all()


def test_noise_and_brightness_do_not_either():
    video = panning(SHIFTS)
    noise = 0.3 * torch.randn(video.shape, generator=torch.Generator().manual_seed(2))
    brightness = torch.linspace(-0.5, 0.5, video.shape[2])[:, None, None]
    assert (horizontal_shift(video + noise + brightness) == torch.tensor(SHIFTS)).all()


def test_what_does_not_move_to_the_side_has_no_shift():
    assert (horizontal_shift(torch.zeros(2, 3, 4, 64, 64)) == 0).all()
    video = panning([0] * 4)
    assert (horizontal_shift(video) == 0).all()
    falling = torch.stack([video[0, :, 0].roll(y, 1) for y in range(0, 12, 4)], 1)[None].mean(-1, keepdim=True)
    assert (horizontal_shift(falling.expand(-1, -1, -1, -1, 64)) == 0).all()


def test_a_mirrored_clip_moves_the_other_way_and_a_reversed_one_too():
    video = panning(SHIFTS)
    assert (horizontal_shift(video.flip(-1)) == -torch.tensor(SHIFTS)).all()
    assert (horizontal_shift(video.flip(2)) == -torch.tensor(SHIFTS[::-1])).all()


@pytest.mark.parametrize("shape", [(1, 3, 1, 64, 64), (1, 3, 4, 64, 27)])
def test_a_clip_that_cannot_shift_is_refused(shape):
    with pytest.raises(ValueError, match="two frames or more, 28 pixels wide or more"):
        horizontal_shift(torch.zeros(shape))


LEFT, RIGHT, BOTH, NONE = [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]


def test_agreement_counts_turns_by_one_button_only():
    # the last action leads to a frame that is not in the clip
    actions = torch.tensor([[LEFT, RIGHT, NONE, BOTH, LEFT, LEFT, RIGHT, RIGHT]]).float()
    assert turn_agreement(panning([4, -4, 5, -5, 4, 4, -2]), actions) == 1
    assert turn_agreement(panning([-4, 4, 5, -5, -4, -4, 2]), actions) == 0
    assert turn_agreement(panning([4, -4, 5, -5, 4, -4, 0]), actions) == pytest.approx(3 / 5)  # not moving is wrong
    twice = torch.cat([panning([4, -4, 0, 0, 4, 4, -4]), panning([0] * 7)])
    assert turn_agreement(twice, actions.expand(2, -1, -1)) == 0.5


def test_agreement_refuses_what_does_not_go_together():
    video = panning([4, -4])
    with pytest.raises(ValueError, match="do not go with video"):
        turn_agreement(video, torch.ones(1, 4, 3))
    with pytest.raises(ValueError, match="no turn"):
        turn_agreement(video, torch.tensor([[BOTH, NONE, LEFT]]).float())
