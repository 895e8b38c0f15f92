"""What notebook 13 takes back from TATS's autoencoder: as many codes, and a video again."""

import pytest
import torch

from lvlib.course.vqgan_switches import AxialBlock, with_axial_attention, with_constant_channels
from lvlib.models.tats.vqgan import VQGANBlock, VQGANConfig

CONFIG = VQGANConfig(channels=1, hidden=8, residual_blocks=(1, 1), downsample=(4, 4, 4), codes=16, code_dim=8,
                     perceptual=None, gan_start=None)


@pytest.mark.parametrize("change", [with_axial_attention, with_constant_channels])
def test_a_changed_model_is_still_an_autoencoder_of_the_same_codes(change):
    torch.manual_seed(0)
    model = CONFIG.build()
    change(model)
    video = torch.rand(2, 1, 8, 16, 16) * 2 - 1
    loss, = (loss for _, loss, _ in model.losses(video, step=1))
    loss.backward()
    assert all(p.grad is not None for p in model.optimizers()["autoencoder"])
    codes = model.eval().encode(video)
    assert codes.shape == (2, 2, 4, 4) and model.decode(codes).shape == video.shape


def test_all_residual_blocks_attend():
    model = CONFIG.build()
    layers = [*model.encoder, *model.decoder]
    at = [i for i, layer in enumerate(layers) if isinstance(layer, VQGANBlock)]
    with_axial_attention(model)
    changed = [*model.encoder, *model.decoder]
    assert at == [i for i, layer in enumerate(changed) if isinstance(layer, AxialBlock)] and len(at) == 4
    assert all(a is b for i, (a, b) in enumerate(zip(layers, changed, strict=True)) if i not in at)


def test_all_layers_are_as_wide():
    model = CONFIG.build()
    with_constant_channels(model, 16)
    widths = {layer.out_channels for layer in [*model.encoder, *model.decoder] if hasattr(layer, "out_channels")}
    assert widths == {16, 1}
