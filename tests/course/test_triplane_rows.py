"""The experiments of notebook 20: as many latent numbers as they say, and digits that keep their paths."""

import numpy as np
import pytest
import torch

from lvlib.course import triplane_swaps as swaps
from lvlib.course.triplane_rows import OTHERS, ROWS, FrameAutoencoder, build, experiment


@pytest.mark.parametrize("row", ROWS + OTHERS)
def test_a_row_has_as_many_numbers_as_it_says(row):
    video = torch.zeros(1, 1, 16, 32, 32)
    model = build(row).eval()
    z = model.encoder(video[0].movedim(0, 1)) if isinstance(model, FrameAutoencoder) else model.encode(video)
    assert z.numel() == 1280 * 4 ** (("4x" in row) - ("1/4" in row))
    assert (model.quantizer is not None) == ("VQ" in row)
    assert 330_000 < sum(p.numel() for p in model.parameters()) < 380_000


def test_an_experiment_is_the_same_for_the_same_seed():
    first, again, other = (experiment("frames VQ", seed, steps=1, batch=2) for seed in (0, 0, 1))
    assert first == again and first.test_db != other.test_db


def test_digits_move_to_the_paths_of_others():
    paths, shapes = swaps.bouncing(3, "test"), swaps.bouncing(3, "test", seed=1)
    moved = swaps.on_paths_of(paths, shapes)
    mixed, path, shape = (data.batch(slice(0, 3)) for data in (moved, paths, shapes))
    assert np.array_equal(mixed["position"], path["position"]) and np.array_equal(mixed["label"], shape["label"])
    assert swaps.off_path(swaps.video_of(moved), moved) == (0, 0)
    assert sum(swaps.off_path(swaps.video_of(moved), swaps.on_paths_of(shapes, shapes))) > 1
