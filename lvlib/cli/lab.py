"""lvlib lab: JupyterLab at the first notebook, with the course's data."""

import os
from pathlib import Path

import lvlib
from lvlib.cli import data
from lvlib.cli.arguments import Parser
from lvlib.errors import UserError

ROOT = Path(lvlib.__file__).parents[1]
FIRST = Path("notebooks", "00_start_here.ipynb")
# Of each script: its folder, the file that says it is whole, and options. Notebooks say in a line what they go on
# without; without moving digits none would run.
SETS = {
    "moving_digits": ("moving_digits", "meta.json", []),
    "real_clips": ("real_clips", "LICENCES.txt", []),
    "vizdoom": ("doom", "meta.json", ["--episodes", "100"]),
}
QUIET = ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]


def main(arguments: list[str]) -> None:
    parser = Parser("lvlib lab", usage="lvlib lab [options of `jupyter lab`]",
                    description="Prepare the course's data where it is missing, and open JupyterLab at the first "
                                "notebook. Needs a checkout. Options go to `jupyter lab`: --no-browser, --port 9000.")
    _, options = parser.parse_known_args(arguments)
    if not (ROOT / FIRST).exists():
        raise UserError(f"the notebooks are part of a checkout, not of the installed package: no {ROOT / FIRST}")
    try:
        from jupyterlab.labapp import LabApp
    except ImportError:
        raise UserError('JupyterLab is not installed: pip install -e ".[course]" in the checkout') from None
    prepare_data()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads of a notebook sleep
    LabApp.launch_instance([*QUIET, f"--ServerApp.root_dir={ROOT}", *options, str(ROOT / FIRST)])


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
