"""lvlib sample: clips made by a trained prior, from nothing, from what it is told, or from their first frames."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lvlib.cli.arguments import Parser, check_positive, check_temperature_and_seed
from lvlib.errors import UserError

if TYPE_CHECKING:
    from lvlib.cli.prime import Clips
    from lvlib.configs import Config


def main(arguments: list[str]) -> None:
    options = parser().parse_args(arguments)
    from lvlib.cli.prime import require_prior
    from lvlib.cli.sample_output import Samples, print_scores, write
    from lvlib.cli.told import check_taken, told_of
    from lvlib.data.conditions import needs
    from lvlib.data.video_writer import writer_of
    from lvlib.runs.load import load_autoencoder, load_config, load_model
    from lvlib.runs.shipped import run_folder

    writer_of(options.out)
    run = run_folder(options.run)
    config = load_config(run)
    require_prior(config, run)
    check_numbers(options)
    sampling = {name: value for name in ("temperature", "top_k", "top_p") if (value := getattr(options, name))}
    check_taken(config, options.label, options.actions, sampling)
    prime_frames, clips = primed(options, config, run)
    told = told_of(options, config, run, clips.items if clips else [])
    model, autoencoder = load_model(run)[1], load_autoencoder(run)
    import torch

    from lvlib.evaluation.generate import generate_video

    torch.manual_seed(options.seed)
    device = next(model.parameters()).device
    given = clips.video[:, :, :prime_frames].to(device) if clips else None
    condition = {name: value.to(device) for name, value in told.condition.items()}
    if "frames" in needs(config.prior):
        condition["frames"] = given
    video = generate_video(autoencoder, model, options.n, given, condition, **sampling).cpu()
    names = clips.names if clips and clips.items else told.names
    samples = Samples(video, names, prime_frames, clips)
    if clips:
        print_scores(samples)
    write(options.out, samples, told.fps)


def parser() -> Parser:
    parser = Parser("lvlib sample", description="Make clips with a trained prior. Priors differ in what they take: LVT "
                    "goes on from the first frames of a clip; VideoGPT can do without, and may be told a label or "
                    "actions. Where a clip is given and it is long enough, it is written beside the samples, and the "
                    "PSNR of each is printed beside that of repeating the last frame.")
    parser.add_argument("run", metavar="RUN", help="folder of a prior that `lvlib train` wrote, or a shipped name")
    parser.add_argument("--n", type=int, default=4, help="samples (default: 4)")
    parser.add_argument("--label", metavar="CLASS", help="name or number of the class (default: the labels of a data "
                        "set's clips, or else spread evenly over the classes)")
    parser.add_argument("--actions", type=Path, metavar="FILE.npy", help="t x a numbers, a row for each frame of a "
                        "clip (default: the actions of a data set's clips)")
    parser.add_argument("--prime", type=Path, metavar="CLIP", help="begin with the first frames of CLIP: a video file "
                        "or a folder of images, resized as for training; or a data set that `lvlib data` made, of the "
                        "model's size: then each of its first N test clips is continued once")
    parser.add_argument("--prime-frames", type=int, metavar="N", help="frames that are given (default: as in training; "
                        "for VideoGPT those of one latent frame)")
    parser.add_argument("--stride", type=int, help="take every STRIDE-th frame of CLIP (default: as in training)")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1 likely codes are likelier (default: 1)")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest codes (VideoGPT)")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest codes that together have the "
                        "probability P (VideoGPT)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="file to write: .mp4 .gif .png (a strip), or .npy (the "
                        "samples alone, n x t x h x w x c)")
    return parser


def check_numbers(options: argparse.Namespace) -> None:
    """Raises UserError for a number out of range."""
    check_temperature_and_seed(options)
    for name in ("n", "stride", "top_k"):
        value = getattr(options, name)
        if value is not None:
            check_positive("--" + name.replace("_", "-"), value)
    if options.top_p is not None and not 0 < options.top_p <= 1:
        raise UserError(f"--top-p must be above 0 and at most 1, not {options.top_p}")


def primed(options: argparse.Namespace, config: "Config", run: Path) -> tuple[int, "Clips | None"]:
    """How many frames are given, and the clips that they are from; 0 and None where there are none.

    Raises UserError if the prior needs frames and gets none, or for clips that it cannot go on with.
    """
    from lvlib.cli.prime import data_set_clips, prime_frames_of, video_clip
    from lvlib.models.lvt.prior import LVTConfig
    from lvlib.runs.data import check_rate

    if options.prime is None:
        if isinstance(config.prior, LVTConfig) or config.prior.frames:
            raise UserError(f"{run} goes on from given frames: add --prime CLIP, a video or a data set")
        for name in ("--prime-frames", "--stride"):
            if getattr(options, name[2:].replace("-", "_")) is not None:
                raise UserError(f"{name} is of a clip to begin with: add --prime CLIP, or leave it out")
        return 0, None
    prime_frames = prime_frames_of(config, options.prime_frames)
    stride = config.data.stride if options.stride is None else options.stride
    if (options.prime / "meta.json").exists():
        clips = data_set_clips(options.prime, options.n, config, stride, run)
    else:
        clips = video_clip(options.prime, config, stride, prime_frames)
    check_rate(options.prime, clips.fps, stride, run, "--stride")
    return prime_frames, clips
