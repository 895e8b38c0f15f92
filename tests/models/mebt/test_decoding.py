"""Drafts and revisions: each hidden place is filled once, given ones never change."""

import itertools

import pytest
import torch
from torch import Tensor

from lvlib.models.mebt import transformer as mebt_transformer
from lvlib.models.mebt.decoding import MeBTSampling, draft, draw_hidden, fill_in, revise
from lvlib.models.mebt.masking import places_of
from lvlib.models.mebt.schedule import fill_counts
from lvlib.models.mebt.transformer import MeBTTransformer, TransformerConfig
from lvlib.stages import LatentSpec

SPEC = LatentSpec((4, 2, 3), 7, 4)  # 24 codes of 7
SAMPLINGS = [MeBTSampling(steps=8), MeBTSampling(steps=5, schedule="linear", noise=0.0),
             MeBTSampling(steps=3, schedule="square", top_k=3, temperature=0.5), MeBTSampling(steps=1),
             MeBTSampling(steps=4, one_by_one=6), MeBTSampling(steps=12)]


@pytest.fixture(scope="module")
def model() -> MeBTTransformer:
    torch.manual_seed(0)
    config = TransformerConfig(dim=16, heads=2, hidden=32, encoder_layers=2, decoder_layers=2, bottleneck=4)
    model = MeBTTransformer(config, SPEC)
    for parameter in model.parameters():  # fresh ones are small: all codes would be as likely
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def some_codes(clips: int = 3) -> Tensor:
    return torch.randint(7, (clips, 24), generator=torch.Generator().manual_seed(1))


def some_hidden(count: int, clips: int = 3) -> Tensor:
    order = torch.rand(clips, 24, generator=torch.Generator().manual_seed(2)).argsort(1)
    return torch.zeros(clips, 24, dtype=torch.bool).scatter(1, order[:, :count], True)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("count", [24, 13])
@torch.inference_mode()
def test_a_draft_fills_each_hidden_place_once_and_leaves_the_others(model, sampling, count):
    codes, hidden = some_codes(), some_hidden(count)
    before, left, counts = codes, hidden, []
    for after, still in draft(model, codes, hidden, sampling):
        accepted = left & ~still
        assert not (still & ~left).any(), "what is there is not hidden again"
        assert torch.equal(after[~accepted], before[~accepted]), "nothing else changes"
        counts.append(accepted.sum(1).unique().tolist())
        before, left = after, still
    assert not left.any() and torch.equal(before[~hidden], codes[~hidden])
    own = [1] * sampling.one_by_one
    assert counts == [[n] for n in own + fill_counts(sampling.schedule, sampling.steps, count - sampling.one_by_one)]
    assert before.min() >= 0 and before.max() < 7


@torch.inference_mode()
def test_hidden_codes_are_not_seen(model):
    """Whatever stands at hidden places, the result is the same."""
    hidden = some_hidden(15)
    results = []
    for there in 0, 6:
        torch.manual_seed(0)
        sampling = MeBTSampling(steps=5, revise_rounds=1)
        results.append(fill_in(model, some_codes().masked_fill(hidden, there), hidden, sampling))
    assert torch.equal(*results)


@pytest.mark.parametrize("rounds, parts", [(1, 2), (2, 4), (1, 1), (3, 5), (1, 13)])
@torch.inference_mode()
def test_a_revision_draws_each_free_place_once_a_round(model, rounds, parts):
    codes, free = some_codes(), some_hidden(13)
    sampling = MeBTSampling(revise_rounds=rounds, revise_parts=parts)
    before, drawn, steps = codes, [], list(revise(model, codes, free, sampling))
    assert len(steps) == rounds * parts
    for after, part in steps:
        assert torch.equal(after[~part], before[~part])
        before = after
        drawn.append(part)
    for of_round in torch.stack(drawn).int().unflatten(0, (rounds, parts)):
        assert torch.equal(of_round.sum(0), free.int())
    assert torch.equal(before[~free], codes[~free])


@torch.inference_mode()
def test_the_codes_are_drawn_from_what_the_model_says(model):
    """Of one clip many times: the shares are the probabilities, and log p is theirs."""
    codes, hidden = some_codes(1).expand(4000, -1), some_hidden(2, 1).expand(4000, -1)
    for temperature, top_k in ((1.0, None), (0.7, None), (1.0, 3), (2.0, 1)):
        torch.manual_seed(0)
        places, drawn, log_probs = draw_hidden(model, codes, hidden, None, temperature, top_k)
        context, masked = places_of(hidden[:1])
        logits = model(codes[:1], context, masked)[0] / temperature
        if top_k:
            logits = logits.masked_fill(logits.argsort(descending=True).argsort() >= top_k, -torch.inf)
        expected = logits.log_softmax(-1)
        assert torch.equal(places[:1], masked)
        for i in range(2):
            share = torch.bincount(drawn[:, i], minlength=7) / 4000
            torch.testing.assert_close(share, expected[i].exp(), atol=0.035, rtol=0)
            torch.testing.assert_close(log_probs[:, i], expected[i][drawn[:, i]])


@torch.inference_mode()
def test_more_logits_than_are_held_at_once_change_nothing(model, monkeypatch):
    codes, hidden = some_codes(), some_hidden(11)
    torch.manual_seed(0)
    whole = draw_hidden(model, codes, hidden, None, 1.0, 1)
    monkeypatch.setattr("lvlib.models.mebt.decoding.LOGITS_AT_ONCE", 35)
    pieces = draw_hidden(model, codes, hidden, None, 1.0, 1)
    assert mebt_transformer.LOGITS_AT_ONCE > 35 and torch.equal(whole[1], pieces[1])
    torch.testing.assert_close(whole[2], pieces[2])


def test_as_many_passes_as_codes_draw_from_the_joint_distribution():
    """One code a pass, each given all before it: the shares of all videos of 2 codes are the chain rule's, for both
    orders in which they may come."""
    torch.manual_seed(0)
    model = MeBTTransformer(TransformerConfig(dim=8, heads=1, hidden=8, encoder_layers=1, decoder_layers=2,
                                              bottleneck=2), LatentSpec((2, 1, 1), 3)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    n = 40_000
    with torch.inference_mode():
        # Noise without end: the order is chance, whatever was drawn. (The last of two passes takes what is left.)
        filled = fill_in(model, torch.zeros(n, 2, dtype=torch.int64), torch.ones(n, 2, dtype=torch.bool),
                         MeBTSampling(steps=2, noise=1e9))
        videos = torch.tensor(list(itertools.product(range(3), repeat=2)))
        nothing, both = torch.zeros(9, 0, dtype=torch.int64), torch.tensor([[0, 1]]).expand(9, 2)
        alone = -model.nats(videos, nothing, both)
        zero, one = torch.zeros(9, 1, dtype=torch.int64), torch.ones(9, 1, dtype=torch.int64)
        one_given_zero, zero_given_one = -model.nats(videos, zero, one)[:, 0], -model.nats(videos, one, zero)[:, 0]
    expected = ((alone[:, 0] + one_given_zero).exp() + (alone[:, 1] + zero_given_one).exp()) / 2
    share = torch.bincount(filled @ torch.tensor([3, 1]), minlength=9) / n
    torch.testing.assert_close(share, expected, atol=0.012, rtol=0)


def test_the_same_seed_the_same_video(model):
    results = []
    for seed in 0, 0, 1:
        torch.manual_seed(seed)
        sampling = MeBTSampling(steps=6, revise_rounds=2, revise_parts=3)
        results.append(fill_in(model, some_codes(), some_hidden(24), sampling))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize("sampling, message", [
    (MeBTSampling(steps=14), "steps and one_by_one must be 13 or less together, the codes that are hidden, not 14"),
    (MeBTSampling(steps=1, one_by_one=13), "steps and one_by_one must be 13 or less together, .* not 14"),
    (MeBTSampling(steps=1, revise_rounds=1, revise_parts=14), "revise_parts must be 1 to 13, .* not 14"),
])
def test_more_passes_or_parts_than_codes_are_refused(model, sampling, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        fill_in(model, some_codes(), some_hidden(13), sampling)


def test_no_hidden_codes_are_refused(model):
    with pytest.raises(ValueError, match="^steps and one_by_one must be 0 or less together"):
        fill_in(model, some_codes(), some_hidden(0), MeBTSampling(steps=1))


def test_clips_that_hide_different_numbers_are_refused(model):
    hidden = some_hidden(13)
    hidden[0] = True
    with pytest.raises(ValueError, match="all clips must hide the same number of codes, not 13 to 24"):
        fill_in(model, some_codes(), hidden, MeBTSampling(steps=1))


@pytest.mark.parametrize("field, value, message", [
    ("steps", 0, "steps must be at least 1, not 0"), ("noise", -1.0, "noise must be at least 0 and finite, not -1.0"),
    ("noise", float("inf"), "noise must be at least 0"), ("one_by_one", -1, "one_by_one must be at least 0, not -1"),
    ("schedule", "sine", "schedule must be one of cosine, linear, square, not 'sine'"),
    ("temperature", 0.0, "temperature must be at least 1e-6"), ("top_k", 0, "top_k must be at least 1, not 0"),
    ("revise_rounds", -1, "revise_rounds must be at least 0"), ("revise_parts", 0, "revise_parts must be at least 1"),
    ("revise_temperature", 0.0, "revise_temperature must be at least 1e-06 and finite, not 0.0"),
])
def test_values_that_are_not_allowed_are_refused(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MeBTSampling(**{field: value})
