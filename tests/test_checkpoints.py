"""What ships is what its README says: each model loads, and its figure is measured again."""

import re
from pathlib import Path

import pytest
import torch

from lvlib.checkpoints import FOLDER, load_checkpoint
from lvlib.data import MovingDigits, to_video
from lvlib.errors import UserError
from lvlib.metrics.pixels import psnr


def recorded(name: str) -> str:
    rows = (Path(FOLDER) / "README.md").read_text().splitlines()
    return next(row for row in rows if row.startswith(f"| `{name}` |"))


def test_the_frame_vqvae_reaches_the_psnr_of_its_row():
    model = load_checkpoint("lvt-frames-course")
    clips = to_video(MovingDigits(100, color=True, split="test").batch(slice(0, 100))["video"])
    values = torch.cat([psnr(model.decode(model.encode(clip[None])), clip[None]) for clip in clips])
    decibels = float(re.search(r"([\d.]+) dB PSNR", recorded("lvt-frames-course"))[1])
    assert values.mean().item() == pytest.approx(decibels, abs=0.1)


def test_every_checkpoint_has_a_row_and_a_command():
    names = [path.parent.name for path in Path(FOLDER).glob("*/config.json")]
    assert names
    for name in names:
        assert f"lvlib train {name} --out" in recorded(name)


def test_a_checkpoint_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="lvt-frames-course"):
        load_checkpoint("lvt-frames-curse")
