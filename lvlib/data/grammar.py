"""The language of the stories: one sentence tells which digit does what, and what comes then.

    "the seven moves right"
    "the seven moves right, then the three falls"

Each motion can be said in three ways, and two events can be joined in three. What comes first on the screen comes first
in the sentence.
"""

from collections.abc import Sequence
from itertools import product

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MOTIONS = ("right", "left", "up", "down", "bounce", "still")
VERBS = {
    "right": ("moves right", "goes right", "slides to the right"),
    "left": ("moves left", "goes left", "slides to the left"),
    "up": ("rises", "moves up", "goes up"),
    "down": ("falls", "moves down", "goes down"),
    "bounce": ("bounces", "hops", "jumps up and down"),
    "still": ("stays", "waits", "stands still"),
}
WAYS = 3  # to say each motion, and to join two events
ONE = ("the {}", "the {}", "a {}")
TWO = ("the {}, then the {}", "first the {}, then the {}", "after the {}, the {}")


def sentence(digits: Sequence[int], motions: Sequence[int], verbs: Sequence[int], form: int) -> str:
    """One or two events in words.

    digits: 0 to 9, in the order of time. motions: indices into `MOTIONS`. verbs, form: which way to say each motion,
    and the whole, 0 to `WAYS` - 1.
    """
    events = [f"{DIGITS[digit]} {VERBS[MOTIONS[motion]][verb]}"
              for digit, motion, verb in zip(digits, motions, verbs, strict=True)]
    return (ONE if len(events) == 1 else TWO)[form].format(*events)


def examples() -> list[str]:
    """Sentences in which every digit, every way to say a motion and every form occurs: those of one event, and of each
    the one of two in which the next digit does the next motion."""
    found = []
    for digit, motion, verb, form in product(range(10), range(len(MOTIONS)), range(WAYS), range(WAYS)):
        found.append(sentence([digit], [motion], [verb], form))
        then = (digit + 1) % 10, (motion + 1) % len(MOTIONS)
        found.append(sentence([digit, then[0]], [motion, then[1]], [verb, verb], form))
    return found


LONGEST = max(len(two.format(*[f"{max(DIGITS, key=len)} {max(sum(VERBS.values(), ()), key=len)}"] * 2)) for two in TWO)
