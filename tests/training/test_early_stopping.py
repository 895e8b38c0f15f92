"""Early stopping: when a training ends, what it leaves, and that it can be stopped and resumed on the way."""

import hashlib
import json
import math
import os
import signal

import pytest
import torch
from safetensors.torch import save_file
from toys import Clips, at_step, config, gan, line, logged, weights

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import load_weights, train
from lvlib.training.checkpoint import BEST, MANIFEST, STATE, folder_of, load_state, load_tensors, steps_saved
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
    for step, value in enumerate((3.0, 2.0, 2.0, math.nan, 1.0, 4.0, 4.0)):
        stopping.judge("far", value, step, model)
        over.append(stopping.over)
    assert over == [False, False, False, True, False, False, True]
    assert (stopping.lowest, stopping.step, stopping.since) == (1.0, 4, 2)
    stopping.judge("near", 5.0, 7, model)  # with another score it begins anew
    assert (stopping.score, stopping.lowest, stopping.step, stopping.over) == ("near", 5.0, 7, False)


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
    assert run(tmp_path / "run", early_stopping=0, steps=12) == 2  # never: the last weights are kept alone
    load_weights(best, tmp_path / "run")
    assert best.batches == 12


def test_of_the_running_mean_where_one_is_kept(tmp_path):
    run(tmp_path / "run", ema_decay=0.9)
    run(tmp_path / "to four", ema_decay=0.9, steps=4, early_stopping=0)
    best, four = line(1), line(2)
    load_weights(best, tmp_path / "run")
    load_weights(four, tmp_path / "to four")
    assert torch.equal(best.conv.weight, four.conv.weight)


@pytest.mark.posix
@pytest.mark.parametrize("stop", [1, 2, 3, 4, 6, 7])
def test_stopped_and_resumed_as_in_one_piece(tmp_path, stop):
    whole = run(tmp_path / "whole")
    with pytest.raises(TrainingStopped, match="interrupted"):
        run(tmp_path / "pieces", lambda: at_step(stop, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert stop + run(tmp_path / "pieces") == whole == 8
    assert weights(tmp_path / "pieces", 8) == weights(tmp_path / "whole", 8)
    first, second = (folder_of(tmp_path / name, 8) / BEST for name in ("whole", "pieces"))
    assert first.read_bytes() == second.read_bytes()
    assert load_state(tmp_path / "pieces", 8)["early_stopping"] == \
        {"score": "val_far", "lowest": 0.0, "step": 4, "since": 2}


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


def test_a_state_or_weights_that_are_none_are_refused(tmp_path):
    run(tmp_path / "run", steps=6)
    folder = folder_of(tmp_path / "run", 6)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    state = load_state(tmp_path / "run", 6)
    for bad in ([1], {"score": "val_far"}, {"score": 1, "lowest": 0.0, "step": 4, "since": 1}):
        torch.save(state | {"early_stopping": bad}, folder / STATE)
        record(folder, STATE)
        with pytest.raises(UserError, match="state.pt"):
            run(tmp_path / "run")
    for name, data in whole.items():
        (folder / name).write_bytes(data)
    tensors = load_tensors(tmp_path / "run", 6, BEST)
    tensors["conv.bias"][0] = math.nan
    save_file(tensors, folder / BEST)
    record(folder, BEST)
    for act in (lambda: run(tmp_path / "run"), lambda: load_weights(line(), tmp_path / "run")):
        with pytest.raises(UserError, match="of no use: conv.bias holds numbers that are not finite"):
            act()


def record(folder, name) -> None:
    """Writes a changed file into the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    data = (folder / name).read_bytes()
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))
