"""The loop in one process: that it trains as plain torch would, and that whatever stops it loses nothing."""

import errno
import json
import os
import signal

import pytest
import torch
from toys import Clips, Line, NoisyVQVAE, codebook_model, config, line, weights

from lvlib.data import to_video
from lvlib.errors import TrainingStopped, UserError
from lvlib.training import load_weights, train
from lvlib.training.batches import STEP, global_batch, seed_everything
from lvlib.training.checkpoint import EMA, MODEL, folder_of, load_tensors, steps_saved

DATA = Clips()


def metrics(run):
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def at_step(step, act):
    """A toy model in which something happens in the middle of this step."""
    model = line()
    model.hook = lambda batches: act() if batches == step else None
    return model


# What it computes


def test_the_loop_is_these_lines_of_torch(tmp_path):
    """Adam with decoupled weight decay, clipping, and the running mean, written out."""
    settings = config(optimizer="adamw", betas=(0.8, 0.9), weight_decay=0.1, gradient_clip=0.05, ema_decay=0.7)
    trained = line()
    train(trained, DATA, settings, tmp_path)

    model = line()
    parameters = list(model.parameters())
    first, second, mean = ([torch.zeros_like(p) for p in parameters] for _ in range(3))
    for step in range(1, 10):
        indices = [index for _, index in global_batch(len(DATA), 4, 0, step)]
        video = to_video(torch.stack([torch.tensor(DATA[index]["video"]) for index in indices]))
        seed_everything(STEP, 0, step, 0)
        gradients = torch.autograd.grad(model.loss(video)[0], parameters)
        norm = sum(g.square().sum() for g in gradients).sqrt()
        assert norm > 0.05  # else this would not test clipping
        for p, g, m, v, e in zip(parameters, gradients, first, second, mean, strict=True):
            g = g * (0.05 / norm)
            m.mul_(0.8).add_(0.2 * g)
            v.mul_(0.9).add_(0.1 * g**2)
            with torch.no_grad():
                p *= 1 - 1e-2 * 0.1
                p -= 1e-2 * (m / (1 - 0.8**step)) / ((v / (1 - 0.9**step)).sqrt() + 1e-8)
                e.copy_(p if step == 1 else 0.7 * e + 0.3 * p)
    for p, trained_p in zip(parameters, trained.parameters(), strict=True):
        torch.testing.assert_close(trained_p, p, rtol=1e-4, atol=1e-6)
    saved = load_tensors(tmp_path, 9, EMA)
    for name, e in zip(("conv.weight", "conv.bias"), mean, strict=True):
        torch.testing.assert_close(saved[name], e.detach(), rtol=1e-4, atol=1e-6)
    assert saved["batches"] == trained.batches == 9  # buffers are the model's own, not averaged


def test_validation_is_the_loss_of_the_running_mean(tmp_path):
    train(line(noise=0), DATA, config(ema_decay=0.5, batch=5), tmp_path, val_data=Clips(7))
    model = Line(noise=0).eval()
    load_weights(model, tmp_path)
    losses = [model.loss(to_video(Clips(7)[i]["video"])[None])[0] for i in range(7)]
    assert metrics(tmp_path)[-1]["val_loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert [record["step"] for record in metrics(tmp_path) if "val_loss" in record] == [4, 8, 9]


def test_validation_does_not_touch_training(tmp_path):
    train(codebook_model(NoisyVQVAE), DATA, config(), tmp_path / "with", val_data=Clips(7))
    train(codebook_model(NoisyVQVAE), DATA, config(), tmp_path / "without")
    assert weights(tmp_path / "with", 9) == weights(tmp_path / "without", 9)


def test_validation_draws_the_same_noise_each_time(tmp_path):
    for workers in (0, 1):
        still = config(learning_rate=1e-30, workers=workers)
        train(line(noise=1.0), DATA, still, tmp_path / str(workers), val_data=Clips(7))
    losses = [record["val_loss"] for run in "01" for record in metrics(tmp_path / run) if "val_loss" in record]
    assert len(losses) == 6 and len(set(losses)) == 1


def test_it_learns(tmp_path):
    train(line(), DATA, config(steps=150, learning_rate=0.02, checkpoint_every=150), tmp_path)
    logged = [record["loss"] for record in metrics(tmp_path)]
    assert logged[-1] < 0.2 * logged[0]


def test_bfloat16_runs_and_saves_float32(tmp_path):
    seen = []

    class Spy(Line):
        def loss(self, video):
            seen.append(self.conv(video).dtype)
            return super().loss(video)

    torch.manual_seed(0)
    train(Spy(), DATA, config(precision="bf16-mixed", ema_decay=0.9), tmp_path, val_data=Clips(7))
    assert set(seen) == {torch.bfloat16}  # in training and in validation
    assert {tensor.dtype for tensor in load_tensors(tmp_path, 9, MODEL).values()} == {torch.float32}
    train(codebook_model(), DATA, config(precision="bf16-mixed"), tmp_path / "codebook")


# Going on


@pytest.mark.parametrize("make", [line, lambda: codebook_model(NoisyVQVAE)], ids=["line", "codebooks"])
def test_a_run_in_pieces_is_the_run_in_one_piece(tmp_path, make):
    settings = {"ema_decay": 0.9, "gradient_clip": 1.0, "optimizer": "adamw"}
    assert train(make(), DATA, config(**settings), tmp_path / "whole") == 9
    for steps, workers, taken in [(1, 0, 1), (2, 0, 1), (7, 2, 5), (9, 0, 2)]:
        pieces = config(steps=steps, workers=workers, **settings)
        assert train(make(), DATA, pieces, tmp_path / "pieces") == taken
    assert weights(tmp_path / "whole", 9) == weights(tmp_path / "pieces", 9)
    for name in (MODEL, EMA):
        whole, pieces = (folder_of(tmp_path / run, 9) / name for run in ("whole", "pieces"))
        assert whole.read_bytes() == pieces.read_bytes()


def test_the_seed_matters(tmp_path):
    for seed in (0, 1):
        train(line(), DATA, config(seed=seed), tmp_path / str(seed))
    assert weights(tmp_path / "0", 9) != weights(tmp_path / "1", 9)


def test_a_finished_run_takes_no_step(tmp_path):
    train(line(), DATA, config(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    assert train(line(), DATA, config(), tmp_path) == 0
    assert train(line(), DATA, config(steps=5), tmp_path) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert json.loads((tmp_path / "config.json").read_text())["training"]["steps"] == 9


def test_a_crash_leaves_no_line_twice_and_survives_half_a_line(tmp_path):
    class Killed(BaseException):
        pass

    def die():
        raise Killed

    with pytest.raises(Killed):
        train(at_step(6, die), DATA, config(), tmp_path)  # the checkpoint of step 3, lines up to step 5
    assert [record["step"] for record in metrics(tmp_path)] == [1, 2, 3, 4, 5]
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')
    (tmp_path / "checkpoints" / "tmp-00000006").mkdir()
    train(line(), DATA, config(), tmp_path)
    assert [record["step"] for record in metrics(tmp_path)] == list(range(1, 10))
    assert steps_saved(tmp_path) == [3, 6, 9] and not list((tmp_path / "checkpoints").glob("tmp-*"))

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    curve = board.Scalars("loss")
    assert [event.step for event in curve] == list(range(1, 10))
    assert [event.value for event in curve] == pytest.approx([record["loss"] for record in metrics(tmp_path)])


def test_a_line_of_metrics(tmp_path):
    train(line(), DATA, config(log_every=4), tmp_path, val_data=Clips(7))
    first, *_ = logged = metrics(tmp_path)
    assert [record["step"] for record in logged] == [4, 8, 9]
    assert first.keys() == {"step", "seconds", "loss", "largest_error", "learning_rate", "clips_per_second",
                            "val_loss", "val_largest_error"}
    assert first["learning_rate"] == 1e-2
    for before, after in zip(logged, logged[1:], strict=False):
        speed = 4 * (after["step"] - before["step"]) / (after["seconds"] - before["seconds"])
        assert after["clips_per_second"] == pytest.approx(speed, rel=1e-6)


@pytest.mark.parametrize("change, field, old, new", [
    ({"learning_rate": 0.02}, "training.learning_rate", "0.01", "0.02"), ({"batch": 6}, "training.batch", "4", "6"),
    ({"seed": 1}, "training.seed", "0", "1"), ({"betas": (0.9, 0.9)}, "training.betas", "[0.9, 0.999]", "[0.9, 0.9]"),
])
def test_another_configuration_is_refused(tmp_path, change, field, old, new):
    train(line(), DATA, config(), tmp_path)
    kept = weights(tmp_path, 9)
    with pytest.raises(UserError) as caught:
        train(line(), DATA, config(steps=12, **change), tmp_path)
    message = str(caught.value)
    assert f"{field} = {old}, not {new}" in message and "training.steps" in message and "\n" not in message
    assert weights(tmp_path, 9) == kept


def test_other_data_and_another_description_are_refused(tmp_path):
    about = {"name": "toy", "data": {"root": "here", "frames": 2}}
    train(line(), DATA, config(), tmp_path, describe=about)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["clips"] == 23 and saved["data"] == about["data"] and saved["training"]["betas"] == [0.9, 0.999]
    with pytest.raises(UserError, match="clips = 23, not 22"):
        train(line(), Clips(22), config(steps=12), tmp_path, describe=about)
    with pytest.raises(UserError, match="data.frames = 2, not 4"):
        train(line(), DATA, config(steps=12), tmp_path, describe=about | {"data": {"root": "here", "frames": 4}})
    with pytest.raises(UserError, match='name = "toy", not left out'):
        train(line(), DATA, config(steps=12), tmp_path, describe={"data": about["data"]})
    free = config(steps=10, log_every=2, validate_every=3, checkpoint_every=2, keep=1, workers=1)
    assert train(line(), DATA, free, tmp_path, describe=about | {"data": {"root": "there", "frames": 2}},
                 may_change=("data.root",)) == 1
    assert steps_saved(tmp_path) == [10]


def test_a_damaged_checkpoint_stops_before_anything_is_lost(tmp_path):
    train(line(), DATA, config(), tmp_path)
    state = folder_of(tmp_path, 9) / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(UserError, match=r"state.pt: 100 bytes instead of \d+.*remove that folder to go back to step 6"):
        train(line(), DATA, config(steps=12), tmp_path)
    state.unlink()  # as in a run of which only the weights were kept; but here is an older checkpoint with all of it
    with pytest.raises(UserError, match="state.pt: No such file.*remove that folder to go back to step 6"):
        train(line(), DATA, config(steps=12), tmp_path)
    for file in folder_of(tmp_path, 9).iterdir():
        file.unlink()
    folder_of(tmp_path, 9).rmdir()
    assert train(line(), DATA, config(steps=12), tmp_path) == 6


# Stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_the_run_goes_on_as_if_nothing_had_been(tmp_path, number):
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


@pytest.mark.posix
def test_an_interrupt_does_not_break_the_readers_of_data(tmp_path):
    """Ctrl-C in a terminal reaches them too."""
    def to_all():
        import multiprocessing
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
@pytest.mark.posix
def test_files_that_the_system_refuses_to_let_grow(tmp_path, capfd, limit, log_every):
    """A real refusal by the kernel, in whatever call it happens to come; nothing is printed from any thread."""
    import resource

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
    assert [r["step"] for r in metrics(tmp_path)] == [r["step"] for r in metrics(tmp_path / "whole")]


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


@pytest.mark.posix
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
