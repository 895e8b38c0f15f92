"""What is measured of one given frame and many futures, on futures that are known."""

import numpy as np
import pytest
import torch

from lvlib.course import told_digits
from lvlib.course.futures import FRAMES, measure, scatter, start_clips, taken, true_places
from lvlib.data import MovingDigits, to_video
from lvlib.errors import UserError
from lvlib.evaluation.digits import train_digit_classifier


def test_the_true_future_is_one_of_eight():
    digits, batch = start_clips(50)
    possible = true_places(batch["position"][:, 0, 0], digits.room)
    assert possible.shape == (50, 8, FRAMES, 2)
    assert (possible == torch.tensor(batch["position"])[:, None, :, 0]).all(-1).all(-1).any(1).all()


def test_how_far_two_places_lie_apart():
    """Two futures 6 pixels apart are 3 from their mean; as samples of many, 3 times sqrt(2)."""
    places = torch.zeros(1, 2, 1, 2)
    places[0, 1, 0, 1] = 6
    assert scatter(places, sample=False).tolist() == [3.0]
    assert scatter(places, sample=True)[0].item() == pytest.approx(18**0.5)


def test_true_futures_are_as_they_should_be():
    """Clips drawn from the world itself: each start again, with another way."""
    starts, each = 24, 8
    digits, batch = start_clips(starts)
    ways = np.random.default_rng(0).integers(8, size=(starts, each))
    truth = true_places(batch["position"][:, 0, 0], digits.room)
    places = truth[torch.arange(starts)[:, None], torch.tensor(ways)].flatten(0, 1)
    pictures = (torch.tensor(batch["video"])[:, 0].float() / 127.5 - 1)[..., 0]  # first frames, (starts, 32, 32)
    video = torch.full((starts * each, 1, FRAMES, 32, 32), -1.0)
    for i, way in enumerate(places.tolist()):
        y, x = batch["position"][i // each, 0, 0]
        ink = pictures[i // each, y:y + 20, x:x + 20]
        for frame, (v, u) in enumerate(way):
            video[i, 0, frame, v:v + 20, u:u + 20] = ink
    found = measure(video, starts, 0, train_digit_classifier(20))
    assert found.scatter == pytest.approx(found.true_scatter, rel=0.1) and found.true_scatter > 4
    assert found.off < 0.01 and found.taken == pytest.approx(found.true_taken, abs=0.1) and found.true_taken < 0.9
    assert found.kept > 0.95


def test_a_model_that_knows_few_ways_takes_few():
    """From the middle, where the eight are eight: two of them, each twice, are a quarter. Of four true futures 41%
    would be taken. A place beside the ways is as far off as it is."""
    truth = true_places(np.array([[6, 6]]), 12)
    few = truth[:, [0, 3, 0, 3]]
    far, share, true_share = taken(few, truth)
    assert far.eq(0).all() and share == 0.25 and true_share.item() == pytest.approx(1 - (7 / 8) ** 4)
    assert taken(few + torch.tensor([0, 2]), truth)[0].min() > 0.3
    corner = true_places(np.array([[0, 0]]), 12)  # of its three ways the diagonal one is that of four directions
    assert taken(corner[:, :1], corner)[1].item() == 0.5


def test_told_digits_of_a_model_that_draws_what_it_is_told():
    """Real clips in place of samples: nearly all are read; with the labels of others hardly any."""
    class Real:
        def __init__(self, off: int):
            self.off = off

        def generate(self, n, condition, sampling):
            data = MovingDigits(2000, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
            first = [int(np.flatnonzero(data.label == (int(label) + self.off) % 10)[i // 10])
                     for i, label in enumerate(condition["label"])]
            return to_video(torch.tensor(data.batch(first)["video"]))

    classifier = train_digit_classifier(20)
    right, wrong = (told_digits.measure(Real(off), classifier, seed=0, each=3) for off in (0, 1))
    assert right.right > 0.95 and right.kept > 0.95 and right.whole > 0.85 and min(right.by_label) > 0.6
    assert wrong.right < 0.05 and wrong.whole == 0 and wrong.kept > 0.95


@pytest.mark.parametrize("words, line", [
    (["pvdm-course"], "told one of ten labels"),
    (["videogpt-digits/autoencoder"], "must hold a prior"),
    (["videogpt-digits", "--condition.label", "3"], "unknown part in --condition.label"),
    (["videogpt-digits", "--sampling.topp", "1"], "did you mean top_p"),
    (["videogpt-digits", "--seeds", "-1"], "--seed must be"),
])
def test_told_digits_refuses_what_it_cannot_measure(words, line, monkeypatch):
    monkeypatch.setattr("sys.argv", ["told_digits", *words])
    with pytest.raises(UserError, match=line):
        told_digits.main()
