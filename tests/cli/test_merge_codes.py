"""Merging the codes of a frame VQ-VAE that say nearly the same."""

import json

import pytest
import torch

from lvlib.cli import merge_codes, reported
from lvlib.data import MovingDigits, to_video
from lvlib.metrics.pixels import psnr
from lvlib.runs.load import load_model
from lvlib.runs.shipped import FOLDER

RUN = FOLDER / "lvt-frames-course"


def test_of_the_two_nearest_codes_the_less_used_one_goes():
    embedding = torch.tensor([[0.0], [10.0], [10.1], [30.0], [30.3]])
    count = torch.tensor([1.0, 1.0, 5.0, 7.0, 2.0])
    assert merge_codes.merge(embedding, count, 4).tolist() == [0, 2, 3, 4]
    assert merge_codes.merge(embedding, count, 3).tolist() == [0, 2, 3]
    assert merge_codes.merge(embedding, count, 2).tolist() == [2, 3]


def test_the_new_run_has_fewer_codes_and_rebuilds_nearly_as_well(tmp_path):
    merge_codes.main([str(RUN), "--codes", "64", "--out", str(tmp_path / "run")])
    (old_config, old), (config, model) = load_model(RUN), load_model(tmp_path / "run")
    assert (old_config.autoencoder.codes, config.autoencoder.codes) == (128, 64)
    video = to_video(torch.tensor(MovingDigits(4, color=True, split="test").batch(slice(0, 4))["video"]))
    codes = model.encode(video)
    assert codes.max() < 64
    before, after = (psnr(m.decode(m.encode(video)), video).mean() for m in (old, model))
    assert before - 4 < after < before
    assert json.loads((tmp_path / "run" / "config.json").read_text())["autoencoder"]["codes"] == 64


@pytest.mark.parametrize("run", [FOLDER / "lvt-course", FOLDER / "videogpt-digits" / "autoencoder"])
def test_only_the_run_of_a_frame_autoencoder_has_codes_to_merge(tmp_path, capsys, run):
    assert reported(lambda: merge_codes.main([str(run), "--codes", "32", "--out", str(tmp_path / "run")])) == 2
    assert "is not the run of a frame VQ-VAE" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("codes", ["0", "128"])
def test_more_codes_than_there_are(tmp_path, capsys, codes):
    assert reported(lambda: merge_codes.main([str(RUN), "--codes", codes, "--out", str(tmp_path / "run")])) == 2
    assert f"from 1 to 127, fewer than there are, not {codes}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
