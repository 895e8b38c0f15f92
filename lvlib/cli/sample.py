"""lvlib sample: clips continued from their first frames by a trained prior."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lvlib.cli.arguments import Parser
from lvlib.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lvlib.configs import Config


def main(arguments: list[str]) -> None:
    parser = Parser("lvlib sample", description="Continue a clip from its first frames: write the true clip, if it is "
                    "long enough, and the samples, and print the PSNR of each beside that of repeating the last frame.")
    parser.add_argument("run", metavar="RUN", help="folder of a prior that `lvlib train` wrote, or a shipped name")
    parser.add_argument("--prime", type=Path, required=True, metavar="CLIP", help="a video file or a folder of images, "
                        "resized as for training; or a data set that `lvlib data` made, of the model's size: then each "
                        "of its first N test clips is continued once")
    parser.add_argument("--prime-frames", type=int, metavar="N", help="frames that are given (default: as in training)")
    parser.add_argument("--n", type=int, default=4, help="samples (default: 4)")
    parser.add_argument("--stride", type=int, help="take every STRIDE-th frame of CLIP (default: as in training)")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1 likely codes are likelier (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="file to write: .mp4 .gif .png (a strip), or .npy (the "
                        "samples alone, n x t x h x w x c)")
    options = parser.parse_args(arguments)
    from lvlib.checkpoints import run_folder
    from lvlib.data.video_writer import writer_of
    from lvlib.runs import load_autoencoder, load_config, load_model

    writer_of(options.out)
    run = run_folder(options.run)
    check_positive("--n", options.n)
    check_positive("--temperature", options.temperature)
    config = load_config(run)
    prime_frames = checked_prime_frames(config, run, options.prime_frames)
    stride = config.data.stride if options.stride is None else options.stride
    check_positive("--stride", stride)
    is_data_set = (options.prime / "meta.json").exists()
    if is_data_set:
        clips = data_set_clips(options.prime, options.n, config, stride)
    else:
        clips = video_clip(options.prime, config, stride, prime_frames)
    check_rate(options.prime, clips.fps, stride, run)
    model, autoencoder = load_model(run)[1], load_autoencoder(run)
    import torch

    torch.manual_seed(options.seed)
    device = next(model.parameters()).device
    given = clips.video[:, :, :prime_frames].to(device)
    from lvlib.continuation import continue_video

    samples = continue_video(autoencoder, model, given, options.n, options.temperature).cpu()
    names = clips.names if is_data_set else [f"sample {i + 1}" for i in range(options.n)]
    print_scores(clips, names, samples, prime_frames)
    write(options.out, clips, names, samples, prime_frames)


@dataclass(frozen=True)
class Clips:
    """What is continued: float video (1 or n, c, t, h, w) in [-1, 1], where `true` as long as the samples will be."""

    video: "Tensor"
    names: list[str]
    fps: float | None
    """Of the frames taken. None where the source does not say it."""
    true: bool


def checked_prime_frames(config: "Config", run: Path, prime_frames: int | None) -> int:
    """Raises UserError if the run has no prior, or its prior cannot be given so many frames."""
    if config.prior is None:
        raise UserError(f"{run} holds an autoencoder alone, which cannot sample: train a prior on its codes (lvlib "
                        f"train CONFIG --autoencoder {run} --out NEW_RUN), and sample from that run")
    frames = config.prior.prime_frames if prime_frames is None else prime_frames
    if not 1 <= frames < config.data.frames:
        raise UserError(f"--prime-frames must be 1 to {config.data.frames - 1}, not {frames}: "
                        f"the prior's clips have {config.data.frames} frames")
    return frames


def check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        allowed = "at least 1" if isinstance(value, int) else "above 0"
        raise UserError(f"{name} must be {allowed}, not {value}")


def video_clip(path: Path, config: "Config", stride: int, prime_frames: int) -> Clips:
    """The start of a video, resized as for training. Raises UserError where it cannot be read, or is too short."""
    from lvlib.cli.reconstruct import as_channels
    from lvlib.data import to_video
    from lvlib.data.video_files import decode, probe

    video = probe(path)
    there = (video.frames - 1) // stride + 1
    if there < prime_frames:
        every = f" at stride {stride}" if stride > 1 else ""
        raise UserError(f"{path} is too short: --prime-frames {prime_frames} needs {prime_frames} frames{every}, "
                        f"and it has {there}")
    true = there >= config.data.frames
    frames = config.data.frames if true else prime_frames
    pixels = decode(video, range(0, frames * stride, stride), config.data.size)
    clip = to_video(as_channels(pixels, config.autoencoder.channels))[None]
    return Clips(clip, [path.name], None if video.images else video.fps / stride, true)


def data_set_clips(root: Path, n: int, config: "Config", stride: int) -> Clips:
    """The first n test clips of a data set. Raises UserError if it has fewer, or others than the model takes."""
    import torch

    from lvlib.data import ClipSet, to_video

    clips = ClipSet(root, "test", config.data.frames, stride)
    (height, width, channels), (own, _, size, _) = clips.shape, config.video_shape
    if (height, width, channels) != (size, size, own):
        raise UserError(f"clips in {root} are {height} x {width} with {channels} channels, the model's {size} x {size} "
                        f"with {own}: give another set, or video files, which are resized")
    if len(clips) < n:
        raise UserError(f"{root} has {len(clips)} test clips: --n must be at most that, not {n}")
    video = torch.stack([to_video(clips[i]["video"]) for i in range(n)])
    return Clips(video, [f"clip {i}" for i in range(n)], clips.fps, true=True)


def check_rate(path: Path, fps: float | None, stride: int, run: Path) -> None:
    """Raises UserError if the frames taken follow each other faster or slower than those the run learned from.

    Nothing is known of images, nor of runs that do not say their rate.
    """
    from lvlib.training import load_run

    learned = load_run(run).get("fps")
    if not fps or not learned or abs(fps / learned - 1) < 0.02:
        return
    fitting = round(fps * stride / learned)
    if fitting and abs(fps * stride / learned / fitting - 1) < 0.02:
        way_out = f"add --stride {fitting}"
    else:
        way_out = "convert it to that rate first"
    raise UserError(f"{path} gives {fps:.4g} frames a second, {run} learned from {learned:.4g}: {way_out}")


def print_scores(clips: Clips, names: list[str], samples: "Tensor", prime_frames: int) -> None:
    """PSNR over the generated frames of each sample, and of the baseline, where the true ones are known."""
    from lvlib.baselines import repeat_last_frame
    from lvlib.metrics.pixels import psnr
    from lvlib.viz.continuations import span

    frames = samples.shape[2]
    if not clips.true:
        print(f"{clips.names[0]} has too few frames to compare: {frames} make a clip")
        return
    true, generated = clips.video[:, :, prime_frames:], samples[:, :, prime_frames:]
    baseline = psnr(repeat_last_frame(clips.video[:, :, :prime_frames], frames - prime_frames), true)
    scores = psnr(generated, true.expand_as(generated))
    print(f"PSNR of frames {span(prime_frames, frames)} against the true ones, and beside it that of repeating frame "
          f"{prime_frames - 1}:")
    for name, score, rival in zip(names, scores, baseline.expand_as(scores), strict=True):
        print(f"  {name:<10} {score:6.2f} dB  {rival:6.2f} dB")


def write(out: Path, clips: Clips, names: list[str], samples: "Tensor", prime_frames: int) -> None:
    from lvlib.data import from_video, write_video
    from lvlib.viz.continuations import Continuation, continuation_panels, continuation_strip, span

    pixels = from_video(samples).numpy()
    frames = pixels.shape[1]
    if out.suffix.lower() == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, pixels)
    else:
        shown = [Continuation(name, video, prime_frames) for name, video in zip(names, pixels, strict=True)]
        if clips.true:
            true = from_video(clips.video).numpy()
            if len(true) == 1:
                shown.insert(0, Continuation("true clip", true[0]))
            else:
                pairs = zip(names, true, shown, strict=True)
                shown = [row for name, video, sample in pairs for row in (Continuation(f"{name}: true", video), sample)]
        picture = continuation_strip(shown)[None] if out.suffix.lower() == ".png" else continuation_panels(shown)
        write_video(out, picture, clips.fps or 8)
    count = f"{len(pixels)} sample{'s' * (len(pixels) > 1)}"
    print(f"{out}: {count} of {frames} frames, {span(0, prime_frames)} given, "
          f"{span(prime_frames, frames)} generated")
