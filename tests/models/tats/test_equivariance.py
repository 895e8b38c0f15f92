"""How far codes depend on where in a clip their frames are: by counting, by gradients, and with real frames."""

import copy

import pytest
import torch

from lvlib.models.tats.equivariance import (
    equivariance_score,
    padded_layers,
    real_frames,
    receptive_field,
    take_out_padding,
    total_variation,
)
from lvlib.models.tats.vqgan import VQGAN, VQGANConfig

ENCODERS = [((4, 2, 2), (1, 1)), ((2, 4, 1), (2, 0)), ((8, 2, 2), (0, 0)), ((1, 2, 2), (1, 1))]


def small(downsample=(4, 2, 2), blocks=(1, 1), **options) -> VQGAN:
    """Untrained, in eval mode, with a codebook of its own latents and a norm that has seen some clips."""
    torch.manual_seed(0)
    model = VQGANConfig(channels=1, hidden=16, residual_blocks=blocks, downsample=downsample, codes=32, code_dim=4,
                        perceptual=None, gan_start=None, **options).build()
    for _ in range(3):
        next(model.losses(torch.randn(4, 1, 16, 8, 8), step=0))
    return model.eval()


@torch.no_grad()
def codes_of(model: VQGAN, video: torch.Tensor, first: int, frames: int, k: int) -> torch.Tensor:
    """Codes of the frames from `first` on, whose first k layers see real frames in place of padding."""
    before, after = real_frames(model.encoder, k)
    without = copy.deepcopy(model)
    take_out_padding(without.encoder, k)
    return without.quantizer(without.vectors(video[:, :, first - before:first + frames + after]))[1]


def scores(model: VQGAN, video: torch.Tensor, rate: int) -> list[float]:
    """The score with 0, 1, ... all layers without padding."""
    return [equivariance_score(codes_of(model, video, 40, 4 * rate, k),
                               codes_of(model, video, 40 + rate, 4 * rate, k)).mean().item()
            for k in range(len(padded_layers(model.encoder)) + 1)]


def test_the_score_counts():
    early, late = torch.randint(3, (3, 4, 2, 5)), torch.randint(3, (3, 4, 2, 5))
    same = [sum(early[b, i, j, k] == late[b, i - 1, j, k] for i in (1, 2, 3) for j in range(2) for k in range(5))
            for b in range(3)]
    assert equivariance_score(early, late).tolist() == pytest.approx([int(n) / (3 * 2 * 5) for n in same])


def test_the_score_refuses_what_cannot_be_compared():
    codes = torch.zeros(2, 4, 3, 3, dtype=torch.int64)
    for early, late in ((codes, codes[:1]), (codes, codes[:, :3]), (codes[:, :1], codes[:, :1])):
        with pytest.raises(ValueError, match="same shape"):
            equivariance_score(early, late)


@pytest.mark.parametrize("downsample, blocks", ENCODERS)
@pytest.mark.parametrize("padding", ["zero", "replicate"])
def test_the_receptive_field_is_where_gradients_are(downsample, blocks, padding):
    encoder, rate = small(downsample, blocks, padding=padding).encoder, downsample[0]
    video = torch.randn(1, 1, 96, 8, 8, requires_grad=True)
    middle = 48 // rate
    encoder(video)[:, :, middle].square().sum().backward()
    seen = video.grad.abs().sum((0, 1, 3, 4)).nonzero().flatten()
    assert (48 - seen[0], seen[-1] - 48) == receptive_field(encoder)


@pytest.mark.parametrize("downsample, blocks", ENCODERS[:3])
@pytest.mark.parametrize("padding", ["zero", "replicate", "reflect", "circular"])
def test_with_real_frames_the_score_is_exactly_1_and_they_are_the_receptive_field(downsample, blocks, padding):
    model, rate = small(downsample, blocks, padding=padding), downsample[0]
    of_k = scores(model, torch.randn(3, 1, 96, 8, 8), rate)
    assert of_k[-1] == 1 > of_k[0]
    before, after = receptive_field(model.encoder)
    assert real_frames(model.encoder, len(of_k) - 1) == (before, after - (rate - 1))


@pytest.mark.parametrize("downsample, blocks", ENCODERS)
def test_real_frames_give_what_the_middle_of_a_long_video_has(downsample, blocks):
    model, rate = small(downsample, blocks), downsample[0]
    video = torch.randn(2, 1, 96, 8, 8)
    long, layers = model.encode(video), len(padded_layers(model.encoder))
    assert torch.equal(codes_of(model, video, 40, 16, layers), long[:, 40 // rate:56 // rate])


@pytest.mark.parametrize("downsample, blocks", ENCODERS)
def test_as_many_latents_come_out_whatever_is_taken_out(downsample, blocks):
    model = small(downsample, blocks)
    for k in range(len(padded_layers(model.encoder)) + 1):
        assert codes_of(model, torch.randn(1, 1, 64, 8, 8), 24, 16, k).shape[1] == 16 // downsample[0], k


def test_one_real_frame_less_is_not_enough():
    model = small(padding="zero")
    before, after = real_frames(model.encoder, len(padded_layers(model.encoder)))
    video = torch.randn(1, 1, before + 16 + after, 8, 8)
    take_out_padding(model.encoder, len(padded_layers(model.encoder)))
    with torch.no_grad():
        whole = model.vectors(video)
        for frame in (0, -1):
            other = video.clone()
            other[:, :, frame] += 1
            assert not torch.equal(model.vectors(other), whole)


def test_with_group_norm_real_frames_are_not_enough():
    pan = torch.nn.functional.interpolate(torch.randn(1, 1, 8, 40), (8, 160), mode="bilinear")[0, 0]
    video = torch.stack([pan[:, x:x + 8] for x in range(96)])[None, None]
    assert scores(small(norm="batch"), video, 4)[-1] == 1
    assert scores(small(norm="group"), video, 4)[-1] < 0.95


@pytest.mark.parametrize("k", [-1, 8])
def test_there_are_only_so_many_layers(k):
    model = small()
    for function in (real_frames, take_out_padding):
        with pytest.raises(ValueError, match="0 to 7"):
            function(model.encoder, k)
    assert all(layer.time_padding == "replicate" for layer in padded_layers(model.encoder))


def test_only_the_first_layers_lose_their_padding():
    encoder = small().encoder
    take_out_padding(encoder, 3)
    assert [layer.time_padding for layer in padded_layers(encoder)] == [None] * 3 + ["replicate"] * 4


def test_the_order_is_that_of_the_path():
    encoder, calls = small().encoder, []
    for layer in padded_layers(encoder):
        layer.register_forward_hook(lambda layer, *_: calls.append(layer))
    encoder(torch.randn(1, 1, 16, 8, 8))
    assert len(calls) == 7 and all(a is b for a, b in zip(calls, padded_layers(encoder), strict=True))


def test_total_variation_by_hand():
    codes = torch.tensor([[[0, 0, 1, 1], [0, 2, 2, 2], [3, 3, 3, 3]]])[..., None]
    table = total_variation(codes, 5)
    assert table.tolist() == [[0, 0.75, 1], [0.75, 0, 1], [1, 1, 0]]
