"""What this machine cannot hold: refused before the work, and never what could still be done."""

import pytest
import torch

from lvlib.cli.arguments import override
from lvlib.configs import CONFIGS, Config, named_config
from lvlib.errors import UserError, in_one_line
from lvlib.reports import limits
from lvlib.reports.bench import bench
from lvlib.reports.describe import describe


def changed(name: str, **fields: str) -> Config:
    return override(named_config(name), {key.replace("__", "."): value.split() for key, value in fields.items()})


HUGE, HUGER = str(10**12), str(10**32)  # the second one does not even fit into 64 bits
TOO_MANY = "these sizes make a model of more than 20,000 layers and weights: take fewer"
TOO_LARGE = "a number is too large: "


@pytest.mark.parametrize("name, fields, message", [
    ("lvt-frames-bair", {"autoencoder__hidden": HUGE}, TOO_LARGE),
    ("lvt-frames-bair", {"autoencoder__hidden": HUGER}, TOO_LARGE),
    ("lvt-frames-bair", {"autoencoder__residual_blocks": HUGE}, TOO_MANY),
    ("lvt-frames-bair", {"autoencoder__codebooks": HUGE, "autoencoder__hidden": HUGE},
     "the latents of a clip would be 1 x 16 x 16 x 1000000000000 numbers"),
    ("lvt-frames-bair", {"autoencoder__codebooks": str(10**8), "autoencoder__hidden": str(10**8)}, TOO_MANY),
    ("bench-lvt", {"prior__decoder_layers": HUGE}, TOO_MANY),
    ("bench-videogpt", {"prior__layers": HUGE}, TOO_MANY),
    ("bench-videogpt", {"prior__dim": HUGE}, TOO_LARGE),
    ("bench-lvt", {"data__size": HUGE}, "a clip would be 3 x 16 x 1000000000000 x 1000000000000 numbers"),
    ("bench-lvt", {"data__frames": HUGE, "prior__subscale": "7 1 1"}, "a clip would be 3 x 1000000000000 x 64 x 64"),
    ("lvt-frames-bair", {"data__frames": HUGER}, f"a clip would be 3 x {HUGER} x 64 x 64 numbers, more than any"),
])
def test_sizes_without_measure(name, fields, message):
    """Each of them took for ever, or ended in an error of torch, in several lines."""
    for refuse in describe, limits.check_training, bench:
        with pytest.raises((UserError, RuntimeError, OverflowError, TypeError)) as refusal:
            refuse(changed(name, **fields))
        line = str(refusal.value) if refusal.type is UserError else in_one_line(refusal.value)
        assert message in line and "\n" not in line


@pytest.mark.parametrize("name, fields, what", [
    ("lvt-frames-bair", {"training__batch": HUGE}, "a batch of 1,000,000,000,000 clips"),
    ("bench-videogpt", {"training__batch": HUGE}, "a batch of 1,000,000,000,000 clips"),
    ("lvt-frames-bair", {"training__batch": HUGE, "training__accumulate": HUGE},
     "the list of 1,000,000,000,000 clips of a step"),
    ("lvt-frames-bair", {"autoencoder__codes": HUGE}, "the autoencoder with its optimizer"),
    ("bench-videogpt", {"prior__classes": HUGE}, "the prior with its optimizer"),
    ("bench-lvt", {"prior__embedding_dim": HUGE}, "the prior with its optimizer"),
    ("lvt-frames-bair", {"training__workers": HUGE}, "1,000,000,000,000 processes that read data"),
])
def test_more_than_the_memory_of_any_machine(name, fields, what):
    """Such sizes can be described, if torch can count with them; they cannot be trained."""
    config = changed(name, **fields)
    for refuse in limits.check_training, bench:
        with pytest.raises(UserError, match=f"{what}: .* of memory are needed, and .* are free"):
            refuse(config)
    assert describe(config)["training_memory_mb"] > 0


@pytest.mark.parametrize("name", ["lvt-frames-bair", "bench-lvt", "bench-videogpt", "videogpt-vqvae-bair"])
def test_what_training_needs_at_the_least_is_below_the_estimate(name, monkeypatch):
    """And the weights, which are most of what is known of the least, are counted exactly."""
    config = named_config(name)
    needed = {}
    monkeypatch.setattr(limits, "require_memory", lambda needs, what: needed.update({what.partition(" of ")[0]: needs}))
    limits.check_training(config)
    model = config.build()
    weights, buffers = (sum(tensor.nbytes for tensor in part) for part in (model.parameters(), model.buffers()))
    assert needed[f"the {config.stage} with its optimizer"] == 4 * weights + buffers
    estimate = describe(config)["training_memory_mb"] * 2**20
    assert 4 * weights + needed["a batch"] < estimate


def test_batches_are_shared_by_processes_and_micro_batches(monkeypatch):
    needed = []
    monkeypatch.setattr(limits, "require_memory", lambda needs, what: needed.append(needs) if "batch" in what else None)
    for accumulate, processes in ("1", 1), ("4", 1), ("1", 4), ("4", 4):
        limits.check_training(changed("lvt-frames-bair", training__accumulate=accumulate), processes)
    clip = 3 * 64 * 64 * 4
    assert needed == [32 * clip, 8 * clip, 8 * clip, 2 * clip]


def test_a_batch_must_divide_into_its_micro_batches():
    for refuse in describe, bench:
        with pytest.raises(UserError, match="training.batch is 32: .* it must be a multiple of 5"):
            refuse(changed("lvt-frames-bair", training__accumulate="5"))


def test_all_configurations_can_be_built():
    for named in CONFIGS.values():
        with torch.device("meta"):
            named.config.build()


def test_a_process_that_is_ended_from_outside_is_said(monkeypatch):
    """As by Linux, where the memory is all gone."""
    monkeypatch.setattr("lvlib.reports.bench.measure", end_at_once)
    with pytest.raises(UserError, match="the process that measures was ended from outside: too little memory?"):
        bench(named_config("lvt-frames-course"))


def end_at_once(*_):
    import os

    os._exit(9)


def test_describing_leaves_no_fake_mask_to_real_models():
    """Masks of sparse attention are kept by their size. Those that `describe` makes hold nothing."""
    config = changed("bench-videogpt", prior__attention="sparse", data__size="16", data__frames="4", prior__layers="1")
    describe(config)
    loss, _ = config.build().loss(config.latents.example(2), {})
    assert type(loss) is torch.Tensor and 0 < loss.item() < 100
