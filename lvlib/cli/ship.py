"""Makes a trained run one of those that ship: the newest weights of each of its stages, without what training needs.

The weights become fp16, which takes half the room; a model that loads them computes in fp32. A stage knows the one that
it stands on by its checksum: it is told the new one.

    python -m lvlib.cli.ship RUN NAME
"""

import json
import re
import sys
from pathlib import Path

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import new_folder
from lvlib.errors import UserError
from lvlib.runs.load import runs_down_from
from lvlib.runs.shipped import FOLDER
from lvlib.training.checkpoint import MANIFEST, Checkpoint, folder_of, load_tensors, save_checkpoint, write_file
from lvlib.training.run import is_finite, load_run, newest_weights


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
    checksums: dict[str, str] = {}  # of the weights in the run: of those that ship
    with new_folder(folder / options.name) as draft:
        for run, _ in reversed(stages):  # from the autoencoder up
            to = draft / run.relative_to(options.run)
            to.mkdir(parents=True, exist_ok=True)
            write_stage(run, to, checksums)
        (draft / "metrics.jsonl").write_bytes(metrics)
        list(runs_down_from(draft))  # it must load
    print(f"{folder / options.name}: {' and '.join(config.stage for _, config in stages)}")


def write_stage(run: Path, to: Path, checksums: dict[str, str]) -> None:
    """config.json and the newest weights of one stage, the EMA where one is kept, in fp16.

    checksums: of the stages below it, as they were to as they are now; its own is added. Raises UserError where fp16
    cannot hold the weights.
    """
    weights = newest_weights(run)
    tensors = {name: tensor.half() if tensor.is_floating_point() else tensor
               for name, tensor in load_tensors(run, weights.step, weights.name).items()}
    if not all(map(is_finite, tensors.values())):
        raise UserError(f"{run} holds weights above 65,504, which fp16 does not have")
    metrics = json.loads((folder_of(run, weights.step) / MANIFEST).read_text(encoding="utf-8"))["metrics"]
    settings = load_run(run)
    for part in ("latents", "codes"):  # "codes": before lvlib 0.2
        for name, checksum in (settings.get(part) or {}).items():
            if isinstance(checksum, str):
                settings[part][name] = checksums.get(checksum, checksum)
    write_file(to / "config.json", f"{json.dumps(settings, indent=1)}\n".encode())
    save_checkpoint(to, Checkpoint(weights.step, tensors, None, None, metrics), keep=1)
    checksums[weights.sha256] = newest_weights(to).sha256


if __name__ == "__main__":
    sys.exit(reported(main))
