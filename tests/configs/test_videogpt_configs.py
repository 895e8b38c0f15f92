"""VideoGPT's configurations against Tables 8 and 9, typed out once more; the rest is the official code's."""

import pytest
import torch

from lvlib.configs import named_config
from lvlib.models.videogpt.vqvae import VideoVQVAE

TABLE_8 = {  # input, latent size, beta, batch, rate, hidden, residual units and layers, attention, codes, dim, steps
    "moving-mnist": ((16, 64, 64), (4, 16, 16), 0.25, 32, 7e-4, 240, 128, 2, False, 512, 64, 20_000),
    "bair": ((16, 64, 64), (8, 32, 32), 0.25, 32, 7e-4, 240, 128, 4, True, 1024, 256, 100_000),
    "ucf101-128": ((16, 128, 128), (4, 32, 32), 0.25, 32, 7e-4, 240, 128, 4, True, 1024, 256, 100_000),  # section 4.5
    "ucf101": ((16, 64, 64), (4, 32, 32), 0.25, 32, 7e-4, 240, 128, 4, True, 1024, 256, 100_000),
}
TABLE_9 = {  # input, batch, rate, vocabulary, heads, layers, width, feedforward, ResNet (depth, units), dropout, steps
    "moving-mnist": ((4, 16, 16), 32, 3e-4, 512, 4, 8, 192, 384, (18, 512), 0.1, 80_000),
    "bair": ((8, 32, 32), 32, 3e-4, 1024, 4, 16, 512, 2048, (34, 512), 0.2, 150_000),
    "vizdoom": ((8, 32, 32), 32, 3e-4, 1024, 4, 16, 512, 2048, None, 0.2, 150_000),
    "ucf101": ((4, 32, 32), 32, 3e-4, 1024, 8, 20, 1024, 4096, None, 0.2, 200_000),
    "ucf101-128": ((4, 32, 32), 32, 3e-4, 1024, 8, 20, 1024, 4096, None, 0.2, 200_000),  # section 4.5
    "tgif": ((4, 32, 32), 32, 3e-4, 1024, 8, 20, 1024, 4096, None, 0.2, 600_000),
}
AUTOENCODER_OF = {"moving-mnist": "moving-mnist", "bair": "bair", "vizdoom": "bair", "ucf101": "ucf101",
                  "ucf101-128": "ucf101-128", "tgif": "ucf101"}
CONDITIONS = {"moving-mnist": {"frames": (1, 1, 64, 64)}, "bair": {"frames": (3, 1, 64, 64)},
              "vizdoom": {"actions": (16, 3)}, "ucf101": {}, "ucf101-128": {}, "tgif": {}}


@pytest.mark.parametrize("name", TABLE_8)
def test_table_8(name):
    size, latents, beta, batch, rate, hidden, units, layers, attention, codes, dim, steps = TABLE_8[name]
    config = named_config(f"videogpt-vqvae-{name}")
    sizes, training = config.autoencoder, config.training
    assert config.video_shape == (1 if name == "moving-mnist" else 3, *size)
    assert config.latents.shape == latents
    assert (sizes.commitment, sizes.hidden) == (beta, hidden)
    assert (sizes.residual_hidden, sizes.residual_blocks) == (units, layers)
    assert (sizes.codes, sizes.code_dim, sizes.codebooks) == (codes, dim, 1)
    assert sizes.block == ("attention" if attention else "plain")
    assert (training.batch, training.learning_rate, training.steps) == (batch, rate, steps)
    assert (training.optimizer, training.betas, training.schedule) == ("adam", (0.9, 0.999), "constant")
    with torch.device("meta"):
        model = config.build()
    assert isinstance(model, VideoVQVAE) and tuple(model.quantizer.embedding.shape) == (codes, dim)
    kernels = {kind: {size for module in model.modules() if type(module) is kind for size in module.kernel_size}
               for kind in (torch.nn.Conv3d, torch.nn.ConvTranspose3d)}
    assert max(kernels[torch.nn.Conv3d]) == 3  # "Encoder filter size"
    assert 4 in kernels[torch.nn.ConvTranspose3d]  # "Upsampling conv filter size", on the axes that double


@pytest.mark.parametrize("name", TABLE_9)
def test_table_9(name):
    latents, batch, rate, codes, heads, layers, dim, hidden, resnet, dropout, steps = TABLE_9[name]
    config = named_config(f"videogpt-{name}")
    sizes, training = config.prior, config.training
    assert config.autoencoder == named_config(f"videogpt-vqvae-{AUTOENCODER_OF[name]}").autoencoder
    assert config.latents.shape == latents and config.autoencoder.codes == codes
    assert (sizes.heads, sizes.layers, sizes.dim, sizes.hidden, sizes.dropout) == (heads, layers, dim, hidden, dropout)
    assert (training.batch, training.learning_rate, training.steps) == (batch, rate, steps)
    assert (training.optimizer, training.betas, training.weight_decay) == ("adam", (0.9, 0.999), 0)
    assert (training.schedule, training.warmup) == ("cosine", 0)
    assert {spec.name: spec.shape for spec in config.conditions} == CONDITIONS[name]
    if resnet:
        assert (sizes.resnet_depth, sizes.resnet_units) == resnet
    with torch.device("meta"):
        model = config.build()
    assert (model.spec.shape, model.embedding.num_embeddings, len(model.blocks)) == (latents, codes, layers)
    if "frames" in CONDITIONS[name]:
        assert model.conditioner.frames.shape == CONDITIONS[name]["frames"]
    if "actions" in CONDITIONS[name]:
        assert (model.conditioner.video_frames, model.conditioner.actions) == CONDITIONS[name]["actions"]


@pytest.mark.parametrize("name", TABLE_9)
def test_sparse_attention_reaches_a_latent_frame_back_and_the_same_place_in_all_earlier_ones(name):
    config = named_config(f"videogpt-{name}")
    frame = config.latents.shape[1] * config.latents.shape[2]
    with torch.device("meta"):
        pattern = config.build().blocks[0].attention.pattern
    assert (pattern.local, pattern.stride) == (frame, frame)


def test_the_bench_is_the_official_comparison_s():
    config = named_config("bench-videogpt")
    assert config.latents.shape == (4, 16, 16) and config.training.batch == 4
    sizes, prior = config.autoencoder, config.prior
    assert (sizes.hidden, sizes.residual_blocks, sizes.block) == (64, 2, "official")
    assert (sizes.codes, sizes.code_dim) == (256, 64)
    assert (prior.dim, prior.heads, prior.layers, prior.dropout, prior.attention) == (192, 4, 4, 0.2, "full")
