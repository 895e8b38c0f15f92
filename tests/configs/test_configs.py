import json
from dataclasses import replace

import pytest
import torch

from lvlib.configs import CONFIGS, config_from_dict, named_config
from lvlib.errors import UserError


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_without_memory(name):
    config = named_config(name)
    with torch.device("meta"):
        model = config.autoencoder.build()
    assert all(parameter.is_meta for parameter in model.parameters())
    assert len(model.latent_shape(config.video_shape)) in (3, 4)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_survives_json(name):
    config = named_config(name)
    config = replace(config, data=replace(config.data, root="somewhere"))
    assert config_from_dict(json.loads(json.dumps(config.to_dict())), like=named_config(name)) == config


def test_the_papers_numbers():
    """LVT, section 4.1: what the paper says of the frame autoencoder, checked against it field by field."""
    bair, nc4, kinetics = (named_config(f"lvt-frames-{name}") for name in ("bair", "bair-nc4", "kinetics"))
    for config in (bair, nc4, kinetics):
        assert (config.training.optimizer, config.training.learning_rate) == ("adam", 3e-4)
        assert config.training.batch * config.data.frames == 32  # images
        assert (config.data.size, config.autoencoder.channels, config.autoencoder.hidden) == (64, 3, 256)
    assert (bair.autoencoder.codes, bair.autoencoder.codebooks) == (512, 1)
    assert nc4.autoencoder.codes * nc4.autoencoder.codebooks == 2048
    assert kinetics.autoencoder.codebooks == 4
    assert [c.autoencoder.residual_blocks for c in (bair, nc4, kinetics)] == [2, 2, 4]
    assert [c.training.steps for c in (bair, nc4, kinetics)] == [500_000, 500_000, 1_000_000]


def test_a_field_of_another_version_is_named():
    values = named_config("lvt-frames-bair").to_dict()
    values["autoencoder"]["gamma"] = 3
    with pytest.raises(UserError, match="autoencoder.gamma"):
        config_from_dict(values, like=named_config("lvt-frames-bair"))


def test_a_missing_field_takes_the_default_of_its_class():
    values = named_config("lvt-frames-course").to_dict()
    del values["autoencoder"]["decay"]
    restored = config_from_dict(values, like=named_config("lvt-frames-course"))
    assert restored.autoencoder.decay == 0.99


def test_unknown_name_lists_all_and_suggests_the_closest():
    with pytest.raises(UserError, match="did you mean lvt-frames-bair.* bench-lvt"):
        named_config("lvt-frame-bair")
