"""A run folder from elsewhere: what stands below it may be gone, another stage's, or a link back up."""

import json
import shutil
from pathlib import Path

import pytest

from lvlib.errors import UserError
from lvlib.runs.load import load_autoencoder, load_pipeline, runs_down_from

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


def test_other_weights_below_are_refused(run):
    about = json.loads((run / "config.json").read_text())
    about["codes"]["autoencoder"] = "0" * 64
    (run / "config.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="is not what .* stands on: it holds other weights"):
        load_pipeline(run, "cpu")
