import numpy as np
import pytest
import torch

from lvlib.data import from_video, to_video
from lvlib.errors import UserError


def test_to_video_puts_channels_first_and_maps_0_to_255_onto_minus_1_to_1():
    frames = np.zeros((2, 5, 3, 4, 3), np.uint8)
    frames[1, 4, 2, 3, 0] = 255
    video = to_video(frames)
    assert video.shape == (2, 3, 5, 3, 4) and video.dtype == torch.float32
    assert video[1, 0, 4, 2, 3] == 1
    assert (video == -1).sum() == video.numel() - 1


def test_from_video_is_the_inverse_for_all_256_values():
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert (from_video(to_video(frames)) == frames).all()


def test_from_video_rounds_clips_and_takes_half_precision():
    video = torch.tensor([-2.0, -1.0, 0.0, 0.003, 1.0, 3.0]).reshape(1, 1, 1, 6)
    assert from_video(video).flatten().tolist() == [0, 0, 128, 128, 255, 255]
    assert from_video(video.bfloat16()).dtype == torch.uint8


def test_to_video_refuses_floats():
    with pytest.raises(UserError, match="uint8"):
        to_video(torch.zeros(1, 2, 2, 1))


def test_memory_mapped_frames_give_no_warning(tmp_path, recwarn):
    np.save(tmp_path / "frames.npy", np.zeros((1, 2, 2, 1), np.uint8))
    to_video(np.load(tmp_path / "frames.npy", mmap_mode="r"))
    assert not recwarn
