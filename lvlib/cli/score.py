"""lvlib score: compares generated videos with real ones, whoever made them."""

import json
from pathlib import Path

from lvlib.cli.arguments import Parser, split_overrides
from lvlib.cli.protocol import (
    add_options,
    check_lengths,
    names_of,
    protocol_lines,
    protocol_of,
    protocol_report,
    score_lines,
    score_runs,
    started,
    tools_for,
)
from lvlib.errors import UserError


def main(arguments: list[str]) -> None:
    from lvlib.evaluation.scores import OF_FILES

    parser = Parser("lvlib score", usage="lvlib score REAL GENERATED [--metrics A,B,...] [options] "
                    "[--protocol.FIELD VALUE]",
                    description="Compare generated videos with real ones. REAL and GENERATED are folders of videos, "
                    "data sets that `lvlib data` made, or .npy files of uint8 clips (n, t, h, w, c). Of each "
                    "generated video the first clip counts.")
    parser.add_argument("real", type=Path, metavar="REAL")
    parser.add_argument("generated", type=Path, metavar="GENERATED")
    parser.add_argument("--metrics", default="fvd,kvd", metavar="A,B,...",
                        help=f"of {', '.join(OF_FILES)} (default: fvd,kvd). psnr, mse, ssim and lpips compare the "
                        "videos in pairs, in the order of their names")
    add_options(parser)
    rest, overrides = split_overrides(arguments)
    options = parser.parse_args(rest)
    for name in overrides:
        if not name.startswith("protocol."):
            raise UserError(f"--{name} is no field of a protocol: set --protocol.FIELD alone")
    report, rank = compare(options, {name.partition(".")[2]: words for name, words in overrides.items()})
    if rank == 0:
        print(json.dumps(report) if options.json else table(report))


def compare(options, fields: dict[str, list[str]]) -> tuple[dict, int]:
    """The report, and the number of this process."""
    import numpy as np

    from lvlib.evaluation.choice import chosen
    from lvlib.evaluation.clip_files import FileSource, check_alike, open_clips
    from lvlib.evaluation.scores import METRICS, OF_FILES

    protocol = protocol_of(options, fields)
    not_of_files = {name: "it is a score of a run" for name in METRICS if name not in OF_FILES}
    metrics = names_of(options.metrics, dict.fromkeys(OF_FILES) | not_of_files, ())
    generated = open_clips(options.generated, protocol, protocol.frames, 1)
    frames = protocol.frames or generated.frames
    real = open_clips(options.real, protocol, protocol.real_frames or frames, protocol.stride)
    check_alike(real, generated, (options.real, options.generated))
    samples = [clips[0] for clips in generated.clips_of_videos()]
    paired = [name for name in metrics if METRICS[name].per_clip]
    if paired and (len(samples) != len(real) or protocol.choice != "spread"):
        raise UserError(f"{paired[0]} compares pairs, in the order of their names: it takes as many real clips as "
                        f"generated ones, not {len(real)} and {len(samples)}, and protocol.choice spread")
    for name in metrics:
        check_lengths(name, protocol, frames, protocol.real_frames or frames)
    device, rank, world = started(options, min(protocol.clips, max(len(real), len(samples))))
    tools = tools_for(metrics, protocol, options, device)
    needed = max(protocol.clips, protocol.inception_clips or 0) if "is" in metrics else protocol.clips
    numbers = [chosen(real, protocol, options.seed + k) for k in range(protocol.runs)]
    made = [taken if paired else np.random.default_rng(options.seed + k).permutation(len(samples))[:needed].tolist()
            for k, taken in enumerate(numbers)]
    about = {"real": str(options.real), "generated": str(options.generated), "real_clips": len(numbers[0]),
             "generated_clips": len(made[0]), "frames": frames, "fps": generated.fps,
             "shape": list(generated[0]["video"].shape), "skipped": skipped(real) | skipped(generated)}
    about |= protocol_report(options.protocol, tools) | {"seed": options.seed}

    def source(k: int) -> FileSource:
        taken = [samples[i] for i in made[k]]
        return FileSource(real, numbers[k], generated, taken, protocol.clips, bool(paired), device)

    settings = about | {"metrics": metrics, "clips": [real.fingerprint(), generated.fingerprint()]}
    return about | score_runs(source, metrics, tools, options, settings, rank, world), rank


def skipped(clips) -> dict[str, str]:
    """Videos that could not be read, and why."""
    return {str(path): reason for path, reason in getattr(clips, "skipped", {}).items()}


def table(report: dict) -> str:
    frames, height, width, channels = report["shape"]
    lines = [f"{report['generated']} ({report['generated_clips']} clips) against {report['real']} "
             f"({report['real_clips']} clips), each {frames} x {height} x {width} x {channels} (frames, height, width, "
             "channels)", *protocol_lines(report)]
    if report["skipped"]:
        lines.append(f"{len(report['skipped'])} videos could not be read, and were left out: named above")
    return "\n".join(lines + score_lines(report))
