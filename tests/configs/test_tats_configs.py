"""TATS's configurations against the paper's text (section 3.1, A.1, B.1, B.2), typed out once more."""

import gzip
from dataclasses import replace
from typing import get_args

import pytest
import torch

from lvlib.configs import named_config
from lvlib.data import text
from lvlib.data.clips import sha256
from lvlib.data.drums import Drums
from lvlib.errors import UserError
from lvlib.models.tats.conditions import WORDS, Tokenizer
from lvlib.models.tats.interpolation import InterpolationConfig
from lvlib.models.tats.prior import TATSConfig, TATSSampling
from lvlib.training.step import learning_rate

VQGANS = {  # input, stride, latents
    "tats-vqgan": ((3, 16, 128, 128), 1, (4, 16, 16)),
    "tats-vqgan-taichi": ((3, 16, 128, 128), 4, (4, 16, 16)),  # "sample frames from every 4 frames" (B.1)
    "tats-vqgan-drum": ((3, 16, 64, 64), 1, (4, 8, 8)),
    "tats-vqgan-mugen": ((3, 16, 256, 256), 1, (4, 32, 32)),
}
PRIORS = {  # latents of a clip, stride, every, classes, steps
    "tats-ucf101": ((4, 16, 16), 1, 1, 0, 1_350_000),
    "tats-ucf101-class": ((4, 16, 16), 1, 1, 101, 1_350_000),
    "tats-sky": ((4, 16, 16), 1, 1, 0, 500_000),
    "tats-taichi": ((4, 16, 16), 4, 1, 0, 500_000),
    "tats-sparse": ((16, 16, 16), 1, 4, 0, 500_000),  # no frames are skipped (B.1)
    "tats-sparse-class": ((16, 16, 16), 1, 4, 101, 500_000),
    "tats-between": ((16, 16, 16), 1, 4, 0, 30_000),
    "tats-between-class": ((16, 16, 16), 1, 4, 101, 30_000),
}


@pytest.mark.parametrize("name", VQGANS)
def test_the_vqgan_is_that_of_b_2(name):
    config, (shape, stride, latents) = named_config(name), VQGANS[name]
    sizes, training = config.autoencoder, config.training
    assert (config.video_shape, config.data.stride, config.latents.shape) == (shape, stride, latents)
    assert config.latents.frames_per_latent == 4
    assert (sizes.codes, sizes.code_dim, sizes.commitment, sizes.restart) == (16_384, 256, 0.25, 0)
    assert (sizes.reconstruction_weight, sizes.match_weight, sizes.perceptual_weight, sizes.gan_weight) == (4, 4, 4, 1)
    assert (sizes.padding, sizes.norm, sizes.gan_start) == ("replicate", "batch", 10_000)
    assert (training.optimizer, training.learning_rate, training.betas) == ("adam", 3e-5, (0.5, 0.9))
    assert (training.gradient_clip, training.steps) == (1.0, 30_000)
    assert training.batch == 2 * 8 * 6 and training.accumulate == 6
    with torch.device("meta"):
        model = config.build()
    convolutions = [module for module in model.encoder.modules() if isinstance(module, torch.nn.Conv3d)]
    widths = [layer.out_channels for layer in convolutions if max(layer.stride) > 1]
    assert widths == [64, 128, 256]  # "doubled the number of feature maps whenever the resolutions are halved"


@pytest.mark.parametrize("name", PRIORS)
def test_the_transformers_are_those_of_b_2(name):
    config, (latents, stride, every, classes, steps) = named_config(name), PRIORS[name]
    sizes, training = config.stages[config.stage], config.training
    assert (config.latents.shape, config.data.stride) == (latents, stride)
    assert (sizes.layers, sizes.heads, sizes.dim, sizes.hidden, sizes.classes) == (24, 16, 1024, 4096, classes)
    assert config.prior.every == every and config.prior.classes == classes
    assert isinstance(config.prior, TATSConfig)
    assert (config.refiner is not None) == ("between" in name)
    assert config.refiner is None or config.refiner.every == every
    assert (training.optimizer, training.batch, training.steps) == ("adamw", 24, steps)
    assert learning_rate(training, 1) == pytest.approx(4.5e-6 * 24)
    assert latents[0] // every * 16 * 16 == 1024


@pytest.mark.parametrize(("name", "side", "codes", "before", "told"), [
    ("tats-mugen", 32, 4096, 77, {"text": (77,)}),
    ("tats-drum", 8, 256, 16, {"audio": (16, 800)}),
])
def test_a_text_or_a_sound_stands_before_the_codes_in_place_of_the_start(name, side, codes, before, told):
    config = named_config(name)
    assert config.latents.shape == (4, side, side)
    assert (config.prior.layers, config.prior.heads, config.prior.dim) == (24, 16, 1024)
    assert {spec.name: spec.shape for spec in config.conditions} == told
    with torch.device("meta"):
        model = config.build()
    assert model.n == codes and model.before == before
    assert len(model.positions) == before + codes - 1
    vocabulary = 49_408 if "text" in told else 1024
    assert len(model.embedding.weight) == vocabulary + 16_384 and model.out.out_features == 16_384


@pytest.fixture
def made_up_clip_words(tmp_path, monkeypatch):
    """More merges than CLIP uses, as in its file. The size of the vocabulary does not depend on what they join."""
    letters = list(text.byte_letters().values())
    merges = "\n".join(f"{left} {right}" for left in letters for right in letters)
    path = tmp_path / "clip_words" / next(iter(text.CLIP_FILE))
    path.parent.mkdir()
    path.write_bytes(gzip.compress(f"version\n{merges}\n".encode(), 1))
    monkeypatch.setenv("LVLIB_DATA", str(tmp_path))
    monkeypatch.setattr(text, "CLIP_FILE", {path.name: sha256(path)})
    text.tokenizer.cache_clear()
    yield
    text.tokenizer.cache_clear()


@pytest.mark.parametrize("name", text.TOKENIZERS)
def test_the_vocabularies_are_those_of_the_tokenizers(name, made_up_clip_words):
    pytest.importorskip("tokenizers")
    assert text.tokenizer(name).size == WORDS[name]


def test_each_tokenizer_can_be_named_in_a_configuration():
    assert set(WORDS) == set(get_args(Tokenizer)) == set(text.TOKENIZERS)


def test_the_course_reads_stories_and_hears_drums():
    stories, drums = named_config("tats-stories-course"), named_config("tats-drums-course")
    read, = stories.conditions
    assert (read.tokenizer, read.shape, read.num_classes) == ("stories", (text.STORY_TOKENS,), 360)
    heard, = drums.conditions
    assert heard.shape == (16, 8000 // Drums.fps)
    assert stories.autoencoder == drums.autoencoder == named_config("tats-vqgan-course").autoencoder


def test_the_defaults_of_sampling_are_those_of_b_2():
    assert TATSSampling() == TATSSampling(temperature=1.0, top_k=2048, top_p=0.8, context=None)
    between = InterpolationConfig.Sampling()
    assert between.top_k < 2048 and between.top_p < 0.8  # "a smaller q and k usually produces better results"


def test_the_parts_of_the_hierarchy_fit_each_other():
    for name in "", "-course", "-class":
        sparse, between = named_config(f"tats-sparse{name}"), named_config(f"tats-between{name}")
        assert between.prior == sparse.prior and between.autoencoder == sparse.autoencoder
        assert between.latents == sparse.latents


def test_a_refiner_and_a_prior_of_other_frames_are_refused():
    between = named_config("tats-between-course")
    with pytest.raises(UserError, match="the prior must be TATS's, and its every 4"):
        replace(between, prior=replace(between.prior, every=2))
