"""The experiments of notebook 18: digits that stand still, and what small models fill in."""

import pytest
import torch

from lvlib.course.still_digits import hidden_nats, learn, small_mebt, still_codes
from lvlib.runs import load_pipeline
from lvlib.stages import LatentSpec

SPEC = LatentSpec((4, 3, 3), 256, 4)


def test_codes_of_still_digits_are_alike_in_all_latent_frames():
    autoencoder = load_pipeline("tats-course").autoencoder
    codes = still_codes(autoencoder, 6, 0, "train")
    assert codes.shape == (6, 4, 3, 3) and torch.equal(codes, codes[:, :1].expand_as(codes))
    assert len(codes[:, 0].flatten(1).unique(dim=0)) == 6
    assert not torch.equal(codes, still_codes(autoencoder, 6, 1, "train"))


def test_small_models_begin_at_the_spread_of_their_width_or_near():
    for model, spread in ((small_mebt(SPEC), 0.08), (small_mebt(SPEC, "axial"), 0.08)):
        assert model.out.weight.std().item() == pytest.approx(spread, rel=0.05)
    near = small_mebt(SPEC, latents=8, mimetic=True)
    assert near.config.init == "mimetic" and near.bottleneck.shape == (8, 64)
    layer = near.decoder.layers[0].attention
    assert torch.equal(layer.query.weight, layer.kv.weight[:64])


def test_a_model_learns_and_is_measured_on_half_of_the_codes():
    torch.manual_seed(0)
    codes = torch.randint(4, (40, 1, 3, 3)).expand(-1, 4, -1, -1)
    trained = [learn(small_mebt(SPEC, mimetic=True), codes, codes[:9], 6, "test") for _ in range(2)]
    assert trained[0] == trained[1]  # one seed
    history, nats = trained[0]
    assert len(history) == 6 and history[-1] < history[0] and 0 < nats < 5.6
    model, all_places = small_mebt(SPEC), torch.arange(36).expand(40, -1)
    alone = model.nats(codes.flatten(1), all_places[:, :0], all_places).mean().item()
    assert hidden_nats(model, codes, 36).item() == pytest.approx(alone, rel=1e-5)
