"""lvlib bench: how fast a configuration trains and samples here."""

import json
import os

from lvlib.cli.arguments import ConfigParser
from lvlib.errors import UserError

SAMPLING = {"autoencoder": "decoding latents  ", "prior": "sampling latents  ", "refiner": "completing latents"}


def main(arguments: list[str]) -> None:
    parser = ConfigParser("bench", "CPU seconds, share of the machine's peak and memory of a training "
                          "step, and CPU seconds of sampling a clip.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--stage", help="measure this stage alone: autoencoder, prior or refiner (default: each)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options, config = parser.parse(arguments)
    most = max(os.cpu_count() or 1, 64)
    if not 1 <= options.threads <= most:
        raise UserError(f"--threads must be from 1 to {most}, not {options.threads}")
    from lvlib.reports.bench import bench

    report = {"config": options.config, **bench(config, options.threads, options.stage)}
    print(json.dumps(report) if options.json else _table(report))


def _table(report: dict) -> str:
    lines = [f"{report['config']} on {report['hardware']}, {report['threads']} thread(s), torch {report['torch']}"]
    for stage, batch in report["batch"].items():
        lines += [
            f"{stage}, batch of {batch}",
            f"  training step      {report['train_step_cpu_s'][stage]:.3f} CPU-s, {report['gflop'][stage]:.2f} GFLOP",
            f"  share of the peak  {report['peak_share'][stage]:.0%} of a large matrix product's "
            f"{report['matmul_gflops']:.0f} GFLOP/s",
            f"  peak memory        {report['peak_memory_mb'][stage]:.0f} MB above the process at rest",
            f"  {SAMPLING[stage]} {report['sample_cpu_s'][stage]:.3f} CPU-s, one clip",
        ]
    return "\n".join(lines)
