"""An encoder of clips whose codes see their own block of pixels alone."""

import pytest
import torch

from lvlib.models.videogpt.patch_vqvae import PatchVideoVQVAEConfig, VideoPatchEncoder
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig

SIZES = {"channels": 1, "hidden": 8, "residual_hidden": 4, "residual_blocks": 2, "codes": 16, "code_dim": 4}


@pytest.mark.parametrize("downsample", [(4, 4, 4), (2, 4, 8)])
@pytest.mark.parametrize("block", ["plain", "attention"])
def test_a_code_sees_its_own_block_and_no_other_pixel(downsample, block):
    torch.manual_seed(0)
    model = PatchVideoVQVAEConfig(**SIZES, downsample=downsample, block=block).build().eval()
    video = torch.randn(1, 1, 8, 16, 16)
    t, h, w = downsample
    changed = video.clone()
    changed[:, :, t:2 * t, 2 * h:3 * h, w:2 * w] += 1
    with torch.no_grad():
        moved = (model.vectors(changed) - model.vectors(video)).abs().amax(-1)[0] > 1e-6
    assert moved.nonzero().tolist() == [[1, 2, 1]]


def test_equal_blocks_have_equal_codes_wherever_they_lie():
    torch.manual_seed(0)
    model = PatchVideoVQVAEConfig(**SIZES, block="plain").build().eval()
    assert isinstance(model.encoder, VideoPatchEncoder)
    model.encode(torch.randn(4, 1, 16, 16, 16))
    codes = model.encode(torch.randn(1, 1, 4, 4, 4).repeat(1, 1, 4, 4, 4))
    assert len(codes.unique()) == 1


def test_the_decoder_is_the_other_one_s():
    torch.manual_seed(0)
    plain, patch = VideoVQVAEConfig(**SIZES).build(), PatchVideoVQVAEConfig(**SIZES).build()
    assert [p.shape for p in plain.decoder.parameters()] == [p.shape for p in patch.decoder.parameters()]
    assert patch.decode(patch.encode(torch.randn(1, 1, 8, 16, 16))).shape == (1, 1, 8, 16, 16)
