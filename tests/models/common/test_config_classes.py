"""What holds for the configuration of every model: its numbers are checked, older names of weights are known."""

import dataclasses
import importlib
import math
import pkgutil
from types import SimpleNamespace
from typing import get_type_hints

import pytest

import lvlib.models
from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.lvt.prior import LVTConfig
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig
from lvlib.stages import LatentSpec

FOUND = pkgutil.walk_packages(lvlib.models.__path__, "lvlib.models.")
MODULES = [importlib.import_module(module.name) for module in FOUND]
CLASSES = {value for module in MODULES for name, value in vars(module).items()
           if name.endswith(("Config", "Sampling")) and dataclasses.is_dataclass(value)}
KINDS = int, float, int | None, float | None
NUMBERS = [(cls, field.name) for cls in sorted(CLASSES, key=lambda cls: cls.__name__)
           for field in dataclasses.fields(cls) if get_type_hints(cls)[field.name] in KINDS]


def test_every_configuration_is_found():
    assert {cls.__name__ for cls in CLASSES} >= {
        "FrameVQVAEConfig", "LVTConfig", "LVTSampling", "VideoVQVAEConfig", "VideoGPTConfig", "VideoGPTSampling",
        "VQGANConfig", "TATSConfig", "TATSSampling", "InterpolationConfig"}
    assert len(NUMBERS) > 40


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("cls, field", NUMBERS, ids=lambda part: getattr(part, "__name__", part))
def test_no_number_of_a_configuration_is_nan_or_infinite(cls, field, value):
    with pytest.raises(ValueError) as error:
        cls(**{field: value})
    assert field in str(error.value) and str(value) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("value, limits, message", [
    (0, {"least": 1}, "x must be at least 1, not 0"), (-0.5, {"least": 0}, "x must be at least 0 and finite, not -0.5"),
    (math.inf, {"least": 0}, "at least 0 and finite, not inf"), (0, {"above": 0}, "x must be above 0, not 0"),
    (1.0, {"above": 0, "below": 1}, "x must be above 0 and below 1, not 1.0"),
    (math.nan, {"least": 0, "below": 1}, "x must be at least 0 and below 1, not nan")])
def test_a_number_outside_of_its_range(value, limits, message):
    with pytest.raises(ValueError) as error:
        check_numbers(SimpleNamespace(x=value), "x", **limits)
    assert str(error.value).endswith(message)


def test_what_is_allowed_passes():
    check_numbers(SimpleNamespace(a=1, b=10**30), "a", "b", least=1)
    check_numbers(SimpleNamespace(a=5e-324, b=0.999), "a", "b", above=0, below=1)
    check_choice(SimpleNamespace(a="x"), "a", ("x", "y"))
    with pytest.raises(ValueError, match="a must be one of x, y, not 'z'"):
        check_choice(SimpleNamespace(a="z"), "a", ("x", "y"))


LVT = LVTConfig(dim=12, embedding_dim=6, heads=2, head_dim=5, encoder_layers=1, decoder_layers=1, subscale=(2, 1, 1))
GPT = VideoGPTConfig(dim=12, heads=2, layers=1, hidden=8, classes=3, actions=2, frames=1, resnet_units=8)
VQVAE = VideoVQVAEConfig(hidden=8, residual_hidden=4, residual_blocks=1, code_dim=4, codes=8, downsample=(2, 2, 2))
OLDER = [
    (LVT, "encoder.layers.0.attention.project.weight", "encoder.layers.0.attention.in_proj.weight"),
    (LVT, "decoder.layers.0.attention.join.weight", "decoder.layers.0.attention.out_proj.weight"),
    (GPT, "blocks.0.attention.project.weight", "blocks.0.attention.qkv.weight"),
    (GPT, "blocks.0.attention.join.bias", "blocks.0.attention.out_proj.bias"),
    (GPT, "blocks.0.cross.memory.weight", "blocks.0.cross.kv.weight"),
    (GPT, "blocks.0.cross.join.weight", "blocks.0.cross.out_proj.weight"),
    (GPT, "blocks.0.attention_norm.steer.weight", "blocks.0.attention_norm.to_scale_shift.weight"),
    (GPT, "norm.steer.weight", "norm.to_scale_shift.weight"),
    (VQVAE, "encoder.blocks.blocks.0.attention.axes.2.out.bias",
     "encoder.blocks.blocks.0.attention.axes.2.out_proj.bias"),
]


def weights_of(config):
    latents = LatentSpec((2, 2, 2), 8)
    model = config.build() if isinstance(config, VideoVQVAEConfig) else config.build(latents, (3, 4, 8, 8))
    return list(model.state_dict())


def today(config, name):
    """Old parts are whole ones between dots."""
    for old, new in config.renamed.items():
        name = f".{name}.".replace(f".{old}.", f".{new}.")[1:-1]
    return name


@pytest.mark.parametrize("config, old, new", OLDER, ids=lambda part: part if isinstance(part, str) else None)
def test_weights_of_older_checkpoints_have_a_name_of_today(config, old, new):
    assert today(config, old) == new and new in weights_of(config)


@pytest.mark.parametrize("config", [LVT, GPT, VQVAE], ids=lambda config: type(config).__name__)
def test_no_name_of_today_is_taken_for_an_older_one(config):
    assert [today(config, name) for name in weights_of(config)] == weights_of(config)
