"""CCS and ICS by hand and against torch's divergence."""

import math

import pytest
import torch
import torch.nn.functional as F

from lvlib.metrics.coherence import LEAST, class_coherence, inception_coherence

PROBS = torch.tensor([[[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]],
                      [[0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7]]])


def test_class_coherence_by_hand():
    assert class_coherence(PROBS).tolist() == [[1, 0, 1], [1, 1, 1]]
    assert class_coherence(PROBS).mean(0).tolist() == [1, 0.5, 1]
    assert class_coherence(PROBS[:, :1]).tolist() == [[1], [1]]


def test_inception_coherence_by_hand():
    out = inception_coherence(PROBS)
    assert out[:, 0].tolist() == [0, 0]
    expected = 0.2 * math.log(0.2 / 0.7) + 0.7 * math.log(0.7 / 0.2)
    assert out[0, 1].item() == pytest.approx(expected, rel=1e-6)


def test_inception_coherence_is_torchs_divergence():
    torch.manual_seed(0)
    probs = (2 * torch.randn(4, 6, 9, dtype=torch.float64)).softmax(-1)
    first = probs[:, :1].expand_as(probs)
    assert torch.allclose(inception_coherence(probs), F.kl_div(first.log(), probs, reduction="none").sum(-1))
    assert inception_coherence(probs).min() >= -1e-12


def test_probabilities_of_zero():
    sure = torch.eye(3)[torch.tensor([[0, 0, 1]])]
    assert inception_coherence(sure)[0].tolist() == pytest.approx([0, 0, -math.log(LEAST)])
    spread = torch.tensor([[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]])  # p log p is 0 where p is
    assert inception_coherence(spread)[0, 1].item() == pytest.approx(math.log(2))
