"""CLIP's words: the 49,408 pieces that its texts are written with, taken out of the open-clip-torch package."""

import sys
from pathlib import Path

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import new_folder
from lvlib.data.packages import take_files, wrong_files
from lvlib.data.text import CLIP_FILE
from lvlib.errors import UserError

PACKAGE = "open-clip-torch==3.3.0"  # only a carrier: it is never installed
FOLDER = "open_clip/"
LICENCES = """\
bpe_simple_vocab_16e6.txt.gz is from CLIP (Radford et al. 2021), (c) 2021 OpenAI, under the MIT licence; taken out of
the package open-clip-torch 3.3.0, under the MIT licence, too. The course downloads the file and does not ship it.
"""


def main(argv: list[str] | None = None) -> None:
    parser = Parser("lvlib data clip_words", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; lvlib looks in data/clip_words")
    out = parser.parse_args(argv).out
    if out.is_dir() and not wrong_files(out, CLIP_FILE):
        print(f"{out} is there already, whole, and the same")
        return
    with new_folder(out) as draft:
        take_files(PACKAGE, FOLDER, CLIP_FILE, draft, "CLIP's words")
        (draft / "LICENCES.txt").write_text(LICENCES)
        if wrong := wrong_files(draft, CLIP_FILE):
            raise UserError(f"{PACKAGE} holds another {wrong[0]} than expected")
    print(f"{out}: {', '.join(CLIP_FILE)}; its licence is in LICENCES.txt")


if __name__ == "__main__":
    sys.exit(reported(main))
