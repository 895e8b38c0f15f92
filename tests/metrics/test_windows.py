"""Windows hold the frames that they should."""

import pytest
import torch

from lvlib.metrics.windows import windows


@pytest.mark.parametrize("t, frames, every, starts", [
    (48, 16, 16, [0, 16, 32]), (48, 16, 8, [0, 8, 16, 24, 32]), (16, 16, 16, [0]), (31, 16, 16, [0]),
    (9, 2, 3, [0, 3, 6]), (10, 4, 7, [0])])
def test_windows_are_slices(t, frames, every, starts):
    video = torch.randn(2, 3, t, 4, 5)
    out = windows(video, frames, every)
    assert out.shape == (2, len(starts), 3, frames, 4, 5)
    for i, start in enumerate(starts):
        assert torch.equal(out[:, i], video[:, :, start:start + frames])


def test_windows_take_no_memory():
    video = torch.randn(1, 1, 32, 2, 2)
    assert windows(video).data_ptr() == video.data_ptr()


def test_a_video_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="15 frames has no window of 16"):
        windows(torch.zeros(1, 1, 15, 2, 2))
