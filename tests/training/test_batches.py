import random
from collections import Counter

import numpy as np
import pytest
import torch
from toys import Clips, Codes, ConditionedCodes, RandomCrops, config

from lvlib.data import to_video
from lvlib.training.batches import for_model, global_batch, seed_everything, training_batches, validation_batches


def indices(clips, batch, seed, step):
    return [index for _, index in global_batch(clips, batch, seed, step)]


def test_every_epoch_holds_each_clip_once_in_an_order_of_its_own():
    clips, batch = 10, 4
    seen = [index for step in range(1, 16) for index in indices(clips, batch, 3, step)]
    epochs = [seen[start : start + clips] for start in range(0, 60, clips)]
    assert all(sorted(epoch) == list(range(clips)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert indices(clips, batch, 4, 1) != indices(clips, batch, 3, 1)


def test_a_batch_depends_on_seed_and_step_alone():
    forward = [global_batch(100, 7, 5, step) for step in range(1, 40)]
    assert [global_batch(100, 7, 5, step) for step in range(39, 0, -1)] == forward[::-1]
    assert [position for batch in forward for position, _ in batch] == list(range(39 * 7))


def test_a_batch_larger_than_the_data_set_spans_epochs():
    assert sorted(Counter(indices(3, 8, 0, 1)).values()) == [2, 3, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_together_are_the_batch_of_one_process(workers):
    """Also what items draw at random: neither the workers nor the place to start from may show."""
    settings = config(batch=6, workers=workers)
    alone = [batch["video"] for batch, in training_batches(RandomCrops(), config(batch=6), range(1, 8), 0, 1)]
    ranks = [[batch["video"] for batch, in training_batches(RandomCrops(), settings, range(3, 8), rank, 2)]
             for rank in range(2)]
    assert len(ranks[0]) == 5 and len(ranks[0][0]) == 3
    for expected, *parts in zip(alone[2:], *ranks, strict=True):
        assert torch.equal(torch.cat(parts), expected)


def test_items_draw_anew_in_every_epoch():
    one_clip = list(training_batches(RandomCrops(1), config(batch=1), range(1, 20), 0, 1))
    assert len({batch["video"].numpy().tobytes() for batch, in one_clip}) > 4


@pytest.mark.parametrize("clips, world, left_out", [(9, 1, 0), (10, 2, 0), (9, 2, 1), (3, 2, 1)])
def test_validation_sees_each_clip_once(clips, world, left_out):
    data = Clips(clips)
    ranks = [list(validation_batches(data, config(batch=4), rank, world)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1  # as many batches on each: or one would wait for ever
    seen = Counter(frames.numpy().tobytes() for batches in ranks for batch in batches for frames in batch["video"])
    expected = Counter(data[i]["video"].tobytes() for i in range(clips - left_out))
    assert seen == expected


def test_what_a_model_is_given():
    """Video; codes; codes with their condition, its frames as video. Other fields of an item go nowhere."""
    def inputs(data):
        (batch,), = training_batches(data, config(), range(1, 2), 0, 1)
        return for_model(batch), [data[index] for _, index in global_batch(len(data), 4, 0, 1)]

    (video,), items = inputs(Clips())
    assert torch.equal(video, torch.stack([to_video(item["video"]) for item in items]))
    (codes, condition), items = inputs(Codes())
    assert torch.equal(codes, torch.as_tensor(np.stack([item["latents"] for item in items]))) and condition == {}
    (codes, condition), items = inputs(ConditionedCodes())
    conditions = [item["condition"] for item in items]
    assert condition["label"].tolist() == [part["label"] for part in conditions]
    assert condition["label"].dtype == torch.int64
    assert torch.equal(condition["actions"], torch.as_tensor(np.stack([part["actions"] for part in conditions])))
    assert torch.equal(condition["frames"], torch.stack([to_video(part["frames"]) for part in conditions]))


def test_seeding_reaches_all_generators():
    def draw(*key):
        seed_everything(*key)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert all(a != b for a, b in zip(draw(0, 1, 2), draw(1, 1, 2), strict=True))
    assert all(a != b for a, b in zip(draw(0, 1, 2), draw(0, 1, 3), strict=True))
