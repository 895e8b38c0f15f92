from pathlib import Path

import numpy as np
import pytest

from lvlib.cli import main
from lvlib.data import write_clip_set, write_video


@pytest.fixture
def lvlib(capsys):
    """Runs the command in this process: lvlib("describe", "bench-lvt") -> (status, stdout, stderr)."""

    def run(*arguments) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # argparse, after --help
            status = exit.code or 0
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def refused(lvlib):
    """Runs a command that must fail: one line on stderr, status 2. Returns the line."""

    def run(*arguments) -> str:
        status, _, errors = lvlib(*arguments)
        assert status == 2
        assert errors.startswith("lvlib: error: ") and errors.count("\n") == 1, errors
        return errors.removeprefix("lvlib: error: ").strip()

    return run


def moving_square(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 (t, h, w, 3): a bright square that crosses a gradient."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 0] = np.linspace(0, 120, width, dtype=np.uint8)
    for t in range(frames):
        video[t, 12:28, t % (width - 16):t % (width - 16) + 16] = (250, 200, 60)
    return video


@pytest.fixture(scope="session")
def mp4(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "square.mp4"
    write_video(path, moving_square(80), fps=10)
    return path


@pytest.fixture(scope="session")
def acted(tmp_path_factory) -> Path:
    """A data set with labels, of five classes, and actions, two numbers a frame: 6, 2 and 3 clips of 4 frames."""
    root, random = tmp_path_factory.mktemp("data") / "acted", np.random.default_rng(0)

    def clips(n: int) -> dict[str, np.ndarray]:
        return {"video": random.integers(256, size=(n, 4, 32, 32, 3), dtype=np.uint8), "label": np.arange(n) % 5,
                "actions": random.integers(2, size=(n, 4, 2), dtype=np.uint8)}

    write_clip_set(root, "acted", {}, {"train": [clips(6)], "val": [clips(2)], "test": [clips(3)]}, fps=10,
                   per_frame=("video", "actions"), classes=["run", "jump", "sit", "lie", "7"])
    return root


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "digits"
    assert main(["data", "moving_digits", "--out", str(root), "--train", "6", "--val", "2", "--test", "2",
                 "--frames", "4", "--size", "32"]) == 0
    return root
