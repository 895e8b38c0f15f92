"""Runs that the code of before the contracts (lvlib 0.1.0, commit f6df85d) wrote: they load, sample as they did, and
are trained further to the same weights. `files/before_contracts` was written by that code: *-half stopped at step 3 of
6, *-whole was not stopped, *.npy are samples of the whole runs.
"""

import platform
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lvlib.cli import main
from lvlib.runs import load_config
from lvlib.runs.load import renamed_tensors
from lvlib.training import load_weights

FILES = Path(__file__).parent / "files/before_contracts"
KINDS = {"frames": "lvt-frames-course-48", "lvt": "lvt-course", "vqvae": "videogpt-vqvae-course",
         "videogpt": "videogpt-course"}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    shutil.copytree(FILES, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.mark.parametrize("name", KINDS)
def test_they_load(name, place):
    config = load_config(place / f"{name}-half")
    assert config.stage == ("prior" if name in ("lvt", "videogpt") else "autoencoder")
    assert config.training.accumulate == 1  # a field that they do not have


@pytest.mark.parametrize("name", KINDS)
def test_they_are_trained_further_to_the_same_weights(name, place):
    run = place / f"{name}-half"
    fields = []
    for part, values in load_config(run).to_dict().items():
        for field, value in values.items():
            words = map(str, value) if isinstance(value, tuple) else [str(value)]
            fields += [f"--{part}.{field}", *words] if field != "class" else []
    assert main(["train", KINDS[name], "--out", str(run), *fields]) == 0
    for ema in (False, True):  # of "lvt" alone there is a running mean
        ended, expected = (tensors_of(place / f"{name}-{kind}", ema) for kind in ("half", "whole"))
        for key in expected:
            torch.testing.assert_close(ended[key], expected[key], rtol=1e-4, atol=1e-5)
    assert not (run / "codes").exists()


def tensors_of(run: Path, ema: bool) -> dict[str, torch.Tensor]:
    config = load_config(run)
    model = config.build()
    assert load_weights(model, run, ema, renamed_tensors(config)) == 6
    return model.state_dict()


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="sums round otherwise elsewhere")
@pytest.mark.parametrize("name, options", [
    ("lvt", ["--given", "data", "--n", "2", "--given-frames", "1"]),
    ("videogpt", ["--n", "3", "--sampling.top_p", "0.9"]),
])
def test_the_same_seed_gives_the_same_samples(name, options, place):
    assert main(["sample", f"{name}-whole", *options, "--seed", "4", "--device", "cpu", "--out", "again.npy"]) == 0
    assert np.array_equal(np.load("again.npy"), np.load(f"{name}.npy"))
