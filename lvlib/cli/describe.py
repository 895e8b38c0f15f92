"""lvlib describe: what a configuration amounts to."""

import json

from lvlib.cli.arguments import ConfigParser


def main(arguments: list[str]) -> None:
    parser = ConfigParser("describe", "Parameters per part, latent shape, tokens a clip, memory to train.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options, config = parser.parse(arguments)
    from lvlib.reports.describe import describe

    report = {"config": options.config, **describe(config)}
    print(json.dumps(report) if options.json else _table(report))


def _table(report: dict) -> str:
    from lvlib.stages import shape_in_words

    lines = [report["config"], "parameters"]
    for part, count in report["parameters"].items():
        label = "  " * part.count(".") + part.rpartition(".")[2]
        lines.append(f"  {label:<18} {count:>13,}")
    lines += [
        f"a clip             {shape_in_words(report['video_shape'])} (channels, frames, height, width)",
        f"latent shape       {shape_in_words(report['latent_shape'])}, {report['tokens']:,} tokens",
        f"memory to train    about {report['training_memory_mb']:,} MB for the {report['trains']}",
        f"                   ({report['training_memory_estimate']})",
    ]
    return "\n".join(lines)
