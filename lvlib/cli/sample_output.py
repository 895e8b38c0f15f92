"""What `lvlib sample` prints and writes: scores beside the true clips where they are known, and a file to look at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from lvlib.cli.given import Clips
    from lvlib.stages import ConditionSpec


@dataclass(frozen=True)
class Samples:
    """Float video (n, c, t, h, w) with its names; the first `given` frames, and the last `given_last`, are those of
    `clips`, if there are any.

    sounds: what the samples were told to go with, float32 (n, t, samples of a frame); None where it was no sound.
    """

    video: "Tensor"
    names: list[str]
    given: int
    clips: "Clips | None"
    sounds: "Tensor | None"
    given_last: int = 0


def sound_of(condition: "Mapping[str, Tensor]", specs: "Iterable[ConditionSpec]") -> "Tensor | None":
    """The sound among the conditions of samples, where a prior of these `specs` is told one."""
    return next((condition[spec.name] for spec in specs if spec.is_sound), None)


def print_scores(samples: Samples) -> None:
    """PSNR over the generated frames of each sample, and of the baseline, where the true ones are known."""
    from lvlib.evaluation.baselines import crossfade, repeat_last_frame
    from lvlib.metrics.pixels import psnr
    from lvlib.viz.continuations import span

    clips, given, end = samples.clips, samples.given, samples.video.shape[2] - samples.given_last
    if not clips.true:
        print(f"{clips.names[0]} has too few frames to compare: {samples.video.shape[2]} make a clip")
        return
    if given == end:
        return
    true, generated = clips.video[:, :, given:end], samples.video[:, :, given:end]
    if samples.given_last:
        simple = crossfade(clips.video[:, :, given - 1], clips.video[:, :, end], end - given)
        rival_name = f"a crossfade from frame {given - 1} to frame {end}"
    else:
        simple = repeat_last_frame(clips.video[:, :, :given], end - given)
        rival_name = f"repeating frame {given - 1}"
    baseline, scores = psnr(simple, true), psnr(generated, true.expand_as(generated))
    print(f"PSNR of frames {span(given, end)} against the true ones, and beside it that of {rival_name}:")
    for name, score, rival in zip(samples.names, scores, baseline.expand_as(scores), strict=True):
        print(f"  {name:<10} {score:6.2f} dB  {rival:6.2f} dB")


def write(out: Path, samples: Samples, fps: float) -> None:
    """The samples, each true clip before its own. Tells what it wrote."""
    from lvlib.data import from_video, write_video
    from lvlib.data.video_writer import draft_of, write_array
    from lvlib.viz.continuations import Continuation, continuation_panels, continuation_strip, parts_in_words

    pixels = from_video(samples.video).numpy()
    clips, given, last = samples.clips, samples.given, samples.given_last
    if out.suffix.lower() == ".npy":
        with draft_of(out) as draft:
            write_array(draft, pixels)
    else:
        shown = [Continuation(name, video, given, last) for name, video in zip(samples.names, pixels, strict=True)]
        if clips and clips.true:
            true = from_video(clips.video).numpy()
            if len(true) == 1:
                shown.insert(0, Continuation("true clip", true[0]))
            else:
                pairs = zip(samples.names, true, shown, strict=True)
                shown = [row for name, video, sample in pairs for row in (Continuation(f"{name}: true", video), sample)]
        picture = continuation_strip(shown)[None] if out.suffix.lower() == ".png" else continuation_panels(shown)
        write_video(out, picture, fps, *_sound_for(out, samples, fps))
    n, frames = pixels.shape[:2]
    print(f"{out}: {n} sample{'s' * (n > 1)} of {frames} frames, {parts_in_words(given, frames, last)}")


def _sound_for(out: Path, samples: Samples, fps: float) -> tuple:
    """The sound that goes into the file, and its rate; nothing where there is none, or the file can hold none."""
    if samples.sounds is None or out.suffix.lower() != ".mp4":
        return ()
    if (samples.sounds != samples.sounds[:1]).any():
        print(f"{out} is without sound: each sample has its own; --n 1 writes one of them with it")
        return ()
    one = samples.sounds[0]
    return one.flatten().numpy(), round(one.shape[1] * fps)
