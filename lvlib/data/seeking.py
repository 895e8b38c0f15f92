"""The wanted frames of a video file: sought, and checked to be those that a decode from the start gives."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lvlib.data.containers import Contents, check_of, import_av, opened, pixel_shape, read_frames, stamp_of
from lvlib.data.pictures import Resize, Size, fit_frame


def pictures_at(path: Path, contents: Contents, wanted: Sequence[int], size: Size, resize: Resize
                ) -> Iterator[np.ndarray]:
    """The frames with the `wanted` indices, which rise: uint8 (h, w, 3) each. Stops early where one is not there.

    Decoding begins at the last frame where it can. If the container leads elsewhere, or the decoder makes other
    pictures than before, it begins at the one before, and at last at the very first.
    """
    done = 0
    for back in (1, 2, len(contents.starts)):
        first = int(np.searchsorted(contents.starts, wanted[done], "right"))
        start = int(contents.starts[max(0, first - back)]) if len(contents.starts) else 0
        for picture in _from(path, contents, start, wanted[done:], size, resize):
            yield picture
            done += 1
        if done == len(wanted) or start == 0:
            return


def _from(path: Path, contents: Contents, start: int, wanted: Sequence[int], size: Size, resize: Resize
          ) -> Iterator[np.ndarray]:
    """As many of the wanted frames as decoding gives that begins at frame `start`, sought unless it is the first."""
    with opened(path) as (container, stream):
        if start:
            try:
                container.seek(int(contents.stamps[start]), stream=stream)
            except import_av().FFmpegError:
                return
        done, place = 0, None
        for count, frame in enumerate(read_frames(container, stream)):
            place = _place(contents, frame, place, start, wanted[done]) if start else count
            if place is None:
                continue
            if not 0 <= place <= wanted[done]:
                return
            if place == wanted[done]:
                yield np.asarray(fit_frame(frame, pixel_shape(stream), size, resize))
                done += 1
                if done == len(wanted):
                    return


def _place(contents: Contents, frame, before: int | None, start: int, target: int) -> int | None:
    """The index of a frame that was sought, `before` being that of the last one. None if it is not known yet,
    -1 if it is not the frame that should follow."""
    stamp, checks = stamp_of(frame), contents.checks
    if before is not None:
        place = before + 1
        known = place < contents.frames and contents.stamps[place] == stamp
        same = place != target or not len(checks) or checks[place] == check_of(frame)
        return place if known and same else -1
    places = np.flatnonzero(contents.stamps == stamp)
    if len(checks):
        places = places[checks[places] == check_of(frame)]
    # Without checksums a frame before the one that was sought may be shown, though what it builds on is missing.
    return int(places[0]) if len(places) and (len(checks) or places[0] >= start) else None
