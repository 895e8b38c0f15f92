"""The experiments of notebook 18: digits that stand still, and what small models fill in."""

import pytest
import torch

from lvlib.course.still_digits import hidden_nats, learn, small_mebt, still_codes
from lvlib.data import MovingDigits, to_video
from lvlib.runs import load_pipeline
from lvlib.stages import LatentSpec

SPEC = LatentSpec((4, 3, 3), 256, 4)


def test_codes_of_still_digits_are_those_of_their_clips():
    autoencoder = load_pipeline("tats-course").autoencoder
    codes = still_codes(autoencoder, 6, 0, "train")
    assert codes.shape == (6, 4, 3, 3) and len(codes[:, 0].flatten(1).unique(dim=0)) == 6
    digits = MovingDigits(6, frames=1, size=12, digit_size=11, digits=1, split="train")
    clips = to_video(torch.tensor(digits.batch(slice(0, 6))["video"])).expand(-1, -1, 16, -1, -1)
    assert torch.equal(codes, autoencoder.encode(clips))
    for seed, split in ((1, "train"), (0, "test")):
        assert not torch.equal(codes, still_codes(autoencoder, 6, seed, split))


def test_small_models_begin_at_the_spread_of_their_width_and_attention_as_asked():
    for attention in ("latent", "axial"):
        assert small_mebt(SPEC, attention).out.weight.std().item() == pytest.approx(0.08, rel=0.05)
    near = small_mebt(SPEC, latents=8, init="mimetic")
    assert near.bottleneck.shape == (8, 64) and near.out.weight.std().item() == pytest.approx(0.08, rel=0.05)
    layer = near.decoder.layers[0].attention
    assert torch.equal(layer.query.weight, layer.kv.weight[:64])


def test_a_model_learns_and_is_measured_on_half_of_the_codes():
    torch.manual_seed(0)
    codes = torch.randint(4, (40, 1, 3, 3)).expand(-1, 4, -1, -1)
    model = small_mebt(SPEC, init="mimetic")
    history, nats = learn(model, codes, codes[:9], 12, "test")
    assert len(history) == 12 and history[-1] < history[0] - 0.5
    torch.manual_seed(1)
    assert nats == hidden_nats(model, codes[:9], 18).item()
    assert (history, nats) == learn(small_mebt(SPEC, init="mimetic"), codes, codes[:9], 12, "test")


def test_all_codes_hidden_are_predicted_from_none():
    torch.manual_seed(0)
    codes, model = torch.randint(256, (5, 4, 3, 3)), small_mebt(SPEC)
    places = torch.arange(36).expand(5, -1)
    alone = model.nats(codes.flatten(1), places[:, :0], places).mean().item()
    assert hidden_nats(model, codes, 36).item() == pytest.approx(alone, rel=1e-5)
