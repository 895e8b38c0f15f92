"""lvlib evaluate: what a trained run is worth, in numbers that stand beside their baselines."""

import argparse
import json
import math
from typing import TYPE_CHECKING

from lvlib.cli.arguments import Parser, check_positive, check_temperature_and_seed, override, split_overrides
from lvlib.errors import UserError, unknown

if TYPE_CHECKING:
    from lvlib.configs import Config

SHOWN = {  # digits after the point, and the unit
    "bits_per_dim": (3, "bits a code"),
    "psnr": (2, "dB"),
    "mse": (5, "for values in [-1, 1]"),
    "usage": (3, "of the codes, mean over the codebooks"),
    "perplexity": (1, "codes, mean over the codebooks"),
}


def main(arguments: list[str]) -> None:
    parser = Parser("lvlib evaluate", usage="lvlib evaluate RUN [options] [--data.root DATA]",
                    description="Score a run on clips that it did not learn from, a prior beside simple baselines. Of "
                    "LVT the frames after the given ones count; of VideoGPT all codes, told what the clips come with. "
                    "--data.root DATA: other clips than those in the run's own folder of data.")
    parser.add_argument("run", metavar="RUN", help="folder that `lvlib train` wrote, or the name of a shipped model")
    parser.add_argument("--metrics", metavar="A,B,...", help="for a prior bits_per_dim and, if it is given frames, "
                        "psnr, mse; for an autoencoder psnr, mse, usage, perplexity (default: all)")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--clips", type=int, default=256, metavar="N",
                        help="how many at most, evenly spaced over the split (default: 256)")
    parser.add_argument("--prime-frames", type=int, metavar="N", help="frames that are given (default: as in training)")
    parser.add_argument("--temperature", type=float, help="of the samples of a prior (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    rest, overrides = split_overrides(arguments)
    options = parser.parse_args(rest)
    from lvlib.runs.load import load_config
    from lvlib.runs.shipped import run_folder

    options.run = run_folder(options.run)
    check_positive("--clips", options.clips)
    check_temperature_and_seed(options)
    config = with_data(load_config(options.run), overrides)
    report = (score_autoencoder if config.prior is None else score_prior)(options, config)
    print(json.dumps(report) if options.json else table(report))


def with_data(config: "Config", overrides: dict[str, list[str]]) -> "Config":
    """The run's configuration, with other data. Raises UserError for fields that a trained model fixes, and for clips
    that its autoencoder cannot take."""
    for name in overrides:
        if not name.startswith("data."):
            raise UserError(f"--{name} cannot be set, the run was trained with its own: set fields of data alone, "
                            "such as --data.root")
    from lvlib.reports.describe import latent_shape

    changed = override(config, overrides)
    latent_shape(changed)
    if config.prior and changed.video_shape != config.video_shape:
        _, frames, size, _ = config.video_shape
        raise UserError(f"the prior's clips are {frames} frames of {size} x {size}: "
                        "leave data.frames and data.size as they are")
    return changed


def chosen(metrics: str | None, allowed: tuple[str, ...], kind: str) -> list[str]:
    """Raises UserError for a metric that this kind of run does not have, with those that it has."""
    names = list(allowed) if metrics is None else metrics.split(",")
    for name in names:
        if name not in allowed:
            raise unknown(f"metric of {kind}:", name, allowed)
    return names


def score_autoencoder(options: argparse.Namespace, config: "Config") -> dict:
    from lvlib.evaluation.scores import AUTOENCODER_METRICS, evaluate_autoencoder, evenly_spaced
    from lvlib.runs.data import open_split
    from lvlib.runs.load import load_autoencoder

    for name in ("prime_frames", "temperature"):
        if getattr(options, name) is not None:
            raise UserError(f"{options.run} holds an autoencoder alone, which draws no samples: leave "
                            f"--{name.replace('_', '-')} out")
    metrics = chosen(options.metrics, AUTOENCODER_METRICS, "an autoencoder")
    data = open_split(config, options.split)
    clips = evenly_spaced(data, options.clips)
    model = load_autoencoder(options.run)
    scores = evaluate_autoencoder(model, clips, metrics, config.autoencoder.codes)
    return {**measured_with(options, config, "autoencoder", len(clips), len(data)), **finite(scores)}


def score_prior(options: argparse.Namespace, config: "Config") -> dict:
    from lvlib.cli.prime import prime_frames_of
    from lvlib.data.conditions import check_classes, check_data, needs
    from lvlib.evaluation.scores import BASELINE_CLIPS, PRIOR_METRICS, count_baselines, evaluate_prior, evenly_spaced
    from lvlib.models.lvt.prior import LVTConfig
    from lvlib.runs.data import check_rate, open_split
    from lvlib.runs.load import load_autoencoder, load_model

    asked, temperature = needs(config.prior), 1.0 if options.temperature is None else options.temperature
    metrics, prime_frames = PRIOR_METRICS, 0
    if isinstance(config.prior, LVTConfig) or "frames" in asked:
        prime_frames = prime_frames_of(config, options.prime_frames)
    elif options.prime_frames is not None:
        raise UserError("this prior is given no frames: leave --prime-frames out")
    else:
        metrics = ("bits_per_dim",)
    metrics = chosen(options.metrics, metrics, "a prior" if prime_frames else "a prior that is given no frames")
    if options.temperature is not None and metrics == ["bits_per_dim"]:
        raise UserError("bits_per_dim draws no samples: leave --temperature out")
    data = open_split(config, options.split)
    check_data({options.split: data}, asked, config.data.frames)
    if "label" in asked:
        check_classes(data.classes, options.run)
    check_rate(config.data.root, data.fps, config.data.stride, options.run, "--data.stride")
    counted = evenly_spaced(open_split(config, "train"), BASELINE_CLIPS) if "bits_per_dim" in metrics else None
    clips = evenly_spaced(data, options.clips)
    model, autoencoder = load_model(options.run)[1], load_autoencoder(options.run)
    import torch

    torch.manual_seed(options.seed)
    baselines = count_baselines(model, autoencoder, counted) if counted else None
    scores = evaluate_prior(model, autoencoder, clips, metrics, prime_frames, temperature, baselines, asked)
    report = measured_with(options, config, "prior", len(clips), len(data))
    report |= {"prime_frames": prime_frames, "temperature": temperature, "seed": options.seed}
    if not isinstance(config.prior, LVTConfig):
        report["told"] = list(asked)
    if baselines:
        report |= {"baseline_clips": len(counted), "baseline_split": "train", "copy_probability": baselines.copy}
    return {**report, **finite(scores)}


def measured_with(options: argparse.Namespace, config: "Config", stage: str, clips: int, of: int) -> dict:
    return {"run": str(options.run), "stage": stage, "data": config.data.root, "split": options.split, "clips": clips,
            "clips_in_split": of, "frames": config.data.frames, "size": config.data.size}


def finite(scores: dict[str, dict[str, float]]) -> dict:
    """JSON has no infinity: None for the PSNR of clips that are equal."""
    return {name: {of: value if math.isfinite(value) else None for of, value in values.items()}
            for name, values in scores.items()}


def table(report: dict) -> str:
    size = report["size"]
    lines = [f"{report['run']} on {report['data']}, split {report['split']}: {report['clips']} of "
             f"{report['clips_in_split']} clips, each {report['frames']} x {size} x {size} (frames, height, width)"]
    if report["stage"] == "prior":
        from lvlib.viz.continuations import span

        given, frames = report["prime_frames"], report["frames"]
        if "told" in report:
            lines.append(f"the prior is told {', '.join(report['told']) or 'nothing'}; bits_per_dim is of all codes")
        if given:
            lines.append(f"frames {span(0, given)} given, {span(given, frames)} scored; one sample a clip, temperature "
                         f"{report['temperature']:g}, seed {report['seed']}")
    if "copy_probability" in report:
        lines.append(f"copy_baseline repeats the code of the frame before with probability "
                     f"{report['copy_probability']:.3f}, else draws from the marginal; both counted on "
                     f"{report['baseline_clips']} clips of the split {report['baseline_split']}")
    for metric in [name for name in SHOWN if name in report]:
        digits, unit = SHOWN[metric]
        for of, value in report[metric].items():
            number = "infinite" if value is None else f"{value:.{digits}f}"
            lines.append(f"{metric:<14}{of:<20}{number:>9} {unit}")
    return "\n".join(lines)
