"""mse, psnr and bits_per_dim against closed forms and torchmetrics."""

import math

import pytest
import torch
from torchmetrics.image import PeakSignalNoiseRatio

from lvlib.data import from_video
from lvlib.errors import UserError
from lvlib.metrics.pixels import bits_per_dim, mse, psnr


def clips(b: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(b, 3, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_mse_of_a_known_error():
    video = clips() / 2
    shift = torch.tensor([0.0, 0.1, -0.5]).reshape(3, 1, 1, 1, 1)
    assert torch.allclose(mse(video, video + shift), torch.tensor([0.0, 0.01, 0.25]), atol=1e-6)


def test_mse_counts_every_value_once():
    video = torch.zeros(1, 3, 2, 4, 5)
    other = video.clone()
    other[0, 2, 1, 3, 4] = 2
    assert mse(video, other).item() == pytest.approx(4 / 120)


def test_mse_keeps_clips_apart():
    video, other = clips(seed=0), clips(seed=1)
    alone = torch.cat([mse(video[i : i + 1], other[i : i + 1]) for i in range(3)])
    assert torch.allclose(mse(video, other), alone)
    assert alone.unique().numel() == 3


def test_mse_of_half_precision_is_computed_in_single():
    """The square of 1e-4 is 0 in float16."""
    video = torch.zeros(1, 1, 2, 4, 4, dtype=torch.float16)
    assert mse(video, video + 1e-4).item() == pytest.approx(1e-8, rel=1e-2)


@pytest.mark.parametrize("measure", [mse, psnr])
@pytest.mark.parametrize("shape", [(3, 1, 4, 8, 8), (1, 3, 4, 8, 8), (3, 3, 1, 8, 8)])
def test_shapes_that_would_broadcast_are_refused(measure, shape):
    with pytest.raises(UserError, match="one shape"):
        measure(clips(), torch.zeros(shape))


@pytest.mark.parametrize(("error", "db"), [(2.0, 0.0), (0.2, 20.0), (0.02, 40.0), (1.0, 6.0206)])
def test_psnr_closed_form(error, db):
    """Black against black plus an error: an error as large as the peak is 0 dB, a tenth of it 20 dB."""
    black = torch.full((2, 1, 3, 4, 4), -1.0)
    assert psnr(black, black + error).tolist() == pytest.approx([db, db], abs=1e-3)


def test_psnr_of_equal_clips_is_infinite():
    assert psnr(clips(), clips()).tolist() == [math.inf] * 3


def test_psnr_is_torchmetrics():
    video = clips()
    other = (video + 0.1 * torch.randn(video.shape, generator=torch.Generator().manual_seed(2))).clamp(-1, 1)
    peer = [PeakSignalNoiseRatio(data_range=(-1.0, 1.0))(other[i], video[i]).item() for i in range(3)]
    assert psnr(video, other).tolist() == pytest.approx(peer, abs=1e-3)


def test_psnr_is_the_one_of_8_bit_pictures():
    """On whole grey values it equals 10 log10(255^2 / mse), what image tools print."""
    video, other = clips(seed=3), clips(seed=4)
    frames, others = from_video(video), from_video(other)
    by_hand = 10 * torch.log10(255**2 / (frames.double() - others.double()).square().mean((1, 2, 3, 4)))
    exact = [frames.float() / 127.5 - 1, others.float() / 127.5 - 1]
    assert torch.allclose(psnr(*exact).double(), by_hand, atol=1e-4)


def test_bits_per_dim_of_a_uniform_model():
    """256 equally likely values are 8 bits, whatever the size of the clip."""
    for dims in (1, 12, 3 * 16 * 64 * 64):
        nll = torch.full((2,), dims * math.log(256), dtype=torch.float64)
        assert bits_per_dim(nll, dims).tolist() == pytest.approx([8.0, 8.0])


def test_bits_per_dim_is_the_entropy_of_the_best_model():
    values = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])  # shares 1/2, 1/4, 1/8, 1/8: 1.75 bits
    share = torch.bincount(values) / len(values)
    nll = -share[values].log().sum()
    assert bits_per_dim(nll, len(values)).item() == pytest.approx(1.75, abs=1e-6)


def test_bits_per_dim_keeps_the_shape():
    nll = torch.arange(6.0).reshape(2, 3)
    assert torch.allclose(bits_per_dim(nll, 10), nll / 10 / 0.6931471805599453)
