"""Streamed moments against those of all vectors together, and against torch.cov."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lvlib.metrics.moments import Moments, merge_moments, moments_of

vectors = st.integers(1, 4).flatmap(
    lambda d: arrays(np.float64, st.tuples(st.integers(1, 12), st.just(d)), elements=st.floats(-1e3, 1e3)))


def assert_alike(a: Moments, b: Moments) -> None:
    assert a.count == b.count
    assert torch.allclose(a.mean, b.mean, rtol=1e-9, atol=1e-9)
    assert torch.allclose(a.scatter, b.scatter, rtol=1e-9, atol=1e-6)


@given(vectors, st.data())
@settings(max_examples=60, deadline=None)
def test_merged_in_any_parts_and_any_order_they_are_those_of_the_whole(x, data):
    x = torch.tensor(x)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=5)))
    parts = [x[a:b] for a, b in zip([0, *cuts], [*cuts, len(x)], strict=True)]  # some are empty
    merged = moments_of(x[:0])
    for part in data.draw(st.permutations(parts)):
        merged = merge_moments(merged, moments_of(part))
    assert_alike(merged, moments_of(x))


@given(vectors)
@settings(max_examples=30, deadline=None)
def test_merging_has_no_order_and_no_brackets(x):
    a, b, c = (moments_of(part) for part in torch.tensor(x).tensor_split(3))
    assert_alike(merge_moments(a, b), merge_moments(b, a))
    assert_alike(merge_moments(merge_moments(a, b), c), merge_moments(a, merge_moments(b, c)))


def test_mean_and_covariance_are_torchs():
    x = torch.randn(50, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    moments = moments_of(x)
    assert moments.count == 50
    assert torch.allclose(moments.mean, x.mean(0))
    assert torch.allclose(moments.covariance, torch.cov(x.T))


def test_float32_features_far_from_zero_keep_their_differences():
    x = torch.randn(1000, 3) + 1e4
    merged = moments_of(x[:0])
    for part in x.split(7):
        merged = merge_moments(merged, moments_of(part))
    assert torch.allclose(merged.covariance, torch.cov(x.double().T), rtol=1e-6)


def test_of_no_vectors_there_are_zeros_and_no_covariance():
    empty = moments_of(torch.zeros(0, 3))
    assert empty.count == 0 and not empty.mean.any() and not empty.scatter.any()
    assert_alike(merge_moments(empty, empty), empty)
    for moments in (empty, moments_of(torch.ones(1, 3))):
        with pytest.raises(ValueError, match=f"at least 2 clips, not {moments.count}"):
            _ = moments.covariance
