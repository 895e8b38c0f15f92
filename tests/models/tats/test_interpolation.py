"""Interpolation: the mask of Fig. 14(c), what each prediction depends on, and drawing as it was trained."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lvlib.models.common.attention import Sparse, mask
from lvlib.models.tats.interpolation import (
    Interpolation,
    InterpolationCausal,
    InterpolationConfig,
    InterpolationSampling,
    check_anchored,
    decode_middle,
    middle_outputs,
    spans,
)
from lvlib.stages import LatentSpec

SMALL = InterpolationConfig(dim=16, heads=2, layers=3, hidden=24, every=3)
VIDEO = 1, 7, 8, 8


def small(classes: int = 0, every: int = 3, t: int = 7, hw: tuple[int, int] = (1, 2), codes: int = 11) -> Interpolation:
    """With weights large enough that everything matters."""
    torch.manual_seed(0)
    model = replace(SMALL, classes=classes, every=every).build(LatentSpec((t, *hw), codes), VIDEO)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


def rows(model: Interpolation, b: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """The word before each, a label or the start, and codes."""
    n = (model.config.every + 1) * model.frame
    return torch.randint(model.words, (b, 1)), torch.randint(model.spec.num_codes, (b, n))


START = torch.zeros(1, 1, dtype=torch.int64)


FIGURE = """
xx....xx
xx....xx
xxx...xx
xxxx..xx
xxxxx.xx
xxxxxxxx
xx....xx
xx....xx
"""  # 14(c), frames of two tokens: two anchors, two frames between them


def test_the_mask_is_that_of_the_figure():
    drawn = torch.tensor([[cell == "x" for cell in row] for row in FIGURE.split()])
    assert torch.equal(mask(InterpolationCausal(2, 4), 8, torch.device("cpu")), drawn)


@pytest.mark.parametrize("first, middle, last", [(1, 1, 1), (2, 6, 2), (3, 4, 2), (5, 12, 4)])
def test_more_layers_reach_no_further(first, middle, last):
    """A chain of looks ends where one look ends, and a mask in which the last anchor looks at the middle is another."""
    allowed = mask(InterpolationCausal(first, middle), first + middle + last, torch.device("cpu")).int()
    assert torch.equal((allowed @ allowed > 0).int(), allowed)
    allowed[first + middle, first] = 1
    assert not torch.equal((allowed @ allowed > 0).int(), allowed)


@pytest.mark.parametrize("classes", [0, 4])
def test_a_prediction_changes_with_both_anchors_the_label_and_the_middle_before_it_and_with_nothing_else(classes):
    model = small(classes)
    label, codes = rows(model)
    before = model.logits(label, codes)
    f, n = model.frame, codes.shape[1]
    for place in range(n):
        other = codes.clone()
        other[:, place] = (codes[:, place] + 1) % 11
        change = (model.logits(label, other) - before).abs().amax((0, 2))
        sees = torch.arange(f, n - f) > place if f <= place < n - f else torch.ones(n - 2 * f, dtype=torch.bool)
        assert (change[sees] > 1e-9).all() and (change[~sees] == 0).all(), place
    if classes:
        assert ((model.logits((label + 1) % 4, codes) - before).abs().amax((0, 2)) > 1e-9).all()


def test_the_probe_finds_a_leak():
    """With the mask of Fig. 14(b) predictions change with the code that they predict."""

    class Leaky(InterpolationCausal):
        def allows(self, query, key):
            return self.is_anchor(key) | (key <= query)

    model = small()
    for block in model.blocks:
        block.attention.pattern = Leaky(model.pattern.first, model.pattern.middle)
    start, codes = rows(model)
    other = codes.clone()
    other[:, -model.frame - 1] = (codes[:, -model.frame - 1] + 1) % 11
    assert (model.logits(start, other) != model.logits(start, codes)).any(-1).all()


def by_hand(model: Interpolation, label: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Logits of each middle code from a softmax over the places that it may see, one place at a time."""
    f, n = model.frame, codes.shape[1]
    x = F.embedding(torch.cat([label, codes + (model.config.classes or 1)], 1), model.embedding.weight)
    x = x + model.positions
    anchors = [*range(1 + f), *range(1 + n - f, 1 + n)]
    for block in model.blocks:
        query, key, value = block.attention.heads_of(block.attention_norm(x))
        seen = []
        for place in range(1 + n):
            sees = anchors if place in anchors else sorted({*anchors, *range(place + 1)})
            weights = (query[:, :, place, None] @ key[:, :, sees].mT / math.sqrt(8)).softmax(-1)
            seen.append((weights @ value[:, :, sees])[:, :, 0].flatten(1))
        x = x + block.attention.out_proj(torch.stack(seen, 1))
        x = x + block.hidden(block.hidden_norm(x))
    return torch.stack([model.out(model.norm(x[:, place])) for place in range(f, n - f)], 1)


@pytest.mark.parametrize("classes", [0, 4])
def test_logits_are_those_of_attention_written_out(classes):
    model = small(classes)
    label, codes = rows(model)
    torch.testing.assert_close(model.logits(label, codes), by_hand(model, label, codes), rtol=0, atol=1e-10)


@pytest.mark.parametrize("classes, every, hw", [(0, 3, (1, 2)), (4, 3, (1, 2)), (4, 2, (2, 3)), (0, 4, (1, 1))])
def test_it_draws_from_what_it_has_learned_place_by_place(classes, every, hw):
    model = small(classes, every, t=every + 1, hw=hw)
    label, codes = rows(model)
    f = model.frame
    anchors, middle = torch.cat([codes[:, :f], codes[:, -f:]], 1), codes[:, f:-f]
    places, drawn_from = zip(*decode_middle(model, label, anchors, middle), strict=True)
    assert places == tuple(range((every - 1) * f))
    torch.testing.assert_close(torch.stack(drawn_from, 1), model.logits(label, codes), rtol=0, atol=1e-10)


def test_codes_are_drawn_as_often_as_the_model_says():
    model = small(every=2, t=3, hw=(1, 1), codes=5)
    latents = torch.tensor([1, 0, 3]).view(1, 3, 1, 1).expand(6000, -1, -1, -1)
    drawn = model.refine(latents, {}, InterpolationSampling(top_k=5, top_p=1.0))[:, 1, 0, 0]
    says = model.logits(START, latents[:1].flatten(1)).softmax(-1)[0, 0]
    assert (drawn.bincount(minlength=5) / 6000 - says).abs().sum() / 2 < 0.03
    likeliest = model.refine(latents, {}, InterpolationSampling(top_k=1))[:, 1, 0, 0]
    assert (likeliest == says.argmax()).all()


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("t", [4, 5, 6, 7, 31])
def test_refine_keeps_anchors_and_draws_each_gap_given_its_own(t, classes):
    """The likeliest code at each place: every gap can be checked by one pass over its row."""
    model, every = small(classes), 3
    b = 9  # 90 gaps at 31 frames: more than are filled at once
    latents, label = torch.randint(11, (b, t, 1, 2)), torch.randint(4, (b,))
    given = latents.clone()
    complete = model.refine(latents, {"label": label} if classes else {}, InterpolationSampling(top_k=1))
    assert torch.equal(latents, given) and complete.shape == latents.shape and complete.dtype == torch.int64
    whole = (t - 1) // every * every
    assert torch.equal(complete[:, ::every], latents[:, ::every])
    assert torch.equal(complete[:, whole:], latents[:, whole:])
    words = label[:, None] if classes else START.expand(b, 1)
    for start in range(0, whole, every):
        row = complete[:, start:start + every + 1].flatten(1)
        assert torch.equal(model.logits(words, row).argmax(-1), row[:, 2:-2])


def test_what_stood_between_makes_no_difference_and_one_label_is_for_all():
    model = small(classes=4)
    latents, label = torch.randint(11, (3, 7, 1, 2)), torch.tensor([2])
    junk = latents.clone()
    junk[:, [1, 2, 4, 5]] = 0
    ways = []
    for codes, told in (latents, label), (junk, label), (junk, label.expand(3)):
        torch.manual_seed(1)
        ways.append(model.refine(codes, {"label": told}))
    assert torch.equal(ways[0], ways[1]) and torch.equal(ways[0], ways[2])


def test_refine_leaves_the_mode_and_drops_nothing_out():
    model = replace(SMALL, dropout=0.5).build(LatentSpec((4, 1, 2), 11), VIDEO).train()
    latents = torch.randint(11, (2, 4, 1, 2))
    first, second = (model.refine(latents, {}, InterpolationSampling(top_k=1)) for _ in range(2))
    assert model.training and torch.equal(first, second)


def test_the_loss_is_of_the_middle_alone():
    model = small(classes=4)
    latents, label = torch.randint(11, (3, 7, 1, 2)), torch.tensor([0, 3, 1])
    nats = []
    for clip, own in zip(latents, label, strict=True):
        for start in 0, 3:
            row = clip[start:start + 4].flatten()
            says = model.logits(own[None, None], row[None])[0].log_softmax(-1)
            nats += [-says[i, row[2 + i]] for i in range(4)]
    loss, metrics = model.loss(latents, {"label": label})
    torch.testing.assert_close(loss, torch.stack(nats).mean().float())
    torch.testing.assert_close(metrics["bits_per_dim"], loss / math.log(2))
    torch.nn.init.zeros_(model.out.weight)
    assert model.loss(latents, {"label": label})[0].item() == pytest.approx(math.log(11))


@pytest.mark.parametrize("t, starts", [(4, [0]), (5, [0, 1]), (6, [0, 1, 2]), (7, [0, 1, 2]), (9, [0, 1, 2])])
def test_while_it_trains_each_frame_may_be_the_first_anchor(t, starts):
    model = small(t=t)
    latents = torch.randint(11, (2, t, 1, 2))
    wanted = set()
    for start in starts:
        part = small(t=t - start)
        wanted.add(round(part.loss(latents[:, start:], {})[0].item(), 4))
    model.train()
    assert {round(model.loss(latents, {})[0].item(), 4) for _ in range(60)} == wanted


def test_small_parts():
    assert middle_outputs(torch.arange(8)[None], InterpolationCausal(2, 4)).tolist() == [[1, 2, 3, 4]]
    assert spans(torch.arange(8)[None, :, None, None], 3)[0, :, :, 0, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]


@pytest.mark.parametrize("every", [2, 3, 4, 8])
def test_a_prior_makes_the_fewest_frames_that_end_with_an_anchor(every):
    config = replace(SMALL, every=every)
    for frames in range(1, 40):
        enough = next(n for n in range(frames, frames + every) if (n - 1) % every == 0)
        assert config.prior_frames(frames) == enough


@pytest.mark.parametrize("latents, says", [
    (torch.zeros(2, 3, 1, 2, dtype=torch.int64), "more than 3"),
    (torch.zeros(2, 7, 2, 2, dtype=torch.int64), r"\(b, more than 3, 1, 2\)"),
    (torch.zeros(2, 7, 2, dtype=torch.int64), r"\(b, more than 3, 1, 2\)"),
    (torch.full((2, 7, 1, 2), 11), "0..10"),
])
def test_latents_that_do_not_fit_are_refused(latents, says):
    with pytest.raises(ValueError, match=says):
        small().refine(latents, {})
    with pytest.raises(ValueError, match=says):
        check_anchored(latents, LatentSpec((7, 1, 2), 11), 3)


@pytest.mark.parametrize("classes, condition, says", [
    (0, {"label": torch.tensor([1])}, "conditioned on nothing"),
    (4, {}, "label"),
    (4, {"label": torch.tensor([4])}, "0..3"),
    (4, {"label": torch.tensor([0, 1])}, "of each of the 3"),
])
def test_conditions_that_do_not_fit_are_refused(classes, condition, says):
    model, latents = small(classes), torch.zeros(3, 7, 1, 2, dtype=torch.int64)
    for work in model.refine, model.loss:
        with pytest.raises(ValueError, match=says):
            work(latents, condition)


def test_sizes_that_do_not_fit_are_refused():
    for wrong in {"every": 1}, {"dim": 15}, {"layers": 0}, {"classes": -1}, {"dropout": 1.0}:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(SMALL, **wrong)
    with pytest.raises(ValueError, match="more than 3 latent frames"):
        SMALL.build(LatentSpec((3, 1, 2), 11), VIDEO)
    with pytest.raises(ValueError, match="one codebook"):
        SMALL.build(LatentSpec((7, 1, 2, 2), 11), VIDEO)
    with pytest.raises(ValueError, match="shape"):
        small().loss(torch.zeros(2, 6, 1, 2, dtype=torch.int64), {})


def test_patterns_of_the_same_numbers_share_a_mask_and_others_do_not():
    same, other = InterpolationCausal(2, 4), Sparse(2, 4)
    assert mask(same, 8, torch.device("cpu")) is mask(InterpolationCausal(2, 4), 8, torch.device("cpu"))
    assert not torch.equal(mask(same, 8, torch.device("cpu")), mask(other, 8, torch.device("cpu")))
