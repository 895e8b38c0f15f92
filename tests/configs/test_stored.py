"""config.json and back: classes, fields of another version, and what is no configuration."""

import json

import pytest

from lvlib.configs import CONFIGS, config_from_dict, named_config
from lvlib.errors import UserError
from lvlib.models.videogpt.prior import VideoGPTConfig


def stored(name: str, **changes) -> dict:
    """What config.json has of a configuration; changes: part__field, or part, None for one that is not there."""
    values = json.loads(json.dumps(named_config(name).to_dict()))
    for key, value in changes.items():
        part, _, field = key.partition("__")
        target, key = (values[part], field) if field else (values, part)
        target.update({key: value}) if value is not None else target.pop(key)
    return values


def without_classes(values: dict) -> dict:
    return {name: {key: value for key, value in part.items() if key != "class"} for name, part in values.items()}


def refusal(values) -> str:
    with pytest.raises(UserError) as refused:
        config_from_dict(values)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_it_keeps_the_class_of_each_stage():
    """So that no name of a configuration is needed, which a later lvlib may call otherwise."""
    values = stored("videogpt-bair")
    assert {name: part.get("class") for name, part in values.items()} == {
        "data": None, "autoencoder": "VideoVQVAEConfig", "prior": "VideoGPTConfig", "training": None}
    config = config_from_dict(values | {"name": "of another lvlib"})
    assert config == named_config("videogpt-bair") and type(config.prior) is VideoGPTConfig


@pytest.mark.parametrize("name", CONFIGS)
def test_without_classes_as_before_they_are_those_of_the_named_configuration(name):
    assert config_from_dict(without_classes(stored(name)) | {"name": name}) == named_config(name)


def test_a_missing_field_takes_the_default_of_its_class():
    restored = config_from_dict(stored("lvt-frames-course", autoencoder__decay=None, training__accumulate=None))
    assert restored.autoencoder.decay == 0.99 and restored.training.accumulate == 1


def test_priors_from_before_and_none_at_all():
    """config.json of a run that is older than priors has no "prior"; that of an autoencoder had null."""
    frames, values = named_config("lvt-frames-bair"), stored("lvt-frames-bair")
    assert "prior" not in values and config_from_dict(values) == frames
    assert config_from_dict(values | {"prior": None}).prior is None
    assert config_from_dict(stored("lvt-bair") | {"prior": None}).stage == "autoencoder"


def test_other_keys_are_passed_over():
    config = config_from_dict(stored("lvt-bair") | {"clips": 7, "fps": None, "latents": {"autoencoder": "a"}})
    assert config == named_config("lvt-bair")


@pytest.mark.parametrize(("changes", "message"), [
    ({"autoencoder__gamma": 3}, "this lvlib has no autoencoder.gamma: a later one wrote it, or somebody changed it"),
    ({"prior__class": "MegaGPTConfig"},
     "prior is of the class 'MegaGPTConfig'; this lvlib has LVTConfig, VideoGPTConfig"),
    ({"prior__class": "VideoVQVAEConfig"}, "prior is of the class 'VideoVQVAEConfig'; this lvlib has LVTConfig"),
    ({"prior__class": ["LVTConfig"]}, "prior is of the class ['LVTConfig']; this lvlib has LVTConfig"),
    ({"prior__class": None}, 'prior does not say its class: add "class": one of LVTConfig, VideoGPTConfig'),
    ({"prior": [1, 2]}, "prior must be a table of fields, not [1, 2]"),
    ({"data": 3}, "data must be a table of fields, not 3"),
    ({"training": None}, "training must be a table of fields, not None"),
    ({"training__steps": None}, "training.steps is missing"),
    ({"training__batch": 0}, "training: training.batch is 0"),
    ({"data__size": "64"}, "data.size must be an integer, not '64'"),
    ({"data__size": 64.5}, "data.size must be an integer, not 64.5"),
    ({"data__root": ["a"]}, "data.root must be a text or None, not ['a']"),
    ({"autoencoder__hidden": True}, "autoencoder.hidden must be an integer, not True"),
    ({"autoencoder__hidden": 3}, "autoencoder: hidden must be even and a multiple of codebooks"),
    ({"training__betas": [0.9]}, "training.betas must be a number and a number, not [0.9]"),
    ({"prior__attention": "all"}, "prior.attention must be one of query-key, key, relative, not 'all'"),
    ({"prior__dim": {"a": 1}}, "prior.dim must be an integer, not {'a': 1}"),
])
def test_what_is_refused_is_said_truly(changes, message):
    assert message in refusal(stored("lvt-bair", **changes))


@pytest.mark.parametrize("values", [None, [], 3, "a text"])
def test_what_is_no_table_at_all(values):
    assert f"it must be a table of parts, not {values!r}" in refusal(values)


def test_neither_a_class_nor_a_name():
    """And a name that this lvlib does not have, or that has no such stage."""
    values = without_classes(stored("lvt-bair"))
    for name in ({}, {"name": "lvt-mars"}, {"name": ["lvt-bair"]}):
        assert "autoencoder does not say its class" in refusal(values | name)
    assert "prior does not say its class" in refusal(values | {"name": "lvt-frames-bair"})
    assert "this lvlib has no prior.width" in refusal(
        values | {"name": "lvt-bair", "prior": {"width": 8}})


def test_a_long_value_is_cut():
    assert len(refusal(stored("lvt-bair", prior=list(range(10**5))))) < 200
