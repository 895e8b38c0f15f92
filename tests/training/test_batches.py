import multiprocessing
import random
from collections import Counter

import numpy as np
import pytest
import torch
from toys import Clips, Codes, ConditionedCodes, RandomCrops, config

from lvlib.data import to_video
from lvlib.errors import UserError
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


@pytest.mark.parametrize("accumulate, world", [(2, 1), (2, 2), (3, 2)])
def test_ranks_together_go_through_the_micro_batches_of_one_process(accumulate, world):
    settings = config(batch=12, accumulate=accumulate)
    whole = [batch["video"] for batch, in training_batches(RandomCrops(), config(batch=12), range(1, 4), 0, 1)]
    ranks = [list(training_batches(RandomCrops(), settings, range(1, 4), rank, world)) for rank in range(world)]
    for expected, *parts in zip(whole, *ranks, strict=True):
        micro_batches = [torch.cat([batch["video"] for batch in together]) for together in zip(*parts, strict=True)]
        assert len(micro_batches) == accumulate and torch.equal(torch.cat(micro_batches), expected)


class Growing(RandomCrops):
    """A curriculum: clips of one frame more every third step."""

    def item_at(self, index, step):
        return {"video": np.tile(self[index]["video"], (4, 1, 1, 1))[:1 + step // 3]}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_curriculum_is_told_the_step(workers):
    settings = config(batch=4, workers=workers)
    whole = [batch["video"] for batch, in training_batches(Growing(), config(batch=4), range(1, 8), 0, 1)]
    rest = [batch["video"] for batch, in training_batches(Growing(), settings, range(4, 8), 0, 1)]
    assert [batch.shape[1] for batch in whole] == [1, 1, 2, 2, 2, 3, 3]
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], rest, strict=True))
    assert {batch["video"].shape[1] for batch in validation_batches(Growing(), settings, 0, 1)} == {2}


def test_workers_that_are_started_afresh():
    """As on Windows and macOS: they get everything pickled."""
    data, settings = Growing(), config(batch=4, workers=1)
    expected = [batch["video"] for batch, in training_batches(data, config(batch=4), range(1, 3), 0, 1)]
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        fresh = [batch["video"] for batch, in training_batches(data, settings, range(1, 3), 0, 1)]
    finally:
        multiprocessing.set_start_method(method, force=True)
    assert all(torch.equal(a, b) for a, b in zip(expected, fresh, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("error", [UserError("clip 7 is damaged"), OSError("clip 7 is damaged")])
def test_what_the_data_says_is_one_line_from_a_worker_too(workers, error):
    class Damaged(Clips):
        def __getitem__(self, index):
            if index == 7:
                raise error
            return super().__getitem__(index)

    with pytest.raises(UserError) as caught:
        list(training_batches(Damaged(), config(batch=4, workers=workers), range(1, 8), 0, 1))
    assert str(caught.value) == "clip 7 is damaged"


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


@pytest.mark.parametrize("given, dtype", [
    (torch.randint(256, (2, 5), dtype=torch.uint8), torch.int64),  # text as bytes, which is no frames
    (torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8), torch.int64),
    (torch.randint(256, (2, 5), dtype=torch.int32), torch.int64), (torch.rand(2, 7).double(), torch.float32),
    (torch.rand(2, 1, 2, 3, 4), torch.float32),
])
def test_numbers_of_a_condition_keep_their_values(given, dtype):
    latents = torch.rand(2, 4, 6)
    same, condition = for_model({"latents": latents, "condition": {"x": given}})
    assert same is latents and condition["x"].dtype == dtype
    assert torch.equal(condition["x"], given.to(dtype))


def test_seeding_reaches_all_generators():
    def draw(*key):
        seed_everything(*key)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert all(a != b for a, b in zip(draw(0, 1, 2), draw(1, 1, 2), strict=True))
    assert all(a != b for a, b in zip(draw(0, 1, 2), draw(0, 1, 3), strict=True))
