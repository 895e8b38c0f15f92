"""PVDM's transformer: turned pairs know distances alone, and attention is divided as loops divide it."""

import pytest
import torch
import torch.nn.functional as F

from lvlib.models.pvdm.timesformer import (
    DividedBlock,
    RotaryAttention,
    TimeSformer,
    attend_all,
    rotary_angles,
    rotate,
    space_angles,
)


def test_products_of_turned_vectors_depend_on_how_far_apart_they_are():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 16, dtype=torch.float64)
    angles = rotary_angles(torch.arange(40), 16).double()
    products = rotate(query.expand(40, -1), angles) @ rotate(key.expand(40, -1), angles).T
    for distance in range(-39, 40):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-6)
    assert len({round(float(x), 4) for x in products[0]}) > 30
    torch.testing.assert_close(rotate(query, angles[7:8]).norm(), query.norm())


def test_products_in_a_frame_depend_on_both_distances():
    """And no other pair of distances has the same angles."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 16, dtype=torch.float64)
    h, w = 5, 6
    angles = space_angles(h, w, 16, torch.device("cpu")).double()
    products = (rotate(query.expand(h * w, -1), angles) @ rotate(key.expand(h * w, -1), angles).T).view(h, w, h, w)
    torch.testing.assert_close(products[:-1, :, :-1], products[1:, :, 1:])
    torch.testing.assert_close(products[:, :-1, :, :-1], products[:, 1:, :, 1:])
    assert len({round(float(x), 5) for x in products[0, 0].flatten()}) == h * w


@pytest.mark.parametrize("dim", [4, 8, 12, 16])
def test_rows_and_columns_share_the_pairs(dim):
    angles = space_angles(3, 4, dim, torch.device("cpu")).view(3, 4, -1)
    assert angles.shape[-1] == dim // 2
    rows, columns = angles[:, :1].diff(dim=0).abs().amax((0, 1)) > 0, angles[:1].diff(dim=1).abs().amax((0, 1)) > 0
    assert torch.equal(rows, ~columns) and rows.sum() == dim // 4


def test_a_divided_block_is_loops_over_places_and_over_frames():
    torch.manual_seed(0)
    block = DividedBlock(8, heads=2, head_dim=4)
    b, t, n = 2, 3, 5
    x, time, space = torch.randn(b, t, n, 8), torch.randn(t, 2), torch.randn(n, 2)
    expected = x.clone()
    for clip in range(b):
        for place in range(n):
            row = x[clip, :, place]
            expected[clip, :, place] = row + attention(block.time, block.norms[0](row), time)
    between = expected.clone()
    for clip in range(b):
        for frame in range(t):
            row = between[clip, frame]
            expected[clip, frame] = row + attention(block.space, block.norms[1](row), space)
    values, gates = block.feed_forward.into(block.norms[2](expected)).chunk(2, -1)
    expected = expected + block.feed_forward.out(values * F.gelu(gates))
    torch.testing.assert_close(block(x, time, space), expected, rtol=1e-4, atol=1e-5)


def attention(layer: RotaryAttention, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Of one row (n, width), head by head and query by query."""
    query, key, value = layer.qkv(x).chunk(3, -1)
    heads = []
    for q, k, v in zip(*(part.chunk(layer.heads, -1) for part in (query, key, value)), strict=True):
        q, k = rotate(q, angles), rotate(k, angles)
        heads.append(torch.stack([((one @ k.T) / k.shape[-1]**0.5).softmax(-1) @ v for one in q]))
    return layer.out(torch.cat(heads, -1))


def test_attention_in_bf16_is_what_it_is_in_fp32():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 6, 8)
    found = attend_all(*(x.bfloat16() for x in (query, key, value)))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), attend_all(query, key, value), rtol=0.1, atol=0.05)


def test_clips_of_any_length_and_size_pass_and_do_not_meet():
    torch.manual_seed(0)
    model = TimeSformer(8, layers=2, heads=2, head_dim=4)
    for shape in (3, 2, 4, 5, 8), (2, 7, 1, 2, 8):
        x = torch.randn(shape)
        out = model(x)
        assert out.shape == x.shape
        torch.testing.assert_close(out[:1], model(x[:1]), rtol=1e-4, atol=1e-5)
