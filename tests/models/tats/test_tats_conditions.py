"""What stands before the codes: text, sound and buttons that slide along, vocabularies side by side, sound that
learns."""

from itertools import pairwise

import pytest
import torch

from lvlib.models.tats.conditions import WORDS, ActionWords, LabelWord, SoundWords, TextWords, text_of, words_before
from lvlib.models.tats.prior import TATSConfig
from lvlib.models.tats.sound import TOKENS
from lvlib.stages import LatentSpec

SPEC, SHAPE = LatentSpec((4, 2, 2), 7, 2), (1, 8, 16, 16)
SMALL = {"dim": 16, "heads": 2, "layers": 2, "hidden": 32}


def told_all(seed=0):
    torch.manual_seed(seed)
    config = TATSConfig(**SMALL, classes=3, text=5, tokenizer="stories", audio=8, audio_codes=6)
    return config, config.build(SPEC, SHAPE)


def condition(b, frames=8, texts=None):
    text = torch.randint(360, (b, 5) if texts is None else (b, texts, 5))
    return {"label": torch.randint(3, (b,)), "text": text, "audio": torch.rand(b, frames, 8) * 2 - 1}


@pytest.mark.parametrize("window", [1, 2, 4, 5])
@pytest.mark.parametrize("texts", [1, 2, 3])
def test_a_window_has_the_text_of_its_newest_latent_frame(window, texts):
    owner = [text for text in range(texts) for _ in range(window)] + [texts - 1] * 3 * window
    for start in range((texts + 1) * window):
        assert text_of(start, window, texts) == owner[start:start + window][-1]


def test_texts_slide_and_one_text_stays():
    words, texts = TextWords(20, 3, 4), torch.arange(18).view(2, 3, 3)
    assert [words.at(texts, start)[0, 0].item() // 3 for start in (0, 1, 4, 5, 8, 9, 30)] == [0, 1, 1, 2, 2, 2, 2]
    assert all(torch.equal(words.at(texts[:, 0], start), texts[:, 0]) for start in range(9))


@pytest.mark.parametrize(("value", "message"), [
    (torch.zeros(2, 4, dtype=torch.int64), r"text must be int64 \(b, 3\), or \(b, texts, 3\), not int64 \(2, 4\)"),
    (torch.zeros(2, 3), "not float32"),
    (torch.full((1, 3), 20), r"0..19; got 20 to 20"),
    (torch.full((1, 3), -1), "got -1 to -1"),
])
def test_a_text_that_does_not_fit_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        TextWords(20, 3, 4).at(value, 0)


def test_sound_is_cut_where_the_window_stands_and_silence_follows_it():
    torch.manual_seed(0)
    words, sound = SoundWords(6, 4, 2, 8), torch.rand(2, 14, 8)
    assert words.length == 4 * TOKENS
    for start in range(7):
        part = torch.zeros(2, 8, 8)
        there = sound[:, 2 * start:2 * start + 8]
        part[:, :there.shape[1]] = there
        assert torch.equal(words.at(sound, start), words.sound.encode(part.flatten(1)))
    for wrong in (torch.zeros(2, 8, 9), torch.zeros(2, 64), torch.zeros(2, 8, 8, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"audio must be float \(b, frames, 8\)"):
            words.at(wrong, 0)


@pytest.mark.parametrize("buttons", [1, 2, 3, 5])
def test_a_word_is_the_binary_number_of_its_frames_buttons(buttons):
    held = torch.randint(2, (3, 8, buttons), generator=torch.Generator().manual_seed(0))
    told = ActionWords(buttons, 4, 2)
    assert (told.name, told.words, told.length) == ("actions", 2**buttons, 8)
    wanted = [[int("".join(map(str, frame)), 2) for frame in clip] for clip in held.tolist()]
    for value in held, held.float(), held.bool():
        words = told.at(value, 0)
        assert words.dtype == torch.int64 and words.tolist() == wanted


@pytest.mark.parametrize("frames", [1, 5, 8, 9, 30])
def test_buttons_slide_frame_by_frame_and_the_last_ones_stay(frames):
    told = ActionWords(3, 4, 2)
    held = torch.randint(2, (2, frames, 3), generator=torch.Generator().manual_seed(frames)).float()
    number = (held @ torch.tensor([4.0, 2.0, 1.0])).long()
    number = torch.cat([number, number[:, -1:].expand(-1, 40)], 1)
    for start in range(9):
        assert torch.equal(told.at(held, start), number[:, 2 * start:2 * start + 8])


@pytest.mark.parametrize(("value", "message"), [
    (torch.full((1, 8, 3), 1.5), "actions must be from 0, not pressed, to 1, pressed; got 1.5 to 1.5"),
    (torch.full((1, 8, 3), -1), "actions must be from 0, not pressed, to 1, pressed; got -1 to -1"),
    (torch.full((1, 8, 3), torch.nan), "actions must be from 0, not pressed, to 1, pressed; got nan"),
    (torch.zeros(1, 8, 2), r"actions must be \(b, frames, 3\), 3 buttons for each frame, not \(1, 8, 2\)"),
    (torch.zeros(1, 0, 3), r"not \(1, 0, 3\)"),
    (torch.zeros(8, 3), r"not \(8, 3\)"),
])
def test_buttons_that_do_not_fit_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        ActionWords(3, 4, 2).at(value, 0)


def test_key_frames_are_told_the_buttons_of_all_frames_that_they_stand_for():
    model = TATSConfig(**SMALL, actions=2, every=2).build(SPEC, SHAPE)
    assert (model.told[0].frames, model.told[0].length) == (4, 8)


def test_vocabularies_follow_one_another_and_never_overlap():
    _, model = told_all()
    assert [one.name for one in model.told] == ["label", "text", "audio"]
    sizes = [3, WORDS["stories"], 6]
    ranges = [range(sum(sizes[:i]), sum(sizes[:i + 1])) for i in range(3)]
    places = [1, 5, 4 * TOKENS]
    for _ in range(5):
        row = words_before(model.told, condition(4), 4, 0, model.positions)
        for part, allowed in zip(row.split(places, 1), ranges, strict=True):
            assert part.min() >= allowed.start and part.max() < allowed.stop
    lowest = {"label": torch.zeros(1).long(), "text": torch.zeros(1, 5).long()}
    highest = {"label": torch.full((1,), 2), "text": torch.full((1, 5), 359)}
    rows = [words_before(list(model.told)[:2], one, 1, 0, model.positions)[0] for one in (lowest, highest)]
    assert [rows[0][0], rows[0][-1], rows[1][0], rows[1][-1]] == [0, 3, 2, 362]
    assert all(a.stop == b.start for a, b in pairwise(ranges)) and model.words == 369
    first, last = model.code_vectors(torch.tensor([0, 6]))
    assert torch.equal(first, model.embedding.weight[369]) and torch.equal(last, model.embedding.weight[-1])


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters()}


def test_the_prior_does_not_touch_the_sound_and_the_sound_not_the_prior():
    _, model = told_all()
    codes, told = torch.randint(7, (3, 4, 2, 2)), condition(3)
    model.nll(codes, told).mean().backward()
    found = gradients(model)
    assert all(grad is None for name, grad in found.items() if name.startswith("told."))
    assert all(grad is not None for name, grad in found.items() if not name.startswith("told."))
    model.zero_grad()
    model.told[2].loss(told["audio"]).backward()
    found = gradients(model)
    assert all((grad is None) != name.startswith("told.") for name, grad in found.items())
    model.zero_grad()
    loss, metrics = model.loss(codes, told)
    nats = metrics["bits_per_dim"].item() * 0.6931471805599453
    assert loss.item() > nats and all(grad is not None for grad in (loss.backward(), gradients(model))[1].values())


def test_the_codes_of_sound_do_not_learn_while_they_are_read():
    """Its running means are updated once a step: by its own loss."""
    _, model = told_all()
    model.train()
    codes, told = torch.randint(7, (3, 4, 2, 2)), condition(3)
    model.loss(codes, told)
    quantizer = model.told[2].sound.quantizer
    assert quantizer.updates == 1


def test_every_word_and_every_sound_can_reach_every_code():
    _, model = told_all()
    codes, told = torch.randint(7, (1, 4, 2, 2)), condition(1)
    rows = words_before(model.told, told, 1, 0, model.positions)
    model.eval()
    vectors = model.embedding(rows).detach().requires_grad_()
    model.prefix = lambda *_: vectors
    for place in 0, 15:
        grad, = torch.autograd.grad(model.logits(codes, told)[0, place].square().sum(), vectors)
        assert (grad[0].abs().sum(1) > 0).all()


def test_a_longer_sample_hears_its_own_sound_and_reads_its_own_text():
    """What is told later changes no code that was drawn before, and what comes after it."""
    config, model = told_all()
    model.told[2].sound.eval()
    told = condition(2, frames=16, texts=2)
    other = told | {"text": told["text"].clone(), "audio": told["audio"].clone()}
    other["text"][:, 1] = (other["text"][:, 1] + 1) % 360
    other["audio"][:, 8:] = -other["audio"][:, 8:].flip(1)
    drawn = []
    for one in told, other, told:
        torch.manual_seed(3)
        drawn.append(model.sample(2, one, latent_frames=8, sampling=config.Sampling(top_p=1.0, temperature=3.0)))
    assert torch.equal(drawn[0], drawn[2]) and drawn[0].shape == (2, 8, 2, 2)
    assert torch.equal(drawn[0][:, :4], drawn[1][:, :4])
    windows = [[words_before(model.told, one, 2, start, model.positions) for start in range(5)]
               for one in (told, other)]
    assert torch.equal(windows[0][0], windows[1][0])
    assert all(not torch.equal(a, b) for a, b in zip(windows[0][1:], windows[1][1:], strict=True))


@pytest.mark.parametrize(("sizes", "names"), [
    ({}, []), ({"classes": 4}, ["label"]), ({"text": 5}, ["text"]), ({"audio": 8}, ["audio"]),
    ({"actions": 3}, ["actions"]),
    ({"classes": 4, "text": 5, "audio": 8, "actions": 3}, ["label", "text", "audio", "actions"]),
])
def test_the_specs_and_the_words_are_of_the_same_things(sizes, names):
    config = TATSConfig(**SMALL, **sizes)
    specs, model = config.conditions(SHAPE), config.build(SPEC, SHAPE)
    assert [spec.name for spec in specs] == [one.name for one in model.told] == names
    told = {spec.name: spec.example(2) for spec in specs}
    assert model.nll(torch.zeros(2, 4, 2, 2, dtype=torch.int64), told).shape == (2, 16)


def test_key_frames_are_told_the_sound_of_all_frames_that_they_stand_for():
    config = TATSConfig(**SMALL, audio=8, every=2)
    model = config.build(SPEC, SHAPE)
    words = model.told[0]
    assert (words.window, words.frames, words.length) == (2, 4, 2 * TOKENS)
    assert torch.isfinite(model.loss(torch.zeros(1, 4, 2, 2, dtype=torch.int64), {"audio": torch.rand(1, 8, 8)})[0])


@pytest.mark.parametrize(("sizes", "message"), [
    ({"tokenizer": "words"}, "tokenizer must be one of clip, stories, not 'words'"),
    ({"text": -1}, "text must be at least 0"),
    ({"audio_codes": 0}, "audio_codes must be at least 1"),
    ({"actions": -1}, "actions must be at least 0 and below 17, not -1"),
    ({"actions": 17}, "actions must be at least 0 and below 17, not 17"),
])
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        TATSConfig(**sizes)


def test_samples_that_do_not_make_whole_columns_are_refused():
    with pytest.raises(ValueError, match="multiple of 16 samples of sound, not 14"):
        TATSConfig(**SMALL, audio=7).build(SPEC, SHAPE)


def test_a_label_is_one_word():
    assert torch.equal(LabelWord(5).at(torch.tensor([4, 0]), 9), torch.tensor([[4], [0]]))
