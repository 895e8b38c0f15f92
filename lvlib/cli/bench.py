"""lvlib bench: how fast a configuration trains here."""

import json

from lvlib.cli.arguments import ConfigParser
from lvlib.errors import UserError


def main(arguments: list[str]) -> None:
    parser = ConfigParser("bench", "CPU seconds, share of the machine's peak, and memory of a training step.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options, config = parser.parse(arguments)
    if options.threads < 1:
        raise UserError(f"--threads must be at least 1, not {options.threads}")
    from lvlib.bench import bench

    report = {"config": options.config, **bench(config, options.threads)}
    print(json.dumps(report) if options.json else _table(report))


def _table(report: dict) -> str:
    seconds, gflop, share, memory = (
        report[key]["autoencoder"] for key in ("train_step_cpu_s", "gflop", "peak_share", "peak_memory_mb"))
    return "\n".join([
        f"{report['config']} on {report['hardware']}, {report['threads']} thread(s), torch {report['torch']}",
        f"training step      {seconds:.3f} CPU-s, {gflop:.2f} GFLOP",
        f"share of the peak  {share:.0%} of a large matrix product's {report['matmul_gflops']:.0f} GFLOP/s",
        f"peak memory        {memory:.0f} MB above the process at rest",
    ])
