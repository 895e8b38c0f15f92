"""VideoGPT's autoencoder: attention along one axis by brute force, every downsampling, Table 8, codebooks that stay."""

import copy
import itertools
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load, save
from torch import nn

from lvlib.models.common.quantize import EMACodebook
from lvlib.models.common.volume import AxialPositions
from lvlib.models.videogpt.axial_attention import AxialAttention, attend_along
from lvlib.models.videogpt.vqvae import (
    ChannelNorm,
    VideoBlock,
    VideoVQVAEConfig,
    latent_grid,
    normalized_mse,
    strides,
)
from lvlib.stages import LatentSpec

SMALL = {"channels": 1, "hidden": 8, "residual_hidden": 4, "residual_blocks": 1, "codes": 16, "code_dim": 4,
         "downsample": (2, 2, 2)}
KINDS = ["attention", "official", "plain"]
SHAPE = (3, 4, 5)


def on_one_line(axis):
    """bool (n, n): which pairs of positions of SHAPE differ on no other axis than this one."""
    grid = torch.cartesian_prod(*(torch.arange(size) for size in SHAPE))
    same = grid[:, None] == grid[None]
    others = [i for i, name in enumerate("thw") if name != axis]
    return same[..., others].all(-1)


@pytest.mark.parametrize("axis", "thw")
def test_attention_along_an_axis_is_full_attention_that_sees_this_axis_alone(axis):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, *SHAPE, 6, dtype=torch.float64)
    flat = [rearrange(x, "b m t h w d -> b m (t h w) d") for x in (q, k, v)]
    scores = flat[0] @ flat[1].mT / 6**0.5
    weights = scores.masked_fill(~on_one_line(axis), -torch.inf).softmax(-1)
    assert torch.allclose(attend_along(axis, q, k, v).flatten(2, 4), weights @ flat[2], atol=1e-12)


def test_axial_attention_is_the_sum_of_its_three_masked_attentions():
    torch.manual_seed(0)
    attention = AxialAttention(8, heads=2).double()
    x = torch.randn(2, *SHAPE, 8, dtype=torch.float64)
    expected = 0
    for axis, part in zip("wht", attention.axes, strict=True):
        q, k, v = (part.qkv(x).flatten(1, 3) @ torch.eye(24, dtype=torch.float64)).split(8, -1)
        heads = []
        for m in (slice(0, 4), slice(4, 8)):
            scores = q[..., m] @ k[..., m].mT / 2
            heads.append(scores.masked_fill(~on_one_line(axis), -torch.inf).softmax(-1) @ v[..., m])
        expected = expected + part.out_proj(torch.cat(heads, -1))
    assert torch.allclose(attention(x).flatten(1, 3), expected, atol=1e-12)


def test_one_layer_sees_a_cross_and_three_layers_everything():
    torch.manual_seed(0)
    layers = nn.Sequential(*(AxialAttention(8) for _ in range(3)))
    x = torch.randn(1, *SHAPE, 8)
    poked = x.clone()
    poked[0, 1, 2, 3] += 1
    cross = (on_one_line("t") | on_one_line("h") | on_one_line("w")).reshape(*SHAPE, *SHAPE)[1, 2, 3]
    one, three = layers[:1], layers
    assert torch.equal(((one(poked) - one(x)).abs().amax(-1) > 1e-7)[0], cross)
    assert ((three(poked) - three(x)).abs().amax(-1) > 0).all()


def test_position_embeddings_are_sums_and_tell_frames_apart():
    torch.manual_seed(0)
    positions = AxialPositions((4, 5, 6), 8)
    t, h, w = positions.tables
    assert torch.allclose(positions(SHAPE)[2, 3, 4], t[2] + h[3] + w[4])
    block = VideoBlock(8, 4, "attention")
    frame = torch.randn(1, 8, 1, 4, 5).expand(-1, -1, 3, -1, -1)  # a still clip
    still, moving = (block.attention(F.relu(frame.movedim(1, -1)) + p) for p in (torch.zeros(8), positions(SHAPE)))
    assert torch.allclose(still[:, 0], still[:, 1], atol=1e-6)
    assert not torch.allclose(moving[:, 0], moving[:, 1], atol=1e-4)


def test_position_embeddings_are_shared_by_encoder_and_decoder():
    model = VideoVQVAEConfig(**SMALL).build().eval()
    assert [name for name, _ in model.named_parameters() if "positions" in name] == [f"positions.tables.{i}"
                                                                                     for i in range(3)]
    video, q = torch.rand(1, 1, 4, 8, 8), torch.randn(1, 2, 4, 4, 4)
    z, rebuilt = model.vectors(video), model.video(q)
    model.positions.tables[0].data.add_(torch.randn(16, 8))
    assert not torch.allclose(model.vectors(video), z) and not torch.allclose(model.video(q), rebuilt)


def test_latents_larger_than_the_position_embeddings_are_refused():
    config = VideoVQVAEConfig(**SMALL, positions=(2, 8, 8))
    model = config.build()
    with pytest.raises(ValueError, match="latent frames must be at most 2.*not 4"):
        config.latents((1, 8, 16, 16))
    with pytest.raises(ValueError, match="latent height must be at most 8"):
        model.decode(torch.zeros(1, 2, 9, 8, dtype=torch.int64))
    no_positions = VideoVQVAEConfig(**SMALL, positions=(2, 8, 8), block="plain")
    assert no_positions.latents((1, 8, 16, 16)).shape == (4, 8, 8)


def test_channel_norm_is_layer_norm_by_hand():
    x = torch.randn(2, 6, 3, 4, 5, dtype=torch.float64)
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    assert torch.allclose(ChannelNorm(6).double()(x), (x - mean) / (var + 1e-5).sqrt())


@pytest.mark.parametrize("downsample", [mix for mix in itertools.product((1, 2, 4, 8), repeat=3) if max(mix) > 1])
def test_every_mix_of_downsampling_gives_its_latents_and_the_clip_back(downsample):
    config = VideoVQVAEConfig(**SMALL | {"downsample": downsample, "block": "plain"})
    model = config.build().eval()
    t, h, w = downsample
    shape = (8 // t, 16 // h, 8 // w)
    video = torch.rand(2, 1, 8, 16, 8) * 2 - 1
    codes = model.encode(video)
    assert config.latents((1, 8, 16, 8)) == LatentSpec(shape, 16, t) and codes.shape[1:] == shape
    assert codes.dtype == torch.int64 and codes.min() >= 0 and codes.max() < 16
    decoded = model.decode(codes)
    assert decoded.shape == video.shape and decoded.abs().max() <= 1
    assert [torch.tensor(strides(downsample))[:, axis].prod() for axis in range(3)] == list(downsample)
    assert len(strides(downsample)) == max(downsample).bit_length() - 1


@pytest.mark.parametrize("size, message", [
    ((15, 64, 64), "frames must be a multiple of 4, not 15: take 12 or 16"),
    ((16, 63, 64), "height must be a multiple of 2, not 63: take 62 or 64"),
    ((16, 64, 7), "width must be a multiple of 8, not 7: take 8"),
    ((16, 64, 0), "width must be a multiple of 8, not 0: take 8"),
])
def test_a_clip_that_does_not_divide_gets_one_line_that_names_the_axis(size, message):
    with pytest.raises(ValueError) as error:
        latent_grid(size, (4, 2, 8))
    assert str(error.value) == message
    model = VideoVQVAEConfig(**SMALL | {"downsample": (4, 2, 8)}).build()
    for method in (model.encode, model.loss):
        with pytest.raises(ValueError, match=message):
            method(torch.zeros(1, 1, *size))


def test_the_start_of_a_clip_is_encoded_as_if_its_last_frame_stayed():
    config = VideoVQVAEConfig(**SMALL | {"downsample": (2, 2, 2)})
    torch.manual_seed(0)
    model, video = config.build(), torch.rand(2, 1, 8, 8, 8) * 2 - 1
    model.train().loss(video)  # codes that lie on vectors of these clips: more than one is in use
    model.eval()
    assert not config.frame_by_frame
    for given in (2, 4, 6, 8):
        stays = video[:, :, [min(t, given - 1) for t in range(8)]]
        assert torch.equal(model.encode_start(video[:, :, :given], 8), model.encode(stays)[:, :given // 2])
    first = model.encode_start(video[:, :, :2], 8)
    assert not torch.equal(first, model.encode_start(video[:, :, :2], 2))  # it knows that the clip goes on
    for given, frames in ((1, 8), (0, 8), (8, 6)):
        with pytest.raises(ValueError, match=f"a multiple of 2, at most {frames}, not {given}"):
            model.encode_start(video[:, :, :given], frames)


def test_colour_where_grey_is_asked_for_is_refused():
    with pytest.raises(ValueError, match="must have 1 channels, not 3"):
        VideoVQVAEConfig(**SMALL).build().loss(torch.zeros(1, 3, 4, 8, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_block_trains(kind):
    torch.manual_seed(0)
    model = VideoVQVAEConfig(**SMALL | {"hidden": 16, "downsample": (4, 4, 4)}, block=kind, decay=0.9).build()
    video = torch.rand(2, 1, 2, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3).repeat_interleave(4, 4) * 2 - 1
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(40):
        loss, metrics = model.loss(video)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
            assert all(p.grad.any() for name, p in model.named_parameters() if "positions" not in name)
        optimizer.step()
        losses.append(metrics["reconstruction_loss"].item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_clips_of_a_batch_do_not_see_each_other(kind):
    torch.manual_seed(0)
    model = VideoVQVAEConfig(**SMALL, block=kind).build().eval()
    video = torch.rand(3, 1, 4, 8, 8) * 2 - 1
    assert torch.allclose(model.vectors(video)[1], model.vectors(video[1:2])[0], atol=1e-6)
    q = torch.randn(3, 2, 4, 4, 4)
    assert torch.allclose(model.video(q)[1], model.video(q[1:2])[0], atol=1e-6)


def test_a_block_is_its_figure_by_hand():
    torch.manual_seed(0)
    block = VideoBlock(8, 4, "attention")
    x, positions = torch.randn(2, 8, *SHAPE), torch.randn(*SHAPE, 8)

    def norm(y):
        return F.relu(F.layer_norm(y.movedim(1, -1), y.shape[1:2])).movedim(-1, 1)

    wide, narrow = (layer.weight for layer in block.convolutions if isinstance(layer, nn.Conv3d))
    h = F.conv3d(norm(F.conv3d(norm(x), wide, padding=1)), narrow)
    expected = x + block.attention(norm(h).movedim(1, -1) + positions).movedim(-1, 1)
    assert torch.allclose(block(x, positions), expected, atol=1e-5)


def test_normalised_mse_is_the_mse_over_the_variance():
    torch.manual_seed(0)
    target = torch.randn(4, 1, 4, 8, 8, dtype=torch.float64) * 0.3 + 0.5
    variance = target.var(unbiased=False).item()
    error = sum((a - b) ** 2 for a, b in zip((target * 0.9).flatten().tolist(), target.flatten().tolist(), strict=True))
    assert normalized_mse(target * 0.9, target, variance).item() == pytest.approx(error / target.numel() / variance)
    constant = target.mean().expand_as(target)
    assert normalized_mse(constant, target, variance).item() == pytest.approx(1)


def test_the_loss_is_section_2_1_with_the_normalised_error():
    torch.manual_seed(0)
    model = VideoVQVAEConfig(**SMALL, commitment=0.5, variance=0.1).build().eval()
    video = torch.rand(2, 1, 4, 8, 8) * 2 - 1
    loss, metrics = model.loss(video)
    z = model.vectors(video)
    q = model.quantizer.lookup(model.encode(video))
    reconstruction = (model.video(q) - video).square().mean() / 0.1
    assert torch.allclose(metrics["reconstruction_loss"], reconstruction, atol=1e-5)
    assert torch.allclose(loss, reconstruction + 0.5 * (z - q).square().mean(), atol=1e-5)


def test_several_codebooks_each_speak_for_their_slice():
    torch.manual_seed(0)
    model = VideoVQVAEConfig(**SMALL | {"code_dim": 12}, codebooks=3).build().eval()
    codes = model.encode(torch.rand(2, 1, 4, 8, 8) * 2 - 1)
    assert codes.shape == (2, 2, 4, 4, 3) == (2, *model.config.latents((1, 4, 8, 8)).shape)
    assert model.decode(codes).shape == (2, 1, 4, 8, 8)
    for i in range(3):
        other = codes.clone()
        other[0, 1, 2, 3, i] = (other[0, 1, 2, 3, i] + 1) % 16
        changed = (model.quantizer.lookup(other) != model.quantizer.lookup(codes)).nonzero()
        assert {tuple(position) for position in changed[:, :4].tolist()} == {(0, 1, 2, 3)}
        assert sorted(changed[:, 4].tolist()) == list(range(4 * i, 4 * i + 4))


@pytest.mark.parametrize("codebooks", [1, 2])
def test_the_codebook_after_a_checkpoint_is_the_codebook_before_and_training_goes_on(codebooks):
    torch.manual_seed(0)
    config = VideoVQVAEConfig(**SMALL, codebooks=codebooks, block="official")
    model, video = config.build(), torch.rand(4, 1, 4, 8, 8) * 2 - 1
    for _ in range(3):
        model.loss(video)
    loaded = config.build()
    loaded.load_state_dict(load(save(model.state_dict())))

    def books(model):
        return [module for module in model.modules() if isinstance(module, EMACodebook)]

    before = [copy.deepcopy(book.embedding) for book in books(model)]
    assert all(torch.equal(book.embedding, old) for book, old in zip(books(loaded), before, strict=True))
    assert torch.equal(loaded.eval().encode(video), model.eval().encode(video))
    for each in (model, loaded):
        each.train().loss(video)
    fresh = config.build()
    fresh.load_state_dict(model.state_dict())
    for book, other, old, reset in zip(books(model), books(loaded), before, books(fresh), strict=True):
        assert torch.equal(book.embedding, other.embedding)
        reset.updates.zero_()  # what a codebook that forgets its start would do
        reset.start(torch.randn(64, old.shape[1]) * 5)
        assert (other.embedding - old).abs().mean() < 0.1 * (reset.embedding - old).abs().mean()


@pytest.mark.parametrize("codes, mean", [(16, 50), (64, 50), (16, 500)])
def test_what_counts_as_dead_scales_with_batch_and_codebook(codes, mean):
    codebook = VideoVQVAEConfig(**SMALL | {"codes": codes}, decay=0.5).build().quantizer
    places = torch.randn(codes, 4, generator=torch.Generator().manual_seed(0)) * 10
    chosen = torch.full((codes,), mean)
    chosen[0], chosen[1] = mean // 50, mean // 10  # 2% and 10% of the mean, about the threshold of 5%
    codebook.embedding.copy_(places)
    codebook.count.copy_(chosen)
    codebook.total.copy_(places * chosen[:, None])
    codebook.updates.fill_(1)
    codebook(places.repeat_interleave(chosen, 0))
    moved = ((codebook.embedding - places).abs().amax(1) > 1e-3).tolist()
    assert moved == [True] + [False] * (codes - 1)


@pytest.mark.parametrize("sizes, latents", [
    ({"channels": 1, "downsample": (4, 4, 4), "residual_blocks": 2, "block": "plain", "codes": 512, "code_dim": 64},
     (4, 16, 16)),  # Moving MNIST
    ({"downsample": (2, 2, 2)}, (8, 32, 32)),  # BAIR, RoboNet, ViZDoom
    ({"downsample": (4, 2, 2)}, (4, 32, 32)),  # UCF-101, TGIF
])
def test_every_row_of_table_8_builds_with_its_latents(sizes, latents):
    config = VideoVQVAEConfig(**sizes)
    with torch.device("meta"):
        model = config.build()
        assert config.latents((config.channels, 16, 64, 64)).shape == latents
        z = model.vectors(torch.empty(32, config.channels, 16, 64, 64))
        assert z.shape == (32, *latents, config.code_dim) and model.video(z).shape == (32, config.channels, 16, 64, 64)
    assert (config.hidden, config.residual_hidden, config.commitment) == (240, 128, 0.25)


@pytest.mark.parametrize("latents, downsample", [
    ((4, 16, 16), (4, 4, 4)), ((16, 8, 8), (1, 8, 8)), ((8, 16, 16), (2, 4, 4)), ((1, 64, 64), (16, 1, 1)),
    ((4, 32, 32), (4, 2, 2)), ((16, 16, 16), (1, 4, 4)), ((2, 64, 64), (8, 1, 1)), ((8, 32, 32), (2, 2, 2)),
    ((4, 64, 64), (4, 1, 1)), ((16, 32, 32), (1, 2, 2)),
])
def test_every_row_of_table_5_builds(latents, downsample):
    assert VideoVQVAEConfig(downsample=downsample).latents((3, 16, 64, 64)).shape == latents


def test_parameters_of_the_official_model():
    sizes = {"hidden": 64, "residual_hidden": 32, "residual_blocks": 2, "codes": 256, "code_dim": 64}
    count = sum(p.numel() for p in VideoVQVAEConfig(**sizes, block="official").build().parameters())
    wider = (4**3 - 3**3) * (3 * 64 + 64 * 64)  # the official code downsamples with filters of 4, Table 8 with 3
    assert count + wider == 1_096_323  # counted in the official code


@pytest.mark.parametrize("field, value, message", [
    ("downsample", (3, 1, 1), "downsample must be"), ("downsample", (1, 1, 1), "downsample must be"),
    ("downsample", (4, 4, 0), "downsample must be"), ("block", "resnet", "one of attention, official, plain"),
    ("hidden", 7, "hidden must be even"), ("codebooks", 3, "multiple of codebooks"), ("variance", 0.0, "variance"),
    ("positions", (0, 4, 4), "positions must be"), ("codes", 0, "codes must be"), ("decay", 1.0, "decay must be"),
    ("residual_blocks", -1, "residual_blocks"), ("restart", 1.5, "restart"), ("commitment", -1.0, "commitment"),
])
def test_sizes_that_do_not_fit_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        VideoVQVAEConfig(**{"hidden": 16, field: value})


def test_models_know_tensors_and_nothing_else():
    script = ("import sys, lvlib.models.videogpt.vqvae; "
              "print([m for m in sys.modules if m.startswith('lvlib.') and 'models' not in m and m != 'lvlib.stages'])")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
