"""PVDM's full sizes against the paper's tables, and clips in pairs."""

import math
from dataclasses import replace

import pytest

from lvlib.configs import CONFIGS, named_config
from lvlib.errors import UserError
from lvlib.reports.describe import describe


@pytest.mark.parametrize(("name", "unet"), [("pvdm-s-ucf101", 80_469_508), ("pvdm-l-ucf101", 321_600_516),
                                            ("pvdm-s-sky", 80_469_508)])
def test_sizes_are_those_of_the_official_models(name, unet):
    report = describe(named_config(name))
    parameters = report["parameters"]
    assert parameters["autoencoder"] == pytest.approx(62_064_399, rel=1e-4)
    assert parameters["autoencoder.encoder"] == pytest.approx(35e6, rel=0.01)  # Table 8
    assert parameters["autoencoder.decoder"] == pytest.approx(27e6, rel=0.01)
    assert parameters["prior"] == pytest.approx(unet, rel=0.002)
    assert math.prod(report["latent_shape"]) == 8192 and report["video_shape"] == [3, 16, 256, 256]  # App. D


@pytest.mark.parametrize(("name", "encoder", "decoder"), [("pvdm-autoencoder-medium", 23, 17),
                                                          ("pvdm-autoencoder-small", 11, 10)])
def test_the_smaller_autoencoders_are_those_of_table_8(name, encoder, decoder):
    model = named_config(name).autoencoder
    parameters = describe(replace(named_config(name), autoencoder=replace(model, gan_start=None)))["parameters"]
    assert round(parameters["autoencoder.encoder"] / 1e6) == encoder
    assert round(parameters["autoencoder.decoder"] / 1e6) == decoder


def test_the_planes_are_as_large_as_app_d_says():
    latents = named_config("pvdm-s-ucf101").latents
    assert latents.planes == ((32, 32), (16, 32), (16, 32)) and latents.shape == (4, 2048)
    printed = replace(named_config("pvdm-s-ucf101").autoencoder, patch=4)  # contradicts the 8,192 beside it
    assert math.prod(printed.latents((3, 16, 256, 256)).shape) == 24_576


@pytest.mark.parametrize("name", [name for name, named in CONFIGS.items() if named.config.prior])
def test_an_item_of_the_training_data_is_as_long_as_the_prior_says(name):
    config = named_config(name)
    clips = 2 if name.startswith(("pvdm", "bench-pvdm")) else 1
    assert config.learned.data.frames == clips * config.data.frames
    assert config.learned.latents.tokens == clips * config.latents.tokens
    assert config.up_to("autoencoder").learned == config.up_to("autoencoder")


def test_a_prior_of_clips_alone_learns_from_one_at_a_time():
    config = named_config("pvdm-course")
    assert replace(config, prior=replace(config.prior, conditional=0)).learned.data == config.data


def test_sizes_that_do_not_fit():
    config = named_config("pvdm-course")
    for frames, size, why in (16, 30, "frames must be 32 x 32"), (24, 32, "the frames must be a multiple of 16"):
        with pytest.raises(UserError, match=why):
            _ = replace(config, data=replace(config.data, frames=frames, size=size)).latents
    with pytest.raises(ValueError, match="size must be a multiple of patch, 4, not 30"):
        replace(config.autoencoder, size=30)
    with pytest.raises(ValueError, match="PVDM's prior takes the three planes of one clip"):
        config.prior.build(named_config("tats-course").latents, (1, 16, 32, 32))


@pytest.mark.parametrize(("name", "width", "steps", "share"), [
    ("pvdm-s-ucf101", 128, 400_000, 0.3), ("pvdm-l-ucf101", 256, 850_000, 0.3), ("pvdm-s-sky", 128, 400_000, 0.2),
    ("pvdm-l-sky", 256, 850_000, 0.2)])
def test_the_diffusion_models_are_those_of_table_6(name, width, steps, share):
    config = named_config(name)
    sizes, training = config.prior, config.training
    assert (sizes.width, sizes.multipliers, sizes.blocks, sizes.heads) == (width, (1, 2, 4), 2, 8)
    assert (sizes.timesteps, sizes.betas) == (1000, (0.0015, 0.0195))
    assert (training.steps, training.batch, training.learning_rate, training.schedule) == (steps, 64, 1e-4, "constant")
    assert (sizes.objective, sizes.conditional, training.optimizer) == ("coin", share, "adamw")
    assert training.ema_decay ** steps < 1e-3  # nothing of the first weights is left


@pytest.mark.parametrize("name", CONFIGS)
def test_no_running_mean_of_the_weights_keeps_the_first_ones(name):
    training = named_config(name).training
    assert training.ema_decay ** training.steps < 0.01 or not training.ema_decay


def test_the_projections_are_those_of_app_d():
    sizes, training = named_config("pvdm-autoencoder").autoencoder, named_config("pvdm-autoencoder").training
    assert (sizes.width, sizes.projection_layers, sizes.projection_heads, sizes.projection_hidden) == (384, 4, 4, 512)
    assert (training.batch, training.learning_rate) == (24, 1e-4)
    assert (sizes.perceptual_weight, sizes.gan_weight, sizes.match_weight) == (1, 0.25, 0.25)  # App. A
