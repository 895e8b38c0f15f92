"""lvlib evaluate: what a trained run is worth, in numbers that stand beside their baselines."""

import argparse
import json
import math
from typing import TYPE_CHECKING, Any

from lvlib.cli.arguments import Parser, add_device, check_positive, check_seed, override, split_overrides, with_fields
from lvlib.errors import UserError, unknown

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from lvlib.configs import Config


def main(arguments: list[str]) -> None:
    parser = Parser("lvlib evaluate", usage="lvlib evaluate RUN [options] [--data.root DATA] [--sampling.FIELD VALUE]",
                    description="Score a run on clips that it did not learn from, a prior beside simple baselines. The "
                    "frames after the given ones count; without given frames, all of them. --data.root DATA: other "
                    "clips than those in the run's own folder of data.")
    parser.add_argument("run", metavar="RUN", help="folder that `lvlib train` wrote, or the name of a shipped model")
    parser.add_argument("--metrics", metavar="A,B,...", help="of bits_per_dim, psnr, mse, usage, perplexity (default: "
                        "all that the run has)")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--clips", type=int, default=256, metavar="N",
                        help="how many at most, evenly spaced over the split (default: 256)")
    parser.add_argument("--given-frames", type=int, metavar="N", help="frames that are given (default: as in training)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    rest, overrides = split_overrides(arguments)
    options = parser.parse_args(rest)
    from lvlib.runs import load_config
    from lvlib.runs.shipped import run_folder

    options.run = run_folder(options.run)
    check_positive("--clips", options.clips)
    check_seed(options.seed)
    fields = {name: words for name, words in overrides.items() if not name.startswith("sampling.")}
    config = with_data(load_config(options.run), fields)
    sampling = {name.partition(".")[2]: words for name, words in overrides.items() if name not in fields}
    report = score(options, config, sampling)
    print(json.dumps(report) if options.json else table(report))


def with_data(config: "Config", overrides: dict[str, list[str]]) -> "Config":
    """The run's configuration, with other data. Raises UserError for fields that a trained model fixes, and for clips
    that its autoencoder cannot take."""
    for name in overrides:
        if not name.startswith("data."):
            raise UserError(f"--{name} cannot be set, the run was trained with its own: set fields of data alone, "
                            "such as --data.root, or of sampling")
    changed = override(config, overrides)
    _ = changed.latents  # other frames or another size must fit the autoencoder
    if config.prior and changed.video_shape != config.video_shape:
        _, frames, size, _ = config.video_shape
        raise UserError(f"the prior's clips are {frames} frames of {size} x {size}: "
                        "leave data.frames and data.size as they are")
    return changed


def chosen(metrics: str | None, config: "Config", given_frames: int) -> list[str]:
    """Raises UserError for a metric that there is not, or that this run does not have, with those that it has."""
    from lvlib.evaluation.scores import METRICS

    refusals = {name: metric.refusal(config, given_frames) for name, metric in METRICS.items()}
    has = [name for name, refusal in refusals.items() if not refusal]
    if not has:
        raise UserError("this run has no score: " + "; ".join(f"{name}: {why}" for name, why in refusals.items()))
    names = has if metrics is None else metrics.split(",")
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, has)
        if refusals[name]:
            raise UserError(f"{name}: {refusals[name]}; this run has {', '.join(has)}")
    return names


def sampling_of(config: "Config", metrics: list[str], fields: dict[str, list[str]]) -> Any:
    """How a prior draws; None for an autoencoder. Raises UserError for fields of sampling where nothing is drawn."""
    from lvlib.evaluation.scores import METRICS

    whose = f"{' and '.join(metrics)} draw{'s' * (len(metrics) == 1)}" if config.prior else "an autoencoder draws"
    if fields and not (config.prior and any(METRICS[name].draws for name in metrics)):
        raise UserError(f"{whose} no samples: leave --sampling.{next(iter(fields))} out")
    return with_fields(config.prior.Sampling(), "sampling", fields) if config.prior else None


def score(options: argparse.Namespace, config: "Config", sampling_fields: dict[str, list[str]]) -> dict:
    from lvlib.data.conditions import check_classes, check_data
    from lvlib.evaluation.scores import BASELINE_CLIPS, Setting, count_baselines, evaluate, evenly_spaced
    from lvlib.runs import load_pipeline
    from lvlib.runs.data import check_rate, open_split
    from lvlib.runs.load import learned_from

    given_frames = given(options, config)
    metrics = chosen(options.metrics, config, given_frames)
    sampling = sampling_of(config, metrics, sampling_fields)
    data = open_split(config, options.split)
    specs = config.up_to("prior").conditions
    check_data({options.split: data}, specs)
    if any(spec.kind == "class" for spec in specs):
        check_classes(data.classes, learned_from(options.run).classes, options.run)
    counted = None
    if config.prior:
        check_rate(config.data.root, data.fps, config.data.stride, options.run, "--data.stride")
        if "bits_per_dim" in metrics:
            counted = evenly_spaced(open_split(config, "train"), BASELINE_CLIPS)
    clips = evenly_spaced(data, options.clips)
    pipeline = load_pipeline(options.run, options.device)
    import torch

    torch.manual_seed(options.seed)
    baselines = count_baselines(pipeline, counted) if counted else None
    scores = evaluate(pipeline, clips, metrics, Setting(given_frames, sampling, baselines))
    report = measured_with(options, config, clips, data)
    if config.prior:
        report |= {"given_frames": given_frames, "sampling": vars(sampling), "seed": options.seed,
                   "condition": [spec.name for spec in specs], "likelihood": config.prior.likelihood}
    if baselines:
        report |= {"baseline_clips": len(counted), "baseline_split": "train", "copy_probability": baselines.copy}
    return {**report, **for_json(scores)}


def given(options: argparse.Namespace, config: "Config") -> int:
    """How many frames are given: of a prior that needs some, as requested or as in training; else none."""
    from lvlib.cli.given import given_frames_of

    if config.prior is None:
        if options.given_frames is not None:
            raise UserError(f"{options.run} holds an autoencoder alone: leave --given-frames out")
        return 0
    if options.given_frames is None and not config.given_frames.least:
        return 0
    return given_frames_of(config, options.given_frames)


def measured_with(options: argparse.Namespace, config: "Config", clips: "Dataset", data: "Dataset") -> dict:
    return {"run": str(options.run), "stage": config.stage, "data": config.data.root, "split": options.split,
            "clips": len(clips), "clips_in_split": len(data), "frames": config.data.frames, "size": config.data.size}


def for_json(scores: dict[str, dict[str, float]]) -> dict:
    """JSON has no infinity: None for it, such as the PSNR of clips that are equal. Raises UserError for no number."""
    for name, values in scores.items():
        for of, value in values.items():
            if math.isnan(value):
                raise UserError(f"{name} of {of} is not a number: the model's output is not finite")
    return {name: {of: value if math.isfinite(value) else None for of, value in values.items()}
            for name, values in scores.items()}


def table(report: dict) -> str:
    from lvlib.evaluation.scores import METRICS

    size = report["size"]
    lines = [f"{report['run']} on {report['data']}, split {report['split']}: {report['clips']} of "
             f"{report['clips_in_split']} clips, each {report['frames']} x {size} x {size} (frames, height, width)"]
    if report["stage"] != "autoencoder":
        from lvlib.viz.continuations import span

        lines.append(f"conditioned on {', '.join(report['condition']) or 'nothing'}; likelihood: "
                     f"{report['likelihood'] or 'none'}")
        if given := report["given_frames"]:
            drawn = ", ".join(f"{name} {value}" for name, value in report["sampling"].items() if value is not None)
            lines.append(f"frames {span(0, given)} given, {span(given, report['frames'])} scored; one sample a clip, "
                         f"{drawn}, seed {report['seed']}")
    if "copy_probability" in report:
        lines.append(f"copy_baseline repeats the code of the frame before with probability "
                     f"{report['copy_probability']:.3f}, else draws from the marginal; both counted on "
                     f"{report['baseline_clips']} clips of the split {report['baseline_split']}")
    for name, metric in [(name, metric) for name, metric in METRICS.items() if name in report]:
        for of, value in report[name].items():
            number = "infinite" if value is None else f"{value:.{metric.digits}f}"
            lines.append(f"{name:<14}{of:<20}{number:>9} {metric.unit}")
    return "\n".join(lines)
