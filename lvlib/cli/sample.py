"""lvlib sample: clips made by a trained prior, from nothing, from a condition, or from their first frames."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvlib.cli.arguments import Parser, add_device, check_positive, check_seed, split_overrides, with_fields
from lvlib.errors import UserError, unknown

if TYPE_CHECKING:
    from lvlib.cli.given import Clips
    from lvlib.configs import Config

FPS = 8  # of samples, where nothing tells how fast the clips pass that the prior learned from


def main(arguments: list[str]) -> None:
    rest, overrides = split_overrides(arguments)
    options = parser().parse_args(rest)
    from lvlib.cli.condition import Known, condition_options, conditions_for
    from lvlib.cli.given import require_prior
    from lvlib.cli.sample_output import Samples, print_scores, sound_of, write
    from lvlib.data.limits import require_memory
    from lvlib.data.video_writer import writer_of
    from lvlib.evaluation.generate import check_frames, with_frames
    from lvlib.runs import load_config, load_pipeline
    from lvlib.runs.load import learned_from
    from lvlib.runs.shipped import run_folder

    writer_of(options.out)
    run = run_folder(options.run)
    config = load_config(run)
    require_prior(config, run)
    check_seed(options.seed)
    for name in ("n", "stride", "frames"):
        check_positive(f"--{name}", getattr(options, name))
    fields = fields_by_part(overrides)
    sampling = with_fields(config.prior.Sampling(), "sampling", fields["sampling"])
    refiner_sampling = refiner_sampling_of(config, fields["refiner_sampling"])
    check_frames(config, options.frames)
    clip_frames = config.data.frames
    config = with_frames(config, options.frames)
    stated = condition_options(config, fields["condition"])
    require_memory(13 * options.n * math.prod(config.video_shape), f"a video of {options.n} samples")  # while rounded
    given_frames, clips = given_clips(options, config, run)
    last = options.given_last or 0
    learned = learned_from(run)
    known = Known(learned.classes, clip_frames, learned.fps, -(-config.data.frames // clip_frames))
    condition = conditions_for(config, stated, options.n, clips.items if clips else [], options.given, known)
    fps = clips and clips.fps or learned.fps or FPS
    writer_of(options.out, fps)
    pipeline = load_pipeline(run, options.device)
    import torch

    torch.manual_seed(options.seed)
    given = clips.video[:, :, :given_frames] if clips else None
    if last:
        given = torch.cat([given, clips.video[:, :, -last:]], 2)
    video = pipeline.generate(options.n, condition.values, given, sampling, options.frames, refiner_sampling,
                              last).cpu()
    names = clips.names if clips and clips.items else condition.names
    sound = sound_of(condition.values, config.up_to("prior").conditions)
    samples = Samples(video, names, given_frames, clips, sound, last)
    if clips:
        print_scores(samples)
    write(options.out, samples, fps)


def parser() -> Parser:
    parser = Parser("lvlib sample", usage="lvlib sample RUN --out FILE [options] [--sampling.FIELD VALUE ...] "
                    "[--condition.NAME VALUE ...]",
                    description="Make clips with a trained prior. Priors differ in what they take: some go on from the "
                    "first frames of a clip, some can do without, some are conditioned on a class, on actions, on a "
                    "text or on a sound, which is written into an .mp4. Where "
                    "a clip is given and it is long enough, it is written beside the samples, and the PSNR of each is "
                    "printed beside that of repeating the last frame.",
                    add_help=False)
    parser.add_argument("run", metavar="RUN", help="folder of a prior that `lvlib train` wrote, or a shipped name")
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="show this help message and exit; "
                        "`lvlib sample RUN --help` lists the fields of sampling and condition, too")
    parser.add_argument("--n", type=int, default=4, help="samples (default: 4)")
    parser.add_argument("--given", type=Path, metavar="CLIP", help="begin with the first frames of CLIP: a video file "
                        "or a folder of images, resized as for training; or a data set that `lvlib data` made, of the "
                        "model's size: then each of its first N test clips, each as long as a sample, is "
                        "continued once")
    parser.add_argument("--given-frames", type=int, metavar="N", help="frames that are given (default: as in training, "
                        "or else those of one latent frame)")
    parser.add_argument("--given-last", type=int, metavar="N", help="of priors that fill any part of a clip: its last "
                        "N frames are given, too, and what lies between is made (default: 0)")
    parser.add_argument("--stride", type=int, help="take every STRIDE-th frame of CLIP (default: as in training)")
    parser.add_argument("--frames", type=int, help="frames of a sample, for priors that make longer clips than those "
                        "they learned from (default: as many)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    add_device(parser)
    parser.add_argument("--out", type=Path, required=True, help="file to write: .mp4 .gif .png (a strip), or .npy (the "
                        "samples alone, n x t x h x w x c)")
    return parser


class _Help(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        parser.print_help()
        if namespace.run:
            from lvlib.cli.arguments import fields_help
            from lvlib.cli.condition import options_in_words
            from lvlib.cli.given import require_prior
            from lvlib.runs import load_config
            from lvlib.runs.shipped import run_folder

            run = run_folder(namespace.run)
            config = load_config(run)
            require_prior(config, run)
            parts = {"sampling": config.prior.Sampling()}
            parts |= {"refiner_sampling": config.refiner.Sampling()} if config.refiner else {}
            print(f"\nsampling of {namespace.run}:\n{fields_help(parts)}")
            print("condition:\n" + ("\n".join(options_in_words(config)) or "  none"))
        parser.exit()


def fields_by_part(overrides: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """{"sampling": {field: words}, ...}. Raises UserError for another part."""
    parts = "sampling", "refiner_sampling", "condition"
    fields: dict[str, dict[str, list[str]]] = {part: {} for part in parts}
    for name, words in overrides.items():
        part, _, field = name.partition(".")
        if part not in parts:
            raise unknown(f"part in --{name}:", part, parts)
        fields[part][field] = words
    return fields


def refiner_sampling_of(config: "Config", fields: dict[str, list[str]]) -> Any:
    """How a refiner draws; None where there is none. Raises UserError for fields of one that is not there."""
    if config.refiner is not None:
        return with_fields(config.refiner.Sampling(), "refiner_sampling", fields)
    if fields:
        raise UserError(f"this run has no refiner: leave --refiner_sampling.{next(iter(fields))} out")
    return None


def given_clips(options: argparse.Namespace, config: "Config", run: Path) -> tuple[int, "Clips | None"]:
    """How many frames are given, and the clips that they are from; 0 and None where there are none.

    Raises UserError if the prior needs frames and gets none, or for clips that it cannot go on with.
    """
    from lvlib.cli.given import data_set_clips, given_frames_of, video_clip
    from lvlib.evaluation.generate import check_given_last
    from lvlib.runs.data import check_rate

    if options.given is None:
        if config.given_frames.least:
            raise UserError(f"{run} goes on from given frames: add --given CLIP, a video or a data set")
        for name in ("--given-frames", "--given-last", "--stride"):
            if getattr(options, name[2:].replace("-", "_")) is not None:
                raise UserError(f"{name} is of a clip to begin with: add --given CLIP, or leave it out")
        return 0, None
    given_frames = given_frames_of(config, options.given_frames)
    check_given_last(config, given_frames, options.given_last or 0)
    stride = config.data.stride if options.stride is None else options.stride
    if (options.given / "meta.json").exists():
        clips = data_set_clips(options.given, options.n, config, stride, run)
    else:
        clips = video_clip(options.given, config, stride, given_frames, options.given_last or 0)
    check_rate(options.given, clips.fps, stride, run, "--stride")
    return given_frames, clips
