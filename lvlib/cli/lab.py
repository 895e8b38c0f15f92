"""lvlib lab: JupyterLab at the first notebook of the learner's own copy, with the course's data."""

import os
import subprocess
import sys
from pathlib import Path

import lvlib
from lvlib.cli import data
from lvlib.cli.arguments import Parser
from lvlib.errors import UserError

ROOT = Path(lvlib.__file__).parents[1]
FIRST = "00_start_here.ipynb"
# Of each script: its folder, the file that says it is whole, and options. Notebooks say in a line what they go on
# without; without moving digits none would run.
SETS = {
    "moving_digits": ("moving_digits", "meta.json", []),
    "real_clips": ("real_clips", "LICENCES.txt", []),
    "vizdoom": ("doom", "meta.json", ["--episodes", "100"]),
}
QUIET = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
# Defaults, which one's own settings still change: no question about news, and no buttons of nbgrader's for teachers.
SETTINGS = Path(__file__).parent / "jupyter"


def main(arguments: list[str]) -> None:
    parser = Parser("lvlib lab", usage="lvlib lab [options of `jupyter lab`]",
                    description="Prepare the course's data where it is missing, and open JupyterLab at the first "
                                "notebook of your own copy, my/. It is made once; a newer course is merged into it, "
                                "and your answers stay. Needs a checkout. Options go to `jupyter lab`: --no-browser, "
                                "--port 9000.")
    _, options = parser.parse_known_args(arguments)
    if not (notebook := ROOT / "notebooks" / FIRST).exists():
        raise UserError(f"the notebooks are part of a checkout, not of the installed package: no {notebook}")
    try:
        from jupyterlab.labapp import LabApp
    except ImportError:
        raise UserError('JupyterLab is not installed: pip install -e ".[course]" in the checkout') from None
    prepare_data()
    update_copy()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads of a notebook sleep
    paths = [str(SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
    LabApp.launch_instance([*QUIET, f"--ServerApp.root_dir={ROOT}", *options, str(ROOT / "my" / FIRST)])


def update_copy() -> None:
    """Makes my/, or brings a newer course into it; says what changed. Raises UserError if it cannot."""
    command = [sys.executable, "-m", "lvlib.course", "update"]  # nothing but notebooks imports lvlib.course
    done = subprocess.run(command, cwd=ROOT, encoding="utf-8", errors="replace", stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:]
        raise UserError("".join(said).removeprefix("lvlib.course: error: ") or "the copy in my/ could not be made")


def prepare_data() -> None:
    """Makes the course's data sets that are missing. Raises UserError if moving digits cannot be made."""
    from lvlib.data import data_home

    for name, (folder, whole, options) in SETS.items():
        out = data_home() / folder
        if (out / whole).exists():
            continue
        try:
            data.main([name, "--out", str(out), *options])
        except (UserError, OSError) as error:
            if name == "moving_digits":
                raise
            print(f"going on without {folder}: {error}")
