"""Makes a trained run one of those that ship: the newest weights of each of its stages, without what training needs.

The weights take half the room; a model that loads them computes in fp32. Those that were trained in bf16-mixed become
bf16, as which they were multiplied, and which a wheel packs better; others fp16. Autoencoders always become fp16: their
codes hang on small differences. A stage knows the one that it stands on by its checksum: it is told the new one.

    python -m lvlib.cli.ship RUN NAME
"""

import json
import re
import sys
from pathlib import Path

import torch

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.configs import Config
from lvlib.data import new_folder
from lvlib.errors import UserError
from lvlib.runs.load import runs_down_from
from lvlib.runs.shipped import FOLDER
from lvlib.training.checkpoint import BEST, MANIFEST, Checkpoint, folder_of, load_tensors, save_checkpoint
from lvlib.training.run import is_finite, load_run, newest_weights, write_config


def main(argv: list[str] | None = None, folder: Path = FOLDER) -> None:
    parser = Parser("python -m lvlib.cli.ship", description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that `lvlib train` wrote")
    parser.add_argument("name", metavar="NAME", help="what the model is called among those that ship")
    options = parser.parse_args(argv)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", options.name):
        raise UserError(f"NAME must be small letters and digits, with - between words, not {options.name!r}")
    stages = list(runs_down_from(options.run))
    log = options.run / "metrics.jsonl"
    if not log.is_file():
        raise UserError(f"{options.run} has no {log.name}, which ships with it")
    metrics = log.read_bytes()
    below = None
    with new_folder(folder / options.name) as draft:
        for run, config in reversed(stages):  # from the autoencoder up
            to = draft / run.relative_to(options.run)
            to.mkdir(parents=True, exist_ok=True)
            below = write_stage(run, to, config, below)
        (draft / "metrics.jsonl").write_bytes(metrics)
        list(runs_down_from(draft))  # it must load
    print(f"{folder / options.name}: {' and '.join(config.stage for _, config in stages)}")


def write_stage(run: Path, to: Path, config: Config, below: str | None) -> str:
    """Writes config.json and the newest weights of one stage, as `load_weights` takes them. Returns their checksum.

    below: that of the stage that it stands on, as it ships. Raises UserError where fp16 cannot hold the weights.
    """
    mixed = config.training.precision == "bf16-mixed" and config.stage != "autoencoder"
    dtype = torch.bfloat16 if mixed else torch.float16
    weights = newest_weights(run)
    tensors = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
               for name, tensor in load_tensors(run, weights.step, weights.name).items()}
    if not all(map(is_finite, tensors.values())):
        raise UserError(f"{run} holds weights above 65,504, which fp16 does not have")
    metrics = json.loads((folder_of(run, weights.step) / MANIFEST).read_text(encoding="utf-8"))["metrics"]
    if weights.name == BEST:
        metrics = {}  # those are of the last weights
    settings = load_run(run)
    learned = settings.get("latents") or settings.get("codes") or {}  # "codes": before lvlib 0.2
    if config.stands_on in learned:
        learned[config.stands_on] = below
    write_config(to, settings)
    save_checkpoint(to, Checkpoint(weights.step, tensors, None, None, metrics), keep=1)
    return newest_weights(to).sha256


if __name__ == "__main__":
    sys.exit(reported(main))
