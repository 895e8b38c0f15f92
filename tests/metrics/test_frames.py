"""The nearest frame by brute force, colours against numpy's histograms."""

import numpy as np
import pytest
import torch

from lvlib.metrics.frames import color_correlation, nearest_frame_distance


@pytest.mark.parametrize("t, apart", [(16, 8), (11, 3), (6, 1)])
def test_the_nearest_frame_by_brute_force(t, apart):
    video = torch.randn(3, 2, t, 4, 5)
    out = nearest_frame_distance(video, apart)
    for b in range(3):
        for i in range(t):
            others = [j for j in range(t) if abs(i - j) >= apart]
            differences = [(video[b, :, i] - video[b, :, j]).square().mean().sqrt() for j in others]
            assert out[b, i].item() == pytest.approx(min(differences).item(), rel=1e-5)


def test_a_loop_is_at_zero_exactly_and_a_drift_is_not():
    loop = torch.randn(1, 3, 10, 8, 8)[:, :, torch.arange(30) % 10]
    assert nearest_frame_distance(loop).max() == 0
    drift = torch.linspace(-1, 1, 32)[None, None, :, None, None].expand(1, 3, -1, 8, 8)
    assert torch.allclose(nearest_frame_distance(drift), torch.tensor(8 * 2 / 31), atol=1e-6)


def test_a_video_in_which_a_frame_has_none_far_enough_away_is_refused():
    assert nearest_frame_distance(torch.randn(1, 1, 16, 2, 2)).isfinite().all()
    with pytest.raises(ValueError, match="takes 16, not 15"):
        nearest_frame_distance(torch.randn(1, 1, 15, 2, 2))


@pytest.mark.parametrize("channels, bins", [(3, 8), (3, 4), (1, 16)])
def test_colours_are_numpys(channels, bins):
    a, b = torch.rand(2, 4, channels, 12, 12) * 2 - 1
    b = b.clamp(-0.5, 0.3)
    out = color_correlation(a, b, bins)
    for i in range(4):
        counts = [np.histogramdd(x[i].flatten(1).T.numpy(), bins, [(-1, 1)] * channels)[0].ravel() for x in (a, b)]
        assert out[i].item() == pytest.approx(np.corrcoef(*counts)[0, 1], abs=1e-9)


def test_where_colours_are_does_not_matter():
    frames = torch.rand(2, 3, 6, 6) * 2 - 1
    moved = frames.flatten(2)[..., torch.randperm(36)].view_as(frames)
    assert torch.allclose(color_correlation(frames, moved), torch.ones(2).double())


def test_frames_of_one_colour_and_flat_histograms():
    black, white = torch.full((1, 3, 4, 4), -1.0), torch.ones(1, 3, 4, 4)
    assert color_correlation(black, black).item() == pytest.approx(1)
    assert color_correlation(black, white).item() == pytest.approx(-1 / 511)  # each has what the other lacks
    levels = (torch.arange(16.0).view(1, 1, 4, 4) + 0.5) / 8 - 1  # two pixels in each of 8 ranges: flat
    assert color_correlation(levels, levels.flip(2)).item() == 1
    assert color_correlation(levels, torch.ones(1, 1, 4, 4)).item() == 0
