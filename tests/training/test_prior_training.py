"""Training a prior: on codes, with RMSprop and a learning rate that changes."""

import json
import math

import pytest
import torch
from toys import Codes, ConditionedCodes, conditioned_prior, config, prior

from lvlib.errors import UserError
from lvlib.models.lvt.prior import LatentVideoTransformer
from lvlib.models.videogpt.prior import VideoGPT
from lvlib.training import train
from lvlib.training.batches import STEP, for_model, global_batch, seed_everything, training_batches, validation_batches
from lvlib.training.checkpoint import (
    EMA,
    MODEL,
    Checkpoint,
    folder_of,
    load_state,
    load_tensors,
    save_checkpoint,
    steps_saved,
)

DATA, CONDITIONED = Codes(), ConditionedCodes()
SETTINGS = {"optimizer": "rmsprop", "betas": (0.9, 0.95), "learning_rate": 1e-3, "schedule": "cosine", "warmup": 3}
RISE_AND_FALL = [1 / 3, 2 / 3, 1, *((1 + math.cos(math.pi * taken / 6)) / 2 for taken in range(6))]


def learning_rates(run) -> list[float]:
    return [json.loads(text)["learning_rate"] for text in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_loop_on_codes_is_these_lines_of_torch(tmp_path):
    """RMSprop with momentum, a linear rise of three steps and half a cosine over the other six, written out."""
    trained = prior()
    train(trained, DATA, config(**SETTINGS), tmp_path)

    model = prior()
    parameters = list(model.parameters())
    square, moved = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    for step, share in enumerate(RISE_AND_FALL, 1):
        batch = [DATA[index]["latents"] for _, index in global_batch(len(DATA), 4, 0, step)]
        codes = torch.stack([torch.as_tensor(latents) for latents in batch])
        seed_everything(STEP, 0, step, 0)
        gradients = torch.autograd.grad(model.loss(codes, {})[0], parameters)
        for p, g, v, m in zip(parameters, gradients, square, moved, strict=True):
            v.mul_(0.95).add_(0.05 * g**2)
            m.mul_(0.9).add_(g / (v.sqrt() + 1e-8))
            with torch.no_grad():
                p -= 1e-3 * share * m
    for p, trained_p in zip(parameters, trained.parameters(), strict=True):
        torch.testing.assert_close(trained_p, p, rtol=1e-4, atol=1e-5)
    assert learning_rates(tmp_path) == pytest.approx([1e-3 * share for share in RISE_AND_FALL])


def test_each_clip_is_learned_with_its_own_condition(tmp_path):
    """Adam's first step is the rate times the gradient's sign: the gradient of codes and conditions, clip by clip."""
    trained = conditioned_prior()
    train(trained, CONDITIONED, config(steps=1, learning_rate=1e-3), tmp_path)
    model = conditioned_prior()
    (codes, condition), = (for_model(part) for part, in training_batches(CONDITIONED, config(), range(1, 2), 0, 1))
    losses = [model.loss(codes[i:i + 1], {name: part[i:i + 1] for name, part in condition.items()})[0]
              for i in range(4)]
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(sum(losses) / 4, list(parameters.values()))
    checked = set()
    for (name, before), gradient in zip(parameters.items(), gradients, strict=True):
        sure = gradient.abs() > 1e-5  # of smaller ones rounding decides the sign
        moved = (trained.get_parameter(name) - before)[sure]
        torch.testing.assert_close(moved, -1e-3 * gradient.sign()[sure], rtol=0.01, atol=0, msg=name)
        checked |= {name} if sure.any() else set()
    assert {  # of codes, frames, label and actions
        "embedding.weight", "conditioner.frames.layers.0.weight", "blocks.0.cross.kv.weight",
        "blocks.0.attention_norm.to_scale_shift.weight", "norm.to_scale_shift.weight", "out.weight"} <= checked


@pytest.mark.parametrize("schedule, warmup, shares", [
    ("constant", 0, [1] * 9), ("constant", 2, [0.5, *[1] * 8]), ("constant", 18, [n / 18 for n in range(1, 10)]),
    ("cosine", 0, [(1 + math.cos(math.pi * taken / 9)) / 2 for taken in range(9)]),
    ("cosine", 9, [n / 9 for n in range(1, 10)]),
])
def test_every_schedule_by_its_closed_form(tmp_path, schedule, warmup, shares):
    train(prior(), DATA, config(schedule=schedule, warmup=warmup), tmp_path)
    assert learning_rates(tmp_path) == pytest.approx([1e-2 * share for share in shares])


class Killed(BaseException):
    pass


class Dying:
    """Dies in the n-th step that it takes."""

    left = 0

    def loss(self, *inputs):
        self.left -= self.training
        if self.training and self.left == 0:
            raise Killed
        return super().loss(*inputs)


class DyingLVT(Dying, LatentVideoTransformer):
    pass


class DyingVideoGPT(Dying, VideoGPT):
    pass


@pytest.mark.parametrize("make, dying, data", [
    (prior, DyingLVT, DATA), (lambda *kind: conditioned_prior(*kind, dropout=0.3), DyingVideoGPT, CONDITIONED),
], ids=["codes", "conditions"])
def test_killed_and_resumed_it_ends_as_if_nobody_had_disturbed_it(tmp_path, make, dying, data):
    """Killed in the warm-up, in the fall, and in the first step after a checkpoint."""
    settings = config(**SETTINGS, ema_decay=0.9, gradient_clip=1.0)
    train(make(), data, settings, tmp_path / "whole", val_data=data)
    for die_in, resumed_from in (2, 0), (5, 0), (7, 3), (8, 6):
        model = make(dying)
        model.left = die_in - resumed_from
        with pytest.raises(Killed):
            train(model, data, settings, tmp_path / "killed", val_data=data)
        assert max(steps_saved(tmp_path / "killed"), default=0) == (die_in - 1) // 3 * 3
    train(make(), data, settings, tmp_path / "killed", val_data=data)
    for name in (MODEL, EMA):
        whole, killed = (folder_of(tmp_path / run, 9) / name for run in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()
    assert learning_rates(tmp_path / "killed") == learning_rates(tmp_path / "whole")


def test_validation_is_the_mean_over_the_clips(tmp_path):
    class EverySlice(LatentVideoTransformer):
        """Without chance: the exact loss, of all slices."""

        def loss(self, latents, condition):
            bits = self.scores(latents, {}, 1)["bits_per_dim"].mean()
            return bits + 0 * sum(p.sum() for p in self.parameters()), {}

    model = prior(EverySlice)
    train(model, DATA, config(steps=1, batch=5), tmp_path, val_data=DATA)
    logged = json.loads((tmp_path / "metrics.jsonl").read_text())
    bits = [model.scores(torch.as_tensor(DATA[i]["latents"])[None], {}, 1)["bits_per_dim"] for i in range(len(DATA))]
    assert logged["val_loss"] == pytest.approx(torch.cat(bits).mean().item(), rel=1e-5)


def test_validation_sees_the_conditions_too(tmp_path):
    model = conditioned_prior()
    train(model, CONDITIONED, config(steps=1, batch=5), tmp_path, val_data=CONDITIONED)
    logged = json.loads((tmp_path / "metrics.jsonl").read_text())
    (codes, condition), = map(for_model, validation_batches(CONDITIONED, config(batch=23), 0, 1))
    with torch.no_grad():
        assert logged["val_loss"] == pytest.approx(model.loss(codes, condition)[0].item(), rel=1e-5)
        other = model.loss(codes, condition | {"label": (condition["label"] + 1) % 5})[0]
    assert logged["val_loss"] != pytest.approx(other.item(), rel=1e-4)


def test_with_a_cosine_the_number_of_steps_is_part_of_the_run(tmp_path):
    train(prior(), DATA, config(schedule="cosine"), tmp_path / "cosine")
    with pytest.raises(UserError, match="training.steps = 9, not 12, on which .*free to change: training.log_every"):
        train(prior(), DATA, config(schedule="cosine", steps=12), tmp_path / "cosine")


def test_a_run_from_before_there_were_schedules_and_several_optimizers_resumes(tmp_path):
    train(prior(), DATA, config(), tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["training"]["schedule"], values["training"]["warmup"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    state = load_state(tmp_path, 9)
    state["optimizer"] = state.pop("optimizers")["model"]  # there was only one, without a name
    old = Checkpoint(10, load_tensors(tmp_path, 9, MODEL), None, state, {})
    save_checkpoint(tmp_path, old, keep=1)
    assert train(prior(), DATA, config(steps=12), tmp_path) == 2
    assert learning_rates(tmp_path) == [1e-2] * 11
