"""Run folders from elsewhere: whatever is in them, the answer is one line, no code runs, no other file is touched."""

import hashlib
import json
import os
import pickle
import random
import shutil
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save as safetensors_of
from toys import Clips, Line, at_step, config, gan, line, logged, weights

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import load_run, load_weights, train
from lvlib.training.checkpoint import EMA, MANIFEST, MODEL, STATE, folder_of, load_state, load_tensors, steps_saved
from lvlib.training.run import check_agrees

DATA = Clips()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    train(line(), DATA, config(ema_decay=0.5), run)
    return run


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def refused(act) -> str:
    with pytest.raises(UserError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def write(run, name, contents: bytes, step=9) -> None:
    """Puts a file into a checkpoint, and makes the manifest agree."""
    folder = folder_of(run, step)
    (folder / name).write_bytes(contents)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": len(contents), "sha256": hashlib.sha256(contents).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def torch_bytes(value, path) -> bytes:
    torch.save(value, path)
    return path.read_bytes()


# config.json


@pytest.mark.parametrize("contents, reason", [
    ("null", "null, and not settings"), ("[1, 2]", "not settings"), ('"text"', "not settings"), ("7", "not settings"),
    ('{"a": NaN}', "NaN"), ('{"a": -Infinity}', "-Infinity"), ('{"a": 1e999}', "1e999"), ("", "Expecting value"),
    ('{"a": ' + "9" * 5000 + "}", "4300"), ("[" * 100_000 + "]" * 100_000, "recursion"),
    ('{"a": ' * 500 + "1" + "}" * 500, "more than 20 levels"), ("[" * 30 + "]" * 30, "not settings"),
    (b'{"a": "\xff"}', "utf-8"), ("{} {}", "Extra data"),
])
def test_config_json_of_anything(run, contents, reason):
    (run / "config.json").write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    for act in (lambda: load_run(run), lambda: load_weights(Line(), run),
                lambda: train(line(), DATA, config(steps=12, ema_decay=0.5), run)):
        assert f"cannot read {run / 'config.json'}" in refused(act) and reason in refused(act)
    assert steps_saved(run) == [3, 6, 9]


@pytest.mark.parametrize("harm, field", [
    (lambda settings: settings.pop("training"), "training.steps"),
    (lambda settings: settings.update(training=None), "training"),
    (lambda settings: settings.update(clips=None), "clips = null"),
    (lambda settings: settings["training"].update(schedule=["x"]), "training.schedule"),
])
def test_settings_that_are_missing_or_of_another_kind(run, harm, field):
    settings = load_run(run)
    harm(settings)
    (run / "config.json").write_text(json.dumps(settings))
    assert field in refused(lambda: train(line(), DATA, config(steps=12, ema_decay=0.5), run))


@pytest.mark.posix
def test_a_folder_or_a_pipe_in_place_of_a_file(run):
    for name in ("config.json", f"checkpoints/00000009/{MODEL}", f"checkpoints/00000009/{MANIFEST}"):
        path = run / name
        kept = path.read_bytes()
        path.unlink()
        path.mkdir()
        refused(lambda: load_weights(Line(), run, ema=False))
        path.rmdir()
        if hasattr(os, "mkfifo"):
            os.mkfifo(path)
            refused(lambda: load_weights(Line(), run, ema=False))  # and does not wait for somebody to write
            path.unlink()
        path.write_bytes(kept)


# What may differ in a run that is resumed


def test_what_an_older_run_did_not_know_is_named_truly(run):
    settings = {"training": asdict(config()), "data": {"root": "here", "frames": 4}}
    older = {name: value for name, value in settings["training"].items() if name not in ("accumulate", "warmup")}
    (run / "config.json").write_text(json.dumps(settings | {"training": older}))
    check_agrees(run, settings)
    check_agrees(run, settings | {"data": {"root": "there", "frames": 4}}, may_change=("data.root",))
    message = refused(lambda: check_agrees(run, settings | {"data": {"root": "there", "frames": 8}}, ["data.root"]))
    assert "was started with data.frames = 4, not 8" in message and "training.workers, data.root)" in message
    assert "without model.depth = 3" in refused(lambda: check_agrees(run, settings | {"model": {"depth": 3}}))
    fewer = settings | {"data": {"root": "here"}}
    assert "with data.frames = 4, not left out" in refused(lambda: check_agrees(run, fewer))

    def upgraded(folder):
        return load_run(folder) | {"model": {"depth": 3}}

    check_agrees(run, settings | {"model": {"depth": 3}}, read_settings=upgraded)


def test_renamed_tensors_find_their_place(run, tmp_path):
    """Whole parts of a name, in the model, the running mean and the optimizer; new names stay as they are."""
    class Renamed(Line):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleDict({"conv": self.conv})
            del self.conv

        @property
        def conv(self):
            return self.layers["conv"]

    settings = config(steps=12, ema_decay=0.5)
    model = Renamed()
    assert "layers.conv.weight is not in it there, (3, 3, 1, 3, 3) here" in refused(lambda: load_weights(model, run))
    load_weights(model, run, renamed={"conv": "layers.conv", "onv": "x"})
    assert torch.equal(model.conv.weight, load_tensors(run, 9, EMA)["conv.weight"])
    for renamed in ({"conv": "layers.conv"}, {"conv": "wrong"}):  # the second time there is nothing to rename
        train(Renamed(), DATA, settings, run, renamed=renamed)
    train(line(), DATA, settings, tmp_path / "whole")
    for name in (MODEL, EMA):
        old, new = load_tensors(tmp_path / "whole", 12, name), load_tensors(run, 12, name)
        assert all(torch.equal(old[key], new[key.replace("conv", "layers.conv")]) for key in old)


# Checkpoints


@pytest.mark.parametrize("name, act", [
    (MODEL, lambda run: load_weights(Line(), run, ema=False)), (EMA, lambda run: load_weights(Line(), run)),
    (MODEL, lambda run: train(line(), DATA, config(steps=9, ema_decay=0.5), run)),
    (EMA, lambda run: train(line(), DATA, config(steps=12, ema_decay=0.5), run)),
])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_loaded(run, name, act, bad):
    tensors = load_tensors(run, 9, name)
    tensors["conv.bias"][1] = bad
    write(run, name, safetensors_of(tensors))
    message = refused(lambda: act(run))
    assert f"the checkpoint in {run} is of no use: conv.bias holds numbers that are not finite" in message


def test_an_emptied_checkpoint_of_a_finished_run(run):
    for name in (MODEL, STATE, EMA, MANIFEST):
        (folder_of(run, 9) / name).unlink()
    assert "manifest.json: No such file" in refused(lambda: train(line(), DATA, config(ema_decay=0.5), run))
    assert "go back to step 6" in refused(lambda: load_weights(Line(), run))


@pytest.mark.parametrize("name", [MODEL, EMA, STATE])
def test_a_finished_run_is_verified(run, name):
    path = folder_of(run, 9) / name
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{name}: " in refused(lambda: train(line(), DATA, config(ema_decay=0.5), run))


def test_a_finished_run_gives_the_model_its_weights(run):
    model = line(seed=5)
    assert train(model, DATA, config(ema_decay=0.5), run) == 0
    assert torch.equal(model.conv.weight, load_tensors(run, 9, MODEL)["conv.weight"])


class Program:
    """A pickle that writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


STATES = {
    "no zip": lambda state, path: b"PK\x03\x04" + bytes(100), "nothing": lambda state, path: b"",
    "a list": lambda state, path: torch_bytes([1, 2], path), "a text": lambda state, path: torch_bytes("state", path),
    "no keys": lambda state, path: torch_bytes({}, path),
    "a key less": lambda state, path: torch_bytes({"optimizers": state["optimizers"], "seconds": 1.0}, path),
    "no seconds": lambda state, path: torch_bytes(state | {"seconds": "long"}, path),
    "endless seconds": lambda state, path: torch_bytes(state | {"seconds": float("nan")}, path),
    "no optimizers": lambda state, path: torch_bytes(state | {"optimizers": 3}, path),
    "a program": lambda state, path: torch_bytes(state | {"seconds": Program(path.with_name("ran"))}, path),
    "a bare program": lambda state, path: pickle.dumps(Program(path.with_name("ran"))),
}


@pytest.mark.parametrize("contents", STATES.values(), ids=STATES.keys())
def test_a_manifest_that_agrees_with_a_bad_state(run, tmp_path, contents):
    write(run, STATE, contents(load_state(run, 9), tmp_path / "file"))
    for act in lambda: load_state(run, 9), lambda: train(line(), DATA, config(steps=12, ema_decay=0.5), run):
        assert "state.pt: not what lvlib writes" in refused(act)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("optimizers", [
    {}, {"other": {}}, {"model": {}}, {"model": 5}, {"model": {"state": 7}}, {"model": {"state": {0: 7}}},
    {"model": {"state": {0: {"step": 1}}}}, {"model": {"state": {9: {}}}},
    {"model": {"state": {0: {"step": 1, "exp_avg": 1, "exp_avg_sq": 1}}}},
])
def test_a_state_of_another_training(run, tmp_path, optimizers):
    write(run, STATE, torch_bytes(load_state(run, 9) | {"optimizers": optimizers}, tmp_path / "file"))
    message = refused(lambda: train(line(), DATA, config(steps=12, ema_decay=0.5), run))
    assert f"{STATE} is of another training" in message
    assert weights(run, 9) == (folder_of(run, 9) / MODEL).read_bytes() and steps_saved(run) == [3, 6, 9]


def test_a_model_with_other_optimizers(run):
    write(run, MODEL, safetensors_of(gan().state_dict()))
    write(run, EMA, (folder_of(run, 9) / MODEL).read_bytes())
    message = refused(lambda: train(gan(), DATA, config(steps=12, ema_decay=0.5), run))
    assert "the optimizers are model there, generator, discriminator here" in message


@pytest.mark.parametrize("contents", [
    b"", b"\xff" * 20, (10**18).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]",
    (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,80]}}     ' + bytes(8),
    (60).to_bytes(8, "little") + b'{"a":{"dtype":"Q99","shape":[2],"data_offsets":[0,8]}}      ' + bytes(8),
])
def test_a_manifest_that_agrees_with_bad_tensors(run, contents):
    write(run, MODEL, contents)
    assert "model.safetensors: not what lvlib writes" in refused(lambda: load_weights(Line(), run, ema=False))


@pytest.mark.parametrize("files", [
    None, [], {"model.safetensors": None}, {"model.safetensors": {"bytes": "9", "sha256": "0"}},
    {"model.safetensors": {"sha256": "0"}}, {"../../x": {"bytes": 0, "sha256": "0"}}, {},
])
def test_manifests_of_anything(run, files):
    (folder_of(run, 9) / MANIFEST).write_text(json.dumps({"files": files}))
    refused(lambda: load_weights(Line(), run))
    refused(lambda: train(line(), DATA, config(ema_decay=0.5), run))


def test_random_bytes_in_files_that_the_manifest_agrees_with(run):
    """Whatever a reader makes of them: it loads, or one line says that it does not."""
    random_ = random.Random(0)
    for name, read in (MODEL, lambda: load_tensors(run, 9, MODEL)), (STATE, lambda: load_state(run, 9)):
        whole = (folder_of(run, 9) / name).read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(random_.randint(1, 20)):
                data[random_.randrange(min(len(data), 2000))] = random_.randrange(256)
            write(run, name, bytes(data[:random_.choice([len(data), random_.randrange(len(data))])]))
            try:
                read()
            except UserError as error:
                assert "not what lvlib writes" in str(error)


def test_names_that_are_no_steps_are_let_be(run):
    for name in ("9", "0009", "1²345678", "notes", "tmp-notes"):
        (run / "checkpoints" / name).mkdir()
    (run / "checkpoints" / "tmp-00000042").write_text("mine")
    (run / "checkpoints" / "tmp-00000012").mkdir()
    assert train(line(), DATA, config(steps=12, ema_decay=0.5), run) == 3
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        "00000006", "00000009", "00000012", "9", "0009", "1²345678", "notes", "tmp-notes", "tmp-00000042"}


# Links, and the log


@pytest.mark.parametrize("name, refuses", [("lock", True), ("metrics.jsonl", True), ("config.tmp", False),
                                           ("metrics.tmp", False), ("checkpoints/tmp-00000012", True)])
def test_what_a_link_points_to_is_never_written_to(run, tmp_path, name, refuses):
    target = tmp_path / "target"
    target.write_text("mine\n")
    (run / name).unlink(missing_ok=True)
    try:
        (run / name).symlink_to(target)
    except OSError:
        pytest.skip("no symbolic links here")
    if name == "metrics.tmp":
        (run / "metrics.jsonl").write_text('{"step": 3}\n{"step": 11}\n')
    if refuses:
        with pytest.raises((UserError, RuntimeError), match="a link|symbolic link|File exists"):
            train(line(), DATA, config(steps=12, ema_decay=0.5), run)
    else:
        assert train(line(), DATA, config(steps=12, ema_decay=0.5), run) == 3
    assert target.read_text() == "mine\n"


def test_a_file_that_is_called_lock_keeps_what_is_in_it(run):
    (run / "lock").write_text("mine\n")
    assert "lock is a link, or not empty" in refused(
        lambda: train(line(), DATA, config(steps=12, ema_decay=0.5), run))
    assert (run / "lock").read_text() == "mine\n"


def test_a_bad_line_of_metrics_takes_no_other_with_it(run):
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    bad = [b"null\n", b'{"step": "x"}\n', b"\xff\xfe\n", b"[" * 5000 + b"\n", b'{"loss": 1}\n', b"\n"]
    mixed = [line for pair in zip(lines, bad + [b""] * 3, strict=True) for line in pair]
    (run / "metrics.jsonl").write_bytes(b"".join(mixed) + b'{"step": 10, "loss": 1}\n{"step": 10')
    train(line(), DATA, config(steps=12, ema_decay=0.5), run)
    assert (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:9] == lines
    assert [record["step"] for record in logged(run)] == list(range(1, 13))


@pytest.mark.posix
def test_a_pipe_where_a_checkpoint_is_to_be_written_is_not_waited_for(tmp_path):
    def pipe():
        os.mkfifo(tmp_path / "checkpoints" / "tmp-00000006")

    with pytest.raises(TrainingStopped, match="cannot write to .* the checkpoint of step 3 is whole"):
        train(at_step(5, pipe), DATA, config(), tmp_path)
