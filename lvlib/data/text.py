"""Text as tokens: cut into words, and words into pieces that a vocabulary knows, by byte pair encoding (BPE).

Both vocabularies hold all 256 bytes, so that any text can be written: a word that they do not know is several pieces.

    "clip"      that of CLIP, 49,408 pieces, from `lvlib data clip_words`. MUGEN's texts are read with it. A text stands
                between a start and an end, padded with 0; CLIP reads 77 tokens. Text that was broken on its way is
                left as it is, where CLIP repairs it first.
    "stories"   our own, learned from the grammar of the stories by `python -m lvlib.data.vocabulary`: each of its words
                is one piece. Padded with a token of its own, 0; the longest sentence takes `STORY_TOKENS`.
"""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import groupby
from typing import Any

import numpy as np

from lvlib.data.clips import sha256
from lvlib.data.grammar import examples
from lvlib.data.home import data_home
from lvlib.errors import UserError, shortened, unknown

CLIP_FILE = {"bpe_simple_vocab_16e6.txt.gz": "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"}
STORIES_FILE = "stories_vocabulary.json"
STORY_TOKENS = 16
TOKENIZERS = ("clip", "stories")

_CLIP_MERGES = 49_152 - 256 - 2  # the file goes on, with merges that CLIP does not use
_CLIP_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_END_OF_WORD = "</w>"


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and how a text is written with it. `tokenizer` gives one."""

    title: str
    """Whose words it knows, in a message."""
    bpe: Any
    """The tokenizer of the library `tokenizers` that cuts."""
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    padding: int = 0
    words: frozenset[str] | None = None
    """Those that it learned from; None: whatever is one piece."""

    @property
    def size(self) -> int:
        """How many pieces there are: tokens are 0 to size - 1."""
        return self.bpe.get_vocab_size()

    def tokens(self, text: str, length: int) -> np.ndarray:
        """int64 (length,), padded at the end. Raises UserError for a text that takes more, or that is none."""
        found = [*self.start, *self._cut(text).ids, *self.end]
        if len(found) > length:
            raise UserError(f"the text {shortened(text, 60)!r} takes {len(found)} tokens, and the model reads "
                            f"{length}: make it shorter")
        return np.array(found + [self.padding] * (length - len(found)), np.int64)

    def pieces(self, text: str) -> list[list[str]]:
        """The pieces of each word, to be shown: a piece that is only a space as "_", bytes that are no letters as
        "<C3>". Raises UserError for what is no text."""
        cut = self._cut(text)
        return [[_shown(_bytes_of(token)) for _, token in word] for _, word in
                groupby(zip(cut.word_ids, cut.tokens, strict=True), lambda pair: pair[0])]

    def unknown_words(self, text: str) -> dict[str, list[str]]:
        """The words that the vocabulary does not have, each with the pieces that it is read as."""
        found = {}
        cut = self._cut(text)
        for _, word in groupby(zip(cut.word_ids, cut.tokens, strict=True), lambda pair: pair[0]):
            parts = [_bytes_of(token) for _, token in word]
            name = b"".join(parts).decode(errors="backslashreplace").strip()
            if len(parts) > 1 if self.words is None else name not in self.words:
                found[name] = [_shown(part) for part in parts]
        return found

    def text(self, tokens: np.ndarray) -> str:
        """The text again, in small letters and with single spaces. Bytes that make no letter become U+FFFD."""
        special = {*self.start, *self.end}
        kept = [token for token in np.asarray(tokens).tolist() if token not in special]
        while kept and kept[-1] == self.padding:
            kept.pop()
        return b"".join(map(_bytes_of, map(self.bpe.id_to_token, kept))).decode(errors="replace").strip()

    def _cut(self, text: str) -> Any:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"this is not text: {shortened(text)!r}") from None
        return self.bpe.encode(text, add_special_tokens=False)


@lru_cache
def tokenizer(name: str) -> Tokenizer:
    """The tokenizer of that name, "clip" or "stories".

    Raises UserError if there is none, the package `tokenizers` is not installed, or CLIP's words are not in the folder
    of the course's data.
    """
    if name not in TOKENIZERS:
        raise unknown("tokenizer", name, TOKENIZERS)
    if name == "clip":
        return _clip()
    bpe = import_tokenizers().Tokenizer.from_str(_stories_file().read_text(encoding="utf-8"))
    bpe.encode_special_tokens = True  # nobody can write padding by its name
    known = {word for text in examples() for word, _ in bpe.pre_tokenizer.pre_tokenize_str(text)}
    return Tokenizer("the stories", bpe, words=frozenset(_bytes_of(word).decode().strip() for word in known))


def vocabulary_fingerprint(name: str) -> str:
    """Another vocabulary, another one. Needs neither the package nor CLIP's file."""
    return sha256(_stories_file()) if name == "stories" else next(iter(CLIP_FILE.values()))


def import_tokenizers():
    try:
        import tokenizers
    except ImportError:
        raise UserError('text needs the package tokenizers: pip install "lvlib[course]"') from None
    return tokenizers


def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in a BPE vocabulary, as in GPT-2 and CLIP, and in their order: printable
    ones for themselves, then the others, for which letters from 256 on stand."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def _clip() -> Tokenizer:
    library = import_tokenizers()
    from tokenizers import models, normalizers, pre_tokenizers

    (name, recorded), = CLIP_FILE.items()
    path = data_home() / "clip_words" / name
    if not path.is_file():
        raise UserError(f"CLIP's words are not in {path.parent}: lvlib data clip_words --out {path.parent}")
    if sha256(path) != recorded:
        raise UserError(f"{path} is damaged; delete {path.parent} and make it again")
    lines = gzip.decompress(path.read_bytes()).decode().rstrip().split("\n")[1:_CLIP_MERGES + 1]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    letters = list(byte_letters().values())
    names = [*letters, *(letter + _END_OF_WORD for letter in letters), *map("".join, merges),
             "<|startoftext|>", "<|endoftext|>"]
    bpe = library.Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges,
                                       end_of_word_suffix=_END_OF_WORD))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(library.Regex(_CLIP_WORD), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return Tokenizer("CLIP", bpe, (len(names) - 2,), (len(names) - 1,))


def _stories_file() -> Any:
    return files("lvlib.data").joinpath(STORIES_FILE)


@lru_cache
def _bytes() -> dict[str, int]:
    return {letter: byte for byte, letter in byte_letters().items()}


def _bytes_of(token: str) -> bytes:
    """What a piece stands for, with the space that parts it from the next word, or from the one before."""
    word, end, _ = token.partition(_END_OF_WORD)
    return bytes(_bytes()[letter] for letter in word) + b" " * bool(end)


def _shown(piece: bytes) -> str:
    text = piece.decode(errors="replace").strip()
    if "\ufffd" in text or not text.isprintable():
        return "".join(f"<{byte:02X}>" for byte in piece)
    return text or "_"
