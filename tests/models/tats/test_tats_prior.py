"""TATS's prior: what a code sees, what a cache and a window that slides change (nothing), key frames, lengths."""

import math

import pytest
import torch
from torch import Tensor

from lvlib.models.tats import sampling as tats_sampling
from lvlib.models.tats.prior import TATSConfig
from lvlib.models.tats.sampling import CodeSampling, Decoding, TATSSampling, draw, fill_window, window_places
from lvlib.models.videogpt.sampling import keep_likely
from lvlib.stages import LatentSpec

SPEC = LatentSpec((4, 2, 3), 7, 4)
SHAPE = (3, 16, 8, 12)


def prior(spec: LatentSpec = SPEC, frames: int = 16, **sizes):
    torch.manual_seed(0)
    model = TATSConfig(**{"dim": 16, "heads": 2, "layers": 2, "hidden": 32} | sizes).build(spec, (3, frames, 8, 12))
    for parameter in model.parameters():  # fresh positions are zero: a place would not matter
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def some_codes(clips: int = 2, frames: int = 4) -> Tensor:
    return torch.randint(7, (clips, frames, 2, 3), generator=torch.Generator().manual_seed(1))


LABEL = {"label": torch.tensor([2, 0])}


def test_a_code_is_predicted_from_those_before_it_alone():
    model, codes = prior(classes=3), some_codes()
    before = model.logits(codes, LABEL)
    for place in range(24):
        other = codes.flatten(1).clone()
        other[:, place] = (other[:, place] + 1) % 7
        changed = (model.logits(other.view_as(codes), LABEL) != before).any(-1)
        assert not changed[:, :place + 1].any()
        assert place == 23 or changed[:, place + 1].all()


def test_the_likelihood_of_all_clips_sums_to_one():
    model = prior(LatentSpec((2, 1, 2), 3, 4), frames=8)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(-1, 2, 1, 2)
    assert model.nll(every, {}).sum(1).neg().exp().sum().item() == pytest.approx(1, abs=1e-5)
    bits = model.scores(every, {}, 0)["bits_per_dim"]
    torch.testing.assert_close(bits, model.nll(every, {}).mean(1) / math.log(2))


@pytest.mark.parametrize("prefilled", [1, 2, 13, 24])
def test_read_in_pieces_a_row_has_the_logits_of_the_whole(prefilled):
    model, codes = prior(classes=3), some_codes()
    row = torch.cat([model.prefix(LABEL, 2, 0), model.code_vectors(codes.flatten(1)[:, :-1])], 1) + model.positions
    decoding = Decoding(model, 2, model.n)
    with torch.no_grad():
        parts = [decoding.read(row[:, :prefilled])] + [decoding.read(row[:, i:i + 1]) for i in range(prefilled, 24)]
        torch.testing.assert_close(model.out(torch.cat(parts, 1)), model.logits(codes, LABEL), atol=1e-5, rtol=1e-4)


def test_places_of_the_window_by_hand():
    assert window_places(0, 4, 4, 3) == [(0, 0)]
    assert window_places(0, 8, 4, 1) == [(0, 0), (3, 1), (6, 1)]
    assert window_places(2, 6, 4, 3) == [(0, 2), (1, 3), (2, 3)]
    assert window_places(6, 8, 4, 2) == [(4, 2)]
    assert window_places(3, 3, 4, 2) == []


@pytest.mark.parametrize("context", [None, 1, 2])
@pytest.mark.parametrize("known", [0, 1, 4, 5])
def test_a_long_video_is_drawn_from_the_distribution_of_its_window(context, known, monkeypatch):
    """Against logits of whole windows, worked out anew for each code. A draw is the likeliest code, so that both must
    come to the same."""
    model, frames = prior(classes=3), 9
    monkeypatch.setattr(tats_sampling, "draw", lambda logits, sampling: logits.argmax(-1))
    given = some_codes(frames=known) if known else None
    made = model.sample(2, LABEL, given, TATSSampling(context=context), frames)
    assert given is None or torch.equal(made[:, :known], given)
    kept = 3 if context is None else context
    start, there = 0, known
    for frame in range(known, frames):
        if there == 4 or (frame == known and known >= 4):
            start, there = frame - kept, kept
        window = made[:, start:start + 4]
        window = torch.cat([window, window.new_zeros(2, 4 - window.shape[1], 2, 3)], 1)
        logits = model.logits(window, LABEL).view(2, 4, 6, 7)
        assert torch.equal(logits[:, frame - start].argmax(-1), made[:, frame].flatten(1))
        there = frame - start + 1


def test_of_key_frames_every_fourth_is_learned_and_stands_until_the_next():
    spec = LatentSpec((16, 2, 3), 7, 4)
    model = prior(spec, frames=64, every=4)
    codes = some_codes(frames=16)
    changed = codes.clone()
    changed[:, [1, 2, 3, 5, 15]] = (changed[:, [1, 2, 3, 5, 15]] + 1) % 7
    assert torch.equal(model.nll(codes, {}), model.nll(changed, {}))
    assert model.nll(codes, {}).shape == (2, 4 * 6)
    torch.testing.assert_close(model.nll(codes, {}), _plain(model).nll(codes[:, ::4], {}))
    made = model.sample(2, {}, latent_frames=17)
    assert made.shape == (2, 17, 2, 3)
    for start in 0, 4, 8, 12:
        assert (made[:, start:start + 4] == made[:, start:start + 1]).all()
    begun = model.sample(2, {}, codes[:, :6], latent_frames=16)
    assert torch.equal(begun[:, 0], codes[:, 0]) and torch.equal(begun[:, 4], codes[:, 4])


def _plain(model):
    """The same weights, of a model of all latent frames."""
    plain = prior()
    plain.load_state_dict(model.state_dict())
    return plain


def test_draws_have_the_frequencies_that_are_asked_for():
    torch.manual_seed(0)
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(40_000, -1)

    def shares(sampling):
        return torch.bincount(draw(logits, sampling), minlength=4) / len(logits)

    whole = CodeSampling(top_p=1.0)
    torch.testing.assert_close(shares(whole), torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.01, rtol=0)
    torch.testing.assert_close(shares(CodeSampling()), torch.tensor([0.625, 0.375, 0, 0]), atol=0.01, rtol=0)
    torch.testing.assert_close(shares(CodeSampling(top_k=1)), torch.tensor([1.0, 0, 0, 0]))
    squared = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    torch.testing.assert_close(shares(CodeSampling(temperature=0.5, top_p=1.0)), squared / squared.sum(), atol=0.01,
                               rtol=0)


def test_a_window_is_filled_from_where_it_is_known_on():
    model, codes = prior(), some_codes().flatten(1)
    filled = codes.clone()
    fill_window(model, filled, 10, model.prefix({}, 2, 0), TATSSampling())
    assert torch.equal(filled[:, :10], codes[:, :10])
    torch.manual_seed(3)
    again = codes.clone()
    fill_window(model, again, 10, model.prefix({}, 2, 0), TATSSampling())
    torch.manual_seed(3)
    filled = codes.clone()
    fill_window(model, filled, 10, model.prefix({}, 2, 0), TATSSampling())
    assert torch.equal(filled, again)


def test_the_paper_size_has_the_paper_s_parameters():
    """GPT-2's form of 24 layers, 16 heads, width 1,024, 16,384 words and 1,024 places has 336,914,432; ours has no
    biases beside queries, keys and values, and a token for the start."""
    with torch.device("meta"):
        model = TATSConfig().build(LatentSpec((4, 16, 16), 16_384, 4), (3, 16, 128, 128))
    assert sum(p.numel() for p in model.parameters()) == 336_914_432 - 24 * 3 * 1024 + 1024


@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m.sample(2, LABEL, sampling=TATSSampling(context=4)), r"context must be 1 to 3, less than the window"),
    (lambda m: m.sample(2, LABEL, latent_frames=3), "makes 4 latent frames or more, not 3"),
    (lambda m: m.sample(2, {}), "conditioned on label; it got nothing"),
    (lambda m: m.sample(2, LABEL | {"text": LABEL["label"]}), "it got label, text"),
    (lambda m: m.sample(3, LABEL), "of one clip, or of each of the 3"),
    (lambda m: m.sample(2, {"label": torch.tensor([0, 3])}), r"labels must lie in 0..2"),
    (lambda m: m.sample(2, {"label": torch.tensor([0.0])}), "label must be int64"),
    (lambda m: m.sample(2, LABEL, some_codes()), "given codes must be of shape"),
    (lambda m: m.sample(2, LABEL, some_codes() + 7, latent_frames=8), "codes must lie in 0..6"),
    (lambda m: m.loss(some_codes(frames=3), LABEL), "codes must be of shape"),
    (lambda m: m.scores(some_codes(), LABEL, 4), "given latent frames must be 0 to 3"),
])
def test_what_does_not_fit_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(prior(classes=3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [
    {"dim": 15, "heads": 2}, {"layers": 0}, {"every": 0}, {"classes": -1}, {"dropout": 1.0}])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="must be"):
        TATSConfig(**sizes)


@pytest.mark.parametrize("values", [{"top_p": 0.0}, {"top_p": 1.1}, {"top_k": 0}, {"temperature": 0.0}, {"context": 0}])
def test_sampling_that_no_code_can_be_drawn_with_is_refused(values):
    with pytest.raises(ValueError, match="must be"):
        TATSSampling(**values)


def test_codes_of_several_codebooks_are_refused():
    with pytest.raises(ValueError, match="one codebook"):
        TATSConfig().build(LatentSpec((4, 2, 3, 2), 7, 4), SHAPE)


def test_a_draw_is_from_what_notebook_10_keeps():
    torch.manual_seed(0)
    logits = torch.randn(1, 40).expand(20_000, -1)
    for options in {}, {"top_k": 5, "top_p": 1.0}, {"temperature": 0.7, "top_k": 12, "top_p": 0.6}, {"top_p": 1e-9}:
        sampling = CodeSampling(**options)
        kept = keep_likely(logits[0] / sampling.temperature, sampling.top_k, sampling.top_p).softmax(-1)
        shares = torch.bincount(draw(logits, sampling), minlength=40) / len(logits)
        torch.testing.assert_close(shares, kept, atol=0.015, rtol=0)
        assert ((shares > 0) <= (kept > 0)).all()
