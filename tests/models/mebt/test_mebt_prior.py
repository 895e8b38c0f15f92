"""MeBT's prior: any latent frames given, what it costs in bits, what it refuses."""

import itertools
import math
import random

import pytest
import torch
from torch import Tensor

from lvlib.models.mebt.decoding import MeBTSampling
from lvlib.models.mebt.prior import MeBT, MeBTConfig, begin
from lvlib.stages import LatentSpec

SPEC = LatentSpec((4, 2, 3), 7, 4)
SMALL = {"dim": 16, "heads": 2, "hidden": 32, "encoder_layers": 2, "decoder_layers": 2, "bottleneck": 4}


def prior(spec: LatentSpec = SPEC, std: float = 0.5, **fields) -> MeBT:
    torch.manual_seed(0)
    model = MeBTConfig(**SMALL | fields).build(spec, (1, spec.shape[0] * 4, 8, 12))
    for parameter in model.parameters():  # fresh ones are small: all codes would be as likely
        torch.nn.init.normal_(parameter, std=std)
    return model.eval()


def some_codes(clips: int = 3, frames: int = 4) -> Tensor:
    return torch.randint(7, (clips, frames, 2, 3), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("places", [[0], [3], [0, 3], [1, 2], [2, 0], [0, 1, 2], [3, 1, 0]])
def test_any_frames_given_stay_where_they_belong(places):
    model, given = prior(), some_codes(frames=len(places))
    filled = model.sample(3, {}, given, MeBTSampling(steps=3, revise_rounds=1), places=places)
    assert filled.shape == (3, 4, 2, 3) and filled.dtype == torch.int64
    assert torch.equal(filled[:, places], given)


def test_without_places_the_given_frames_are_the_first():
    model, given = prior(), some_codes(1, 2)
    results = []
    for places in None, [0, 1]:
        torch.manual_seed(0)
        results.append(model.sample(2, {}, given, MeBTSampling(steps=3), places=places))
    assert torch.equal(*results) and torch.equal(results[0][:, :2], given.expand(2, -1, -1, -1))


def test_from_nothing_and_the_mode_of_the_model_is_as_before():
    model = prior().train()
    filled = model.sample(2, {}, sampling=MeBTSampling(steps=4))
    assert filled.shape == (2, 4, 2, 3) and model.training and not torch.equal(filled[0], filled[1])
    with pytest.raises(ValueError):
        model.sample(2, {}, sampling=MeBTSampling(steps=25))
    assert model.training


def test_what_it_is_told_reaches_the_codes():
    """Another label, other codes; actions of a latent frame change what is predicted."""
    model = prior(classes=3)
    results = []
    for label in 0, 0, 2:
        torch.manual_seed(0)
        results.append(model.sample(4, {"label": torch.tensor([label])}, sampling=MeBTSampling(steps=4)))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    model, codes = prior(actions=2), some_codes(2)
    bits = []
    for actions in torch.zeros(1, 16, 2), torch.ones(1, 16, 2):
        torch.manual_seed(0)
        bits.append(model.scores(codes, {"actions": actions}, 1)["bits_per_dim"])
    assert (bits[0] != bits[1]).all()


def test_a_model_that_knows_nothing_needs_the_bits_of_a_code():
    model = prior()
    torch.nn.init.zeros_(model.transformer.out.weight)
    for given in 0, 1, 3:
        bits = model.scores(some_codes(), {}, given)["bits_per_dim"]
        torch.testing.assert_close(bits, torch.full((3,), math.log2(7)))


@pytest.mark.parametrize("given", [0, 1])
def test_the_bound_is_the_mean_over_all_orders(given):
    """Each code from those before it, in each of the orders of 3 codes: the mean of many draws."""
    model = prior(LatentSpec((3 + given, 1, 1), 5))
    codes = torch.tensor([[4, 0, 3, 1][:3 + given]])
    free = range(given, 3 + given)
    bits = []
    for order in itertools.permutations(free):
        for i, place in enumerate(order):
            seen = torch.tensor([sorted([*range(given), *order[:i]])], dtype=torch.int64).view(1, -1)
            bits.append(model.transformer.nats(codes, seen, torch.tensor([[place]])).item() / math.log(2))
    expected = sum(bits) / len(bits)
    torch.manual_seed(0)
    many = codes.expand(200, -1).reshape(200, 3 + given, 1, 1)
    mean = torch.stack([model.scores(many, {}, given)["bits_per_dim"].mean() for _ in range(20)]).mean()
    assert mean.item() == pytest.approx(expected, abs=0.03)


def test_the_loss_is_the_mean_of_the_hidden_codes():
    """Of a model that knows nothing log 7, whatever is hidden; in training a stretch of the curriculum's length."""
    model, seen = prior(curriculum="gaussian", alpha=10.0, beta=0.1), []
    torch.nn.init.zeros_(model.transformer.out.weight)
    nats = model.transformer.nats

    def watched(codes, context, masked, told):
        seen.append(torch.cat([context, masked], 1).sort(1).values)
        return nats(codes, context, masked, told)

    model.transformer.nats = watched
    random.seed(0)
    for training, step in itertools.product((False, True), (1, 11, 1000)):
        model.train(training)
        (_, loss, metrics), = model.losses(some_codes(), {}, step=step)
        assert loss.item() == pytest.approx(math.log(7), abs=1e-5)
        assert metrics["bits_per_dim"].item() == pytest.approx(math.log2(7), abs=1e-5)
    for places in seen:
        start, n = int(places[0, 0]), places.shape[1]
        assert start % 6 == n % 6 == 0 and torch.equal(places, torch.arange(start, start + n).expand(3, n))
    lengths = [places.shape[1] // 6 for places in seen]
    assert lengths[:3] == [4, 4, 4] and lengths[3] <= 2 and lengths[5] == 4


@pytest.mark.parametrize("given, places, message", [
    (some_codes(3, 4), None, r"given codes must be of shape \(b, 1 to 3, 2, 3\), not "
                             r"\(3, 4, 2, 3\)"),
    (some_codes(3, 2), [0], r"places must be 2 different ones of 0 to 3, one for each given latent frame, not \[0\]"),
    (torch.zeros(3, 1, 2, 2, dtype=torch.int64), None, "given codes must be of shape"),
    (torch.zeros(3, 2, 3, dtype=torch.int64), None, "given codes must be of shape"),
    (torch.zeros(3, 0, 2, 3, dtype=torch.int64), None, "given codes must be of shape"),
    (some_codes(3, 2), [0, 4], r"places must be 2 different .* not \[0, 4\]"),
    (some_codes(3, 2), [-1, 0], r"places must be 2 different .* not \[-1, 0\]"),
    (some_codes(3, 2), [1, 1], r"places must be 2 different .* not \[1, 1\]"),
    (some_codes(2, 1), None, "give the codes of one clip, or of each of the 3, not of 2"),
    (some_codes(3, 1) + 5, None, r"codes must lie in 0..6; got 5 to 11"),
])
def test_given_codes_that_do_not_fit_are_refused(given, places, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        prior().sample(3, {}, given, MeBTSampling(steps=2), places=places)


def test_places_without_codes_are_refused():
    with pytest.raises(ValueError, match=r"^places \[0\] are of given codes: give them, too$"):
        begin(SPEC, 2, None, [0])


@pytest.mark.parametrize("condition, message", [
    ({}, "label"), ({"label": torch.tensor([3])}, "label"),
    ({"label": torch.tensor([1, 2, 0])}, "of one clip, or of each of the 2, not of 3"),
])
def test_a_condition_that_is_missing_or_does_not_fit_is_refused(condition, message):
    model = prior(classes=3)
    with pytest.raises(ValueError, match=message) as error:
        model.sample(2, condition, sampling=MeBTSampling(steps=2))
    assert "\n" not in str(error.value)


def test_a_needless_condition_another_length_and_other_shapes_are_refused():
    model = prior()
    with pytest.raises(ValueError, match="label"):
        model.sample(2, {"label": torch.tensor([1])})
    with pytest.raises(ValueError, match="this model makes clips of 4 latent frames, not of 8"):
        model.sample(2, {}, latent_frames=8)
    with pytest.raises(ValueError, match=r"codes must be of shape \(b, 4, 2, 3\), not \(3, 5, 2, 3\)"):
        list(model.losses(some_codes(frames=5), {}, step=1))
    with pytest.raises(ValueError, match=r"codes must be of shape \(b, 4, 2, 3\)"):
        model.scores(some_codes(frames=5), {}, 0)
    with pytest.raises(ValueError, match="given latent frames must be 0 to 3, not 4"):
        model.scores(some_codes(), {}, 4)
    with pytest.raises(ValueError, match="MeBT takes codes of one codebook"):
        MeBTConfig(**SMALL).build(LatentSpec((4, 2, 3, 2), 7, 4), (1, 16, 8, 12))


@pytest.mark.parametrize("fields, message", [
    ({"curriculum": "slow"}, "curriculum must be one of none, uniform, gaussian, renormalised, not 'slow'"),
    ({"alpha": 0.0}, "alpha must be above 0 and finite, not 0.0"), ({"beta": -1.0}, "beta must be above 0"),
    ({"classes": -1}, "classes must be at least 0, not -1"), ({"actions": -1}, "actions must be at least 0, not -1"),
])
def test_sizes_that_are_not_allowed_are_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MeBTConfig(**SMALL | fields)
