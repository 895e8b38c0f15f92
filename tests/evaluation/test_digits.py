"""The measures of moving digits, on clips whose truth is known and on clips that must score badly."""

import pytest
import torch

from lvlib.data import MovingDigits, to_video
from lvlib.data.digit_clips import mnist_digits, resize_digits
from lvlib.evaluation.digits import (
    digit_pictures,
    identity,
    inks,
    judge,
    locate,
    lone_digit,
    position_error,
    recognise,
    train_digit_classifier,
)

RED, BLUE = (1.0, 0.3, 0.2), (0.3, 0.5, 1.0)


def random_picture(d: int, seed: int) -> torch.Tensor:
    return torch.rand(d, d, generator=torch.Generator().manual_seed(seed))


def colored(ink: torch.Tensor, color: tuple) -> torch.Tensor:
    """ink (d, d) in [0, 1] -> picture (c, d, d) in [-1, 1]."""
    return 2 * torch.tensor(color)[:, None, None] * ink - 1


def pasted(ink: torch.Tensor, color: tuple, places: list, size: int, under: torch.Tensor | None = None) -> torch.Tensor:
    """A clip (1, c, t, size, size): the ink laid over black, or over the clip `under`, at one place a frame."""
    clip = torch.full((1, len(color), len(places), size, size), -1.0) if under is None else under.clone()
    d = len(ink)
    for t, (y, x) in enumerate(places):
        window = clip[0, :, t, y : y + d, x : x + d]
        window += ink * (2 * torch.tensor(color)[:, None, None] - 1 - window)
    return clip


@pytest.fixture(scope="module")
def data() -> MovingDigits:
    return MovingDigits(60, size=32, digit_size=16, speeds=(2,), color=True, split="test")


@pytest.fixture(scope="module")
def clips(data):
    batch = data.batch(slice(None))
    truth, classes = torch.tensor(batch["position"]), torch.tensor(batch["digit"])
    return to_video(batch["video"]), digit_pictures(data, slice(None)), truth, classes


@pytest.fixture(scope="module")
def classifier():
    return train_digit_classifier(16)


# Pictures and inks


@pytest.mark.parametrize("options", [{"color": True}, {}, {"layers": True}])
def test_pictures_are_what_is_seen_of_a_digit_alone(options):
    data = MovingDigits(5, frames=1, size=32, digits=1, seed=3, **options)
    pictures, d = digit_pictures(data, [1, 4]), data.digit_size
    for picture, item in zip(pictures, (data[1], data[4]), strict=True):
        y, x = item["position"][0, 0]
        seen = to_video(item["video"])[:, 0, y : y + d, x : x + d]
        assert torch.allclose(picture[0], seen, atol=1.01 / 255)  # the clip is rounded to whole grey values


def test_inks_of_a_mixture_are_its_parts():
    digits = torch.stack([colored(random_picture(4, 0), RED), colored(random_picture(4, 1), BLUE)])[None]
    part = torch.rand(2, 1, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    hues = torch.tensor([RED, BLUE])
    video = (part[:, None] * hues[:, :, None, None, None, None]).sum(0).transpose(0, 1) - 1
    found, _ = inks(video, digits)
    assert torch.allclose(found[0], part[:, 0] * hues.norm(dim=1)[:, None, None, None], atol=1e-5)


def test_a_third_colour_is_never_less_than_no_ink():
    digits = torch.stack([colored(random_picture(4, 0), RED), colored(random_picture(4, 1), BLUE)])[None]
    for color in torch.eye(3):
        assert inks(2 * color.reshape(1, 3, 1, 1, 1) - 1, digits)[0].min() >= 0


# Where


def test_two_pictures_are_found_where_they_were_pasted():
    a, b = random_picture(6, 0), random_picture(6, 1)
    at = [(0, 0), (5, 3), (2, 2), (10, 0)], [(10, 10), (5, 3), (4, 5), (8, 1)]  # apart, the same, over each other
    clip = pasted(b, BLUE, at[1], 16, under=pasted(a.round(), RED, at[0], 16))
    positions, _ = locate(clip, torch.stack([colored(a.round(), RED), colored(b, BLUE)])[None])
    assert positions.dtype == torch.int64
    assert torch.equal(positions[0].transpose(0, 1), torch.tensor(at))


def test_the_fit_is_that_of_brute_force():
    noise = torch.rand(1, 1, 2, 9, 9, generator=torch.Generator().manual_seed(5)) * 2 - 1
    ink = random_picture(4, 6)
    positions, quality = locate(noise, colored(ink, (1.0,))[None, None])
    for t in range(2):
        fits = {}
        for y in range(6):
            for x in range(6):
                window, picture = noise[0, 0, t, y : y + 4, x : x + 4] + 1, 2 * ink
                energy = max((window**2).sum(), (picture**2).sum())
                fits[y, x] = float((window * picture).sum() / ((picture**2).sum() * energy) ** 0.5)
        best = max(fits, key=fits.get)
        assert tuple(positions[0, t, 0].tolist()) == best
        assert quality[0, t, 0].item() == pytest.approx(fits[best], abs=1e-5)


def test_quality_is_what_is_left_of_the_picture():
    """Whole, at half its brightness, its upper half, and gone."""
    ink = random_picture(6, 0)
    upper = ink.clone()
    upper[3:] = 0
    clip = torch.cat([pasted(part, (1.0,), [(4, 4)], 16) for part in (ink, ink / 2, upper, 0 * ink)], 2)
    positions, quality = locate(clip, colored(ink, (1.0,))[None, None])
    share = float((upper**2).sum() / (ink**2).sum())
    assert quality[0, :, 0].tolist() == pytest.approx([1, 0.5, share, 0], abs=1e-5)
    assert positions[0, :3, 0].tolist() == [[4, 4]] * 3


def test_real_clips_are_located(clips):
    video, digits, truth, _ = clips
    positions, quality = locate(video, digits)
    assert position_error(positions, truth).mean() < 0.02
    assert quality[..., 1].min() > 0.99  # nothing lies over the second digit
    assert 0.8 < quality[..., 0].mean() < 0.99


@pytest.mark.parametrize(("digits", "color", "limit"), [(2, True, 0.01), (1, False, 0.01), (2, False, 0.3)])
def test_larger_clips_one_digit_and_white_ones(digits, color, limit):
    """Where white digits overlap, nothing but their shapes can tell them apart: a few are missed."""
    data = MovingDigits(10, size=64, digits=digits, color=color, split="test")
    batch = data.batch(slice(None))
    positions, _ = locate(to_video(batch["video"]), digit_pictures(data, slice(None)))
    assert position_error(positions, torch.tensor(batch["position"])).mean() < limit


def test_blurred_noisy_and_pale_clips_are_located(clips):
    video, digits, truth, _ = clips
    noise = 0.2 * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool3d(video, (1, 3, 3), 1, (0, 1, 1))
    for spoiled in (video + noise, blurred, 0.5 * (video + 1) - 1):
        assert position_error(locate(spoiled, digits)[0], truth).mean() < 0.1


def test_wrong_clips_are_far_off(clips):
    video, digits, truth, _ = clips
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    for wrong in (video.roll(1, 0), noise, video.flip(2)):
        assert position_error(locate(wrong, digits)[0], truth).mean() > 3
    for wrong in (video.roll(1, 0), noise):
        assert locate(wrong, digits)[1].mean() < 0.55


def test_a_digit_that_is_gone_is_told_from_one_that_is_elsewhere(clips):
    video, digits, truth, _ = clips
    hue = torch.nn.functional.normalize((digits[:, 1] + 1).sum((-1, -2)), dim=-1)
    second_alone = hue[:, :, None, None, None] * inks(video, digits)[0][:, 1:] - 1
    _, quality = locate(second_alone, digits)
    assert quality[..., 0].max() < 0.02 and quality[..., 1].min() > 0.98
    positions, quality = locate(video.roll(1, -1), digits)  # one pixel to the right
    inside = truth[..., 1, 1] < 16
    assert quality[..., 1][inside].min() > 0.98
    assert ((positions - truth)[:, :, 1][inside] == torch.tensor([0, 1])).all()


def test_clips_and_frames_are_on_their_own(clips):
    video, digits, _, _ = clips
    positions, quality = locate(video[:3], digits[:3])
    alone, own = locate(video[2:3, :, 4:5], digits[2:3])
    assert torch.equal(alone[0, 0], positions[2, 4]) and torch.allclose(own[0, 0], quality[2, 4], atol=1e-5)


# Which


def test_classifier_knows_digits_it_has_never_seen(classifier):
    images, classes = mnist_digits("test")
    ink, classes = torch.tensor(resize_digits(images, 16)).float() / 255, torch.tensor(classes)

    def accuracy(ink: torch.Tensor) -> float:
        with torch.no_grad():
            return (classifier(ink).argmax(1) == classes).float().mean().item()

    assert accuracy(ink) > 0.95
    assert accuracy(0.3 * ink) == accuracy(ink)
    assert accuracy(ink.roll((1, 1), (1, 2))) > 0.9
    assert accuracy(torch.nn.functional.avg_pool2d(ink, 3, 1, 1)) > 0.9
    corner = torch.zeros_like(ink)
    corner[:, 10:, 10:] = ink.roll(1, 0)[:, :6, :6]
    assert accuracy((ink + corner).clamp(max=1)) > 0.9
    above = torch.zeros_like(ink)
    above[:, :7] = ink.roll(37, 0)[:, 9:]
    assert accuracy((ink + above).clamp(max=1)) > 0.77  # about 0.7 without others in training
    assert accuracy(ink[torch.randperm(500, generator=torch.Generator().manual_seed(0))]) < 0.2


def test_classifier_is_a_function_of_its_seed():
    """And leaves torch's own random numbers as they were."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    one, same, other = (train_digit_classifier(12, seed, steps=2) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one[0].weight, other[0].weight)


def test_classifier_learns_from_the_training_split_alone(monkeypatch):
    asked = []
    monkeypatch.setattr("lvlib.evaluation.digits.mnist_digits",
                        lambda split: asked.append(split) or mnist_digits(split))
    train_digit_classifier(8, steps=2)
    assert asked == ["train"]


def test_identity_of_real_clips_and_of_wrong_ones(clips, classifier, data):
    video, digits, truth, classes = clips
    right = identity(video, digits, truth, classifier) == classes[:, None]
    assert right.float().mean() > 0.88
    images, _ = mnist_digits("test")
    stranger = MovingDigits(60, size=32, digit_size=16, speeds=(2,), color=True, split="test")
    stranger.instance = (data.instance + 250) % len(images)  # five classes on
    swapped = torch.cat([video[:, :, :8], to_video(stranger.batch(slice(None))["video"])[:, :, 8:]], 2)
    right = (identity(swapped, digits, locate(swapped, digits)[0], classifier) == classes[:, None]).float()
    assert right[:, :8].mean() > 0.88 and right[:, 8:].mean() < 0.15
    noise = torch.randn(video.shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert (identity(noise, digits, truth, classifier) == classes[:, None]).float().mean() < 0.3


def test_identity_looks_at_the_place_and_at_the_colour(classifier):
    """A red and a blue digit, one upon the other: each is read in its own ink; the empty place shows neither."""
    images, classes = mnist_digits("test")
    seven, zero = (torch.tensor(resize_digits(images[classes == n][:1], 16)[0]) / 255 for n in (7, 0))
    under = pasted(seven, RED, [(3, 4), (0, 0)], 40)
    clip = pasted(zero, BLUE, [(3, 4), (24, 24)], 40, under=under)
    digits = torch.stack([colored(seven, RED), colored(zero, BLUE)])[None]
    places = torch.tensor([[[3, 4], [3, 4]], [[0, 0], [24, 24]]])[None]
    assert identity(clip, digits, places, classifier).tolist() == [[[7, 0], [7, 0]]]
    elsewhere = identity(clip, digits, places.flip(1), classifier)
    assert elsewhere[0, 1].tolist() != [7, 0]


# How it moves


def test_position_error_closed_form():
    truth = torch.zeros(2, 3, 2, 2, dtype=torch.int64)
    positions = truth.clone()
    positions[1, 2, 0] = torch.tensor([3, 4])
    assert position_error(positions, truth).tolist() == [[0, 0, 0], [0, 0, 2.5]]


def test_repeating_the_last_frame_gets_worse_by_the_speed(clips):
    truth = clips[2]
    error = position_error(truth[:, 4:5].expand_as(truth), truth).mean(0)
    assert error[4] == 0 and 1.5 < error[5] < 3 and error[6] > 1.5 * error[5] and error[9] > 6


def test_a_judge_sees_digits_that_are_moved_and_digits_that_are_others(clips, classifier):
    video, pictures, truth, classes = clips
    error, recognised = judge(video, pictures, truth, classes, classifier)
    assert error.shape == recognised.shape == (len(video), video.shape[2])
    assert error.mean() < 0.5 and recognised.mean() > 0.85
    moved, _ = judge(video, pictures, truth + torch.tensor([3, 4]), classes, classifier)
    assert abs(moved.mean() - 5) < 0.5
    assert judge(video, pictures, truth, (classes + 1) % 10, classifier)[1].mean() < 0.2


@pytest.fixture(scope="module")
def lone():
    digits = MovingDigits(60, size=32, digit_size=20, digits=1, speeds=(1,), split="test")
    return digits, digits.batch(slice(0, 60))


def test_a_lone_digit_is_cut_out_where_it_is(lone):
    digits, clips = lone
    crops = lone_digit(to_video(torch.tensor(clips["video"])), 20)
    video, places = torch.tensor(clips["video"])[..., 0] / 255, torch.tensor(clips["position"])[:, :, 0]
    for clip in range(60):
        for frame in (0, 7, 15):
            y, x = places[clip, frame].tolist()
            true = video[clip, frame, y:y + 20, x:x + 20]
            around = [crops[clip, frame].roll((dy, dx), (0, 1)) for dy in (-2, -1, 0, 1, 2) for dx in (-2, -1, 0, 1, 2)]
            assert min((crop - true).abs().mean() for crop in around) < 0.01, "at most two pixels off"


def test_lone_digits_are_recognised_also_moved_and_a_frame_without_ink_is_no_error(lone):
    _, clips = lone
    video, classifier = to_video(torch.tensor(clips["video"])), train_digit_classifier(20)
    seen = recognise(video, 20, classifier)
    assert (seen == torch.tensor(clips["label"])[:, None]).float().mean() > 0.9
    moved = recognise(video.roll((3, -2), (3, 4)), 20, classifier)
    assert (moved == seen).float().mean() > 0.9
    assert lone_digit(torch.full((1, 1, 2, 32, 32), -1.0), 20).abs().max() == 0
