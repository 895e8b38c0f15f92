"""Patch discriminators and the losses of a GAN, against the official sizes and torch's own cross entropy."""

import pytest
import torch
import torch.nn.functional as F

from lvlib.models.tats.discriminators import (
    PatchDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)


def test_both_have_as_many_weights_as_the_official_ones():
    """3 colours, 32 channels, 3 layers: 3,471,554 in all, counted in the official code."""
    both = [PatchDiscriminator(3, 32, 3, dims) for dims in (2, 3)]
    assert sum(p.numel() for judge in both for p in judge.parameters()) == 3_471_554


@pytest.mark.parametrize("dims", [2, 3])
def test_a_logit_sees_a_patch_and_its_size_is_that_of_its_layers(dims):
    """Kernels of 4: backwards from one logit, 4 -> 7 -> (7 - 1) * 2 + 4 = 16 -> 34 with two layers that halve."""
    judge = PatchDiscriminator(1, 2, 2, dims).eval()
    x = torch.randn(1, 1, *[40] * dims, requires_grad=True)
    logits = judge(x)[-1]
    middle = tuple(size // 2 for size in logits.shape[2:])
    logits[(0, 0, *middle)].backward()
    for axis in range(dims):
        others = [i for i in range(dims) if i != axis]
        seen = x.grad[0, 0].abs().sum(others).nonzero().flatten()
        assert seen[-1] - seen[0] + 1 == 34


def stray_nans():
    """Leaves NaN in memory that is free."""
    for size in (10_000, 100_000, 300_000, 600_000, 1_000_000, 2_000_000, 4_000_000):
        held = [torch.full((size,), torch.nan) for _ in range(4)]
        del held


def test_in_mixed_precision_a_judge_learns_what_it_does_in_fp32():
    """In bf16 the gradient of the fourth convolution, at this size, comes from stray memory (torch 2.13)."""
    torch.manual_seed(0)
    judge, clips = PatchDiscriminator(3, 16, 3, 3), torch.randn(4, 3, 16, 64, 64).bfloat16().float()
    gradients = []
    for enabled in (False, True):
        judge.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = judge(clips.bfloat16() if enabled else clips)[-1].square().mean()
        stray_nans()
        loss.backward()
        gradients.append([p.grad.clone() for p in judge.parameters()])
    for plain, mixed in zip(*gradients, strict=True):
        assert torch.equal(plain, mixed)


def test_features_are_what_each_layer_gives():
    judge, x = PatchDiscriminator(1, 4, 2).eval(), torch.randn(2, 1, 16, 16)
    features = judge(x)
    assert [tuple(f.shape) for f in features] == [(2, 4, 9, 9), (2, 8, 5, 5), (2, 16, 6, 6), (2, 1, 7, 7)]
    assert torch.equal(features[1], judge.stages[1](features[0])) and (features[0] < 0).any()


def test_vanilla_is_the_cross_entropy_of_telling_real_from_rebuilt():
    real, fake = torch.randn(5), torch.randn(7)
    expected = (F.binary_cross_entropy(real.sigmoid(), torch.ones(5)) +
                F.binary_cross_entropy(fake.sigmoid(), torch.zeros(7)))
    torch.testing.assert_close(discriminator_loss(real, fake, "vanilla"), expected)
    torch.testing.assert_close(generator_loss(fake, "vanilla"),
                               F.binary_cross_entropy(fake.sigmoid(), torch.ones(7)))


def test_hinge_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0, 1.0])
    assert discriminator_loss(real, fake, "hinge") == pytest.approx(0.5 / 2 + (0 + 1 + 2) / 3)
    assert generator_loss(fake, "hinge") == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", ["hinge", "vanilla"])
def test_the_best_discriminator_of_equal_sets_knows_nothing(kind):
    """Where real and rebuilt are alike, the lowest loss is at logit 0: 2 for hinge, log 4 for vanilla."""
    s = torch.linspace(-4, 4, 81)
    losses = torch.stack([discriminator_loss(one[None], one[None], kind) for one in s])
    lowest = {"hinge": 2.0, "vanilla": 1.3862944}[kind]
    assert losses[40].item() == pytest.approx(lowest) and losses.min().item() == pytest.approx(lowest, abs=1e-6)


def test_feature_matching_by_hand():
    fake = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0]]), torch.tensor([100.0])]
    real = [torch.tensor([0.0, 4.0], requires_grad=True), torch.tensor([[2.0]]), torch.tensor([0.0])]
    loss = feature_matching(fake, real)
    assert loss.item() == pytest.approx((1 + 2) / 2 + 1)
    loss.backward()
    assert fake[0].grad.tolist() == [0.5, -0.5] and real[0].grad is None
