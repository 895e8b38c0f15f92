"""How the vocabulary of the stories was made: `python -m lvlib.data.vocabulary` writes it anew, byte for byte."""

from pathlib import Path

from lvlib.data.grammar import examples
from lvlib.data.text import STORIES_FILE, import_tokenizers

MOST = 512  # pieces; merges end before, for no word is left in two


def learn_vocabulary() -> str:
    """BPE over bytes, learned from every sentence of `examples`: a JSON text of the library `tokenizers`.

    Piece 0 is padding, 1 to 256 are the bytes, and then come the merges. A word carries the space before it.
    """
    library = import_tokenizers()
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    bpe = library.Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), normalizers.Strip(),
                                           normalizers.Replace(library.Regex(r"\s+"), " ")])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(vocab_size=MOST, special_tokens=["<padding>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(examples(), trainer)
    return bpe.to_str() + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / STORIES_FILE).write_text(learn_vocabulary(), encoding="utf-8", newline="\n")
