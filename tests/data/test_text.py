"""Texts as tokens: the pieces are those that merging by hand gives, and what a vocabulary lacks is shown in pieces."""

import gzip
import json
import runpy
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers")

import lvlib
from lvlib.data import data_home, text
from lvlib.data.clips import sha256
from lvlib.data.grammar import examples
from lvlib.data.text import (
    CLIP_FILE,
    STORIES_FILE,
    STORY_TOKENS,
    byte_letters,
    tokenizer,
    vocabulary_fingerprint,
)
from lvlib.data.vocabulary import learn_vocabulary
from lvlib.errors import UserError

SCRIPT = Path(lvlib.__file__).parents[1] / "data_scripts/clip_words.py"
CLIP = data_home() / "clip_words" / next(iter(CLIP_FILE))
STRANGE = ["", " ", "seventeen", "Ünïcode: ñ, 日本語, \U0001f600!", "a\tb\n c", "<padding> <|endoftext|>", "\x00\x7f",
           "it's 42"]


def merged(pieces: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """The rule of BPE, by hand: join the pair that was learned first, wherever it stands, until none is known."""
    while pairs := [pair for pair in zip(pieces, pieces[1:], strict=False) if pair in ranks]:
        best, joined = min(pairs, key=ranks.get), []
        for piece in pieces:
            if joined and (joined[-1], piece) == best:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def test_pieces_are_those_that_merging_by_hand_gives():
    model = json.loads(files("lvlib.data").joinpath(STORIES_FILE).read_text(encoding="utf-8"))["model"]
    ranks = {tuple(pair): number for number, pair in enumerate(model["merges"])}
    letters, stories = byte_letters(), tokenizer("stories")
    for word in ["seventeen", "moves", "slid", "zerozero", "日本", "ththth", "fallsfalls"]:
        pieces = merged([letters[byte] for byte in f" {word}".encode()], ranks)
        assert stories.tokens(word, len(pieces)).tolist() == [model["vocab"][piece] for piece in pieces]


def test_each_word_of_the_stories_is_one_piece_and_every_sentence_fits():
    stories = tokenizer("stories")
    assert 256 < stories.size <= 512
    longest = 0
    for sentence in examples():
        assert all(len(word) == 1 for word in stories.pieces(sentence)) and not stories.unknown_words(sentence)
        tokens = stories.tokens(sentence, STORY_TOKENS)
        assert stories.text(tokens) == sentence and tokens.dtype == np.int64 and tokens.shape == (STORY_TOKENS,)
        longest = max(longest, (tokens != 0).sum())
    assert longest in (STORY_TOKENS, STORY_TOKENS - 1)


@pytest.mark.parametrize("words", STRANGE)
def test_any_text_can_be_written_and_read_again(words):
    stories = tokenizer("stories")
    tokens = stories.tokens(words, 200)
    assert stories.text(tokens) == " ".join(words.lower().split()) and 0 <= tokens.min() <= tokens.max() < stories.size


def test_how_a_text_is_typed_makes_no_difference():
    stories = tokenizer("stories")
    one, other = "the seven moves right, then", " The  SEVEN moves\nright, then "
    assert (stories.tokens(one, 9) == stories.tokens(other, 9)).all()


def test_unknown_words_are_shown_in_pieces():
    stories = tokenizer("stories")
    assert stories.unknown_words("the seventeen hops!") == {"seventeen": ["seven", "t", "ee", "n"], "!": ["!"]}
    assert stories.unknown_words("the é 7") == {"é": ["_", "<C3>", "<A9>"], "7": ["_", "7"]}
    assert stories.pieces("the seven, é") == [["the"], ["seven"], [","], ["_", "<C3>", "<A9>"]]


def test_what_is_too_long_or_no_text_is_one_line():
    stories = tokenizer("stories")
    assert stories.tokens("the seven falls", 3).tolist() == stories.tokens("the seven falls", 5).tolist()[:3]
    with pytest.raises(UserError, match="'the seven falls' takes 3 tokens, and the model reads 2: make it shorter"):
        stories.tokens("the seven falls", 2)
    with pytest.raises(UserError, match="^.{1,200}$"):
        stories.tokens("x" * 10_000, 16)
    with pytest.raises(UserError, match="this is not text"):
        stories.tokens("\udcff", 16)
    with pytest.raises(UserError, match="unknown tokenizer 'story'; did you mean stories"):
        tokenizer("story")


def test_the_vocabulary_that_ships_is_what_the_command_writes():
    assert learn_vocabulary() == files("lvlib.data").joinpath(STORIES_FILE).read_text(encoding="utf-8")
    assert len(learn_vocabulary()) < 8000


def test_letters_stand_for_bytes_one_to_one():
    letters = byte_letters()
    assert sorted(letters) == list(range(256)) and len(set(letters.values())) == 256
    assert letters[ord("a")] == "a" and letters[ord(" ")] == "\u0120" and letters[ord("\n")] == "\u010a"


def test_without_the_package_it_says_what_to_install(monkeypatch):
    tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r'pip install "lvlib\[course\]"'):
        tokenizer("stories")
    assert len(vocabulary_fingerprint("stories")) == len(vocabulary_fingerprint("clip")) == 64


@pytest.fixture
def few_words(tmp_path, monkeypatch):
    """A file like CLIP's, of three merges."""
    path = tmp_path / "clip_words" / next(iter(CLIP_FILE))
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"version\nt h\nth e</w>\nc a\n", mtime=0))
    monkeypatch.setenv("LVLIB_DATA", str(tmp_path))
    monkeypatch.setattr(text, "CLIP_FILE", {path.name: sha256(path)})
    tokenizer.cache_clear()
    yield path
    tokenizer.cache_clear()


def test_clips_words_are_bytes_then_bytes_that_end_a_word_then_merges(few_words):
    clip, letters = tokenizer("clip"), list(byte_letters())
    assert clip.size == 512 + 3 + 2
    ends = {letter: 256 + letters.index(ord(letter)) for letter in "te"}
    the, ca, start, end = 513, 514, 515, 516
    last_word = [letters.index(ord("t")), letters.index(0xC3), 256 + letters.index(0xA9)]
    assert clip.tokens("The cat  té", 10).tolist() == [start, the, ca, ends["t"], *last_word, end, 0, 0]
    assert clip.unknown_words("the cat") == {"cat": ["ca", "t"]}
    assert clip.text(clip.tokens("the cat, the é", 77)) == "the cat , the é"


def test_clips_words_that_are_missing_or_damaged(few_words):
    few_words.write_bytes(few_words.read_bytes() + b"x")
    with pytest.raises(UserError, match="is damaged; delete"):
        tokenizer("clip")
    few_words.unlink()
    with pytest.raises(UserError, match="are not in .*: lvlib data clip_words --out"):
        tokenizer("clip")


@pytest.mark.skipif(not CLIP.exists(), reason="CLIP's words are not here: lvlib data clip_words --out data/clip_words")
def test_the_real_words_give_the_tokens_that_clip_publishes():
    clip = tokenizer("clip")
    assert clip.size == 49_408
    tokens = clip.tokens("a photo of a cat", 77).tolist()
    assert tokens[:8] == [49406, 320, 1125, 539, 320, 2368, 49407, 0] and tokens[7:] == [0] * 70
    lines = gzip.decompress(CLIP.read_bytes()).decode().split("\n")[1:48_895]
    ranks = {tuple(line.split()): number for number, line in enumerate(lines)}
    letters = list(byte_letters().values())
    names = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in ranks)]
    for word in ["seventeen", "slithers", "qwertyuiop", "日本"]:
        *first, last = [byte_letters()[byte] for byte in word.encode()]
        pieces = merged([*first, f"{last}</w>"], ranks)
        assert clip.tokens(word, 77)[1:1 + len(pieces)].tolist() == [names.index(piece) for piece in pieces]


def test_clips_words_are_taken_out_of_their_package(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "wheels" / "tree"
    info = folder / "open_clip_torch-3.3.0.dist-info"
    info.mkdir(parents=True)
    (folder / "open_clip").mkdir()
    (folder / "open_clip" / CLIP.name).write_bytes(b"words")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: open-clip-torch\nVersion: 3.3.0\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "RECORD").write_text("")
    shutil.move(shutil.make_archive(str(tmp_path / "made"), "zip", folder),
                tmp_path / "wheels" / "open_clip_torch-3.3.0-py3-none-any.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    script = runpy.run_path(str(SCRIPT))
    with pytest.raises(UserError, match="holds another bpe_simple_vocab_16e6.txt.gz than expected"):
        script["main"](["--out", str(tmp_path / "words")])
    assert not (tmp_path / "words").exists()
    monkeypatch.setitem(CLIP_FILE, CLIP.name, sha256(folder / "open_clip" / CLIP.name))
    for line in "its licence is in LICENCES.txt\n", "is there already, whole, and the same\n":
        script["main"](["--out", str(tmp_path / "words")])
        assert capsys.readouterr().out.endswith(line)
    assert {path.name for path in (tmp_path / "words").iterdir()} == {CLIP.name, "LICENCES.txt"}
