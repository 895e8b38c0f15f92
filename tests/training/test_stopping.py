"""What can stop a training, in one process: it loses nothing, and says in one line what is safe on disk."""

import errno
import os
import signal

import pytest
import torch
from toys import Clips, Line, at_step, config, line, logged, raise_signal, weights

from lvlib.errors import TrainingStopped, UserError
from lvlib.training import train
from lvlib.training.checkpoint import steps_saved

DATA = Clips()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_the_run_goes_on_as_if_nothing_had_been(tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match="interrupted after step 5: saved"):
        train(at_step(5, lambda: raise_signal(number)), DATA, config(), tmp_path / "stopped")
    assert signal.getsignal(number) is before
    assert steps_saved(tmp_path / "stopped") == [3, 5]
    train(line(), DATA, config(), tmp_path / "stopped")
    train(line(), DATA, config(), tmp_path / "whole")
    assert weights(tmp_path / "stopped", 9) == weights(tmp_path / "whole", 9)


def test_a_second_ctrl_c_breaks_off(tmp_path):
    def twice():
        raise_signal(signal.SIGINT)
        raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(at_step(5, twice), DATA, config(), tmp_path)
    assert steps_saved(tmp_path) == [3]


def test_an_interrupt_does_not_break_the_readers_of_data(tmp_path):
    """Ctrl-C in a terminal reaches them too."""
    def to_all():
        import multiprocessing
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        raise_signal(signal.SIGINT)

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


# Refusing


def test_bad_input_is_one_clear_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="training set has no clips"):
        train(line(), Clips(0), config(), tmp_path / "run")
    with pytest.raises(UserError, match="validation set has no clips"):
        train(line(), DATA, config(), tmp_path / "run", val_data=Clips(0))
    with pytest.raises(UserError, match="validation set has 1 clips: take more, or fewer processes than 2"):
        train(line(), DATA, config(), tmp_path / "run", val_data=Clips(1), devices=2)
    with pytest.raises(UserError, match="training.batch is 4: with 3 processes it must be a multiple of 3"):
        train(line(), DATA, config(), tmp_path / "run", devices=3)
    with pytest.raises(UserError, match="devices is 0 and nodes is 1"):
        train(line(), DATA, config(), tmp_path / "run", devices=0)
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to the run folder .*file: (Not a directory|File exists)"):
        train(line(), DATA, config(), tmp_path / "file")
    monkeypatch.setitem(__import__("sys").modules, "lightning.fabric", None)
    with pytest.raises(UserError, match=r'pip install "lvlib\[train\]"'):
        train(line(), DATA, config(), tmp_path / "run")


def test_two_trainings_in_one_folder(tmp_path):
    """The lock is of the process, so the other training is one: a fork, which asks for the lock and no more."""
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
