"""What `lvlib evaluate` and `lvlib score` share: a protocol and its networks, the work, and how scores are told."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvlib.cli.arguments import Parser, add_device, check_positive, check_seed, with_fields
from lvlib.errors import UserError, unknown

if TYPE_CHECKING:
    from lvlib.evaluation.evaluating import Source
    from lvlib.evaluation.metric import Metric, Scores, Tools
    from lvlib.evaluation.protocols import Protocol

NETWORK_FILES = {"i3d": "I3D, for distances: the TorchScript file of Kinetics-400 or -600 that FVD is computed with",
                 "c3d": "C3D, for the inception and the coherence scores: the TorchScript file of UCF-101",
                 "vgg": "VGG16, for LPIPS: the TorchScript file of StyleGAN2-ADA"}
PARTS = {"features": "i3d", "classes": "c3d", "perceptual": "vgg"}  # of a protocol, and the file each may come from


def add_options(parser: Parser) -> None:
    parser.add_argument("--protocol", default="course", metavar="NAME", help="every choice of how clips are compared: "
                        f"{', '.join(_names())} (default: course). --protocol.FIELD VALUE sets one of them: the score "
                        "is not that paper's then, and says so")
    parser.add_argument("--split", help="of the real clips: train, val, test or all (short for --protocol.split)")
    parser.add_argument("--clips", type=int, metavar="N",
                        help="how many real and generated clips at most (short for --protocol.clips)")
    for name, what in NETWORK_FILES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn; run k has seed + k (default: 0)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep what was counted in DIR: the same command goes "
                        "on there after a stop")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes where there is none (default: 1)")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _names() -> list[str]:
    from lvlib.evaluation.protocols import PROTOCOLS

    return list(PROTOCOLS)


def protocol_of(options: argparse.Namespace, fields: Mapping[str, list[str]]) -> "Protocol":
    """The named protocol, with its fields set. Raises UserError for a name or a value that is not allowed."""
    from lvlib.evaluation.protocols import PROTOCOLS

    check_seed(options.seed)
    check_positive("--clips", options.clips)
    check_positive("--devices", options.devices)
    if options.protocol not in PROTOCOLS:
        raise unknown("protocol", options.protocol, PROTOCOLS)
    short = {name: [str(value)] for name in ("split", "clips") if (value := getattr(options, name)) is not None}
    if options.clips is not None and PROTOCOLS[options.protocol].protocol.inception_clips is not None:
        short["inception_clips"] = short["clips"]
    if options.protocol == "course":  # who gives a file wants it used
        short |= {part: ["lpips-vgg" if file == "vgg" else file] for part, file in PARTS.items()
                  if getattr(options, file) is not None}
    protocol = with_fields(PROTOCOLS[options.protocol].protocol, "protocol", {**short, **fields})
    if protocol.split not in ("train", "val", "test", "all"):
        raise unknown("split", protocol.split, ("train", "val", "test", "all"))
    return protocol


def names_of(words: str | None, allowed: Mapping[str, str | None], default: Sequence[str]) -> list[str]:
    """The metrics that were asked for. allowed: each metric, and why it cannot be had, or None.

    Raises UserError for one that there is not, or cannot be had, with those that can.
    """
    has = [name for name, refusal in allowed.items() if refusal is None]
    names = [name for name in default if name in has] if words is None else words.split(",")
    for name in names:
        if name not in allowed:
            raise unknown("metric", name, has)
        if refusal := allowed[name]:
            raise UserError(f"{name}: {refusal}; there are: {', '.join(has)}")
    return list(dict.fromkeys(names))


def tools_for(metrics: Sequence[str], protocol: "Protocol", options: argparse.Namespace, device: str) -> "Tools":
    """The networks that these metrics look with, and the protocol with their names in full. Raises UserError for one
    that is not there, or is another than the protocol says."""
    from lvlib.evaluation.metric import Tools
    from lvlib.evaluation.scores import METRICS

    needed = {METRICS[name].network for name in metrics} - {None}
    if not needed:
        return Tools(protocol)
    from lvlib.evaluation.networks.load import frame_network, video_network

    files = {name: path for name in NETWORK_FILES if (path := getattr(options, name)) is not None}
    loaded: dict[str, Any] = {}
    for part in [part for part in PARTS if part in needed]:
        name = getattr(protocol, part)
        kind = name.partition("-")[0] if name.startswith(("i3d-", "c3d-")) else name
        load = frame_network if part == "perceptual" else video_network
        network = loaded[part] = load(kind, files, device)
        if name not in (kind, network.name):
            raise UserError(f"protocol {options.protocol} takes {name}, and {files[kind]} is {network.name}: give that "
                            f"file, or set --protocol.{part} {network.name}")
    return Tools(replace(protocol, **{part: network.name for part, network in loaded.items()}), **loaded)


def check_lengths(name: str, protocol: "Protocol", frames: int, real_frames: int) -> None:
    """Raises UserError where a score of windows has none, or one of whole clips has clips of two lengths."""
    if name in ("fvd_windows", "ccs", "ics"):
        if protocol.window > min(frames, real_frames):
            raise UserError(f"{name}: windows have {protocol.window} frames, and the clips {min(frames, real_frames)}: "
                            "set --protocol.window")
    elif name in ("fvd", "kvd", "psnr", "mse", "ssim", "lpips") and frames != real_frames:
        raise UserError(f"{name} compares clips of one length: protocol.real_frames is {real_frames}, and the "
                        f"generated clips have {frames} frames")


def started(options: argparse.Namespace, clips: int) -> tuple[str, int, int]:
    """(device, rank, processes) after starting as many as were asked for.

    Raises UserError for more processes than there are batches of these clips.
    """
    import os

    from lvlib.evaluation.batch import SIZE
    from lvlib.training.engine import choose_device, launch

    if options.devices > (batches := -(-clips // SIZE)):
        raise UserError(f"--devices must be at most {batches}, as {clips} clips are {batches} batches of {SIZE}, not "
                        f"{options.devices}")
    if options.devices == 1 and "LOCAL_WORLD_SIZE" not in os.environ:
        return choose_device(options.device), 0, 1
    fabric = launch("32-true", options.device, options.devices, 1)
    return str(fabric.device), fabric.global_rank, fabric.world_size


def score_runs(make_source: Callable[[int], "Source"], metrics: Sequence[str], tools: "Tools",
               options: argparse.Namespace, settings: Mapping, rank: int, world: int) -> dict:
    """The scores by the names that they are told by, over the runs of the protocol; with what there is to warn of.

    make_source: the clips of run k.
    """
    from lvlib.evaluation.evaluating import evaluate, means
    from lvlib.evaluation.metric import label
    from lvlib.evaluation.scores import METRICS
    from lvlib.evaluation.work import Work

    runs: list[Scores] = []
    warnings: list[str] = []
    counted: Mapping[str, Metric] = {}
    for k in range(tools.protocol.runs):
        work = Work(options.work, settings, k, rank, world) if options.work else None
        counted = evaluate(make_source(k), metrics, tools, options.seed + k, work)
        runs.append({label(name, METRICS[name], tools.protocol): metric.compute() for name, metric in counted.items()})
    for name, metric in counted.items():
        if hasattr(metric, "too_few") and (warning := metric.too_few()):
            warnings.append(f"{label(name, METRICS[name], tools.protocol)}: {warning}")
    mean, std = means(runs)
    report = {"scores": list(mean), **for_json(mean)}
    if len(runs) > 1:
        report["standard_deviation"] = for_json(std)
    return report | ({"warnings": warnings} if warnings else {})


def protocol_report(name: str, tools: "Tools") -> dict:
    """What a reader must know beside the scores."""
    from lvlib.evaluation.protocols import PROTOCOLS, changed

    protocol = tools.protocol
    networks = {part: network for part in PARTS if (network := getattr(tools, part)) is not None}
    return {"protocol": name, "protocol_source": PROTOCOLS[name].source, "protocol_changed": changed(name, protocol),
            "choices": asdict(protocol),
            "networks": {part: {"name": network.name, "file": getattr(network, "origin", None)}
                         for part, network in networks.items()}}


def for_json(scores: "Scores") -> dict:
    """JSON has no infinity: None for it, such as the PSNR of clips that are equal. Raises UserError for no number."""
    return {name: {of: _finite(value, name, of) for of, value in values.items()} for name, values in scores.items()}


def _finite(value: Any, name: str, of: str) -> Any:
    if isinstance(value, list):
        return [_finite(one, name, of) for one in value]
    if math.isnan(value):
        raise UserError(f"{name} of {of} is not a number: the model's output is not finite")
    return value if math.isfinite(value) else None


def protocol_lines(report: dict) -> list[str]:
    """The protocol of a report, in words."""
    line = f"protocol {report['protocol']} ({report['protocol_source']})"
    if changes := report["protocol_changed"]:
        line += ", CHANGED: " + ", ".join(f"{name} {value}" for name, value in changes.items())
    lines = [line]
    for part, network in report["networks"].items():
        file = f", {network['file']}" if network["file"] else ""
        lines.append(f"{part} by {network['name']}{file}")
    return lines


def score_lines(report: dict) -> list[str]:
    """A line for each number."""
    from lvlib.evaluation.metric import label
    from lvlib.evaluation.protocols import Protocol
    from lvlib.evaluation.scores import METRICS

    protocol = Protocol(**report["choices"])
    metrics = {label(name, metric, protocol): metric for name, metric in METRICS.items()}
    width = max([14, *(len(name) + 2 for name in report["scores"])])
    lines = []
    for name in report["scores"]:
        metric = metrics[name]
        for of, value in report[name].items():
            spread = report.get("standard_deviation", {}).get(name, {}).get(of)
            number = _in_digits(value, metric.digits)
            number += f" +- {_in_digits(spread, metric.digits)}" if spread is not None else ""
            lines.append(f"{name:<{width}}{of:<20}{number:>9} {metric.unit}")
    return lines + [f"warning: {line}" for line in report.get("warnings", [])]


def _in_digits(value: Any, digits: int) -> str:
    if isinstance(value, list):
        return " ".join(_in_digits(one, digits) for one in value)
    return "infinite" if value is None else f"{value:.{digits}f}"
