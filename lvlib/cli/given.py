"""The clips that samples begin with: of a video, or of a data set; and how many frames of them are given."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lvlib.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lvlib.configs import Config


@dataclass(frozen=True)
class Clips:
    """What samples begin with: float video (1 or n, c, t, h, w) in [-1, 1], where `true` as long as they will be."""

    video: "Tensor"
    names: list[str]
    fps: float | None
    """Of the frames taken. None where the source does not say it."""
    true: bool
    items: list[dict]
    """Of the data set that they are from: what else it knows of each. Empty for a video."""


def require_prior(config: "Config", run: Path) -> None:
    """Raises UserError if the run has no prior."""
    if config.prior is None:
        raise UserError(f"{run} holds an autoencoder alone, which cannot sample: train a prior on its latents (lvlib "
                        f"train CONFIG --autoencoder {run} --out NEW_RUN), and sample from that run")


def given_frames_of(config: "Config", requested: int | None, option: str = "--frames") -> int:
    """How many frames the prior is given: as requested, or as many as are usual for it.

    config: of clips as long as the samples; option: what makes them longer. Raises UserError for another number than it
    takes.
    """
    from lvlib.evaluation.generate import with_frames

    can = config.given_frames
    frames, per_latent = config.data.frames, config.latents.frames_per_latent
    if not can.most:
        longer = with_frames(config, 2 * frames).given_frames if config.prior.extends else can
        if longer.most:
            raise UserError(f"this prior goes on from frames in steps of {longer.multiple}, and some are left to make:"
                            f" {option} must be a multiple of {longer.multiple}, {frames + longer.multiple} or more")
        why = f": the {frames} frames of its clips are one latent frame" if frames == per_latent else ""
        raise UserError(f"this prior cannot go on from a clip{why}: leave --given out")
    if requested is None:
        return can.default
    if can.least == can.most and requested != can.least:
        raise UserError(f"this prior is conditioned on {can.least} frame{'s' * (can.least > 1)}: leave --given-frames "
                        f"out, it cannot be {requested}")
    least = max(can.least, can.multiple)
    if not least <= requested <= can.most or requested % can.multiple:
        allowed = f"{least} to {can.most}" if can.multiple == 1 else (
            f"a multiple of {can.multiple} from {least} to {can.most}")
        why = f": the prior's clips have {frames} frames"
        why += f", {per_latent} for one latent frame" if per_latent > 1 else ""
        raise UserError(f"--given-frames must be {allowed}, not {requested}{why}")
    return requested


def video_clip(path: Path, config: "Config", stride: int, given_frames: int, given_last: int) -> Clips:
    """The start of a video, resized as for training; as long as a clip, where its last frames are given, too. Raises
    UserError where it cannot be read, or is too short."""
    from lvlib.data import to_video
    from lvlib.data.tensors import as_channels
    from lvlib.data.video_files import decode, probe

    video = probe(path)
    there = (video.frames - 1) // stride + 1
    every = f" at stride {stride}" if stride > 1 else ""
    if given_last and there < config.data.frames:
        raise UserError(f"{path} is too short: --given-last {given_last} takes the last frames of a clip of "
                        f"{config.data.frames} frames{every}, and it has {there}")
    if there < given_frames:
        raise UserError(f"{path} is too short: --given-frames {given_frames} needs {given_frames} frames{every}, "
                        f"and it has {there}")
    true = there >= config.data.frames
    frames = config.data.frames if true else given_frames
    pixels = decode(video, range(0, frames * stride, stride), config.data.size)
    clip = to_video(as_channels(pixels, config.autoencoder.channels))[None]
    return Clips(clip, [path.name], None if video.images else video.fps / stride, true, [])


def data_set_clips(root: Path, n: int, config: "Config", stride: int, run: Path) -> Clips:
    """The first n test clips of a data set. Raises UserError if it has fewer, or others than the run's model takes."""
    import torch

    from lvlib.data import ClipSet, to_video
    from lvlib.data.conditions import check_classes
    from lvlib.runs.load import learned_from

    clips = ClipSet(root, "test", config.data.frames, stride)
    (height, width, channels), (own, _, size, _) = clips.shape, config.video_shape
    if (height, width, channels) != (size, size, own):
        raise UserError(f"clips in {root} are {height} x {width} with {channels} channels, the model's {size} x {size} "
                        f"with {own}: give another set, or video files, which are resized")
    if any(spec.kind == "class" for spec in config.up_to("prior").conditions):
        check_classes(clips.classes, learned_from(run).classes, run)
    if len(clips) < n:
        raise UserError(f"{root} has {len(clips)} test clips: --n must be at most that, not {n}")
    items = [clips[i] for i in range(n)]
    video = torch.stack([to_video(item["video"]) for item in items])
    return Clips(video, [f"clip {i}" for i in range(n)], clips.fps, True, items)
