"""Drums: the digit jumps at the kicks that one hears, at these alone, and to the sample."""

import hashlib
import runpy
from pathlib import Path

import numpy as np
import pytest

import lvlib
from lvlib.data import ClipSet
from lvlib.data.digit_clips import mnist_digits
from lvlib.data.drum_sounds import DRUMS, FULL, drum
from lvlib.data.drums import GAPS, Drums
from lvlib.errors import UserError

SCRIPT = Path(lvlib.__file__).parents[1] / "data_scripts/drums.py"


def heard(audio: np.ndarray, rate: int) -> np.ndarray:
    """Whether a kick begins with each frame, by the sound (t, samples) alone: its low notes come up against what the
    end of the frame before still had of them."""
    half = audio.shape[1] // 2
    halves = audio.reshape(-1, half) * np.hanning(half)
    frequency = np.fft.rfftfreq(4 * half, 1 / rate)
    low = (abs(np.fft.rfft(halves, 4 * half)) ** 2)[:, (frequency > 30) & (frequency < 110)].sum(1) ** 0.5
    before = np.concatenate([[0], low[1:-1:2]])
    return low[::2] - before > 5 * rate / 8000


def jumped(video: np.ndarray) -> np.ndarray:
    """Whether the digit leaves the ground after each frame, by the pixels (t, h, w) alone."""
    lowest = np.array([np.flatnonzero(frame.any(1))[-1] for frame in video])
    ground = lowest.max()
    return np.append((lowest[:-1] == ground) & (lowest[1:] < ground), False)


@pytest.mark.parametrize("options", [{}, {"rate": 16_000, "frames": 40, "seed": 1}, {"size": 64, "split": "val"}])
def test_the_digit_jumps_when_the_kick_is_heard_and_only_then(options):
    drums = Drums(60, **options)
    for clip in drums:
        kicks = heard(clip["audio"], drums.rate)
        assert (kicks == clip["onsets"][:, 0]).all()
        if kicks[:-1].any():
            assert (jumped(clip["video"][..., 0])[:-1] == kicks[:-1]).all()
        else:
            assert (clip["position"][:, 0] == drums.room).all()


def test_heights_are_those_of_a_ball_thrown_at_each_kick():
    drums = Drums(200, 50)
    for clip in drums:
        kicks = [*np.flatnonzero(clip["onsets"][:, 0])]
        assert kicks[0] < max(GAPS) and set(np.diff(kicks)) <= set(GAPS)
        for kick, following in zip(kicks, kicks[1:], strict=False):
            length = min(following - kick, 4)
            for frame in range(kick, following):
                time = min(frame - kick, length)
                assert drums.room - clip["position"][frame, 0] == drums.room * time * (length - time) // 4
        assert set(np.diff(clip["position"][:, 1])) <= {-1, 0, 1}
        assert clip["position"].min() >= 0 and clip["position"].max() <= drums.room


def test_the_sound_is_the_sum_of_its_hits_to_the_sample():
    drums = Drums(5, 20, rate=4800)
    for i, clip in enumerate(drums):
        sound = np.zeros(20 * 600 + 5000)
        for frame, hits in enumerate(clip["onsets"]):
            for number, name in enumerate(DRUMS):
                if hits[number]:
                    start = frame * 600 + (300 if name == "hat" else 0)
                    for at, value in enumerate(drum(name, 4800).tolist()):
                        sound[start + at] += (value * int(drums.loudness[i, number]) >> 8) / FULL
        assert (clip["audio"].ravel() == sound[:20 * 600].astype(np.float32)).all()
        assert clip["audio"].dtype == np.float32 and clip["audio"].shape == (20, 600)
    assert abs(Drums(300).batch(slice(None))["audio"]).max() < 0.8  # nothing is clipped


def test_drums_are_told_apart_by_ear():
    centre = {}
    for name in DRUMS:
        hit = drum(name, 16_000)
        power = abs(np.fft.rfft(hit)) ** 2
        centre[name] = (np.fft.rfftfreq(len(hit), 1 / 16_000) * power).sum() / power.sum()
        assert abs(hit[-len(hit) // 10:]).max() < 0.05 * abs(hit).max()
    assert 50 < centre["kick"] < 150 and 300 < centre["snare"] < 4000 and centre["hat"] > 4000


def test_distractors_tell_nothing_of_the_jumps():
    onsets = Drums(3000).batch(slice(None))["onsets"].astype(bool)
    kick, snare, hat = (onsets[..., number] for number in range(3))
    assert not (kick & snare).any()
    assert abs(hat[kick].mean() - hat[~kick].mean()) < 0.02 and abs(hat.mean() - 0.5) < 0.01
    assert abs(snare[~kick].mean() - 0.25) < 0.01
    for number in range(16):
        assert 0.1 < kick[:, number].mean() < 0.4


def test_the_digit_is_the_one_of_the_label():
    images, classes = mnist_digits("test")
    for clip in Drums(40, size=48, digit_size=28, split="test"):
        y, x = clip["position"][3]
        number, = np.flatnonzero((images == clip["video"][3, y:y + 28, x:x + 28, 0]).all((1, 2)))
        assert classes[number] == clip["label"] and type(clip["label"]) is int


def test_a_longer_clip_begins_with_the_shorter_one():
    short, long = Drums(8, 16, seed=5), Drums(20, 40, seed=5)
    for one, other in zip(short, long, strict=False):
        assert one["label"] == other["label"]
        for field in ("video", "audio", "onsets", "position"):
            assert (one[field] == other[field][:16]).all()


def test_clips_are_the_same_on_every_machine():
    seen = hashlib.sha256()
    for field, values in Drums(10, split="test").batch(slice(None)).items():
        values = values * FULL if field == "audio" else values
        seen.update(field.encode() + values.astype("<i8").tobytes())
    assert seen.hexdigest() == "3d39c5c3c3a545c6c64796027e7a6056c2944868475f86b2008aec4951e12730"


def test_sub_clips_of_a_set_on_disk_have_the_sound_of_their_frames(tmp_path, capsys):
    run = runpy.run_path(str(SCRIPT))["main"]
    options = ["--out", str(tmp_path / "set"), "--train", "2", "--val", "1", "--test", "1", "--frames", "20"]
    run(options)
    assert capsys.readouterr().out == f"{tmp_path / 'set'}: 2, 1 and 1 clips of 20 frames\n"
    parts, made = ClipSet(tmp_path / "set", frames=10), Drums(2, 20)
    assert parts.fps == 8 and parts.classes == [str(digit) for digit in range(10)]
    for i, clip in enumerate(made):
        both = [parts[2 * i], parts[2 * i + 1]]
        for field in ("video", "audio", "onsets", "position"):
            assert (np.concatenate([part[field] for part in both]) == clip[field]).all()
        assert both[0]["label"] == both[1]["label"] == clip["label"]
    with pytest.raises(UserError, match="have sound, which a stride of 2 would cut to pieces"):
        ClipSet(tmp_path / "set", stride=2)
    run(options)
    assert "is there already, whole, and the same" in capsys.readouterr().out


@pytest.mark.parametrize("wrong, message", [
    ({"rate": 8001}, "a multiple of 16 samples a second from 4000 to 48000, not 8001"),
    ({"rate": 96_000}, "from 4000 to 48000"), ({"digit_size": 3}, "from 4 to size - 1 = 31"),
    ({"frames": 0}, "1 or more"), ({"split": "dev"}, "train, val, test"), ({"frames": 10**12}, "of memory are needed"),
])
def test_a_wrong_value_gets_a_line_that_says_what_is_allowed(wrong, message):
    with pytest.raises(UserError, match=message):
        Drums(**{"clips": 2} | wrong)
