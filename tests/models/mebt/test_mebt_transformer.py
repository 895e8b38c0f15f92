"""The transformer of hidden codes: against one written anew, what its outputs depend on, and what it costs."""

import random
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lvlib.models.mebt import transformer
from lvlib.models.mebt.masking import random_split
from lvlib.models.mebt.transformer import MeBTAttention, MeBTTransformer, TransformerConfig
from lvlib.reports.bench import count_flops
from lvlib.stages import LatentSpec

KINDS = get_args(MeBTAttention)
SMALL = TransformerConfig(dim=12, heads=3, hidden=20, encoder_layers=3, decoder_layers=3, bottleneck=4)
SPEC = LatentSpec((3, 2, 4), 11, 4)
CPU = torch.device("cpu")


def made(kind: str = "latent", spec: LatentSpec = SPEC, **fields) -> MeBTTransformer:
    """With weights large enough that everything matters, in float64."""
    torch.manual_seed(0)
    model = MeBTTransformer(replace(SMALL, attention=kind, **fields), spec)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


def clips(count: int, b: int = 2, n: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, and the places of the context and of `count` hidden ones."""
    return torch.randint(11, (b, n)), *random_split(b, n, count, CPU)


@pytest.mark.parametrize("official", [False, True])
def test_full_attention_is_a_plain_bidirectional_transformer(official):
    model = made("full", official=official)
    codes, context, masked = clips(10)
    logits = model(codes, context, masked)
    weights = dict(model.named_parameters())

    def norm(x, name):
        return F.layer_norm(x, (12,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    for clip in range(2):
        x = weights["positions.weight"].clone()
        for place in range(24):
            hidden = place in masked[clip].tolist()
            x[place] = x[place] + (weights["mask"] if hidden else weights["embedding.weight"][codes[clip, place]])
        for i in range(6):
            at = f"grid.layers.{i}"
            normal = norm(x, f"{at}.norm")
            query = normal @ weights[f"{at}.attention.query.weight"].T
            key, value = (normal @ weights[f"{at}.attention.kv.weight"].T).split(12, -1)
            heads = [torch.softmax(query[:, part] @ key[:, part].T / 2, -1) @ value[:, part]  # 2: the root of 12 / 3
                     for part in (slice(0, 4), slice(4, 8), slice(8, 12))]
            attended = F.linear(torch.cat(heads, 1), weights[f"{at}.attention.out_proj.weight"],
                                weights[f"{at}.attention.out_proj.bias"])
            x = (normal if official else x) + attended
            wide = F.gelu(F.linear(norm(x, f"{at}.hidden_norm"), weights[f"{at}.hidden.0.weight"],
                                   weights[f"{at}.hidden.0.bias"]))
            x = x + F.linear(wide, weights[f"{at}.hidden.2.weight"], weights[f"{at}.hidden.2.bias"])
        expected = norm(x, "norm")[masked[clip]] @ weights["out.weight"].T
        torch.testing.assert_close(logits[clip], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_under_the_mask_does_not_matter_and_the_context_does(kind):
    model = made(kind)
    codes, context, masked = clips(10)
    logits = model(codes, context, masked)
    other = codes.scatter(1, masked, torch.randint(11, masked.shape))
    assert torch.equal(model(other, context, masked), logits)
    place = context[:, :1]
    moved = model(codes.scatter(1, place, (codes.gather(1, place) + 1) % 11), context, masked)
    assert ((moved - logits).abs().amax((1, 2)) > 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_places_is_of_no_account(kind):
    model = made(kind)
    codes, context, masked = clips(10)
    logits = model(codes, context, masked)
    torch.testing.assert_close(model(codes, context[:, torch.randperm(14)], masked), logits)
    order = torch.randperm(10)
    torch.testing.assert_close(model(codes, context, masked[:, order]), logits[:, order])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 24])
def test_one_hidden_and_all_hidden_with_finite_gradients(kind, count):
    model = made(kind)
    codes, context, masked = clips(count)
    nats = model.nats(codes, context, masked)
    assert nats.shape == (2, count) and nats.isfinite().all()
    nats.mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    if count == 24:  # nothing is seen: the clips are alike
        logits = model(codes, context, masked)
        assert torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_does_not_depend_on_its_neighbour(kind):
    model = made(kind)
    codes, context, masked = clips(9, b=3)
    torch.testing.assert_close(model(codes, context, masked)[1:2], model(codes[1:2], context[1:2], masked[1:2]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stretch_of_whole_frames_keeps_its_positions(kind):
    """Frames 1 and 2 of three alone: as the whole clip with another table of positions."""
    model = made(kind)
    codes, context, masked = clips(6, n=16)
    shifted = torch.cat([codes[:, :8], codes], 1)
    logits = model(shifted, context + 8, masked + 8)
    short = made(kind, LatentSpec((2, 2, 4), 11, 4))
    state = model.state_dict()
    short.load_state_dict({**state, "positions.weight": state["positions.weight"][8:]})
    torch.testing.assert_close(logits, short(codes, context, masked))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_of_a_latent_frame_is_added_to_its_places(kind):
    model = made(kind)
    codes, context, masked = clips(10)
    told = torch.randn(2, 3, 12, dtype=torch.float64)
    both = made(kind)
    with torch.no_grad():
        both.positions.weight += told[0].repeat_interleave(8, 0)
    torch.testing.assert_close(model(codes[:1], context[:1], masked[:1], told[:1]),
                               both(codes[:1], context[:1], masked[:1]))


def test_the_loss_in_pieces_is_the_loss_at_once(monkeypatch):
    codes, context, masked = clips(10)
    found = {}
    for most in (10**9, 40, 1):  # all at once; three rows; never less than one
        monkeypatch.setattr(transformer, "LOGITS_AT_ONCE", most)
        model = made().float()
        nats = model.nats(codes, context, masked)
        nats.mean().backward()
        found[most] = nats, [p.grad for p in model.parameters()]
    expected = F.cross_entropy(model(codes, context, masked).flatten(0, 1), codes.gather(1, masked).flatten(),
                               reduction="none").view(2, 10)
    for nats, gradients in found.values():
        torch.testing.assert_close(nats, expected)
        for mine, whole in zip(gradients, found[10**9][1], strict=True):
            torch.testing.assert_close(mine, whole)


def kept(kind: str, frames: int) -> tuple[int, int]:
    """Numbers that a step keeps for its backward pass, and those of the largest tensor."""
    spec = LatentSpec((frames, 4, 4), 11, 4)
    model = MeBTTransformer(replace(SMALL, attention=kind), spec)
    codes, (context, masked) = torch.randint(11, (1, spec.tokens)), random_split(1, spec.tokens, spec.tokens // 2, CPU)
    seen: dict[int, int] = {}

    def pack(x):
        seen[x.untyped_storage().data_ptr()] = max(x.numel(), seen.get(x.untyped_storage().data_ptr(), 0))
        held.append(x)  # or its place in memory is given to another
        return x

    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        model.nats(codes, context, masked).mean()
    return sum(seen.values()), max(seen.values())


def test_what_is_kept_grows_with_the_number_of_codes_and_no_faster():
    """Three lengths, 16 codes a frame: the second step is twice the first, and no tensor is tokens by tokens."""
    (a, _), (b, _), (c, largest) = (kept("latent", frames) for frames in (16, 32, 64))
    assert 1.9 < (c - b) / (b - a) < 2.1
    assert largest < 1024 * 64 < 512 * 512


@pytest.mark.parametrize("kind, least, most", [("latent", 1.9, 2.1), ("full-decoder", 2.5, 4), ("full", 2.5, 4)])
def test_twice_the_codes_are_twice_the_work_through_latents_and_more_in_full_attention(kind, least, most):
    """Floating point operations of a step, half of the codes hidden."""
    work = []
    for frames in (64, 128):
        spec = LatentSpec((frames, 4, 4), 11, 4)
        model = MeBTTransformer(replace(SMALL, attention=kind), spec)
        places = random_split(1, spec.tokens, spec.tokens // 2, CPU)
        codes = torch.randint(11, (1, spec.tokens))
        work.append(count_flops(lambda: model.nats(codes, *places).sum().backward()))  # noqa: B023
    assert least < work[1] / work[0] < most


@pytest.mark.parametrize("fields, line", [
    ({"dim": 13}, "dim must be a multiple of heads (3), not 13"),
    ({"heads": 0}, "heads must be at least 1, not 0"),
    ({"hidden": 0}, "hidden must be at least 1, not 0"),
    ({"encoder_layers": 0}, "encoder_layers must be at least 1, not 0"),
    ({"decoder_layers": -1}, "decoder_layers must be at least 1, not -1"),
    ({"bottleneck": 0}, "bottleneck must be at least 1, not 0"),
    ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ({"attention": "sparse"}, "attention must be one of latent, full-decoder, full, axial, window, not 'sparse'"),
])
def test_sizes_that_do_not_fit_are_refused_in_one_line(fields, line):
    with pytest.raises(ValueError) as refused:
        replace(SMALL, **fields)
    assert str(refused.value) == line


def test_a_rule_over_time_is_learned_through_four_latents():
    """Two frames that are alike: what is hidden in one is read in the other."""
    torch.manual_seed(0)
    random.seed(0)
    model = MeBTTransformer(replace(SMALL, dim=32, heads=2, hidden=64), LatentSpec((2, 1, 2), 4, 4))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.11)  # as wide as 0.02 is at a width of 1,024
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    context, masked = torch.tensor([[0, 1]]), torch.tensor([[2, 3]])
    for _ in range(250):
        codes = torch.randint(4, (64, 2)).repeat(1, 2)
        loss = model.nats(codes, context.expand(64, -1), masked.expand(64, -1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
