"""Makes a trained run one of those that ship: the newest weights of each of its stages, without what training needs.

The weights of an autoencoder stay in fp32, for a prior learned the codes that they make. Those of a prior or a refiner
become fp16, which takes half the room; a model that loads them computes in fp32.

    python -m lvlib.cli.ship RUN NAME
"""

import json
import shutil
import sys
from pathlib import Path

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.configs import Config
from lvlib.data import new_folder
from lvlib.runs.load import runs_down_from
from lvlib.runs.shipped import FOLDER
from lvlib.training.checkpoint import MANIFEST, MODEL, STATE, Checkpoint, folder_of, load_tensors, save_checkpoint
from lvlib.training.run import newest_weights


def main(argv: list[str] | None = None, folder: Path = FOLDER) -> None:
    parser = Parser("python -m lvlib.cli.ship", description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that `lvlib train` wrote")
    parser.add_argument("name", metavar="NAME", help="what the model is called among those that ship")
    options = parser.parse_args(argv)
    stages = list(runs_down_from(options.run))
    with new_folder(folder / options.name) as draft:
        for run, config in stages:
            to = draft / run.relative_to(options.run)
            to.mkdir(exist_ok=True)
            write_stage(run, config, to)
        shutil.copy(options.run / "metrics.jsonl", draft)
    print(f"{folder / options.name}: {' and '.join(config.stage for _, config in stages)}")


def write_stage(run: Path, config: Config, to: Path) -> None:
    """config.json and the newest weights of one stage, the EMA where one is kept."""
    weights = newest_weights(run)
    tensors = load_tensors(run, weights.step, weights.name)
    if config.stage != "autoencoder":
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    metrics = json.loads((folder_of(run, weights.step) / MANIFEST).read_text(encoding="utf-8"))["metrics"]
    shutil.copy(run / "config.json", to)
    save_checkpoint(to, Checkpoint(weights.step, tensors, None, {}, metrics), keep=1)
    saved = folder_of(to, weights.step)
    (saved / STATE).unlink()
    manifest = json.loads((saved / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = {MODEL: manifest["files"][MODEL]}
    (saved / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(reported(main))
