"""What a prior is conditioned on: taken from the item of a clip as it is, or refused with what is allowed."""

import numpy as np
import pytest
import torch

from lvlib.configs import named_config
from lvlib.data import to_video
from lvlib.data.conditions import check_data, condition_of, conditions_of
from lvlib.errors import UserError
from lvlib.models.lvt.prior import LVTConfig
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.reports.describe import example_condition
from lvlib.stages import ConditionSpec, LatentSpec

VIDEO = 3, 4, 8, 8
ALL = VideoGPTConfig(classes=5, actions=3, frames=2).conditions(VIDEO)
TOKENS, SOUND = ConditionSpec("words", "tokens", (3,), 9), ConditionSpec("sound", "signal", (2, 5))


def item(**changes) -> dict:
    random = np.random.default_rng(0)
    return {"video": random.integers(256, size=(4, 8, 8, 3), dtype=np.uint8), "label": 3,
            "actions": random.integers(2, size=(4, 3), dtype=np.uint8), "text": "a clip",
            "words": np.array([8, 0, 3], np.uint16), "sound": random.normal(size=(2, 5))} | changes


def test_what_a_prior_is_conditioned_on():
    shapes = {spec.name: (spec.kind, spec.shape, spec.num_classes) for spec in ALL}
    assert shapes == {"label": ("class", (), 5), "actions": ("per-frame", (4, 3), None),
                      "frames": ("given-frames", (3, 2, 8, 8), None)}
    assert [spec.name for spec in VideoGPTConfig(actions=3).conditions(VIDEO)] == ["actions"]
    assert VideoGPTConfig().conditions(VIDEO) == LVTConfig().conditions(VIDEO) == ()
    assert [(spec.name, spec.num_classes) for spec in named_config("videogpt-course").conditions] == [("label", 10)]


def test_it_is_taken_from_the_item_as_it_is():
    condition = condition_of(item(), [*ALL, TOKENS, SOUND])
    assert set(condition) == {"label", "actions", "frames", "words", "sound"}
    assert condition["label"] == 3 and condition["label"].dtype == np.int64 and condition["label"].shape == ()
    assert condition["actions"].dtype == np.float32 and (condition["actions"] == item()["actions"]).all()
    assert condition["frames"].dtype == np.uint8 and (condition["frames"] == item()["video"][:2]).all()
    assert condition["words"].dtype == np.int64 and condition["words"].tolist() == [8, 0, 3]
    assert condition["sound"].dtype == np.float32 and (condition["sound"] == item()["sound"].astype(np.float32)).all()
    assert condition_of(item(), []) == {}


def test_several_clips_are_as_the_model_takes_them():
    conditions = conditions_of([item(), item(label=0)], ALL)
    assert conditions["label"].tolist() == [3, 0] and conditions["actions"].shape == (2, 4, 3)
    assert torch.equal(conditions["frames"][1], to_video(item()["video"][:2]))
    latents = LatentSpec((2, 2, 2), 4)
    model = VideoGPTConfig(dim=8, heads=2, layers=1, hidden=8, classes=5, actions=3, frames=2, resnet_units=8).build(
        latents, VIDEO)
    for condition in conditions, example_condition(ALL, 2):
        assert model.loss(torch.zeros(2, 2, 2, 2, dtype=torch.int64), condition)[0].isfinite()


def test_bytes_that_are_no_frames_stay_what_they_are():
    """uint8 tokens, and actions of five axes: only given frames become video."""
    images = ConditionSpec("maps", "signal", (2, 4, 4, 3))
    values = conditions_of([item(words=np.array([1, 2, 3], np.uint8), maps=np.ones((2, 4, 4, 3), np.uint8))],
                           [TOKENS, images])
    assert values["words"].tolist() == [[1, 2, 3]] and values["words"].dtype == torch.int64
    assert values["maps"].shape == (1, 2, 4, 4, 3) and values["maps"].unique().tolist() == [1]


@pytest.mark.parametrize("changes, line", [
    ({"label": 5}, "the label is 5, and the prior's classes are 0 to 4"),
    ({"label": -1}, "the label is -1, and the prior's classes are 0 to 4"),
    ({"label": 2.5}, "the label is 2.5, and the prior's classes are 0 to 4"),
    ({"label": np.array([1, 2])}, "the label is [1 2], and the prior's classes are 0 to 4"),
    ({"actions": np.zeros((4, 2))}, "the actions are 4 x 2 numbers, and must be 4 x 3: a row for each of the video's 4 "
     "frames, 3 numbers a row"),
    ({"actions": np.zeros((3, 3))}, "the actions are 3 x 3 numbers, and must be 4 x 3"),
    ({"actions": np.zeros(4)}, "the actions are 4 numbers, and must be 4 x 3"),
    ({"actions": np.full((4, 3), np.nan)}, "numbers that are not finite"),
    ({"actions": np.full((4, 3), "left")}, "the actions are <U4, and must be 3 numbers a frame"),
    ({"words": np.array([0, 9, 1])}, "the words must lie in 0..8; got 0 to 9"),
    ({"words": np.array([0.5, 1, 2])}, "the words are float64, and must be 3 whole numbers"),
    ({"words": np.array([1, 2])}, "the words are 2 numbers, and must be 3"),
    ({"sound": np.zeros(10)}, "the sound are 10 numbers, and must be 2 x 5"),
])
def test_what_does_not_fit_is_refused(changes, line):
    with pytest.raises(UserError) as refusal:
        condition_of(item(**changes), [*ALL, TOKENS, SOUND])
    assert line in str(refusal.value)


@pytest.mark.parametrize("missing, remedy", [
    ("label", "conditioned on one of 5 classes: take data with classes .*, or set --prior.classes 0$"),
    ("actions", "conditioned on 3 numbers a frame: take data with actions, or set --prior.actions 0$"),
    ("words", "conditioned on 3 whole numbers: take data with words$"),
])
def test_what_is_missing_is_named(missing, remedy):
    clip = item()
    del clip[missing]
    with pytest.raises(UserError, match=f"have no {missing}, and the prior is {remedy}"):
        condition_of(clip, [*ALL, TOKENS])


TEXT = ConditionSpec("text", "tokens", (6,), 360, tokenizer="stories")


def test_a_text_becomes_tokens():
    words = pytest.importorskip("lvlib.data.text").tokenizer("stories")
    sentences = ["the seven falls", "a two rises", "the one waits"]
    tokens = [words.tokens(sentence, 6) for sentence in sentences]
    assert (condition_of({"text": sentences[0]}, [TEXT])["text"] == tokens[0]).all()
    assert (condition_of({"text": tokens[1]}, [TEXT])["text"] == tokens[1]).all()
    several = conditions_of([{"text": sentences}, {"text": np.stack(tokens)}], [TEXT], stretches=3)["text"]
    assert several.shape == (2, 3, 6) and (several == torch.as_tensor(np.stack(tokens))).all()
    assert conditions_of([{"text": sentences[:1]}, {"text": sentences[0]}], [TEXT], stretches=3)["text"].shape == (2, 6)


@pytest.mark.parametrize("text, stretches, line", [
    (["the one", "the two"], 1, "there are 2 texts, and there must be one$"),
    (["the one", "the two"], 3, "there are 2 texts, and there must be one, or 3, one for each stretch of the clip"),
    ("the one waits the two waits the", 1, "takes 7 tokens, and the model reads 6"),
    (np.zeros((2, 6), int), 1, "the text are 2 x 6 numbers, and must be 6"),
    (np.zeros((2, 6), int), 3, "the text are 2 x 6 numbers, and must be 6"),
    (np.full(6, 360), 1, "must lie in 0..359; got 360 to 360"),
    (3.5, 1, "the text are float64, and must be a text of up to 6 tokens"),
])
def test_a_text_that_does_not_fit(text, stretches, line):
    pytest.importorskip("tokenizers")
    with pytest.raises(UserError, match=line):
        condition_of({"text": text}, [TEXT], stretches)


def test_a_vocabulary_larger_than_the_prior_knows():
    pytest.importorskip("tokenizers")
    with pytest.raises(UserError, match="the prior has 300 tokens, and the tokenizer stories 360"):
        condition_of({"text": "the one"}, [ConditionSpec("text", "tokens", (6,), 300, tokenizer="stories")])
    with pytest.raises(UserError, match="have no text, and the prior is conditioned on a text of up to 6 tokens"):
        condition_of({}, [TEXT])


class Clips(list):
    classes = [str(number) for number in range(6)]


def test_data_is_looked_at_before_the_work():
    with pytest.raises(UserError, match="the data has 6 classes, the prior 5: set --prior.classes 6"):
        check_data({"train": Clips([item()])}, ALL)
    check_data({"train": Clips([item()])}, VideoGPTConfig(actions=3).conditions(VIDEO))
    with pytest.raises(UserError, match="clips of val: the actions are 4 x 3 numbers, and must be 4 x 2"):
        check_data({"val": Clips([item()])}, VideoGPTConfig(actions=2).conditions(VIDEO))
