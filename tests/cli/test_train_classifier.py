"""Training the course's video classifier."""

import json

import numpy as np
import pytest

from lvlib.cli import reported, train_classifier
from lvlib.data.clip_writer import write_clip_set
from lvlib.evaluation.networks.course import VideoClassifier
from lvlib.training import load_weights


@pytest.fixture
def doom(tmp_path, monkeypatch):
    """Noise, and few clips of all."""
    for name in ("CLIPS", "VAL_CLIPS", "TEST_CLIPS"):
        monkeypatch.setattr(train_classifier, name, 36)
    random = np.random.default_rng(0)
    batch = {"video": random.integers(256, size=(2, 20, 64, 64, 3), dtype=np.uint8),
             "actions": random.integers(2, size=(2, 20, 3)).astype(np.float32)}
    arguments = {"buttons": ["TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD"]}
    splits = {split: [batch] for split in ("train", "val", "test")}
    write_clip_set(tmp_path / "doom", "vizdoom", arguments, splits, 8.75, ("video", "actions"))
    return tmp_path / "doom"


def test_it_trains_and_says_how_good_it_is(doom, tmp_path, capsys):
    run = tmp_path / "run"
    train_classifier.main([str(doom), "--steps", "2", "--out", str(run), "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * len(train_classifier.TEST_SEEDS) and "seed 200, one digit: kind" in lines[0]
    assert load_weights(VideoClassifier(), run) == 2
    assert {"val_loss_kind", "val_loss_motion"} <= json.loads((run / "metrics.jsonl").read_text()).keys()
    train_classifier.main([str(doom), "--steps", "2", "--out", str(run), "--device", "cpu"])
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("arguments, message", [
    (["DOOM", "--steps", "0"], "training.steps is 0"),
    (["nowhere"], "there is no data set in nowhere"),
    ([], "DATA"),
])
def test_what_is_refused(doom, tmp_path, capsys, arguments, message):
    arguments = [str(doom) if argument == "DOOM" else argument for argument in arguments]
    assert reported(lambda: train_classifier.main([*arguments, "--out", str(tmp_path / "run")])) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
