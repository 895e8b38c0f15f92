"""What can stop a training, in one process: it loses nothing, and says in one line what is safe on disk."""

import errno
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Clips, Line, at_step, config, line, logged, weights

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import train
from lvlib.training.checkpoint import steps_saved
from lvlib.training.engine import choose_device

DATA = Clips()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_the_run_resumes_as_if_nothing_had_been(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match="interrupted after step 5: saved"):
        train(at_step(5, lambda: signal.raise_signal(number)), DATA, config(), tmp_path / "stopped")
    assert signal.getsignal(number) is before
    assert steps_saved(tmp_path / "stopped") == [3, 5]
    train(line(), DATA, config(), tmp_path / "stopped")
    train(line(), DATA, config(), tmp_path / "whole")
    assert weights(tmp_path / "stopped", 9) == weights(tmp_path / "whole", 9)


def test_a_second_ctrl_c_breaks_off(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(at_step(5, twice), DATA, config(), tmp_path)
    assert steps_saved(tmp_path) == [3]


def test_a_second_sigterm_ends_the_process(tmp_path):
    """By what the system does with it, even where a step waits for what never comes."""
    handlers = []

    def once():
        signal.raise_signal(signal.SIGTERM)
        handlers.append(signal.getsignal(signal.SIGTERM))

    with pytest.raises(TrainingStopped, match="interrupted after step 5"):
        train(at_step(5, once), DATA, config(), tmp_path)
    assert handlers == [signal.SIG_DFL]


@pytest.mark.posix
def test_an_interrupt_does_not_break_the_readers_of_data(tmp_path):
    """Ctrl-C in a terminal reaches them too."""
    def to_all():
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped, match="interrupted after step 5"):
        train(at_step(5, to_all), DATA, config(workers=2), tmp_path)


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_loss_that_is_not_finite_stops(tmp_path, bad):
    model = line()

    def poison(batches):
        if batches == 8:
            with torch.no_grad():
                model.conv.bias.fill_(float(bad))

    model.hook = poison
    with pytest.raises(TrainingStopped, match="loss is not finite at step 8; the checkpoint of step 6 is whole"):
        train(model, DATA, config(), tmp_path)
    assert steps_saved(tmp_path) == [3, 6]
    with pytest.raises(TrainingStopped, match="loss is not finite at step 2; there is no checkpoint yet"):
        train(line(), DATA, config(learning_rate=1e30), tmp_path / "too fast")


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    """A loss can be finite and its gradient not: sqrt at 0."""
    class Root(Line):
        def loss(self, video):
            loss, metrics = super().loss(video)
            return (loss + (self.conv.bias[0] * 0).sqrt() if self.batches == 6 else loss), metrics

    with pytest.raises(TrainingStopped, match="conv.* is not finite after step 6; the checkpoint of step 3 is whole"):
        train(Root(), DATA, config(), tmp_path)
    assert steps_saved(tmp_path) == [3]


def test_a_full_disk_stops_with_the_old_checkpoint_whole(tmp_path, monkeypatch):
    fsync = os.fsync

    def full(descriptor):
        if (tmp_path / "checkpoints" / "tmp-00000006").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingStopped) as caught:
        train(line(), DATA, config(), tmp_path)
    assert str(caught.value) == (f"cannot write to {tmp_path} at step 6: No space left on device; "
                                 "the checkpoint of step 3 is whole")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000003"]
    monkeypatch.undo()
    assert train(line(), DATA, config(), tmp_path) == 6


@pytest.mark.parametrize("limit, log_every", [(600, 9), (100, 1)], ids=["in a checkpoint", "in the log"])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_files_that_the_system_refuses_to_let_grow(tmp_path, capfd, limit, log_every):
    """A real refusal by the kernel, in whatever call it happens to come; nothing is printed from any thread."""
    resource = pytest.importorskip("resource")  # Windows has none
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = at_step(5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1])))
    try:
        with pytest.raises(TrainingStopped, match="File too large; the checkpoint of step 3 is whole"):
            train(model, DATA, config(log_every=log_every), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000003"]
    train(line(), DATA, config(log_every=log_every), tmp_path)
    train(line(), DATA, config(log_every=log_every), tmp_path / "whole")
    assert weights(tmp_path, 9) == weights(tmp_path / "whole", 9)
    assert [r["step"] for r in logged(tmp_path)] == [r["step"] for r in logged(tmp_path / "whole")]


def all_but_training(act):
    """Runs act() in the processes that read data, and there alone."""
    return lambda: torch.utils.data.get_worker_info() and act()


class Touchy(Clips):
    """Clip 7 does something when it is read."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def __getitem__(self, index):
        if index == 7:
            self.act()
        return super().__getitem__(index)


def lose_memory():
    raise MemoryError


@pytest.mark.parametrize("make, data, reason", [
    (lambda: at_step(5, lose_memory), DATA, "out of memory"),
    (lambda: at_step(5, lambda: torch.empty(10**15)), DATA, "out of memory"),
    (lambda: at_step(5, lambda: np.empty(10**15)), DATA, "out of memory"),
    (line, Touchy(lose_memory), "out of memory"), (line, Touchy(lambda: torch.empty(10**15)), "out of memory"),
])
@pytest.mark.parametrize("workers", [0, 1])
def test_out_of_memory_is_one_line(tmp_path, make, data, reason, workers):
    with pytest.raises(TrainingStopped) as caught:
        train(make(), data, config(workers=workers), tmp_path)
    assert re.fullmatch(rf"{reason} \(.*training.batch.*\) in step \d; the checkpoint of step \d is whole"
                        rf"|{reason} \(.*\) in step \d; there is no checkpoint yet", str(caught.value))


@pytest.mark.posix
@pytest.mark.parametrize("name", ["SIGKILL", "SIGBUS"])
def test_a_killed_data_worker_is_one_line(tmp_path, name, capfd):
    """SIGBUS is how the system tells a process that /dev/shm is full."""
    number = getattr(signal, name)
    on_child = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(TrainingStopped, match=r"a process that reads data died .* in step \d; .* checkpoint"):
        train(line(), Touchy(all_but_training(lambda: signal.raise_signal(number))), config(workers=1), tmp_path)
    assert not multiprocessing.active_children() and signal.getsignal(signal.SIGCHLD) is on_child
    assert capfd.readouterr() == ("", "")


@pytest.mark.posix
def test_a_loader_used_before_does_not_spoil_that_line(tmp_path):
    """Once another loader has set torch's handler of SIGCHLD, it raises the death of a worker anywhere."""
    def anywhere(*_):
        raise RuntimeError("DataLoader worker is killed by signal")

    before = signal.signal(signal.SIGCHLD, anywhere)
    try:
        for turn in range(5):
            with pytest.raises(TrainingStopped, match="a process that reads data died"):
                train(line(), Touchy(all_but_training(lambda: signal.raise_signal(signal.SIGBUS))), config(workers=1),
                      tmp_path / str(turn))
        assert signal.getsignal(signal.SIGCHLD) is anywhere
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


@pytest.mark.posix
def test_the_first_loader_of_a_process_leaves_no_handler_either(tmp_path):
    """Torch sets its own then, once a process."""
    script = ("import signal\nfrom toys import Clips, config\nfrom lvlib.training.batches import training_batches\n"
              "batches = training_batches(Clips(), config(workers=1), range(1, 4), 0, 1)\nnext(batches)\n"
              "assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL\nbatches.close()\n")
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent, check=True, timeout=120)


def test_a_mistake_in_a_model_or_a_data_set_is_shown_as_what_it_is(tmp_path):
    def mistake():
        raise RuntimeError("shapes (2, 3) and (4, 5)")

    for model, data, workers in (at_step(5, mistake), DATA, 0), (line(), Touchy(mistake), 1):
        with pytest.raises(RuntimeError, match="shapes"):
            train(model, data, config(workers=workers), tmp_path / str(workers))
        assert not multiprocessing.active_children()


def test_in_another_thread_signals_are_left_alone(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, line(), DATA, config(workers=1), tmp_path).result() == 9


# Refusing


@pytest.mark.parametrize("variables, line_", [
    ({"LOCAL_WORLD_SIZE": "2"}, "WORLD_SIZE is ''"), ({"LOCAL_WORLD_SIZE": "two", "WORLD_SIZE": "2"}, "is 'two'"),
    ({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'"),
    ({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}, "RANK is ''"),
    ({"LOCAL_WORLD_SIZE": "0", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, "devices is 0"),
    ({"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0"}, "as many processes"),
    ({"LOCAL_WORLD_SIZE": "\u0662", "WORLD_SIZE": "2"}, "LOCAL_WORLD_SIZE is"),
])
def test_variables_as_torchrun_does_not_set_them(tmp_path, monkeypatch, variables, line_):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        train(line(), DATA, config(), tmp_path / "run")
    assert line_ in str(caught.value) and "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("variables", [{"LOCAL_RANK": "x"}, {"NODE_RANK": "x", "LOCAL_RANK": "0"},
                                       {"TORCHELASTIC_RUN_ID": "x"}])
def test_variables_that_fabric_cannot_use(tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="cannot start 2 processes"):
        train(line(), DATA, config(), tmp_path / "run", devices=2)


def test_devices(tmp_path, monkeypatch):
    def there(cuda, mps):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    choices = {(True, True): "cuda", (True, False): "cuda", (False, True): "mps", (False, False): "cpu"}
    for available, device in choices.items():
        there(*available)
        assert choose_device() == choose_device("auto") == choose_device(device) == device
        assert choose_device("cpu") == "cpu"
    there(False, False)
    for device, reason in ("cuda", "no cuda that torch can use; it has: cpu"), ("gpu", "unknown device 'gpu'"):
        with pytest.raises(UserError, match=reason):
            train(line(), DATA, config(), tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()
    assert train(line(), DATA, config(steps=1), tmp_path / "run", device="cpu") == 1


def test_bad_input_is_one_clear_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="training set has no clips"):
        train(line(), Clips(0), config(), tmp_path / "run")
    with pytest.raises(UserError, match="validation set has no clips"):
        train(line(), DATA, config(), tmp_path / "run", val_data=Clips(0))
    with pytest.raises(UserError, match="validation set has 1 clips: take more, or fewer processes than 2"):
        train(line(), DATA, config(), tmp_path / "run", val_data=Clips(1), devices=2)
    with pytest.raises(UserError, match="training.batch is 4: with 3 processes it must be a multiple of 3"):
        train(line(), DATA, config(), tmp_path / "run", devices=3)
    with pytest.raises(UserError, match="batch is 4: with 2 processes of 4 micro-batches it must be a multiple of 8"):
        train(line(), DATA, config(accumulate=4), tmp_path / "run", devices=2)
    with pytest.raises(UserError, match="devices is 0 and nodes is 1"):
        train(line(), DATA, config(), tmp_path / "run", devices=0)
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the run folder .*file: (Not a directory|File exists)"):
        train(line(), DATA, config(), tmp_path / "file")
    monkeypatch.setitem(__import__("sys").modules, "lightning.fabric", None)
    with pytest.raises(UserError, match=r'pip install "lvlib\[train\]"'):
        train(line(), DATA, config(), tmp_path / "run")


@pytest.mark.posix
def test_two_trainings_in_one_folder(tmp_path):
    """The other training is a process of its own, which asks for the lock and no more."""
    from lvlib.training.run import lock

    answers = []

    def ask():
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                lock(tmp_path)
            except UserError as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.close(writer)
        os.wait()
        answers.append(os.read(reader, 1000).decode())

    train(at_step(5, ask), DATA, config(), tmp_path)
    ask()
    assert answers == [f"another process is training in {tmp_path}", ""]


def test_nothing_is_printed_unless_asked(tmp_path, capfd):
    train(line(), DATA, config(), tmp_path / "silent")
    assert capfd.readouterr() == ("", "")
    train(line(), DATA, config(), tmp_path / "bar", progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "9/9" in err and "loss=" in err
