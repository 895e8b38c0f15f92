"""A run folder from elsewhere: what stands below it may be gone, another stage's, or a link back up."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from lvlib.errors import UserError
from lvlib.runs.load import Learned, learned_from, load_autoencoder, load_pipeline, load_settings, runs_down_from

FILES = Path(__file__).parent / "files/before_contracts"


@pytest.fixture
def run(tmp_path) -> Path:
    return Path(shutil.copytree(FILES / "lvt-whole", tmp_path / "lvt"))


def test_the_chain_ends_at_the_autoencoder(run):
    assert [(folder, config.stage) for folder, config in runs_down_from(run)] == [
        (run, "prior"), (run / "autoencoder", "autoencoder")]
    assert load_pipeline(run, "cpu").autoencoder is not None


@pytest.mark.parametrize("load", [load_pipeline, load_autoencoder])
def test_another_stage_below_is_refused(load, run):
    shutil.rmtree(run / "autoencoder")
    shutil.copytree(FILES / "lvt-whole", run / "autoencoder")  # with a link it would go on without end
    with pytest.raises(UserError, match="must be the run of the autoencoder, and is that of the prior"):
        load(run, "cpu")


@pytest.mark.parametrize("load", [load_pipeline, load_autoencoder])
def test_nothing_below_is_refused(load, run):
    shutil.rmtree(run / "autoencoder")
    with pytest.raises(UserError, match="no such run folder"):
        load(run, "cpu")


def change(run: Path, **parts) -> None:
    about = json.loads((run / "config.json").read_text())
    for name, values in parts.items():
        about[name] = about[name] | values if isinstance(values, dict) else values
    (run / "config.json").write_text(json.dumps(about))


@pytest.mark.parametrize("load", [load_pipeline, load_autoencoder])
def test_other_weights_below_are_refused(load, run):
    change(run, codes={"autoencoder": "0" * 64})
    with pytest.raises(UserError, match="is not what .* stands on: it holds other weights"):
        load(run, "cpu")


@pytest.mark.parametrize("load", [load_pipeline, load_autoencoder])
def test_another_configuration_below_is_refused(load, run):
    change(run / "autoencoder", autoencoder={"decay": 0.5})
    with pytest.raises(UserError, match="not what .* stands on: their configurations of the autoencoder differ"):
        load(run, "cpu")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("load", [load_pipeline, load_autoencoder])
def test_links_are_followed_to_an_end(load, run, tmp_path):
    """A link to the autoencoder is as good as a copy; one to the run itself, or to itself, has no end."""
    kept = (run / "autoencoder").rename(tmp_path / "kept")
    (run / "autoencoder").symlink_to(kept)
    assert load(run, "cpu")
    for target, message in (run, "must be the run of the autoencoder"), (run / "autoencoder", "no such run folder"):
        (run / "autoencoder").unlink()
        (run / "autoencoder").symlink_to(target)
        with pytest.raises(UserError, match=message):
            load(run, "cpu")


@pytest.mark.parametrize("latents", [None, [], 3, "a text"])
def test_what_else_stands_in_place_of_latents_says_nothing_of_weights(run, latents):
    """Of a run folder that somebody wrote by hand."""
    about = json.loads((run / "config.json").read_text())
    del about["codes"]
    (run / "config.json").write_text(json.dumps(about | {"latents": latents}))
    assert load_pipeline(run, "cpu").prior is not None


def test_codes_of_before_are_latents_now(run):
    """And each stage names its class, and has the fields that are new."""
    about = json.loads((run / "config.json").read_text())
    settings = load_settings(run)
    assert settings["latents"] == about["codes"] and "codes" not in settings
    assert settings["prior"]["class"] == "LVTConfig" and "class" not in about["prior"]
    assert settings["training"]["accumulate"] == 1 and "accumulate" not in about["training"]


def test_what_a_run_learned_from(run):
    change(run, fps=None)
    assert learned_from(run) == Learned(None, [])
    change(run, fps=12, classes=["a", "b"])
    assert learned_from(run) == Learned(12, ["a", "b"])


@pytest.mark.parametrize("values, line", [
    ({"fps": "fast"}, "fps must be a number above 0, or null, not 'fast'"), ({"fps": 0}, "not 0"),
    ({"fps": -1.5}, "not -1.5"),
    ({"classes": 3}, "classes must be a list of names, not 3"), ({"classes": ["a", 1]}, r"not \['a', 1\]"),
    ({"classes": {"a": 1}}, "not {'a': 1}"),
])
def test_what_a_damaged_run_learned_from_is_refused(run, values, line):
    about = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(about | values))
    with pytest.raises(UserError, match=f"config.json: .*{line}"):
        learned_from(run)
