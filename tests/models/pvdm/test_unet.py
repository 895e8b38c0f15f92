"""PVDM's U-Net: planes of any sizes, batched by shape, told apart, and joined by attention alone."""

import pytest
import torch
from torch import Tensor, nn

from lvlib.models.pvdm.unet import PositionAttention, TimedBlock, TriplaneUNet, across_planes, each_plane, step_vector

SIZES = ((3, 5), (7, 5), (7, 3))
SQUARE = ((4, 4), (6, 4), (6, 4))
SMALL = {"width": 8, "multipliers": (1, 2), "blocks": 1, "heads": 2, "across": 1}


def unet(**fields) -> TriplaneUNet:
    torch.manual_seed(0)
    model = TriplaneUNet(4, **SMALL | fields)
    for parameter in model.parameters():  # what begins at zero hides what it multiplies
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def some_planes(sizes=SIZES, clips: int = 2, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(clips, 4, *size, generator=generator) for size in sizes]


def changed(model: TriplaneUNet, plane: int, sizes=SQUARE) -> list[bool]:
    """Which planes of the output change with one of the input."""
    planes, before, t = some_planes(sizes), some_planes(sizes, seed=2), torch.tensor([3, 700])
    others = [z + (i == plane) for i, z in enumerate(planes)]
    with torch.no_grad():
        return [not torch.equal(a, b) for a, b in zip(model(planes, before, t), model(others, before, t), strict=True)]


@pytest.mark.parametrize("sizes", [SIZES, SQUARE, ((1, 1), (2, 1), (2, 1)), ((5, 2), (9, 2), (9, 5))])
@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 1, 2)])
def test_planes_of_any_sizes_keep_their_shapes(sizes, multipliers):
    planes = some_planes(sizes)
    noise = unet(multipliers=multipliers)(planes, some_planes(sizes, seed=2), torch.tensor([1, 1000]))
    assert [z.shape for z in noise] == [z.shape for z in planes]
    assert all(z.isfinite().all() for z in noise)


@pytest.mark.parametrize("sizes", [SIZES, SQUARE, ((4, 4),) * 3])
def test_each_plane_is_as_the_layer_alone_makes_it(sizes):
    planes, vectors = some_planes(sizes), some_planes(((8, 1),) * 3)
    layer, calls = nn.Conv2d(4, 6, 3, padding=1), []

    def told(x: Tensor, vector: Tensor) -> Tensor:
        calls.append(len(x))
        return layer(x) + vector.mean((1, 2, 3))[:, None, None, None]

    together = each_plane(told, planes, vectors)
    assert sum(calls) == 6 and len(calls) == len(dict.fromkeys(sizes))
    for plane, vector, found in zip(planes, vectors, together, strict=True):
        torch.testing.assert_close(found, told(plane, vector))


def test_the_planes_of_motion_go_through_the_network_at_once():
    model, batches = unet(), []
    model.down[0].block.register_forward_hook(lambda block, inputs, out: batches.append(len(inputs[0])))
    model(some_planes(SQUARE), some_planes(SQUARE), torch.tensor([5, 6]))
    assert batches == [2, 4]


def test_a_swap_of_the_planes_of_motion_is_seen():
    """Told nothing of which plane it is, as the official network, a swap would swap the results."""
    model, t = unet(), torch.tensor([10, 500])
    planes, before = some_planes(SQUARE), some_planes(SQUARE, seed=2)

    def swap(three):
        return [three[0], three[2], three[1]]

    with torch.no_grad():
        seen = [(a - b).abs().max() for a, b in zip(model(swap(planes), swap(before), t), swap(model(planes, before, t)),
                                                    strict=True)]
        assert min(seen[1:]) > 5e-3
        model.plane.weight.copy_(model.plane.weight[:1].expand(3, -1))
        for a, b in zip(model(swap(planes), swap(before), t), swap(model(planes, before, t)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_without_attention_across_them_planes_know_nothing_of_each_other(plane):
    assert changed(unet(across=0), plane) == [i == plane for i in range(3)]
    assert changed(unet(across=1), plane) == [True] * 3


def test_a_new_network_has_no_attention_yet():
    """Its corrections begin at zero: what comes out is of each position's own plane."""
    torch.manual_seed(0)
    model = TriplaneUNet(4, **SMALL).eval()
    assert changed(model, 1) == [False, True, False]


def test_the_step_the_clip_before_and_the_actions_matter():
    model, planes, t = unet(actions=3), some_planes(SQUARE), torch.tensor([10, 500])
    before, actions = some_planes(SQUARE, seed=2), torch.zeros(2, 6, 3)

    def noise(before=before, t=t, actions=actions):
        with torch.no_grad():
            return torch.cat([z.flatten(1) for z in model(planes, before, t, actions)], 1)

    plain = noise()
    told = actions.clone()
    told[0, 4, 1] = 1
    for other in noise(t=torch.tensor([11, 500])), noise(actions=told), noise(
            before=[z.index_fill(0, torch.tensor([0]), 0) for z in before]):
        assert (other != plain).any(1).tolist() == [True, False]  # of the first clip, and of it alone


def test_actions_are_told_to_the_rows_of_their_frames():
    model, seen = unet(actions=2), []
    model.down[0].block.register_forward_hook(lambda block, inputs, out: seen.append(inputs[0]))
    actions = torch.zeros(1, 6, 2)
    for row in None, 4:
        if row is not None:
            actions[0, row] = 1
        model(some_planes(SQUARE, 1), some_planes(SQUARE, 1), torch.tensor([5]), actions)
    content, motion = seen[2] - seen[0], seen[3] - seen[1]
    rows = (motion != 0).any(1).any(-1)
    assert rows.tolist() == [[i == 4 for i in range(6)]] * 2
    told = model.actions.weight.sum(1)
    torch.testing.assert_close(content, (told / 6)[None, :, None, None].expand_as(content), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(motion[:, :, 4], told[None, :, None].expand_as(motion[:, :, 4]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("width, official", [(128, 80_469_508), (256, 321_600_516)])
def test_as_many_parameters_as_the_official_network(width, official):
    with torch.device("meta"):
        model = TriplaneUNet(4, width)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(official, rel=2e-3)


def test_attention_across_planes_sees_all_positions_in_their_order():
    planes = some_planes(SIZES)
    torch.manual_seed(0)
    attention = PositionAttention(4, 2)
    nn.init.normal_(attention.out.weight)
    row = torch.cat([z.flatten(2) for z in planes], 2)
    found = across_planes(attention, planes)
    assert [z.shape for z in found] == [z.shape for z in planes]
    torch.testing.assert_close(torch.cat([z.flatten(2) for z in found], 2), attention(row))


def test_attention_among_positions_by_hand():
    torch.manual_seed(0)
    attention, x = PositionAttention(4, 2), torch.randn(3, 4, 5)
    assert torch.equal(attention(x), x)  # begins at zero
    nn.init.normal_(attention.out.weight)
    query, key, value = attention.qkv(attention.norm(x)).chunk(3, 1)
    heads = []
    for part in slice(0, 2), slice(2, 4):
        weights = (query[:, part].mT @ key[:, part] / 2**0.5).softmax(-1)
        heads.append(value[:, part] @ weights.mT)
    torch.testing.assert_close(attention(x), x + attention.out(torch.cat(heads, 1)))


def test_a_block_begins_as_its_skip_and_is_told_the_step():
    torch.manual_seed(0)
    block, x = TimedBlock(4, 4, 8), torch.randn(2, 4, 3, 3)
    assert torch.equal(block(x, torch.randn(2, 8)), x)
    nn.init.normal_(block.out[-1].weight)
    assert not torch.equal(block(x, torch.zeros(2, 8)), block(x, torch.ones(2, 8)))


def test_the_vectors_of_all_steps_differ():
    vectors = step_vector(torch.arange(1001), 16)
    assert vectors.shape == (1001, 16) and vectors.abs().max() <= 1
    assert torch.cdist(vectors, vectors).fill_diagonal_(9).min() > 1e-2
