"""What `lvlib data --stats` prints: how long the videos of a data set are."""

from collections.abc import Sequence
from pathlib import Path

from lvlib.data.lengths import Lengths, lengths_of, span
from lvlib.errors import UserError

MOST = 10**9  # frames, or a stride: more than any video has


def stats(root: Path, split: str, frames: Sequence[int], strides: Sequence[int]) -> str:
    """Tables: of how many videos have at least n frames; of what clips of those `frames` and `strides` leave out; of
    the classes, if there are any.

    strides: one for each of the frames, one for all, or none for 1. Raises UserError for numbers that are not allowed,
    and as `lengths_of`.
    """
    clips = _pairs(frames, strides)
    lengths = lengths_of(root, split)
    count, shortest, longest = len(lengths.frames), min(lengths.frames), max(lengths.frames)
    where = root if split == "all" else f"{root}, {split}"
    average = f"{shortest:,} to {longest:,} frames, {sum(lengths.frames) / count:,.1f} on average"
    parts = [f"{where}: {count:,} videos of {average if shortest < longest else f'{longest:,} frames'}",
             _table(_by_length(lengths))]
    if clips:
        parts.append(_table(_left_out(lengths, clips)))
    if lengths.classes:
        classes = lengths.of_classes().items()
        parts.append(_table([("class", "videos", "mean frames"),
                             *((name, f"{videos:,}", f"{mean:,.1f}") for name, (videos, mean) in classes)]))
    return "\n\n".join(parts)


def _pairs(frames: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    for name, values in ("--frames", frames), ("--stride", strides):
        if wrong := [value for value in values if not 1 <= value <= MOST]:
            raise UserError(f"{name} must be from 1 to {MOST:,}, not {wrong[0]}")
    if strides and not frames:
        raise UserError("--stride goes with --frames")
    if len(strides) < 2:
        strides = list(strides or (1,)) * len(frames)
    if len(strides) != len(frames):
        raise UserError(f"--stride must have one number, or as many as --frames, {len(frames)}, not {len(strides)}")
    return list(zip(frames, strides, strict=True))


def _by_length(lengths: Lengths) -> list[Sequence[str]]:
    """From the last power of two that no video is shorter than, to the last that some video reaches."""
    count, n = len(lengths.frames), 1
    while 2 * n <= min(lengths.frames):
        n *= 2
    rows = [("at least", "videos", "share")]
    while n <= max(lengths.frames):
        there = lengths.at_least(n)
        rows.append((f"{n:,} frames", f"{there:,}", f"{there / count:.1%}"))
        n *= 2
    return rows


def _left_out(lengths: Lengths, clips: Sequence[tuple[int, int]]) -> list[Sequence[str]]:
    rows = [("clips of", "need frames", "videos too short", "share")]
    for frames, stride in clips:
        need = span(frames, stride)
        short = len(lengths.frames) - lengths.at_least(need)
        rows.append((f"{frames:,} frames, stride {stride:,}", f"{need:,}", f"{short:,}",
                     f"{short / len(lengths.frames):.1%}"))
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([f"{row[0]:<{first}}", *(f"{cell:>{width}}" for cell, width in
                                                        zip(row[1:], others, strict=True))]) for row in rows)
