"""The inception score against torchmetrics and closed forms; streamed and at once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image.inception import InceptionScore

from lvlib.metrics.inception import class_sums, inception_score, merge_class_sums


@pytest.mark.parametrize("seed", range(3))
def test_it_is_torchmetrics(seed):
    logits = 3 * torch.randn(50, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    peer = InceptionScore(feature=nn.Flatten(), splits=1).set_dtype(torch.float64)
    peer.update(logits[..., None, None])
    assert inception_score(class_sums(logits.softmax(1))).item() == pytest.approx(peer.compute()[0].item(), rel=1e-6)


def test_closed_forms():
    sure = torch.eye(5)
    assert inception_score(class_sums(sure.repeat(4, 1))).item() == pytest.approx(5)
    assert inception_score(class_sums(sure[:2])).item() == pytest.approx(2)
    assert inception_score(class_sums(sure[2:3].repeat(9, 1))).item() == pytest.approx(1)
    assert inception_score(class_sums(torch.full((6, 5), 0.2))).item() == pytest.approx(1)
    half = torch.tensor([[1, 0.0], [0.5, 0.5]])  # the mean is (3/4, 1/4)
    expected = (torch.tensor(4 / 3).log() + 0.5 * torch.tensor(2 / 3).log() + 0.5 * torch.tensor(2.0).log()) / 2
    assert inception_score(class_sums(half)).item() == pytest.approx(expected.exp().item())


@given(st.integers(1, 20), st.integers(1, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_it_lies_between_one_and_the_classes_and_streams(n, classes, data):
    torch.manual_seed(n)
    probs = (4 * torch.randn(n, classes)).softmax(1)
    score = inception_score(class_sums(probs)).item()
    assert 1 - 1e-6 <= score <= classes + 1e-5
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    merged = class_sums(probs[:0])
    for a, b in zip([0, *cuts], [*cuts, n], strict=True):
        merged = merge_class_sums(merged, class_sums(probs[a:b]))
    assert merged.count == n and inception_score(merged).item() == pytest.approx(score, rel=1e-9)


def test_of_no_clips_there_is_none():
    with pytest.raises(ValueError, match="at least 1 clip"):
        inception_score(class_sums(torch.zeros(0, 4)))
