import json
from dataclasses import replace

import pytest
import torch

from lvlib.configs import CONFIGS, config_from_dict, named_config
from lvlib.errors import UserError
from lvlib.training import build_optimizer

PRIORS = [f"lvt-{data}{codebooks}{order}" for data in ("bair", "kinetics600") for codebooks in ("", "-nc1")
          for order in ("", "-spatial", "-spatiotemporal")]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_without_memory(name):
    config = named_config(name)
    with torch.device("meta"):
        models = [config.up_to(stage).build() for stage in config.stages]
    assert all(parameter.is_meta for model in models for parameter in model.parameters())
    assert list(config.stages) == ["autoencoder", "prior", "refiner"][:len(models)]
    assert len(config.latents.shape) in ((2,) if config.latents.planes else (3, 4))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_survives_json(name):
    config = named_config(name)
    config = replace(config, data=replace(config.data, root="somewhere"))
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_papers_numbers():
    """LVT, section 4.1: what the paper says of the frame autoencoder, checked against it field by field."""
    bair, nc4, kinetics = (named_config(f"lvt-frames-{name}") for name in ("bair", "bair-nc4", "kinetics"))
    for config in (bair, nc4, kinetics):
        assert (config.training.optimizer, config.training.learning_rate) == ("adam", 3e-4)
        assert config.training.batch * config.data.frames == 32  # images
        assert (config.data.size, config.autoencoder.channels, config.autoencoder.hidden) == (64, 3, 256)
    assert (bair.autoencoder.codes, bair.autoencoder.codebooks) == (512, 1)
    assert nc4.autoencoder.codes * nc4.autoencoder.codebooks == 2048
    assert kinetics.autoencoder.codebooks == 4
    one = named_config("lvt-frames-kinetics-nc1")
    assert one == replace(kinetics, autoencoder=replace(kinetics.autoencoder, codebooks=1))
    assert [c.autoencoder.residual_blocks for c in (bair, nc4, kinetics)] == [2, 2, 4]
    assert [c.training.steps for c in (bair, nc4, kinetics)] == [500_000, 500_000, 1_000_000]


@pytest.mark.parametrize("name", PRIORS)
def test_the_papers_priors(name):
    """LVT, section 4.1 and Table 7; the optimizer's numbers are the official code's."""
    config = named_config(name)
    assert config.latents.shape == (16, 16, 16) + (() if "nc1" in name else (4,))
    frames = "kinetics" if "kinetics" in name else "bair-nc4"
    assert replace(config.autoencoder, codebooks=4) == named_config(f"lvt-frames-{frames}").autoencoder
    order = {"spatial": (1, 2, 2), "spatiotemporal": (4, 2, 2)}.get(name.rpartition("-")[2], (16, 1, 1))
    assert config.prior.subscale == order and config.prior.prime_frames == 1
    training = config.training
    assert (training.optimizer, training.learning_rate, training.betas) == ("rmsprop", 2e-5, (0.9, 0.95))
    assert (training.batch, training.steps, training.schedule, training.warmup) == (64, 600_000, "constant", 0)
    for attention, millions in ("query-key", 49.87), ("key", 41.50), ("relative", 33.09):
        with torch.device("meta"):
            prior = replace(config, prior=replace(config.prior, attention=attention)).build()
        # The table is of n_c = 4 in the single-frame order; the others differ in their embeddings and windows.
        exact = name in ("lvt-bair", "lvt-kinetics600")
        assert sum(p.numel() for p in prior.parameters()) / 1e6 == pytest.approx(millions, rel=0.005 if exact else 0.15)


def test_the_optimizer_of_the_papers_priors():
    """The first of `betas` is the momentum, the second RMSprop's alpha."""
    optimizer = build_optimizer(torch.nn.Linear(1, 1).parameters(), named_config("lvt-bair").training)
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert {name: optimizer.defaults[name] for name in ("lr", "alpha", "momentum", "weight_decay", "centered")} == {
        "lr": 2e-5, "alpha": 0.95, "momentum": 0.9, "weight_decay": 0, "centered": False}


def test_unknown_name_lists_all_and_suggests_the_closest():
    with pytest.raises(UserError, match="did you mean lvt-frames-bair.* bench-lvt"):
        named_config("lvt-frame-bair")


def test_names_of_configurations_and_of_their_classes_are_used_once():
    """config.json keeps the name of a class: two systems with a class of one name would read each other's runs."""
    import lvlib.configs as systems

    tables = [module.CONFIGS for module in vars(systems).values() if hasattr(module, "CONFIGS")]
    assert len(tables) >= 2 and sum(map(len, tables)) == len(CONFIGS)
    classes = {type(stage) for named in CONFIGS.values() for stage in named.config.stages.values()}
    assert len({kind.__name__ for kind in classes}) == len(classes)


def test_a_tuple_of_any_length_is_read_back_and_takes_all_its_words(monkeypatch):
    from dataclasses import dataclass

    from lvlib.cli.arguments import split_overrides
    from lvlib.configs.config import Named
    from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig

    @dataclass(frozen=True)
    class Wide(FrameVQVAEConfig):
        widths: tuple[int, ...] = (1, 2, 4)
        pairs: tuple[tuple[int, int], ...] = ((1, 2), (3, 4))

    course = named_config("lvt-frames-course")
    config = replace(course, autoencoder=Wide(widths=(3, 5)))
    monkeypatch.setitem(CONFIGS, "wide", Named(config, "", ""))
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config
    words = ["--autoencoder.widths", "1", "2", "4", "8", "--out", "RUN"]
    assert split_overrides(words) == (["--out", "RUN"], {"autoencoder.widths": ["1", "2", "4", "8"]})
