"""Reading a sound file, or the sound of a video, through FFmpeg."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lvlib.data.audio import FASTEST, SLOWEST, as_long, resample
from lvlib.data.containers import import_av
from lvlib.errors import UserError

# Demuxers that read one file: none that follows addresses, and none that opens others.
_FORMATS = "aac,aiff,au,caf,flac,matroska,mov,mp3,ogg,w64,wav,avi,mpeg,mpegts"
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
_MOST_CHANNELS = 64
SILENT = 1e-4  # of full scale: 80 dB below it
_AT_THE_LIMIT = 0.999
_CLIPPED = 0.001  # of the samples: a sound that was only made as loud as possible has a few


@dataclass(frozen=True)
class Sound:
    """The sound of a file, its channels mixed into one."""

    samples: np.ndarray
    """float32 (n,), about in [-1, 1]."""
    rate: int
    """Samples a second."""
    channels: int
    clipped: float
    """Share of the samples that are at the limit of what a file can hold, before they were mixed."""


def read_sound(path: str | Path, seconds: float) -> Sound:
    """The first `seconds` of a file that FFmpeg reads: WAV, FLAC, MP3, Ogg, M4A and others, or a video with sound.

    Raises UserError if there is no such file, it holds no sound, or samples that are no numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
    av = import_av()
    try:
        with av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace") as container:
            if not container.streams.audio:
                raise UserError(f"{path} holds no sound")
            sound = _decoded(path, container, container.streams.audio[0], seconds)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a sound file that can be read") from None
    if not len(sound.samples):
        raise UserError(f"{path} holds no sound")
    if not np.isfinite(sound.samples).all():
        raise UserError(f"{path} holds samples that are not finite")
    return sound


def fitted(path: str | Path, rate: int, length: int) -> tuple[np.ndarray, list[str]]:
    """The sound of a file as a model hears it: float32 (length,) in [-1, 1] at that rate; and lines that say what was
    done to it, and what is odd about it. Raises UserError as `read_sound`."""
    wanted = length / rate
    sound = read_sound(path, 1.1 * wanted + 0.1)
    lines = []
    if sound.channels > 1:
        lines.append(f"its {sound.channels} channels are mixed into one")
    if sound.rate != rate:
        lines.append(f"resampled from {sound.rate} samples a second to {rate}")
    samples = resample(sound.samples, sound.rate, rate)
    if len(samples) > 1.01 * length:
        lines.append(f"cut to its first {wanted:.4g} s")
    elif len(samples) < 0.99 * length:
        lines.append(f"repeated: it lasts {len(samples) / rate:.4g} s, the clip {wanted:.4g} s")
    samples = as_long(samples, length).clip(-1, 1)
    if abs(samples).max() < SILENT:
        lines.append("silent: there is nothing to hear in it")
    if sound.clipped > _CLIPPED:
        lines.append(f"clipped: {sound.clipped:.1%} of its samples are as loud as can be, so loud parts are distorted")
    return samples, lines


def _decoded(path: Path, container, stream, seconds: float) -> Sound:
    av = import_av()
    if stream.codec_context is None:
        raise UserError(f"{path} is not a sound file that can be read: FFmpeg has no decoder for its sound")
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    if not SLOWEST <= rate <= FASTEST or not 1 <= channels <= _MOST_CHANNELS:
        raise UserError(f"{path} has {rate} samples a second and {channels} channels: it must be {SLOWEST} to "
                        f"{FASTEST}, and up to {_MOST_CHANNELS}")
    stream.codec_context.thread_count = 1  # a forked process would wait for others for ever
    convert = av.AudioResampler(format="fltp")
    parts: list[np.ndarray] = []
    there = at_limit = heard = 0
    try:
        for frame in container.decode(stream):
            for piece in convert.resample(frame):
                values = piece.to_ndarray()
                at_limit += int((abs(values) >= _AT_THE_LIMIT).sum())
                heard += values.size
                parts.append(values.mean(0))
                there += values.shape[1]
            if there >= seconds * rate:
                break
    except (av.FFmpegError, ValueError):
        if not parts:
            raise
        # It is broken off, or goes on in another form: what there is up to here is taken.
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return Sound(samples.astype(np.float32), rate, channels, at_limit / max(heard, 1))
