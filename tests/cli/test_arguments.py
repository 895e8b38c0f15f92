import json
import sys
from dataclasses import replace

import pytest

from lvlib.cli.arguments import override, split_overrides
from lvlib.configs import named_config
from lvlib.errors import UserError

CONFIG = named_config("lvt-frames-bair")


def test_fields_are_told_from_options_and_names():
    rest, overrides = split_overrides(
        ["bench-lvt", "--data.root", "some where", "--out", "run.1", "--training.betas", "0.9", "0.99", "--json",
         "--training.learning-rate=1e-3", "--data.frames", "-1"])
    assert rest == ["bench-lvt", "--out", "run.1", "--json"]
    assert overrides == {"data.root": ["some where"], "training.betas": ["0.9", "0.99"],
                         "training.learning_rate": ["1e-3"], "data.frames": ["-1"]}


@pytest.mark.parametrize("words, rest, values", [
    (["--data.root", "D", "RUN"], ["RUN"], ["D"]),
    (["--data.root=D", "RUN"], ["RUN"], ["D"]),
    (["RUN", "--data.root", "D", "--json"], ["RUN", "--json"], ["D"]),
    (["--prior.subscale", "4", "1", "1", "RUN"], ["RUN"], ["4", "1", "1"]),
    (["--prior.subscale=4", "1", "1", "RUN"], ["RUN"], ["4", "1", "1"]),
    (["--training.betas", "0.9", "0.99", "RUN", "OTHER"], ["RUN", "OTHER"], ["0.9", "0.99"]),
    (["--prior.subscale", "4", "--json", "RUN"], ["--json", "RUN"], ["4"]),
    (["--sampling.top_p", "0.9", "RUN"], ["RUN"], ["0.9"]),
    (["--condition.label", "jump", "RUN"], ["RUN"], ["jump"]),
    (["--nothing.field", "1", "RUN"], ["RUN"], ["1"]),
    (["--data.root"], [], []),
], ids=" ".join)
def test_a_field_takes_as_many_words_as_it_has_numbers(words, rest, values):
    """What follows is an argument of the command again."""
    found, overrides = split_overrides(words)
    assert found == rest and list(overrides.values()) == [values]


def test_fields_may_stand_before_the_configuration(lvlib, refused, tmp_path):
    status, out, _ = lvlib("describe", "--data.size", "32", "--prior.subscale", "4", "2", "2", "bench-lvt", "--json")
    assert status == 0 and json.loads(out)["latent_shape"] == [16, 8, 8, 4]
    nowhere = tmp_path / "nowhere"
    message = refused("train", "--data.root", nowhere, "lvt-frames-course", "--out", tmp_path / "run")
    assert str(nowhere) in message and not (tmp_path / "run").exists()
    assert str(nowhere) in refused("evaluate", "--data.root", nowhere, "lvt-frames-course")


def test_values_take_the_type_of_their_field():
    changed = override(CONFIG, {"training.betas": ["0.9", "0.999"], "training.learning_rate": ["1e-3"],
                                "training.precision": ["bf16-mixed"], "data.root": ["7"]})
    assert changed == replace(
        CONFIG, data=replace(CONFIG.data, root="7"),
        training=replace(CONFIG.training, betas=(0.9, 0.999), learning_rate=1e-3, precision="bf16-mixed"))


def test_fields_that_fit_only_together_can_be_set_together():
    changed = override(CONFIG, {"autoencoder.codebooks": ["3"], "autoencoder.hidden": ["96"]})
    assert (changed.autoencoder.codebooks, changed.autoencoder.hidden) == (3, 96)


@pytest.mark.parametrize(("overrides", "message"), [
    ({"training.steps": ["many"]}, "--training.steps takes an integer (default: 500000), not 'many'"),
    ({"training.steps": ["1.5"]}, "--training.steps takes an integer"),
    ({"training.steps": []}, "not nothing"), ({"training.precision": [""]}, "not nothing"),
    ({"training.steps": ["9" * 5000]}, "not '" + "9" * 100 + "...'"),
    ({"training.steps": ["3", "4"]}, "not '3 4'"),
    ({"training.betas": ["0.9"]}, "--training.betas takes a number and a number"),
    ({"training.precision": ["fp8"]}, "--training.precision takes one of 32-true, "),
    ({"training.stesp": ["3"]}, "did you mean steps? There are: steps, batch"),
    ({"trainig.steps": ["3"]}, "did you mean training? There are: data, autoencoder, training"),
    ({"data.frames": ["0"]}, "data.frames must be at least 1, not 0"),
    ({"training.learning_rate": ["-1"]}, "training.learning_rate is -1.0: it must be above 0"),
    ({"autoencoder.codebooks": ["3"]}, "multiple of codebooks (3), not 256"),
    ({"prior.attention": ["key"]}, "--prior.attention: this configuration has no prior"),
])
def test_what_cannot_be_set_is_refused_in_one_line(overrides, message):
    with pytest.raises(UserError) as refusal:
        override(CONFIG, overrides)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_the_fields_of_a_prior():
    config = named_config("bench-lvt")
    changed = override(config, {"prior.attention": ["key"], "prior.subscale": ["4", "2", "2"]})
    assert changed == replace(config, prior=replace(config.prior, attention="key", subscale=(4, 2, 2)))
    for overrides, message in (
        ({"prior.subscale": ["4", "2"]}, "--prior.subscale takes an integer and an integer and an integer"),
        ({"prior.attention": ["full"]}, "--prior.attention takes one of query-key, key, relative"),
        ({"prior.layers": ["4"]}, "unknown key --prior.layers"), ({"prior.heads": ["0"]}, "heads must be at least 1"),
    ):
        with pytest.raises(UserError) as refusal:
            override(config, overrides)
        assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_without_tyro_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    with pytest.raises(UserError, match=r'pip install "lvlib\[train\]"'):
        override(CONFIG, {"training.steps": ["3"]})
    assert override(CONFIG, {}) == CONFIG
