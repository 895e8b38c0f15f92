"""A prior that is told a text and a sound: what is typed reaches it, and the sound that it was told is in the file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

import told

from lvlib.cli import main
from lvlib.cli.condition import read_sound as read_sound_for
from lvlib.data.audio import resample, wav_bytes
from lvlib.data.drum_sounds import FULL, drum
from lvlib.data.sound_files import fitted, read_sound
from lvlib.data.text import tokenizer
from lvlib.errors import UserError
from lvlib.runs import latents

TEXT = "--condition.text"


@pytest.fixture(scope="session")
def loop(tmp_path_factory) -> Path:
    """A drum loop of 0.4 s at 8,000 samples a second; the prior that is told hears 4,000."""
    path = tmp_path_factory.mktemp("sounds") / "loop.wav"
    path.write_bytes(wav_bytes(drum("kick", 8000)[np.arange(3200) % 1600] / FULL, 8000))
    return path


def sampled(lvlib, runs, loop, out, *options) -> tuple[np.ndarray, str]:
    printed = lvlib("sample", runs / "told", "--n", "2", "--condition.audio", loop, "--out", out, *options)
    return np.load(out), printed


def test_a_text_and_a_sound_tell_what_is_made(runs, lvlib, loop, tmp_path):
    out = tmp_path / "a.npy"
    one, printed = sampled(lvlib, runs, loop, out, TEXT, "the seventeen falls")
    assert "text: the seven+t+ee+n falls (6 tokens)\n" in printed
    assert "'seventeen' is not a word of the stories: read as seven t ee n\n" in printed
    assert f"audio: {loop}: resampled from 8000 samples a second to 4000\n" in printed and "repeated" not in printed
    again, _ = sampled(lvlib, runs, loop, out, TEXT, "The  SEVENTEEN falls")
    other, _ = sampled(lvlib, runs, loop, out, TEXT, "the two rises, then the one waits")
    assert (one == again).all() and (one != other).any()
    (tmp_path / "silence.wav").write_bytes(wav_bytes(np.zeros(1600), 4000))
    silent, printed = sampled(lvlib, runs, tmp_path / "silence.wav", out, TEXT, "the seventeen falls")
    assert (silent != one).any() and "silence.wav: silent: there is nothing to hear in it" in printed


def test_each_stretch_of_a_long_sample_has_its_text(runs, lvlib, loop, tmp_path, monkeypatch):
    long, codes, sample = ("--frames", "8"), [], told.ToldPrior.sample

    def kept(*arguments, **named):
        codes.append(sample(*arguments, **named))
        return codes[-1]

    # Of the codes: the decoder of this autoencoder sees all frames at once.
    monkeypatch.setattr(told.ToldPrior, "sample", kept)
    same, _ = sampled(lvlib, runs, loop, tmp_path / "a.npy", *long, TEXT, "the seven falls")
    twice, printed = sampled(lvlib, runs, loop, tmp_path / "a.npy", *long, TEXT, "the seven falls | the seven falls")
    assert (same == twice).all() and same.shape == (2, 8, 32, 32, 3)
    assert "text from frame 0: the seven falls (3 tokens)\ntext from frame 4: the seven falls" in printed
    assert "repeated: it lasts 0.4 s, the clip 0.8 s" in printed
    sampled(lvlib, runs, loop, tmp_path / "a.npy", *long, TEXT, "the seven falls|a two rises")
    same, changed, half = codes[0], codes[-1], codes[0].shape[1] // 2
    assert (changed[:, :half] == same[:, :half]).all() and (changed[:, half:] != same[:, half:]).any()


def test_tokens_and_samples_may_come_as_arrays(runs, lvlib, loop, tmp_path):
    tokens = tokenizer("stories").tokens("the seven falls", 16)
    np.save(tmp_path / "tokens.npy", tokens)
    np.save(tmp_path / "stretches.npy", np.stack([tokens, tokens]))
    np.save(tmp_path / "sound.npy", fitted(loop, 4000, 1600)[0].reshape(4, 400))
    typed, _ = sampled(lvlib, runs, loop, tmp_path / "a.npy", TEXT, "the seven falls")
    given, printed = sampled(lvlib, runs, tmp_path / "sound.npy", tmp_path / "a.npy", TEXT, tmp_path / "tokens.npy")
    assert (typed == given).all() and "tokens)" not in printed
    typed, _ = sampled(lvlib, runs, loop, tmp_path / "a.npy", TEXT, "the seven falls", "--frames", "8")
    given, _ = sampled(lvlib, runs, loop, tmp_path / "a.npy", TEXT, tmp_path / "stretches.npy", "--frames", "8")
    assert (typed == given).all()


def test_the_sound_that_a_sample_was_told_is_in_its_file(runs, lvlib, loop, data, tmp_path):
    told = runs / "told", "--condition.audio", loop, TEXT, "the seven falls"
    lvlib("sample", *told, "--out", tmp_path / "a.mp4", "--frames", "8")
    heard, there = read_sound(tmp_path / "a.mp4", 60).samples, fitted(loop, 4000, 3200)[0]
    assert np.corrcoef(resample(heard, 48_000, 4000)[:3200], there)[0, 1] > 0.95
    for name in "a.gif", "a.png":
        lvlib("sample", *told, "--out", tmp_path / name)
    from_set = runs / "told", "--given", data, "--out", tmp_path / "b.mp4"
    assert "each sample has its own; --n 1 writes one of them" in lvlib("sample", *from_set, "--n", "2")
    with pytest.raises(UserError, match="holds no sound"):
        read_sound(tmp_path / "b.mp4", 60)
    lvlib("sample", *from_set, "--n", "1")
    assert read_sound(tmp_path / "b.mp4", 60).samples.any()


def test_a_run_that_does_not_say_its_rate_takes_no_sound_file(loop):
    spec = told.prior.conditions[1]
    assert read_sound_for(spec, loop, 10).shape == (4, 400)
    with pytest.raises(UserError, match="does not say how fast its frames pass.* give FILE.npy, of 4 x 400 numbers"):
        read_sound_for(spec, loop, None)


def test_help_says_how_a_text_and_a_sound_are_given(runs, capsys):
    with pytest.raises(SystemExit):
        main(["sample", str(runs / "told"), "--help"])
    printed = capsys.readouterr().out
    assert 'a text of up to 16 tokens ("stories"); of a long sample several, one for each 4 frames' in printed
    assert "a sound file, resampled, and cut or repeated to fit; or FILE.npy, of 4 x 400 numbers" in printed


def test_latents_are_made_anew_for_another_vocabulary_and_another_sound(runs, monkeypatch):
    def of(config):
        return latents.made_from(runs / "masked-vqvae", {}, config)["condition"]

    before = of(told.prior)
    assert before["text"][:3] == [16, 360, "stories"] and before["audio"] == [4, 400]
    assert of(replace(told.prior, prior=told.ToldConfig(samples=200))) != before == of(replace(
        told.prior, prior=told.ToldConfig(dim=8)))
    assert json.loads((runs / "told/latents/meta.json").read_text())["made_from"]["condition"] == before
    monkeypatch.setattr(latents, "vocabulary_fingerprint", lambda name: "another")
    assert of(told.prior) != before


@pytest.mark.parametrize("arguments, line", [
    ([], 'conditioned on text: give --condition.text "A TEXT"'),
    ([TEXT, "the one waits"], "conditioned on audio: give --condition.audio FILE, a sound"),
    ([TEXT, "the one waits" * 9], "takes 43 tokens, and the model reads 16"),
    ([TEXT, "the one waits|the two waits"], "there are 2 texts, and there must be 1"),
    (["--frames", "12", TEXT, "a|b"], "there must be 1 or 3, one for each 4 frames"),
    (["--frames", "8", TEXT, "the one waits|"], "a text is empty"),
    ([TEXT, " "], "a text is empty"),
    ([TEXT, "\udcff"], "this is not text"),
    ([TEXT, "words.npy"], "cannot read words.npy"),
    ([TEXT, "a", "--condition.audio", "absent.wav"], "there is no file absent.wav"),
    ([TEXT, "a", "--condition.audio", "DATA/meta.json"], "is not a sound file that can be read"),
    ([TEXT, "a", "--condition.audio", "DATA"], "is not a file"),
    ([TEXT, "a", "--condition.audio", "DATA/test/label.npy"], "label.npy: the audio are 3 numb"),
])
def test_what_it_cannot_be_told_is_refused_in_one_line(arguments, line, runs, data, tmp_path, capsys):
    arguments = [argument.replace("DATA", str(data)) for argument in arguments]
    assert main(["sample", str(runs / "told"), "--out", str(tmp_path / "out.npy"), *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lvlib: error: ") and errors.count("\n") == 1 and line in errors
    assert not (tmp_path / "out.npy").exists()
