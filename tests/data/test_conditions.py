"""What a prior is told of a clip: taken from an item as it is, or refused with what is allowed."""

import numpy as np
import pytest
import torch

from lvlib.configs import named_config
from lvlib.data import to_video
from lvlib.data.conditions import check_data, condition_of, conditions_of, example_condition, needs
from lvlib.errors import UserError
from lvlib.models.lvt.prior import LVTConfig
from lvlib.models.videogpt.prior import VideoGPTConfig

ALL = {"label": 5, "actions": 3, "frames": 2}


def item(**changes) -> dict:
    random = np.random.default_rng(0)
    return {"video": random.integers(256, size=(4, 8, 8, 3), dtype=np.uint8), "label": 3,
            "actions": random.integers(2, size=(4, 3), dtype=np.uint8), "text": "a clip"} | changes


def test_what_a_prior_needs():
    assert needs(VideoGPTConfig(classes=5, actions=3, frames=2)) == ALL
    assert needs(VideoGPTConfig(actions=3)) == {"actions": 3}
    assert needs(VideoGPTConfig()) == needs(LVTConfig()) == {}
    assert needs(named_config("videogpt-course").prior) == {"label": 10}


def test_it_is_taken_from_the_item_as_it_is():
    told = condition_of(item(), ALL, 4)
    assert set(told) == set(ALL)
    assert told["label"] == 3 and told["label"].dtype == np.int64 and told["label"].shape == ()
    assert told["actions"].dtype == np.float32 and (told["actions"] == item()["actions"]).all()
    assert told["frames"].dtype == np.uint8 and (told["frames"] == item()["video"][:2]).all()
    assert condition_of(item(), {}, 4) == {}


def test_several_clips_are_as_the_model_takes_them():
    told = conditions_of([item(), item(label=0)], ALL, 4)
    assert told["label"].tolist() == [3, 0] and told["actions"].shape == (2, 4, 3)
    assert torch.equal(told["frames"][1], to_video(item()["video"][:2]))
    model = VideoGPTConfig(dim=8, heads=2, layers=1, hidden=8, classes=5, actions=3, frames=2, resnet_units=8).build(
        (2, 2, 2), 4, (3, 4, 8, 8))
    for condition in told, example_condition(ALL, (3, 4, 8, 8), 2):
        assert model.loss(torch.zeros(2, 2, 2, 2, dtype=torch.int64), condition)[0].isfinite()


@pytest.mark.parametrize("changes, line", [
    ({"label": 5}, "the label is 5, and the prior's classes are 0 to 4"),
    ({"label": -1}, "the label is -1, and the prior's classes are 0 to 4"),
    ({"actions": np.zeros((4, 2))}, "the actions are 4 x 2 numbers, and must be 4 x 3: a row for each of the video's 4 "
     "frames, 3 numbers a row"),
    ({"actions": np.zeros((3, 3))}, "the actions are 3 x 3 numbers, and must be 4 x 3"),
    ({"actions": np.zeros(4)}, "the actions are 4 numbers, and must be 4 x 3"),
    ({"actions": np.full((4, 3), np.nan)}, "numbers that are not finite"),
])
def test_what_does_not_fit_is_refused(changes, line):
    with pytest.raises(UserError) as refusal:
        condition_of(item(**changes), ALL, 4)
    assert line in str(refusal.value)


@pytest.mark.parametrize("missing, remedy", [("label", "set --prior.classes 0"), ("actions", "set --prior.actions 0")])
def test_what_is_missing_is_named(missing, remedy):
    clip = item()
    del clip[missing]
    with pytest.raises(UserError, match=f"have no {missing}.*{remedy}"):
        condition_of(clip, ALL, 4)


class Clips(list):
    classes = [str(number) for number in range(6)]


def test_data_is_looked_at_before_the_work():
    with pytest.raises(UserError, match="the data has 6 classes, the prior 5: set --prior.classes 6"):
        check_data({"train": Clips([item()])}, ALL, 4)
    check_data({"train": Clips([item()])}, {"actions": 3}, 4)
    with pytest.raises(UserError, match="clips of val: the actions are 4 x 3 numbers, and must be 4 x 2"):
        check_data({"val": Clips([item()])}, {"actions": 2}, 4)
