"""A layer of attention, the latent encoder and decoder: by hand, by torch's own modules, and what can pass."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lvlib.models.mebt.attention import AttentionLayer
from lvlib.models.mebt.bottleneck import FullDecoder, LatentDecoder, LatentEncoder
from lvlib.models.mebt.sparse import GridTransformer, boxes


def large(module: nn.Module) -> nn.Module:
    """With weights large enough that everything matters, in float64."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.double().eval()


def layer(official: bool = False) -> AttentionLayer:
    return large(AttentionLayer(12, 3, 20, 0.0, official))


def tokens(n: int, b: int = 2, dim: int = 12) -> torch.Tensor:
    return torch.randn(b, n, dim, dtype=torch.float64)


def multihead(one: AttentionLayer) -> nn.MultiheadAttention:
    """torch's own attention with the weights of a layer's."""
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double().eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([one.attention.query.weight, one.attention.kv.weight]))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.load_state_dict(one.attention.out_proj.state_dict())
    return theirs


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("crossing", [False, True])
def test_a_layer_is_torchs_own_attention_and_two_sums(official, crossing):
    one, x, memory = layer(official), tokens(4), tokens(7)
    query, seen = one.norm(x), one.norm(memory if crossing else x)
    attended, _ = multihead(one)(query, seen, seen)
    summed = (query if official else x) + attended
    wide = F.gelu(F.linear(F.layer_norm(summed, (12,), one.hidden_norm.weight, one.hidden_norm.bias),
                           one.hidden[0].weight, one.hidden[0].bias))
    expected = summed + F.linear(wide, one.hidden[2].weight, one.hidden[2].bias)
    torch.testing.assert_close(one(x, memory if crossing else None), expected)


def test_the_official_residual_has_no_clean_path():
    """With all that is added at zero, ours gives the tokens back, and the official code's normalised ones."""
    for official in (False, True):
        one, x = AttentionLayer(12, 3, 20, 0.0, official), 5 * torch.randn(2, 4, 12) + 3
        for part in (one.attention.out_proj, one.hidden[2]):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
        expected = F.layer_norm(x, (12,)) if official else x
        torch.testing.assert_close(one(x), expected)


def test_a_memory_of_no_tokens_adds_the_bias_alone():
    one, x = layer(), tokens(4).requires_grad_()
    out = one(x, tokens(0))
    summed = x + one.attention.out_proj.bias
    torch.testing.assert_close(out, summed + one.hidden(one.hidden_norm(summed)))
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in one.parameters())


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_encoders_turns(layers):
    encoder = large(LatentEncoder(layers, 12, 3, 20))
    latents, context = tokens(3), tokens(6)
    expected = latents
    for i, one in enumerate(encoder.layers, 1):
        expected = one(expected, context) if i % 2 else one(expected)
    torch.testing.assert_close(encoder(latents, context), expected)


@pytest.mark.parametrize("layers, masks_turn", [(1, "m"), (2, "lm"), (5, "mlmlm"), (6, "lmlmlm")])
def test_the_decoders_turns_with_even_and_odd_layers(layers, masks_turn):
    decoder = large(LatentDecoder(layers, 12, 3, 20))
    latents, masks = tokens(3), tokens(6)
    old, expected = latents, masks
    for one, turn in zip(decoder.layers, masks_turn, strict=True):
        if turn == "m":
            expected = one(expected, old)
        else:
            old = one(old, torch.cat([old, expected], 1))
    torch.testing.assert_close(decoder(latents, masks), expected)


def test_the_official_layers_are_13_and_11_and_end_with_the_context_and_the_masks():
    turns = []
    encoder, decoder = LatentEncoder(13, 4, 1, 4), LatentDecoder(11, 4, 1, 4)
    for name, stack in (("encoder", encoder), ("decoder", decoder)):
        for one in stack.layers:
            one.register_forward_pre_hook(lambda _, args, name=name: turns.append(
                (name, args[0].shape[1], 2 if args[1] is None else args[1].shape[1])))
    decoder(encoder(torch.randn(1, 2, 4), torch.randn(1, 3, 4)), torch.randn(1, 5, 4))
    context, own, masks, latents = ("encoder", 2, 3), ("encoder", 2, 2), ("decoder", 5, 2), ("decoder", 2, 7)
    assert turns == [context, own] * 6 + [context] + [masks, latents] * 5 + [masks]


def jacobian(decoder: nn.Module, latents: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Of what comes out at the first four hidden places after what goes in at the others: (4 x dim, others x dim)."""
    def through(x):
        return decoder(latents, torch.cat([masks[:, :4], x], 1))[0, :4]

    whole = torch.autograd.functional.jacobian(through, masks[:, 4:])[:, :, 0]
    return whole.flatten(2).flatten(0, 1)


def of_rank(matrix: torch.Tensor) -> int:
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-9))


@pytest.mark.parametrize("latents, layers", [(1, 2), (2, 2), (3, 2), (1, 4), (1, 5), (1, 1)])
def test_from_place_to_place_passes_what_the_latents_carry(latents, layers):
    """Each time that the latents look they carry latents x dim numbers, however many masks there are."""
    decoder, start, masks = large(LatentDecoder(layers, 12, 3, 20)), tokens(latents, b=1), tokens(9, b=1)
    looks = layers // 2
    assert of_rank(jacobian(decoder, start, masks)) <= looks * latents * 12 < 48
    if looks:
        assert of_rank(jacobian(decoder, start, masks)) > 0
    assert of_rank(jacobian(large(FullDecoder(2, 12, 3, 20)), start, masks)) == 48


def test_without_the_latents_route_nothing_passes():
    decoder = large(LatentDecoder(4, 12, 3, 20))
    latents, masks = tokens(3, b=1), tokens(9, b=1)
    assert jacobian(decoder, latents, masks).abs().max() > 1e-6
    for one in decoder.layers[::2]:  # the latents no longer look
        one.register_forward_hook(lambda _, args, out: args[0])
    assert (jacobian(decoder, latents, masks) == 0).all()


TOGETHER = {
    ("full", 0): lambda a, b: True,
    ("axial", 0): lambda a, b: a[1:] == b[1:],
    ("axial", 1): lambda a, b: (a[0], a[2]) == (b[0], b[2]),
    ("axial", 2): lambda a, b: a[:2] == b[:2],
    ("window", 0): lambda a, b: a[0] == b[0],
    ("window", 1): lambda a, b: (a[1] // 4, a[2]) == (b[1] // 4, b[2]),  # 4 x 4, but 4 does not divide a width of 3
}


@pytest.mark.parametrize("kind, number", TOGETHER)
def test_what_a_layer_of_the_grid_sees(kind, number):
    """Gradients reach the box of a token, all of it, and nothing else: a layer alone, in a 3 x 8 x 3 grid."""
    t, h, w = 3, 8, 3
    model = large(GridTransformer(kind, number + 1, 12, 3, 20))
    for before in range(number):
        model.layers[before] = PassOn()
    x = torch.randn(1, t, h, w, 12, dtype=torch.float64, requires_grad=True)
    for place in ((0, 0, 0), (1, 5, 2), (2, 3, 1)):
        grad, = torch.autograd.grad(model(x)[0][place].sum(), x)
        seen = grad[0].abs().amax(-1) > 0
        for other in itertools.product(range(t), range(h), range(w)):
            assert seen[other] == TOGETHER[kind, number](place, other), (place, other)


class PassOn(nn.Module):
    def forward(self, x):
        return x


def test_boxes_of_masks_that_4_does_not_divide():
    assert boxes((4, 8, 6), "window", 1) == (4, 4, 2) and boxes((4, 7, 12), "window", 3) == (4, 1, 4)
