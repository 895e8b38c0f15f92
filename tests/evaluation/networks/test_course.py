"""The course's video classifier: what it takes, what it learned from, and the accuracy of the one that ships."""

import re

import numpy as np
import pytest
import torch

from lvlib.data import ClipSet, MovingDigits, data_home, to_video
from lvlib.data.clip_writer import write_clip_set
from lvlib.data.moving_digits import DIRECTIONS
from lvlib.errors import UserError
from lvlib.evaluation.networks.course import KINDS, VideoClassifier, course_classifier, is_right, resized
from lvlib.evaluation.networks.course_clips import DigitClips, DoomClips, Mixture, accuracy, moves
from lvlib.runs.shipped import FOLDER

LEFT, RIGHT, WALK = np.eye(3, dtype=np.float32)


@pytest.fixture(scope="module")
def shipped() -> VideoClassifier:
    return course_classifier()


def figures(of: str) -> list[float]:
    """Percentages in the row of the README, of three seeds."""
    rows = (FOLDER / "README.md").read_text().splitlines()
    row = next(row for row in rows if row.startswith("| `video-classifier` |"))
    return [float(number) / 100 for number in re.search(rf"{of} ([\d.]+), ([\d.]+), ([\d.]+)%", row).groups()]


# --- the one that ships ---


@pytest.mark.parametrize("digits, name", [(1, "one digit"), (2, "both of two digits")])
def test_it_knows_digits_that_it_never_saw(shipped, digits, name):
    """On other clips than those of the page: 360, so that a standard deviation is about 2.5%."""
    measured = accuracy(shipped, DigitClips(360, digits, 1, "test"))
    assert measured["kind"] == pytest.approx(np.mean(figures(name)), abs=0.08)
    assert measured["motion"] == pytest.approx(np.mean(figures(f"motion of {name}")), abs=0.08)


def test_it_knows_how_the_player_moves(shipped):
    if not (data_home() / "doom" / "meta.json").exists():
        pytest.skip("no recorded clips in data/doom: `make data` needs the package vizdoom")
    torch.manual_seed(0)
    clips = Mixture(300, [DoomClips(data_home() / "doom")])  # recorded with another seed than what it learned from
    assert accuracy(shipped, clips)["kind"] == pytest.approx(np.mean(figures("Doom")), abs=0.09)


def test_a_digit_that_is_learned_is_a_likely_class(shipped):
    """The order of the classes is that of `KINDS`."""
    clips = MovingDigits(200, digits=1, split="test").batch(slice(0, 200))
    probs = shipped.look(to_video(clips["video"])).probs
    assert (probs.argmax(1) == torch.tensor(clips["digit"])[:, 0]).float().mean() > 0.5
    assert probs[:, 10:].sum(1).mean() < 0.05


# --- what it takes ---


def test_what_it_sees_of_clips(shipped):
    video = to_video(MovingDigits(3, color=True, split="test").batch(slice(0, 3))["video"])
    seen = shipped.look(video)
    assert (seen.features.shape, seen.probs.shape) == ((3, shipped.dim), (3, len(KINDS)))
    assert seen.features.dtype == seen.probs.dtype == torch.float32 and not seen.features.requires_grad
    assert torch.allclose(seen.probs.sum(1), torch.ones(3))
    assert torch.allclose(shipped.look(video[1:2]).features, seen.features[1:2], atol=1e-5)
    assert not torch.allclose(seen.features[0], seen.features[1], atol=1e-2)


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (128, 96)])
@pytest.mark.parametrize("frames", [4, 7, 40])
def test_grey_video_of_any_size_and_length(shipped, size, frames):
    grey = torch.rand(2, 1, frames, *size) * 2 - 1
    seen, repeated = shipped.look(grey), shipped.look(grey.expand(-1, 3, -1, -1, -1))
    assert torch.equal(seen.features, repeated.features) and seen.features.isfinite().all()


def test_it_sees_64_x_64_pixels(shipped):
    """A picture that is twice as large, each pixel four times, shrinks to nearly what it was."""
    video = to_video(DigitClips(4, 2, 1, "test").looks[-1].batch(slice(0, 1))["video"])
    large = video.repeat_interleave(2, 3).repeat_interleave(2, 4)
    assert (resized(large) - resized(video)).abs().mean() < 0.05
    assert torch.equal(resized(video), video)


@pytest.mark.parametrize("shape, message", [((1, 3, 3, 64, 64), "4 frames or more, not 3"),
                                            ((1, 2, 16, 64, 64), "1 or 3 channels, not 2")])
def test_what_it_refuses(shipped, shape, message):
    with pytest.raises(ValueError, match=message):
        shipped.look(torch.zeros(shape))


# --- what it learns from ---


def test_a_clip_of_digits_is_half_of_each():
    clips = DigitClips(1, 2, 1)
    for look in (0, 7, 17):
        clip, item = clips.looks[look][0], clips[look]
        kind, motion = np.zeros(16), np.zeros(8)
        np.add.at(kind, clip["digit"], 0.5)
        np.add.at(motion, clip["motion"], 0.5)
        assert np.array_equal(item["condition"]["kind"], kind) and np.array_equal(item["condition"]["motion"], motion)
        assert item["latents"].shape == (3, 16, 64, 64)


def test_each_frame_step_has_its_share_of_the_moves():
    held = np.stack([LEFT, LEFT + WALK, RIGHT + WALK, RIGHT, LEFT + RIGHT, WALK, LEFT + RIGHT + WALK, WALK, WALK, LEFT])
    # Of the last frame nothing shows.
    share = {"turn left": 1, "walk left": 1, "walk right": 1, "turn right": 1, "stand": 1, "walk straight": 4}
    assert moves(held) * 9 == pytest.approx([share.get(kind, 0) for kind in KINDS])


@pytest.fixture
def episodes(tmp_path):
    """Of a player who turns left for 40 frames; brighter on the left."""
    video = np.broadcast_to(np.arange(64, 0, -1, dtype=np.uint8)[:, None], (1, 40, 64, 64, 3))
    batch = {"video": np.ascontiguousarray(video), "actions": np.tile(LEFT, (1, 40, 1))}
    buttons = ["TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD"]
    write_clip_set(tmp_path / "set", "vizdoom", {"buttons": buttons}, {"train": [batch]}, 8.75, ("video", "actions"))
    return tmp_path / "set"


def test_a_mirrored_clip_turns_the_other_way(episodes):
    clips, ways = DoomClips(episodes), set()
    for seed in range(10):
        torch.manual_seed(seed)
        item = clips[0]
        is_mirrored = bool(item["latents"][0, 0, 0, 0] < item["latents"][0, 0, 0, -1])
        assert item["condition"]["kind"][KINDS.index("turn right" if is_mirrored else "turn left")] == 1
        assert not item["condition"]["motion"].any()
        ways.add(is_mirrored)
    assert ways == {True, False}


def test_a_set_of_something_else_is_refused(tmp_path):
    batch = {"video": np.zeros((1, 40, 64, 64, 3), np.uint8)}
    write_clip_set(tmp_path / "set", "mine", {}, {"train": [batch]}, 8.75)
    with pytest.raises(UserError, match="must be a set of `lvlib data vizdoom`"):
        DoomClips(tmp_path / "set")
    assert len(ClipSet(tmp_path / "set")) == 1


def test_right_is_who_puts_the_largest_shares_first():
    truth = torch.tensor([[0, 0.5, 0.5], [0, 0.5, 0.5], [0.2, 0.8, 0], [0.2, 0.8, 0]])
    logits = torch.tensor([[-9, 2, 1], [0, 2, -1], [1, 2, 3], [1, 3, 2]])
    assert is_right(logits.float(), truth).tolist() == [True, False, False, True]


def test_the_loss_is_the_cross_entropy_of_both_heads():
    torch.manual_seed(0)
    model = VideoClassifier().eval()
    items = [DigitClips(1, 2, 1)[0], {"latents": torch.rand(3, 16, 64, 64), "condition": {
        "kind": torch.full((16,), 1 / 16), "motion": torch.zeros(len(DIRECTIONS))}}]
    truth = {name: torch.stack([item["condition"][name] for item in items]) for name in ("kind", "motion")}
    video = torch.stack([item["latents"] for item in items])
    loss, _ = model.loss(video, truth)
    features = model.features(video)
    expected = torch.nn.functional.cross_entropy(model.kind(features), truth["kind"])
    expected = expected + torch.nn.functional.cross_entropy(model.motion(features)[:1], truth["motion"][:1]) / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
