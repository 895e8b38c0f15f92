"""LVT's frame autoencoder: the sizes of section 4.1, frames that do not see each other, and the loss by hand."""

import subprocess
import sys

import pytest
import torch

from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.stages import LatentSpec

SMALL = {"channels": 1, "hidden": 16, "residual_hidden": 8, "codes": 32}


def weights_by_hand(c, d, r, blocks):
    """Weights and biases of both halves, layer by layer."""
    def conv(a, b, kernel):
        return a * b * kernel**2 + b

    block = conv(d, r, 3) + conv(r, d, 1)
    encoder = conv(c, d // 2, 4) + conv(d // 2, d, 4) + conv(d, d, 3)
    decoder = conv(d, d, 3) + conv(d, d // 2, 4) + conv(d // 2, c, 4)
    return encoder + decoder + 2 * blocks * block


@pytest.mark.parametrize("blocks, codebooks", [(2, 1), (2, 4), (4, 4)])
def test_parameters_of_the_papers_sizes(blocks, codebooks):
    with torch.device("meta"):
        model = FrameVQVAEConfig(residual_blocks=blocks, codebooks=codebooks).build()
    assert sum(p.numel() for p in model.parameters()) == weights_by_hand(3, 256, 128, blocks)


def test_parameters_of_the_official_model():
    model = FrameVQVAEConfig(hidden=64, residual_hidden=32, codes=128, codebooks=4).build()
    in_codes = sum(codebook.embedding.numel() for codebook in model.quantizer.codebooks)
    assert sum(p.numel() for p in model.parameters()) + in_codes == 233_091  # counted in the official code


@pytest.mark.parametrize("codebooks, shape", [(1, (3, 8, 4)), (4, (3, 8, 4, 4))])
def test_codes_are_those_that_the_configuration_tells(codebooks, shape):
    config = FrameVQVAEConfig(**SMALL, codebooks=codebooks)
    model = config.build().eval()
    video = torch.rand(2, 1, 3, 32, 16) * 2 - 1
    codes = model.encode(video)
    assert config.latents((1, 3, 32, 16)) == LatentSpec(shape, 32, 1) and codes.shape == (2, *shape)
    assert codes.dtype == torch.int64 and 0 <= codes.min() and codes.max() < 32
    decoded = model.decode(codes)
    assert decoded.shape == video.shape and decoded.abs().max() <= 1


def test_frames_do_not_see_each_other():
    model = FrameVQVAEConfig(**SMALL).build().eval()
    video = torch.rand(1, 1, 4, 16, 16) * 2 - 1
    alone = torch.cat([model.encode(video[:, :, t : t + 1]) for t in range(4)], 1)
    assert torch.equal(model.encode(video), alone)
    codes = alone.clone()
    codes[:, 2] = (codes[:, 2] + 1) % 32
    changed = (model.decode(codes) - model.decode(alone)).abs().amax((0, 1, 3, 4)) > 0
    assert changed.tolist() == [False, False, True, False]


def test_the_loss_is_equation_1():
    torch.manual_seed(0)
    model = FrameVQVAEConfig(**SMALL, commitment=0.5).build().eval()
    video = torch.rand(2, 1, 2, 16, 16) * 2 - 1
    loss, metrics = model.loss(video)
    z = model.vectors(video)
    q = model.quantizer.lookup(model.encode(video))
    reconstruction = (model.frames(q) - video).square().mean()
    assert torch.allclose(metrics["reconstruction_loss"], reconstruction, atol=1e-6)
    assert torch.allclose(loss, reconstruction + 0.5 * (z - q).square().mean(), atol=1e-5)


def test_every_weight_gets_a_gradient():
    model = FrameVQVAEConfig(**SMALL, codebooks=4).build()
    model.loss(torch.rand(2, 1, 2, 16, 16) * 2 - 1)[0].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_it_learns_to_rebuild_one_clip():
    torch.manual_seed(0)
    model = FrameVQVAEConfig(**SMALL, decay=0.9).build()
    video = torch.rand(1, 1, 1, 4, 4).repeat_interleave(8, 3).repeat_interleave(8, 4) * 2 - 1  # 16 grey squares
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        loss, metrics = model.loss(video)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(metrics["reconstruction_loss"].item())
    assert losses[-1] < 0.1 * losses[0]


def test_the_start_of_a_clip_has_the_codes_of_its_frames():
    model = FrameVQVAEConfig(**SMALL).build().eval()
    video = torch.rand(2, 1, 5, 16, 16) * 2 - 1
    assert model.config.frame_by_frame
    assert torch.equal(model.encode_start(video[:, :, :3], 5), model.encode(video)[:, :3])


@pytest.mark.parametrize("shape, message", [
    ((1, 16, 30, 32), "16 frames of 30x32 pixels: height and width must be multiples of 4"),
    ((1, 16, 32, 30), "multiples of 4"), ((1, 16, 0, 32), "none 0"), ((1, 0, 32, 32), "0 frames"),
    ((3, 16, 32, 32), "must have 1 channels, not 3")])
def test_clips_that_do_not_fit_are_refused(shape, message):
    config = FrameVQVAEConfig(**SMALL)
    model, video = config.build(), torch.zeros(1, *shape)
    for call in (lambda: config.latents(shape), lambda: model.encode(video), lambda: model.loss(video),
                 lambda: model.encode_start(video, 99)):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("field, value, message", [
    ("codebooks", 3, "multiple of codebooks"), ("hidden", 0, "hidden must be at least 1"),
    ("codes", 0, "codes must be"),
    ("residual_blocks", -1, "residual_blocks"), ("decay", 1.0, "decay must be"), ("restart", 1.5, "restart"),
])
def test_sizes_that_do_not_fit_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        FrameVQVAEConfig(**{"hidden": 16, field: value})


@pytest.mark.parametrize("module", ["lvlib.models.common.quantize", "lvlib.models.lvt.frame_vqvae"])
def test_models_know_tensors_and_nothing_else(module):
    others = "m.startswith('lvlib.') and 'models' not in m and m != 'lvlib.stages'"
    script = f"import sys, {module}; print([m for m in sys.modules if {others}])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
