"""Weights with which MeBT's attention begins to look near."""

import pytest
import torch

from lvlib.models.mebt.transformer import MeBTTransformer, TransformerConfig
from lvlib.stages import LatentSpec

SPEC = LatentSpec((4, 8, 8), 16)
PLACES = torch.cartesian_prod(*(torch.arange(size) for size in SPEC.shape)).float()


def model(init: str, latents: int = 32, **fields) -> MeBTTransformer:
    torch.manual_seed(0)
    sizes = {"dim": 96, "heads": 4, "hidden": 96, "encoder_layers": 3, "decoder_layers": 2, **fields}
    return MeBTTransformer(TransformerConfig(bottleneck=latents, init=init, **sizes), SPEC)


def looks_how_far(transformer: MeBTTransformer, place: torch.Tensor) -> float:
    """Mean distance of what the latents see in the first layer from `place` (latents, 3), over that of all places."""
    layer = transformer.encoder.layers[0]
    query = layer.attention.query(layer.norm(transformer.bottleneck)).unflatten(1, (4, -1))
    key = layer.attention.kv(layer.norm(transformer.positions.weight)).unflatten(1, (2, 4, -1))[:, 0]
    weights = (torch.einsum("lhd,phd->hlp", query, key) / query.shape[2] ** 0.5).softmax(-1)
    distance = torch.cdist(place, PLACES)
    return ((weights * distance).sum(-1).mean() / distance.mean()).item()


def test_latents_begin_as_different_places_and_look_near_them():
    transformer = model("mimetic")
    is_place = (transformer.bottleneck[:, None] == transformer.positions.weight).all(-1)
    assert is_place.sum(1).eq(1).all() and is_place.sum(0).max() == 1
    place = PLACES[is_place.int().argmax(1)]
    assert looks_how_far(transformer, place) < 0.5
    assert looks_how_far(model("normal"), place) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("attention", ["latent", "full-decoder"])
def test_keys_are_what_queries_are_and_values_come_out_as_they_went_in(attention):
    transformer = model("mimetic", attention=attention)
    layers = [*transformer.encoder.layers, *transformer.decoder.layers]
    assert len(layers) == 5
    for layer in layers:
        key, value = layer.attention.kv.weight.chunk(2)
        assert torch.equal(layer.attention.query.weight, key)
        torch.testing.assert_close(key @ key.T, 2.25 * torch.eye(96))
        torch.testing.assert_close(layer.attention.out_proj.weight @ value, 0.49 * torch.eye(96))


def test_what_it_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="init must be one of"):
        model("near")
    for attention in ("full", "axial", "window"):
        with pytest.raises(ValueError, match=f"init mimetic is for models with latents, not {attention}"):
            model("mimetic", attention=attention)
    assert len(model("mimetic", latents=256).bottleneck) == 256
    with pytest.raises(ValueError, match="bottleneck must be at most 256 with init mimetic"):
        model("mimetic", latents=257)
    with pytest.raises(ValueError, match="init mimetic needs 2 codes and dim 6 or more, not 256 and 4"):
        model("mimetic", dim=4)
