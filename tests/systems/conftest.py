"""Data for the systems that the tests make up, and a run of each of their stages."""

from pathlib import Path

import numpy as np
import pytest
from made_up import CONFIGS, STANDS_ON

from lvlib.cli import main
from lvlib.configs import CONFIGS as TABLE
from lvlib.data import write_clip_set


@pytest.fixture(scope="session", autouse=True)
def joined():
    """What a line in configs/__init__.py does."""
    TABLE.update(CONFIGS)
    yield
    for name in CONFIGS:
        del TABLE[name]


@pytest.fixture(scope="session")
def data(tmp_path_factory, joined) -> Path:
    root, random = tmp_path_factory.mktemp("data") / "clips", np.random.default_rng(0)

    def clips(n: int) -> dict[str, np.ndarray]:
        return {"video": random.integers(256, size=(n, 4, 32, 32, 3), dtype=np.uint8), "label": np.arange(n) % 5,
                "text": np.resize(np.array(["the seven falls", "the two rises"], "U70"), n),
                "audio": random.uniform(-0.5, 0.5, (n, 4, 400)).astype(np.float32)}

    write_clip_set(root, "clips", {}, {"train": [clips(6)], "val": [clips(2)], "test": [clips(3)]}, fps=10,
                   per_frame=("video", "audio"), classes=["run", "jump", "sit", "lie", "fall"])
    return root


@pytest.fixture(scope="session")
def runs(tmp_path_factory, data) -> Path:
    """Every stage trained for two steps, and then for the other two."""
    root = tmp_path_factory.mktemp("runs")
    for name in CONFIGS:
        option, below = STANDS_ON.get(name, (None, None))
        given = [option, str(root / below)] if option else []
        train = ["train", name, "--out", str(root / name), "--data.root", str(data), "--device", "cpu",
                 "--training.checkpoint_every", "1"]
        assert main([*train, *given, "--training.steps", "2"]) == 0
        assert main([*train, "--training.steps", "4"]) == 0
    return root


@pytest.fixture
def lvlib(capsys, joined):
    def run(*arguments) -> str:
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out

    return run
