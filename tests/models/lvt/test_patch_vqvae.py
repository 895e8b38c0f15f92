"""Codes that see their own patch alone, and their own layer of it: changed pixel by changed pixel."""

import pytest
import torch
from torch import nn

from lvlib.models.lvt.patch_vqvae import LayerEncoder, PatchEncoder, PatchVQVAEConfig
from lvlib.stages import LatentSpec

SMALL = {"hidden": 12, "residual_hidden": 5, "residual_blocks": 2, "codes": 9}


@pytest.mark.parametrize("layers, channels, sees", [
    (2, 3, [(0,), (1, 2)]), (3, 3, [(0,), (1,), (2,)]), (2, 2, [(0,), (1,)]), (3, 5, [(0,), (1, 2), (3, 4)]),
])
def test_each_vector_sees_its_own_pixels_of_its_own_layer(layers, channels, sees):
    encoder, width = LayerEncoder(layers, channels, 12, 4, 1), 12 // layers
    for channel in range(channels):
        for y, x in (0, 0), (5, 6), (7, 11):
            frames = torch.randn(2, channels, 8, 12, requires_grad=True)
            vectors = encoder(frames)
            for layer in range(layers):
                for row in range(2):
                    for column in range(3):
                        part = vectors[0, layer * width:(layer + 1) * width, row, column].square().sum()
                        gradient, = torch.autograd.grad(part, frames, retain_graph=True)
                        its_own = channel in sees[layer] and (row, column) == (y // 4, x // 4)
                        assert bool(gradient[0, channel, y, x]) == its_own and not gradient[1].any()


def test_a_patch_is_encoded_the_same_wherever_it_stands():
    encoder, frames = PatchEncoder(3, 8, 4, 2), torch.randn(1, 3, 12, 16)
    moved = encoder(frames.roll((4, 8), (2, 3)))
    assert torch.allclose(moved, encoder(frames).roll((1, 2), (2, 3)), atol=1e-6)


@pytest.mark.parametrize("layers", [False, True])
def test_it_is_a_frame_vqvae_with_another_encoder(layers):
    config = PatchVQVAEConfig(codebooks=2, layers=layers, **SMALL)
    model = config.build()
    assert model.config == config and type(model.encoder) is (LayerEncoder if layers else PatchEncoder)
    video = torch.rand(2, 3, 5, 8, 12) * 2 - 1
    codes = model.encode(video)
    assert config.latents((3, 5, 8, 12)) == LatentSpec((5, 2, 3, 2), 9) and codes.shape == (2, 5, 2, 3, 2)
    assert model.decode(codes).shape == video.shape
    loss, _ = model.loss(video)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.encoder.parameters())


def test_what_is_in_one_layer_leaves_the_codes_of_the_other():
    """A meeting of two digits has the codes of two lone digits."""
    model = PatchVQVAEConfig(codebooks=2, layers=True, **SMALL).build().eval()
    first, second = torch.rand(1, 3, 4, 8, 8) * 2 - 1, torch.rand(1, 3, 4, 8, 8) * 2 - 1
    both = torch.cat([first[:, :1], second[:, 1:]], 1)
    assert torch.equal(model.encode(both)[..., 0], model.encode(first)[..., 0])
    assert torch.equal(model.encode(both)[..., 1], model.encode(second)[..., 1])


@pytest.mark.parametrize("codebooks, channels", [(1, 3), (4, 3), (2, 1)])
def test_layers_need_a_codebook_each_and_a_colour_each(codebooks, channels):
    with pytest.raises(ValueError, match=f"2 codebooks to one for each of the {channels} channels, not {codebooks}"):
        PatchVQVAEConfig(channels=channels, codebooks=codebooks, layers=True, **SMALL)


def test_patches_alone_take_any_number_of_codebooks():
    assert isinstance(PatchVQVAEConfig(channels=1, **SMALL).build().encoder, nn.Sequential)
