"""lvlib evaluate: what a trained run is worth, in numbers that stand beside their baselines."""

import argparse
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lvlib.cli.arguments import Parser, override, split_overrides, with_fields
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

if TYPE_CHECKING:
    from lvlib.configs import Config
    from lvlib.evaluation.protocols import Protocol


def main(arguments: list[str]) -> None:
    from lvlib.evaluation.scores import METRICS, QUICK

    parser = Parser("lvlib evaluate", usage="lvlib evaluate RUN [options] [--data.root DATA] [--sampling.FIELD VALUE] "
                    "[--protocol.FIELD VALUE]",
                    description="Score a run on clips that it did not learn from, beside simple baselines. The "
                    "frames after the given ones count; without given frames, all of them. --data.root DATA: other "
                    "clips than those in the run's own folder of data.")
    parser.add_argument("run", metavar="RUN", help="folder that `lvlib train` wrote, or the name of a shipped model")
    parser.add_argument("--metrics", metavar="A,B,...", help=f"of {', '.join(METRICS)} (default: the protocol's; of "
                        f"`course`, those of {', '.join(QUICK)} that the run has, or else fvd)")
    parser.add_argument("--given-frames", type=int, metavar="N", help="frames that are given (default: the protocol's, "
                        "or else as in training)")
    add_options(parser)
    rest, overrides = split_overrides(arguments)
    options = parser.parse_args(rest)
    from lvlib.runs import load_config
    from lvlib.runs.shipped import run_folder

    options.run = run_folder(options.run)
    fields: dict[str, dict[str, list[str]]] = {"sampling": {}, "protocol": {}}
    for name in [name for name in overrides if name.partition(".")[0] in fields]:
        part, _, field = name.partition(".")
        fields[part][field] = overrides.pop(name)
    protocol = protocol_of(options, fields["protocol"])
    config = with_data(load_config(options.run), overrides)
    report, rank = score(options, config, protocol, fields["sampling"])
    if rank == 0:
        print(json.dumps(report) if options.json else table(report))


def with_data(config: "Config", overrides: dict[str, list[str]]) -> "Config":
    """The run's configuration, with other data. Raises UserError for fields that a trained model fixes, and for clips
    that its autoencoder cannot take."""
    for name in overrides:
        if not name.startswith("data."):
            raise UserError(f"--{name} cannot be set, the run was trained with its own: set fields of data alone, "
                            "such as --data.root, or of sampling, or of the protocol")
    changed = override(config, overrides)
    _ = changed.latents  # other frames or another size must fit the autoencoder
    if config.prior and changed.video_shape != config.video_shape:
        _, frames, size, _ = config.video_shape
        raise UserError(f"the prior's clips are {frames} frames of {size} x {size}: "
                        "leave data.frames and data.size as they are")
    return changed


def lengths(config: "Config", options: argparse.Namespace, protocol: "Protocol") -> tuple[int, int]:
    """Frames of a sample and of a real clip. Raises UserError where the run does not make clips as the protocol's."""
    from lvlib.evaluation.generate import check_frames

    own = config.data
    if protocol.size not in (None, own.size):
        raise UserError(f"protocol {options.protocol} compares clips of {protocol.size} x {protocol.size}, this run's "
                        f"are {own.size} x {own.size}: --protocol.size {own.size} scores them, under another protocol "
                        "than the paper's")
    frames = protocol.frames or own.frames
    if frames != own.frames:
        try:
            if config.prior is None:
                raise UserError(f"it was trained on clips of {own.frames} frames")
            check_frames(config, frames)
        except UserError as error:
            raise UserError(f"protocol {options.protocol} compares clips of {frames} frames: {error}; "
                            f"--protocol.frames {own.frames} scores them, under another protocol than the paper's"
                            ) from error
    return frames, protocol.real_frames or frames


def given(options: argparse.Namespace, config: "Config", requested: int | None, frames: int) -> int:
    """How many of so many frames are given: of a prior that needs some, as requested or as in training; else none."""
    from lvlib.cli.given import given_frames_of
    from lvlib.evaluation.generate import with_frames

    if config.prior is None:
        if options.given_frames is not None:
            raise UserError(f"{options.run} holds an autoencoder alone: leave --given-frames out")
        return 0
    if not requested and not config.given_frames.least:
        return 0
    if requested == 0:
        raise UserError(f"protocol {options.protocol} gives no frames, and this prior needs "
                        f"{config.given_frames.least}: set --given-frames, under another protocol than the paper's")
    return given_frames_of(with_frames(config, frames), requested, "--protocol.frames")


def sampling_of(config: "Config", metrics: list[str], fields: dict[str, list[str]]) -> Any:
    """How a prior draws; None for an autoencoder. Raises UserError for fields of sampling where nothing is drawn."""
    from lvlib.evaluation.scores import METRICS

    whose = f"{' and '.join(metrics)} draw{'s' * (len(metrics) == 1)}" if config.prior else "an autoencoder draws"
    if fields and not (config.prior and any(METRICS[name].draws for name in metrics)):
        raise UserError(f"{whose} no samples: leave --sampling.{next(iter(fields))} out")
    return with_fields(config.prior.Sampling(), "sampling", fields) if config.prior else None


def metrics_of(options: argparse.Namespace, config: "Config", given_frames: int) -> list[str]:
    """As asked for, or those of the protocol that the run has."""
    from lvlib.evaluation.protocols import PROTOCOLS
    from lvlib.evaluation.scores import METRICS, QUICK

    refusals = {name: metric.refusal(config, given_frames) for name, metric in METRICS.items()}
    usual = PROTOCOLS[options.protocol].metrics or [name for name in QUICK if not refusals[name]] or ["fvd"]
    if names := names_of(options.metrics, refusals, usual):
        return names
    raise UserError(f"this run has none of {', '.join(usual)}: {refusals[usual[0]]}")


def score(options: argparse.Namespace, config: "Config", protocol: "Protocol", sampling_fields: dict[str, list[str]]
          ) -> tuple[dict, int]:
    """The report, and the number of this process."""
    from torch.utils.data import Subset

    from lvlib.data.conditions import check_classes, check_data
    from lvlib.evaluation.batch import Setting
    from lvlib.evaluation.choice import chosen, spread
    from lvlib.evaluation.evaluating import BASELINE_CLIPS, RunSource, count_baselines
    from lvlib.runs import load_pipeline
    from lvlib.runs.data import check_rate, open_split
    from lvlib.runs.load import learned_from

    frames, real_frames = lengths(config, options, protocol)
    if options.given_frames is not None:
        protocol = replace(protocol, given_frames=options.given_frames)
    given_frames = given(options, config, protocol.given_frames, frames)
    metrics = metrics_of(options, config, given_frames)
    for name in metrics:
        check_lengths(name, protocol, frames, real_frames)
    sampling = sampling_of(config, metrics, sampling_fields)
    real = replace(config, data=replace(config.data, frames=real_frames))
    data = open_split(real, protocol.split, 1 if protocol.choice == "video" else None)
    specs = config.up_to("prior").conditions
    check_data({protocol.split: data}, specs)
    if any(spec.kind == "class" for spec in specs):
        check_classes(data.classes, learned_from(options.run).classes, options.run)
    counted = None
    if config.prior:
        check_rate(config.data.root, data.fps, config.data.stride, options.run, "--data.stride")
        if "bits_per_dim" in metrics:
            train = open_split(config, "train")
            counted = Subset(train, spread(len(train), BASELINE_CLIPS))
    numbers = [chosen(data, protocol, options.seed + k) for k in range(protocol.runs)]
    device, rank, world = started(options, len(numbers[0]))
    tools = tools_for(metrics, protocol, options, device)
    pipeline = load_pipeline(options.run, options.device if world == 1 else device.partition(":")[0])
    baselines = count_baselines(pipeline, counted) if counted else None
    likelihood = protocol.likelihood_given_frames
    setting = Setting(given_frames, given_frames if likelihood is None else likelihood, sampling,
                      None if frames == config.data.frames else frames, baselines)
    generated = protocol.inception_clips if "is" in metrics and protocol.inception_clips else 0
    about = {"run": str(options.run), "stage": config.stage, "data": config.data.root, "split": protocol.split,
             "clips": len(numbers[0]), "clips_in_split": len(data), "frames": frames, "size": config.data.size}
    about |= protocol_report(options.protocol, tools)
    if config.prior:
        about |= {"given_frames": given_frames, "sampling": vars(sampling), "seed": options.seed,
                  "condition": [spec.name for spec in specs], "likelihood": config.prior.likelihood}
    if baselines:
        about |= {"baseline_clips": len(counted), "baseline_split": "train", "copy_probability": baselines.copy}
    weights = weights_of(options.run)
    scores = score_runs(lambda k: RunSource(pipeline, Subset(data, numbers[k]), setting, generated), metrics, tools,
                        options, about | {"metrics": metrics, "weights": weights,
                                          "real_clips": data.fingerprint()}, rank, world)
    return about | scores, rank


def weights_of(run) -> list[str]:
    """The sha256 of the weights of each stage."""
    from lvlib.runs.load import runs_down_from
    from lvlib.training.run import newest_weights

    return [newest_weights(folder).sha256 for folder, _ in runs_down_from(run)]


def table(report: dict) -> str:
    size = report["size"]
    lines = [f"{report['run']} on {report['data']}, split {report['split']}: {report['clips']} of "
             f"{report['clips_in_split']} clips, each {report['frames']} x {size} x {size} (frames, height, width)",
             *protocol_lines(report)]
    if report["stage"] != "autoencoder":
        from lvlib.viz.continuations import span

        lines.append(f"conditioned on {', '.join(report['condition']) or 'nothing'}; likelihood: "
                     f"{report['likelihood'] or 'none'}")
        drawn = ", ".join(f"{name} {value}" for name, value in report["sampling"].items() if value is not None)
        if given := report["given_frames"]:
            lines.append(f"frames {span(0, given)} given, {span(given, report['frames'])} scored; one sample a clip, "
                         f"{drawn}, seed {report['seed']}")
        else:
            lines.append(f"samples with {drawn}, seed {report['seed']}")
    if "copy_probability" in report:
        lines.append(f"copy_baseline repeats the code of the frame before with probability "
                     f"{report['copy_probability']:.3f}, else draws from the marginal; both counted on "
                     f"{report['baseline_clips']} clips of the split {report['baseline_split']}")
    return "\n".join(lines + score_lines(report))
