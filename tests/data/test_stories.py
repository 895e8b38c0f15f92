"""Stories: what is to be seen at each time, the sentence, and the truth in numbers say the same."""

import hashlib
import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import lvlib
from lvlib.data import ClipSet
from lvlib.data.digit_clips import mnist_digits
from lvlib.data.grammar import DIGITS, LONGEST, MOTIONS, VERBS, examples
from lvlib.data.stories import Stories
from lvlib.errors import UserError

SCRIPT = Path(lvlib.__file__).parents[1] / "data_scripts/stories.py"


def read(text: str) -> list[tuple[int, str]]:
    """The events of a sentence, by its words alone: each digit's name is followed by a verb."""
    verbs = {verb: motion for motion, ways in VERBS.items() for verb in ways}
    longest_first = sorted(verbs, key=len, reverse=True)
    found = re.findall(rf"({'|'.join(DIGITS)}) ({'|'.join(longest_first)})(?=,|$)", text)
    return [(DIGITS.index(digit), verbs[verb]) for digit, verb in found]


def moved(position: np.ndarray) -> str:
    """The motion, from the places of a digit alone."""
    (down, right), ups = position[-1] - position[0], np.diff(position[:, 0])
    if (ups < 0).any() and (ups > 0).any():
        return "bounce"
    assert not (down and right)
    return {(0, 0): "still", (1, 0): "down", (-1, 0): "up", (0, 1): "right", (0, -1): "left"}[
        np.sign(down), np.sign(right)]


@pytest.mark.parametrize("options", [{}, {"size": 64}, {"stretch": 8, "frames": 8}, {"digit_size": 14, "seed": 2}])
def test_what_is_seen_is_what_the_sentence_says(options):
    stories = Stories(200, **options)
    for clip in stories:
        half = stories.stretch // 2
        events = read(clip["text"])
        told = [(digit, motion) for digit, motion in zip(clip["digit"], clip["motion"], strict=True) if digit >= 0]
        assert events == [(digit, MOTIONS[motion]) for digit, motion in told]
        parts = [slice(0, half), slice(half, 2 * half)] if len(events) == 2 else [slice(0, 2 * half)]
        assert [motion for _, motion in events] == [moved(clip["position"][part]) for part in parts]


def test_one_digit_of_the_class_that_is_told_stands_where_it_is_said_to_and_nothing_else():
    stories = Stories(60, size=40, digit_size=28, split="val")
    images, classes = mnist_digits("val")
    for clip in stories:
        second = np.arange(16) >= 8
        told = np.where(second & (clip["digit"][1] >= 0), clip["digit"][1], clip["digit"][0])
        drawings = set()
        for frame, (y, x), digit in zip(clip["video"][..., 0], clip["position"], told, strict=True):
            ink = frame[y:y + 28, x:x + 28].copy()
            frame[y:y + 28, x:x + 28] = 0
            assert not frame.any()
            number, = np.flatnonzero((images == ink).all((1, 2)))
            assert classes[number] == digit
            drawings.add(number)
        assert len(drawings) == len(read(clip["text"]))


def test_every_number_of_events_digit_motion_and_wording_occurs_about_equally_often():
    clips = Stories(6000).batch(slice(None))
    two = clips["digit"][:, 0, 1] >= 0
    assert abs(two.mean() - 0.5) < 0.03
    for field in clips["digit"][:, 0], clips["motion"][:, 0]:
        for drawn in field[:, 0], field[two, 1]:
            counts = np.bincount(drawn)
            assert abs(counts - counts.mean()).max() < 5 * counts.mean() ** 0.5
    assert (clips["digit"][:, 0, 0] != clips["digit"][:, 0, 1]).all()
    texts = clips["text"][:, 0].tolist()
    assert {w for text in texts for w in re.findall(r"\w+", text)} == {
        w for text in examples() for w in re.findall(r"\w+", text)}
    for verbs in VERBS.values():
        for verb in verbs:
            assert sum(text.endswith(verb) for text in texts) > 150
    for events in 1, 2:
        assert {len(read(text)) for text in Stories(50, events=(events,)).text.flat} == {events}


def test_moves_take_half_of_the_room_at_least_and_stay_within_it():
    stories = Stories(500)
    clips = stories.batch(slice(None))
    assert clips["position"].min() == 0 and clips["position"].max() == stories.room
    for clip in range(500):
        if clips["motion"][clip, 0, 1] < 0 and clips["motion"][clip, 0, 0] < 4:
            gone = abs(clips["position"][clip, -1] - clips["position"][clip, 0]).sum()
            assert stories.room / 2 <= gone <= stories.room


def test_a_longer_clip_begins_with_the_shorter_one_and_has_a_sentence_for_each_stretch():
    short, long = Stories(20, seed=3), Stories(30, 64, seed=3)
    for one, other in zip(short, long, strict=False):
        assert type(one["text"]) is str and one["digit"].shape == one["motion"].shape == (2,)
        assert len(other["text"]) == 4 and other["digit"].shape == other["motion"].shape == (4, 2)
        assert other["text"][0] == one["text"] and (other["digit"][0] == one["digit"]).all()
        assert (other["video"][:16] == one["video"]).all() and (other["position"][:16] == one["position"]).all()
        for number, text in enumerate(other["text"]):
            events = read(text)
            first, last = events[0], events[-1]
            part = other["position"][16 * number:16 * number + 16]
            assert moved(part[:8]) == first[1] and moved(part[8:]) == last[1]


def test_clips_are_the_same_on_every_machine():
    seen = hashlib.sha256()
    for field, values in Stories(10, 32, split="test").batch(slice(None)).items():
        values = values if field == "text" else values.astype("<i8")
        seen.update(field.encode() + ("\n".join(values.flat).encode() if field == "text" else values.tobytes()))
    assert seen.hexdigest() == "857a40406129aa86eb6eb6e890e99b0ede69868e8bb10cb18f355b6d00eb9ecb"


def test_sub_clips_of_a_set_on_disk_have_their_own_sentences(tmp_path, capsys):
    run = runpy.run_path(str(SCRIPT))["main"]
    options = ["--out", str(tmp_path / "set"), "--train", "3", "--val", "2", "--test", "1", "--frames", "32"]
    run(options)
    assert capsys.readouterr().out == f"{tmp_path / 'set'}: 3, 2 and 1 clips of 32 frames\n"
    whole, parts, made = ClipSet(tmp_path / "set"), ClipSet(tmp_path / "set", frames=16), Stories(3, 32)
    assert whole.fps == 8 and len(parts) == 6
    for i, clip in enumerate(made):
        assert whole[i]["text"] == clip["text"] and type(whole[i]["text"]) is list
        for part in range(2):
            cut = parts[2 * i + part]
            assert cut["text"] == clip["text"][part] and type(cut["text"]) is str
            assert (cut["digit"] == clip["digit"][part]).all() and (cut["motion"] == clip["motion"][part]).all()
            assert (cut["position"] == clip["position"][16 * part:16 * part + 16]).all()
            assert (cut["video"] == clip["video"][16 * part:16 * part + 16]).all()
    assert ClipSet(tmp_path / "set", frames=8)[3]["text"] == made[0]["text"][1]
    assert ClipSet(tmp_path / "set", frames=16, stride=2)[1]["text"] == made[1]["text"]
    run(options)
    assert "is there already, whole, and the same" in capsys.readouterr().out


def test_rows_that_do_not_fit_the_frames_are_damage(tmp_path):
    runpy.run_path(str(SCRIPT))["main"](["--out", str(tmp_path / "set"), "--train", "1", "--val", "1", "--test", "1"])
    path = tmp_path / "set/meta.json"
    for wrong in 0, 8, 2.5, "16":
        meta = json.loads(path.read_text())
        meta["fields"]["text"]["frames_per_row"] = wrong
        path.write_text(json.dumps(meta))
        with pytest.raises(UserError, match="its fields cannot be read"):
            ClipSet(tmp_path / "set")


def test_no_sentence_is_longer_than_the_longest():
    assert max(map(len, examples())) <= LONGEST
    assert max(len(text) for text in Stories(20_000).text.flat) <= LONGEST < 80


@pytest.mark.parametrize("wrong, message", [
    ({"frames": 24}, "frames must be a multiple of stretch = 16, not 24"), ({"stretch": 9}, "an even number of frames"),
    ({"events": (3,)}, "events must be 1, 2 or both"), ({"events": ()}, "events must be 1, 2 or both"),
    ({"digit_size": 32}, "from 4 to size - 1 = 31"), ({"split": "dev"}, "train, val, test"),
    ({"clips": 0}, "1 or more"), ({"clips": 10**12}, "of memory are needed"),
])
def test_a_wrong_value_gets_a_line_that_says_what_is_allowed(wrong, message):
    with pytest.raises(UserError, match=message):
        Stories(**{"clips": 2} | wrong)
