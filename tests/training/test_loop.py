"""The loop in one process: that it trains as plain torch would, and resumes as if it had not been stopped."""

import json

import numpy as np
import pytest
import torch
from toys import Clips, Line, NoisyVQVAE, at_step, codebook_model, config, gan, line, logged, planes, weights

from lvlib.data import to_video
from lvlib.errors import UserError
from lvlib.training import load_weights, train
from lvlib.training.batches import STEP, global_batch, seed_everything
from lvlib.training.checkpoint import EMA, MODEL, folder_of, load_state, load_tensors, steps_saved

DATA = Clips()


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


@pytest.mark.parametrize("clip", [0, 0.05])
def test_six_micro_batches_of_two_are_one_batch_of_twelve(tmp_path, clip):
    """To the last digits: weights and running mean, what both optimizers remember, and the log."""
    settings = {"steps": 5, "batch": 12, "ema_decay": 0.8, "gradient_clip": clip, "log_every": 1}
    train(planes(), DATA, config(**settings), tmp_path / "whole")
    train(planes(), DATA, config(**settings, accumulate=6), tmp_path / "split")
    close = {"rtol": 1e-9, "atol": 1e-12}
    for name in (MODEL, EMA):
        whole, split = (load_tensors(tmp_path / run, 5, name) for run in ("whole", "split"))
        assert all(tensor.dtype == torch.float64 for tensor in whole.values())
        torch.testing.assert_close(split, whole, **close)
        assert all((whole[name] - tensor).abs().max() > 1e-4 for name, tensor in planes().state_dict().items())
    whole, split = (load_state(tmp_path / run, 5)["optimizers"] for run in ("whole", "split"))
    assert whole.keys() == {"generator", "discriminator"}
    for name in whole:
        torch.testing.assert_close(split[name]["state"], whole[name]["state"], **close)
    for expected, got in zip(logged(tmp_path / "whole"), logged(tmp_path / "split"), strict=True):
        assert {"generator_loss", "discriminator_loss", "l1"} < expected.keys()
        for name in expected.keys() - {"seconds", "clips_per_second"}:
            assert got[name] == pytest.approx(expected[name], rel=1e-6), name  # they are logged as float32


def test_validation_is_the_loss_of_the_running_mean(tmp_path):
    train(line(noise=0), DATA, config(ema_decay=0.5, batch=5), tmp_path, val_data=Clips(7))
    model = Line(noise=0).eval()
    load_weights(model, tmp_path)
    losses = [model.loss(to_video(Clips(7)[i]["video"])[None])[0] for i in range(7)]
    assert logged(tmp_path)[-1]["val_loss"] == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert [record["step"] for record in logged(tmp_path) if "val_loss" in record] == [4, 8, 9]


def test_validation_does_not_touch_training(tmp_path):
    train(codebook_model(NoisyVQVAE), DATA, config(), tmp_path / "with", val_data=Clips(7))
    train(codebook_model(NoisyVQVAE), DATA, config(), tmp_path / "without")
    assert weights(tmp_path / "with", 9) == weights(tmp_path / "without", 9)


def test_validation_draws_the_same_noise_each_time(tmp_path):
    for workers in (0, 1):
        still = config(learning_rate=1e-30, workers=workers)
        train(line(noise=1.0), DATA, still, tmp_path / str(workers), val_data=Clips(7))
    losses = [record["val_loss"] for run in "01" for record in logged(tmp_path / run) if "val_loss" in record]
    assert len(losses) == 6 and len(set(losses)) == 1


def test_it_learns(tmp_path):
    train(line(), DATA, config(steps=150, learning_rate=0.02, checkpoint_every=150), tmp_path)
    losses = [record["loss"] for record in logged(tmp_path)]
    assert losses[-1] < 0.2 * losses[0]


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


# Resuming


class Growing(Clips):
    """A curriculum: two frames until step 5, then four."""

    def item_at(self, index, step):
        return {"video": np.tile(self[index]["video"], (1 + (step > 5), 1, 1, 1))}


@pytest.mark.parametrize("make, data, accumulate", [
    (line, Clips(), 1), (lambda: codebook_model(NoisyVQVAE), Clips(), 1), (gan, Clips(), 2), (gan, Growing(), 1),
], ids=["line", "codebooks", "gan", "curriculum"])
def test_a_run_in_pieces_is_the_run_in_one_piece(tmp_path, make, data, accumulate):
    settings = {"ema_decay": 0.9, "gradient_clip": 1.0, "optimizer": "adamw", "accumulate": accumulate}
    assert train(make(), data, config(**settings), tmp_path / "whole") == 9
    for steps, workers, taken in [(1, 0, 1), (2, 0, 1), (7, 2, 5), (9, 0, 2)]:
        pieces = config(steps=steps, workers=workers, **settings)
        assert train(make(), data, pieces, tmp_path / "pieces") == taken
    assert weights(tmp_path / "whole", 9) == weights(tmp_path / "pieces", 9)
    for name in (MODEL, EMA):
        whole, pieces = (folder_of(tmp_path / run, 9) / name for run in ("whole", "pieces"))
        assert whole.read_bytes() == pieces.read_bytes()


def test_the_log_of_several_losses(tmp_path):
    """Each loss under the name of its optimizer, from the step on at which it moves; in validation too."""
    train(gan(), DATA, config(steps=4, validate_every=2), tmp_path, val_data=Clips(6))
    times = {"step", "seconds", "clips_per_second", "learning_rate"}
    generator, discriminator = {"generator_loss", "perplexity", "commitment_loss"}, {"discriminator_loss", "margin"}
    assert [record.keys() - times for record in logged(tmp_path)] == [
        generator, generator | {f"val_{name}" for name in generator}, generator | discriminator,
        generator | discriminator | {f"val_{name}" for name in generator | discriminator}]


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
    assert [record["step"] for record in logged(tmp_path)] == [1, 2, 3, 4, 5]
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')
    (tmp_path / "checkpoints" / "tmp-00000006").mkdir()
    train(line(), DATA, config(), tmp_path)
    assert [record["step"] for record in logged(tmp_path)] == list(range(1, 10))
    assert steps_saved(tmp_path) == [3, 6, 9] and not list((tmp_path / "checkpoints").glob("tmp-*"))

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    curve = board.Scalars("loss")
    assert [event.step for event in curve] == list(range(1, 10))
    assert [event.value for event in curve] == pytest.approx([record["loss"] for record in logged(tmp_path)])


def test_a_line_of_logged(tmp_path):
    train(line(), DATA, config(log_every=4), tmp_path, val_data=Clips(7))
    first, *_ = records = logged(tmp_path)
    assert [record["step"] for record in records] == [4, 8, 9]
    assert first.keys() == {"step", "seconds", "loss", "largest_error", "learning_rate", "clips_per_second",
                            "val_loss", "val_largest_error"}
    assert first["learning_rate"] == 1e-2
    for before, after in zip(records, records[1:], strict=False):
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
