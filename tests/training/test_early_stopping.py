"""Early stopping: when a training ends, what it leaves, and that it can be stopped and resumed on the way."""

import math
import os
import signal

import pytest
import torch
from toys import Clips, at_step, config, gan, line, logged, weights

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import load_weights, train
from lvlib.training.checkpoint import BEST, folder_of, load_state, steps_saved
from lvlib.training.early_stopping import EarlyStopping

DATA, VAL = Clips(), Clips(6)
EACH_SECOND = {"steps": 40, "validate_every": 2, "early_stopping": 2}


def far_from_four(model) -> dict[str, float]:
    """A score that is lowest at step 4, whatever else happens. `batches` counts the steps."""
    return {"val_far": abs(float(model.batches) - 4)}


def run(path, make=line, score=far_from_four, **changes) -> int:
    return train(make(), DATA, config(**EACH_SECOND | changes), path, val_data=VAL, score=score)


def test_it_counts_validations_since_the_lowest_score():
    model, stopping = line(), EarlyStopping(2)
    over = []
    for score in (3.0, 2.0, 2.0, math.nan, 1.0, 4.0, 4.0):
        stopping.judge(score, model)
        over.append(stopping.over)
    assert over == [False, False, False, True, False, False, True]
    assert (stopping.lowest, stopping.since) == (1.0, 2)


def test_a_training_ends_and_leaves_the_weights_of_the_lowest_score(tmp_path):
    assert run(tmp_path / "run") == 8  # the lowest at 4, none at 6 and at 8
    assert run(tmp_path / "to four", steps=4, early_stopping=0) == 4
    assert steps_saved(tmp_path / "run")[-1] == 8 and logged(tmp_path / "run")[-1]["val_far"] == 4
    best, four, last = line(1), line(2), line(3)
    load_weights(best, tmp_path / "run")
    load_weights(four, tmp_path / "to four")
    load_weights(last, tmp_path / "run", ema=False)
    for name, tensor in four.state_dict().items():
        assert torch.equal(best.state_dict()[name], tensor), name
    assert last.batches == 8
    assert run(tmp_path / "run") == 0  # it has ended
    assert run(tmp_path / "run", early_stopping=3) == 2  # a longer patience goes on: none at 10
    assert run(tmp_path / "run", early_stopping=0, steps=12) == 2


def test_of_the_running_mean_where_one_is_kept(tmp_path):
    run(tmp_path / "run", ema_decay=0.9)
    run(tmp_path / "to four", ema_decay=0.9, steps=4, early_stopping=0)
    best, four = line(1), line(2)
    load_weights(best, tmp_path / "run")
    load_weights(four, tmp_path / "to four")
    assert torch.equal(best.conv.weight, four.conv.weight)


@pytest.mark.parametrize("stop", [1, 3, 5, 6, 7])
def test_stopped_and_resumed_as_in_one_piece(tmp_path, stop):
    whole = run(tmp_path / "whole")
    with pytest.raises(TrainingStopped, match="interrupted"):
        run(tmp_path / "pieces", lambda: at_step(stop, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert stop + run(tmp_path / "pieces") == whole == 8
    assert weights(tmp_path / "pieces", 8) == weights(tmp_path / "whole", 8)
    first, second = (folder_of(tmp_path / name, 8) / BEST for name in ("whole", "pieces"))
    assert first.read_bytes() == second.read_bytes()
    assert load_state(tmp_path / "pieces", 8)["early_stopping"] == {"lowest": 0.0, "since": 2}


def test_without_a_score_it_is_the_first_loss(tmp_path):
    """Of a model that does not learn, none is lower than the first."""
    settings = {"learning_rate": 1e-30, "schedule": "constant"}
    assert run(tmp_path / "one", score=None, **settings, make=lambda: line(noise=0.0)) == 6
    assert run(tmp_path / "several", gan, score=None, steps=4) == 4
    assert load_state(tmp_path / "several", 4)["early_stopping"]["lowest"] == \
        min(record["val_generator_loss"] for record in logged(tmp_path / "several") if "val_generator_loss" in record)


def test_what_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"early_stopping needs a validation set"):
        train(line(), DATA, config(early_stopping=1), tmp_path / "run")
    with pytest.raises(UserError, match=r"training.early_stopping is -1: it must be a whole number, 0 or more"):
        config(early_stopping=-1)
