import errno
import json
import os

import pytest
import torch
from toys import Line, line

from lvlib.errors import UserError
from lvlib.training import load_run, load_weights
from lvlib.training.checkpoint import (
    EMA,
    MANIFEST,
    MODEL,
    STATE,
    Checkpoint,
    folder_of,
    load_state,
    load_tensors,
    recorded_files,
    remove_unfinished,
    save_checkpoint,
    steps_saved,
)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def state(**optimizers):
    return {"optimizers": optimizers, "seconds": 1.5, "precision": {}}


def save(run, step, keep=10, ema=True):
    weights = line(seed=step).state_dict()
    mean = line(seed=100 + step).state_dict() if ema else None
    save_checkpoint(run, Checkpoint(step, weights, mean, state(model={"step": step}), {"loss": 0.5}), keep)


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_round_trip(run):
    tied = torch.randn(3, 4)
    weights = {"a": tied, "b": tied, "turned": tied.T, "half": tied.bfloat16(), "count": torch.tensor(7)}
    save_checkpoint(run, Checkpoint(5, weights, None, state(x=tied), {"loss": 2.0}), 1)
    read = load_tensors(run, 5, MODEL)
    assert read.keys() == weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0)
    assert torch.equal(load_state(run, 5)["optimizers"]["x"], tied) and load_state(run, 5)["seconds"] == 1.5
    assert set(recorded_files(run, 5)) == {MODEL, STATE}
    manifest = json.loads((folder_of(run, 5) / MANIFEST).read_text())
    assert manifest["step"] == 5 and manifest["metrics"] == {"loss": 2.0} and manifest["files"].keys() == {MODEL, STATE}


def test_the_newest_are_kept(run):
    for step in range(1, 6):
        save(run, step, keep=2)
    assert steps_saved(run) == [4, 5] and names(run) == ["00000004", "00000005"]


def test_weights_come_from_the_newest_checkpoint_and_its_ema(run):
    save(run, 1)
    save(run, 2)
    model = Line()
    assert load_weights(model, run) == 2
    assert torch.equal(model.conv.weight, line(seed=102).conv.weight)
    load_weights(model, run, ema=False)
    assert torch.equal(model.conv.weight, line(seed=2).conv.weight)
    save(run, 3, ema=False)
    load_weights(model, run)
    assert torch.equal(model.conv.weight, line(seed=3).conv.weight)


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(run, monkeypatch):
    """The disk fills up at each point of the writing in turn."""
    save(run, 1)
    before = {path: path.read_bytes() for path in folder_of(run, 1).iterdir()}
    fsync, left = os.fsync, []

    def full(descriptor):
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    for succeed in range(5 if hasattr(os, "O_DIRECTORY") else 4):  # model, state, ema, manifest, folder
        left[:] = range(succeed)
        with pytest.raises(OSError, match="No space left"):
            save(run, 2, keep=1)
        assert names(run) == ["00000001"]
    assert {path: path.read_bytes() for path in folder_of(run, 1).iterdir()} == before
    monkeypatch.undo()
    save(run, 2, keep=1)
    assert names(run) == ["00000002"]


def test_a_system_that_cannot_open_folders(run, monkeypatch):
    """As Windows: it has no O_DIRECTORY, and says so where one tries."""
    opens = os.open

    def refuse_folders(path, *arguments):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opens(path, *arguments)

    monkeypatch.setattr(os, "open", refuse_folders)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    save(run, 1)
    assert steps_saved(run) == [1] and torch.equal(load_tensors(run, 1, MODEL)["conv.weight"], line(seed=1).conv.weight)


@pytest.mark.parametrize("dies_in", ["fsync", "replace", "rename"])
def test_a_crash_leaves_whole_checkpoints(run, monkeypatch, dies_in):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    save(run, 1)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if dies_in == "rename":  # of an old checkpoint, on its way out
            patch.setattr("shutil.rmtree", die)
        else:
            patch.setattr(os, dies_in, die)
        save(run, 2, keep=1)
    assert any(name.startswith("tmp-") for name in names(run))
    newest = 2 if dies_in == "rename" else 1
    assert steps_saved(run) == [newest]
    assert torch.equal(load_tensors(run, newest, MODEL)["conv.weight"], line(seed=newest).conv.weight)
    remove_unfinished(run)
    assert names(run) == [f"{newest:08d}"]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("file, harm, reason", [
    (MODEL, truncate, "bytes instead of"), (MODEL, flip, "checksum"), (EMA, truncate, "bytes instead of"),
    (STATE, flip, "checksum"), (STATE, os.remove, "No such file"), (MANIFEST, os.remove, "No such file"),
    (MANIFEST, truncate, "not what lvlib writes"),
])
def test_damage_is_found_and_the_way_back_is_named(run, file, harm, reason):
    for step in (1, 2, 3):
        save(run, step)
    harm(folder_of(run, 3) / file)
    flip(folder_of(run, 2) / MODEL)
    with pytest.raises(UserError) as caught:
        load_tensors(run, 3, EMA), load_tensors(run, 3, MODEL), load_state(run, 3)
    message = str(caught.value)
    assert file in message and reason in message and "\n" not in message
    assert "remove that folder to go back to step 1" in message and str(folder_of(run, 3)) in message


def test_damage_to_the_only_checkpoint(run):
    save(run, 1)
    truncate(folder_of(run, 1) / EMA)
    with pytest.raises(UserError, match="go back to the beginning"):
        load_weights(Line(), run)


def test_readers_of_what_is_no_run(run, tmp_path):
    with pytest.raises(UserError, match="no such run folder: .*nowhere"):
        load_weights(Line(), tmp_path / "nowhere")
    with pytest.raises(UserError, match="no checkpoint yet"):
        load_weights(Line(), run)
    (run / "config.json").write_text('{"tra')
    with pytest.raises(UserError, match="cannot read .*config.json"):
        load_run(run)
    (run / "config.json").unlink()
    with pytest.raises(UserError, match="no config.json"):
        load_run(run)


def test_weights_of_another_model_are_refused(run):
    save(run, 1)
    other = torch.nn.Module()
    other.conv = torch.nn.Conv3d(3, 4, 1)
    with pytest.raises(UserError, match=r"conv.weight is \(3, 3, 1, 3, 3\) there, \(4, 3, 1, 1, 1\) here"):
        load_weights(other, run)
    with pytest.raises(UserError, match=r": weight is not in it there, \(2, 2\) here"):
        load_weights(torch.nn.Linear(2, 2), run)
