"""Conditions: what they may change and from where on, norms and attention by hand, sampling, refusals, Table 9."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lvlib.models.common.conditioning import (
    ConditionalNorm,
    Conditioner,
    CrossAttention,
    FrameEncoder,
    ResidualBlock3d,
    by_latent_frame,
)
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.stages import ConditionSpec, GivenFrames, LatentSpec

VIDEO = 2, 8, 8, 8  # (c, t, h, w)
SMALL = VideoGPTConfig(dim=16, heads=2, layers=2, hidden=24, dropout=0.1, resnet_units=16)
KINDS = {"label": {"classes": 5}, "actions": {"actions": 3}, "frames": {"frames": 2},
         "all": {"classes": 5, "actions": 3, "frames": 2}}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    torch.manual_seed(0)


def small_model(latent_shape=(4, 2, 2), **options):
    model = replace(SMALL, **options).build(LatentSpec(latent_shape, 7), VIDEO).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def some_condition(model, clips):
    channels, frames, height, width = VIDEO
    values = {"label": torch.arange(clips) % 5, "actions": torch.rand(clips, frames, 3),
              "frames": torch.rand(clips, channels, 2, height, width) * 2 - 1}
    return {name: values[name] for name in model.conditioner.fields} if model.conditioner else None


def some_codes(model, clips):
    return model.spec.example(clips)


def changes(model, codes, condition, name, changed):
    """How much the logits at each position change, (n,), when `condition[name]` becomes `changed`."""
    with torch.no_grad():
        before, after = (model.logits(codes, condition | {name: value}) for value in (condition[name], changed))
    return (after - before).abs().amax((0, 2))


# What a condition may change, and what it must change.

@pytest.mark.parametrize("attention", ["full", "sparse"])
@pytest.mark.parametrize("kind", ["actions", "all"])
@pytest.mark.parametrize("latent_shape", [(8, 2, 1), (4, 2, 2), (4, 1, 2, 2), (2, 2, 2), (1, 2, 3)])
def test_an_action_changes_all_from_its_own_latent_frame_on_and_nothing_before(latent_shape, kind, attention):
    model = small_model(latent_shape, **KINDS[kind], attention=attention, local=3)
    codes, condition = some_codes(model, 1), some_condition(model, 1)
    frames, n = VIDEO[1], math.prod(latent_shape)
    for frame in range(frames):
        for number in range(3):
            changed = condition["actions"].clone()
            changed[0, frame, number] += 1
            own = frame * latent_shape[0] // frames * n // latent_shape[0]  # its latent frame's first position
            change = changes(model, codes, condition, "actions", changed)
            assert change[:own].max() < 1e-5 if own else True
            assert change[own:].min() > 1e-4


@pytest.mark.parametrize("kind", ["label", "all"])
def test_the_label_changes_every_position(kind):
    model = small_model(**KINDS[kind])
    codes, condition = some_codes(model, 1), some_condition(model, 1)
    for label in range(1, 5):
        assert changes(model, codes, condition, "label", torch.tensor([label])).min() > 1e-4


@pytest.mark.parametrize("kind", ["frames", "all"])
def test_a_given_frame_changes_every_position(kind):
    model = small_model(**KINDS[kind])
    codes, condition = some_codes(model, 1), some_condition(model, 1)
    for frame in range(2):
        changed = condition["frames"].clone()
        changed[0, 0, frame, 3, 5] *= -1  # a single pixel
        assert changes(model, codes, condition, "frames", changed).min() > 1e-5


@every_kind
def test_clips_of_a_batch_never_influence_each_other(kind):
    model = small_model(**KINDS[kind])
    codes, condition = some_codes(model, 2), some_condition(model, 2)
    together = model.nll(codes, condition)
    for i in range(2):
        alone = model.nll(codes[i:i + 1], {name: value[i:i + 1] for name, value in condition.items()})
        assert torch.allclose(together[i], alone[0], atol=1e-4)
    other = model.nll(codes[:1], {name: value[1:] for name, value in condition.items()})
    assert not torch.allclose(together[0], other[0], atol=1e-2)


# Norms, cross attention and the residual block, by hand.

def test_a_norm_whose_condition_is_zero_is_a_layer_norm():
    norm, x = ConditionalNorm(6, 4), 3 * torch.randn(2, 5, 6) + 1
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    expected = F.layer_norm(x, (6,), norm.norm.weight, norm.norm.bias)
    assert torch.equal(norm(x, torch.zeros(2, 5, 4)), expected)
    assert torch.equal(ConditionalNorm(6)(x), F.layer_norm(x, (6,)))


def test_scale_and_shift_are_affine_in_the_condition():
    norm, x, vector = ConditionalNorm(6, 4), torch.randn(1, 1, 6).double(), torch.randn(1, 1, 4).double()
    norm.double()
    values, weight = x.numpy().ravel(), norm.to_scale_shift.weight.detach().numpy()
    normalised = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
    scale, shift = weight[:6] @ vector.numpy().ravel(), weight[6:] @ vector.numpy().ravel()
    assert np.allclose(norm(x, vector).detach().numpy().ravel(), normalised * (1 + scale) + shift)


def test_each_position_of_a_norm_has_a_vector_of_its_own():
    norm, x, vectors = ConditionalNorm(6, 4), torch.randn(2, 5, 6), torch.randn(2, 5, 4)
    one_by_one = torch.stack([norm(x[:, i:i + 1], vectors[:, i:i + 1])[:, 0] for i in range(5)], 1)
    assert torch.allclose(norm(x, vectors), one_by_one, atol=1e-6)


def test_cross_attention_by_loops():
    dim, heads, clips, n, m = 6, 2, 2, 3, 4
    cross, x, memory = CrossAttention(dim, heads, 5), torch.randn(clips, n, dim), torch.randn(clips, m, 5)
    with torch.no_grad():
        found = cross(x, cross.memory_kv(memory)).numpy()
        queries, keys_values = cross.query(x).numpy(), cross.kv(memory).numpy()
        weight, offset = cross.out_proj.weight.numpy(), cross.out_proj.bias.numpy()
    for clip in range(clips):
        for i in range(n):
            attended = []
            for head in range(heads):
                part = slice(head * dim // heads, (head + 1) * dim // heads)
                keys, values = keys_values[clip, :, :dim][:, part], keys_values[clip, :, dim:][:, part]
                scores = np.exp(keys @ queries[clip, i, part] / math.sqrt(dim / heads))
                attended.append(scores / scores.sum() @ values)
            assert np.allclose(found[clip, i], weight @ np.concatenate(attended) + offset, atol=1e-5)


def test_which_actions_belong_to_a_latent_frame():
    actions = torch.arange(2 * 8 * 3).reshape(2, 8, 3)
    for latent_frames in (1, 2, 4, 8):
        vectors, share = by_latent_frame(actions, latent_frames), 8 // latent_frames
        assert vectors.shape == (2, latent_frames, 3 * share)
        for frame in range(8):
            own, place = divmod(frame, share)
            assert torch.equal(vectors[:, own, 3 * place:3 * place + 3], actions[:, frame])


def test_label_and_actions_stand_side_by_side():
    conditioner = Conditioner(5, 3, None, video_frames=8, latent_frames=4)
    vector, memory = conditioner({"label": torch.tensor([4, 0]), "actions": torch.ones(2, 8, 3)})
    assert memory is None and vector.shape == (2, 4, conditioner.cond_dim)
    assert torch.equal(vector[0], torch.tensor([0.0, 0, 0, 0, 1] + 6 * [1.0]).expand(4, -1))
    assert torch.equal(vector[1, :, :5], torch.tensor([1.0, 0, 0, 0, 0]).expand(4, -1))


@pytest.mark.parametrize("channels, width, stride", [(8, 8, 1), (8, 16, 2), (4, 8, 1)])
def test_the_residual_block_by_its_parts(channels, width, stride):
    block, x = ResidualBlock3d(channels, width, stride), torch.randn(2, channels, 3, 6, 5, requires_grad=True)
    first, norm1, _, second, norm2 = block.correction
    for norm in (norm1, norm2):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    hidden = F.conv3d(x, first.weight, stride=(1, stride, stride), padding=1)
    hidden = F.conv3d(channel_norm(hidden, norm1).relu(), second.weight, padding=1)
    same = channels == width and stride == 1
    shortcut = x if same else F.conv3d(x, block.shortcut.weight, stride=(1, stride, stride))
    out = block(x)
    assert out.shape == (2, width, 3, math.ceil(6 / stride), math.ceil(5 / stride))  # all frames stay
    assert torch.allclose(out, (shortcut + channel_norm(hidden, norm2)).relu(), atol=1e-5)
    out.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (x, *block.parameters()))


def channel_norm(x, norm):
    """Each channel of a clip on its own, with a gain and a bias."""
    mean, variance = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), keepdim=True, correction=0)
    gain, bias = (p[:, None, None, None] for p in (norm.weight, norm.bias))
    return (x - mean) / (variance + 1e-5).sqrt() * gain + bias


def test_a_correction_may_be_negative():
    """In the official code a ReLU before the sum lets it only add."""
    block, x = ResidualBlock3d(4, 4, 1), torch.rand(1, 4, 2, 3, 3)
    torch.nn.init.constant_(block.correction[-1].bias, -0.5)  # its gain begins at zero
    assert torch.allclose(block(x), (x - 0.5).relu())


@pytest.mark.parametrize("depth, blocks", [(18, 8), (34, 16)])
def test_the_frame_encoder_has_the_depth_and_the_widths_of_its_name(depth, blocks):
    encoder = FrameEncoder(3, 2, 16, 10, depth, 32)
    found = [layer for layer in encoder.layers if isinstance(layer, ResidualBlock3d)]
    assert len(found) == blocks and 2 * blocks + 2 == depth  # two convolutions each; the first, and a projection
    assert [block.correction[0].out_channels for block in (found[0], found[-1])] == [4, 32]
    assert encoder(torch.rand(2, 3, 2, 16, 10)).shape == (2, 2 * 4 * 3, 32)


def test_the_frame_encoder_learns_to_tell_mostly_black_frames_apart():
    """Three seeds: 0.05 to 0.2 nats after 60 steps; with norms over all channels 0.5 to 1.6."""
    frames = -torch.ones(16, 1, 1, 16, 16)
    for i in range(16):
        frames[i, 0, 0, i // 4 * 4:i // 4 * 4 + 3, i % 4 * 4:i % 4 * 4 + 2] = 1
    encoder, head = FrameEncoder(1, 1, 16, 16, 18, 16), torch.nn.Linear(16, 16)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 1e-2)
    for _ in range(60):
        loss = F.cross_entropy(head(encoder(frames).mean(1)), torch.arange(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.4


def test_the_frame_encoder_tells_places_apart():
    encoder = FrameEncoder(1, 2, 8, 8, 18, 16).eval()
    grey = encoder(torch.zeros(1, 1, 2, 8, 8))[0]
    moved = encoder.positions((2, 2, 2)).reshape(2, 2, 2, 16)
    assert torch.cdist(grey, grey).fill_diagonal_(1).min() > 0
    assert torch.allclose(moved[1, 0, 1] - moved[0, 0, 1], moved[1, 1, 0] - moved[0, 1, 0], atol=1e-6)


# Sampling.

@every_kind
def test_cached_sampling_draws_the_same_as_computing_all_anew(kind):
    model = small_model(**KINDS[kind], dropout=0.5)
    condition, given = some_condition(model, 3), some_codes(model, 3)[:, :1]
    for start in (None, given):
        torch.manual_seed(1)
        drawn = model.sample(3, condition, given=start)
        torch.manual_seed(1)
        codes, known = torch.zeros(3, model.n, dtype=torch.int64), 0
        if start is not None:
            known = start[0].numel()
            codes[:, :known] = start.flatten(1)
        for i in range(known, model.n):
            with torch.no_grad():
                logits = model.logits(codes.view(3, *model.spec.shape), condition)[:, i]
            codes[:, i] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        assert torch.equal(drawn, codes.view_as(drawn))


def test_a_clip_is_looked_at_once_in_sampling(monkeypatch):
    model, calls = small_model(**KINDS["all"]), {"memory_kv": 0, "frames": 0}
    memory_kv, encode = CrossAttention.memory_kv, FrameEncoder.forward

    def count(name, method):
        def counted(*args):
            calls[name] += 1
            return method(*args)
        return counted

    monkeypatch.setattr(CrossAttention, "memory_kv", count("memory_kv", memory_kv))
    monkeypatch.setattr(FrameEncoder, "forward", count("frames", encode))
    model.sample(2, some_condition(model, 2))
    assert calls == {"memory_kv": len(model.blocks), "frames": 1}


@every_kind
def test_one_condition_for_all_samples(kind):
    model = small_model(**KINDS[kind])
    one = some_condition(model, 1)
    drawn = []
    for condition in (one, {name: value.expand(3, *value.shape[1:]) for name, value in one.items()}):
        torch.manual_seed(1)
        drawn.append(model.sample(3, condition))
    assert torch.equal(*drawn)


def test_one_label_and_the_actions_of_each():
    model, codes = small_model(classes=5, actions=3), torch.randint(7, (2, 4, 2, 2))
    condition = some_condition(model, 2)
    mixed = condition | {"label": torch.tensor([3])}
    assert torch.equal(model.nll(codes, mixed), model.nll(codes, condition | {"label": torch.tensor([3, 3])}))


# What is refused, in one line each.

@pytest.mark.parametrize("condition, message", [
    (None, "conditioned on label, actions, frames; it got nothing"),
    ({}, "it got nothing"),
    ({"label": torch.tensor([0])}, "it got label"),
    ({"lable": torch.tensor([0])}, "it got lable"),
    ({"label": torch.tensor([5])}, r"labels must lie in 0\.\.4; got 5 to 5"),
    ({"label": torch.tensor([0, -1])}, r"labels must lie in 0\.\.4; got -1 to 0"),
    ({"label": torch.tensor(3)}, r"label must be int64 \(b,\), not int64 \(\)"),
    ({"label": torch.tensor([[1]])}, r"label must be int64 \(b,\), not int64 \(1, 1\)"),
    ({"label": torch.tensor([1.0])}, r"label must be int64 \(b,\), not float32 \(1,\)"),
    ({"actions": torch.zeros(2, 7, 3)}, r"actions must be \(b, 8, 3\), 3 numbers for each frame, not \(2, 7, 3\)"),
    ({"actions": torch.zeros(2, 8, 2)}, r"not \(2, 8, 2\)"),
    ({"actions": torch.zeros(8, 3)}, r"not \(8, 3\)"),
    ({"frames": torch.zeros(2, 2, 3, 8, 8)}, r"must be float \(b, 2, 2, 8, 8\), not float32 \(2, 2, 3, 8, 8\)"),
    ({"frames": torch.zeros(2, 2, 8, 8)}, r"must be float \(b, 2, 2, 8, 8\)"),
    ({"frames": torch.zeros(2, 2, 2, 8, 8, dtype=torch.uint8)}, r"not uint8 \(2, 2, 2, 8, 8\)"),
    ({"label": torch.tensor([0, 1, 2])}, "label and actions must be of the same clips, not of 3 and 2"),
    ({"label": torch.tensor([0, 1, 2]), "actions": torch.zeros(3, 8, 3)}, "one clip, or of each of the 2, not of 3"),
    ({"frames": torch.zeros(3, 2, 2, 8, 8)}, "one clip, or of each of the 2, not of 3"),
])
def test_a_condition_that_does_not_fit(condition, message):
    model = small_model(**KINDS["all"])
    if condition and set(condition) <= {"label", "actions", "frames"} and message != "it got label":
        condition = some_condition(model, 2) | condition
    for use in (lambda: model.loss(some_codes(model, 2), condition), lambda: model.sample(2, condition)):
        with pytest.raises(ValueError, match=message) as error:
            use()
        assert "\n" not in str(error.value)


def test_a_condition_for_a_model_that_takes_none():
    model = small_model()
    with pytest.raises(ValueError, match="this model takes no condition, not label"):
        model.loss(some_codes(model, 2), {"label": torch.tensor([0])})
    model.loss(some_codes(model, 2), {})


@pytest.mark.parametrize("options, message", [
    *(({name: 0}, f"{name} must be at least 1, not 0") for name in
      ("dim", "heads", "layers", "hidden", "local", "resnet_units")),
    *(({name: -1}, f"{name} must be at least 0, not -1") for name in ("classes", "actions", "frames")),
    ({"dim": 10, "heads": 4}, "dim must be a multiple of heads = 4, not 10"),
    ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ({"dropout": -0.1}, "not -0.1"),
    ({"attention": "local"}, "attention must be one of full, sparse, not 'local'"),
    ({"resnet_depth": 50}, "resnet_depth must be one of 18, 34, not 50"),
    ({"resnet_units": 20}, "resnet_units must be a multiple of 8, not 20"),
])
def test_sizes_that_do_not_fit_together(options, message):
    with pytest.raises(ValueError, match=message):
        VideoGPTConfig(**options)


def test_a_clip_that_is_given_whole():
    with pytest.raises(ValueError, match="frames must be fewer than the 8 of a clip, not 8"):
        replace(SMALL, frames=8).build(LatentSpec((4, 2, 2), 7), VIDEO)


LABEL = ConditionSpec("label", "class", (), 5, "classes")
ACTIONS = ConditionSpec("actions", "per-frame", (8, 3), option="actions")
FRAMES = ConditionSpec("frames", "given-frames", (2, 2, 8, 8), option="frames")


@pytest.mark.parametrize("options, specs", [
    ({}, ()), (KINDS["label"], (LABEL,)), ({"frames": 2, "actions": 3}, (ACTIONS, FRAMES)),
    (KINDS["all"], (LABEL, ACTIONS, FRAMES)),
])
def test_what_a_model_is_conditioned_on(options, specs):
    config = replace(SMALL, **options)
    model = config.build(LatentSpec((4, 2, 2), 7), VIDEO)
    assert config.conditions(VIDEO) == specs
    assert tuple(spec.name for spec in specs) == (model.conditioner.fields if model.conditioner else ())
    condition = {spec.name: spec.example(2) for spec in specs}
    assert model.loss(some_codes(model, 2), condition)[0].isfinite()


@pytest.mark.parametrize("options, shape, frames_per_latent, given", [
    ({}, (4, 2, 2), 4, GivenFrames(0, 12, 4, 4)), ({}, (8, 2, 2), 2, GivenFrames(0, 14, 2, 2)),
    ({}, (1, 2, 2), 16, GivenFrames(0, 0, 16, 0)), ({"frames": 3}, (4, 2, 2), 4, GivenFrames(3, 3, 1, 3)),
])
def test_how_many_frames_a_model_goes_on_from(options, shape, frames_per_latent, given):
    config = replace(SMALL, **options)
    assert config.given_frames(LatentSpec(shape, 7, frames_per_latent), (2, 16, 8, 8)) == given


def test_latents_that_are_no_codes():
    with pytest.raises(ValueError, match="VideoGPT's prior predicts codes, and these latents are 4 x 8 numbers a clip"):
        SMALL.build(LatentSpec((4, 8), planes=((2, 4),)), VIDEO)


BAIR = {"frames": 1, "actions": 4, "resnet_depth": 34}
TABLE_9 = {
    "Moving MNIST": ((4, 16, 16), 512, 1, VideoGPTConfig(192, 4, 8, 384, 0.1, frames=1)),
    "BAIR / RoboNet": ((8, 32, 32), 1024, 3, VideoGPTConfig(512, 4, 16, 2048, 0.2, **BAIR)),
    "ViZDoom, Health Gathering Supreme": ((8, 32, 32), 1024, 3, VideoGPTConfig(actions=3)),
    "ViZDoom, Battle2": ((8, 32, 32), 1024, 3, VideoGPTConfig(actions=6)),
    "UCF-101 / TGIF": ((4, 32, 32), 1024, 3, VideoGPTConfig(1024, 8, 20, 4096, 0.2, attention="sparse")),
}


@pytest.mark.parametrize("name", TABLE_9)
def test_the_models_of_table_9(name):
    latent_shape, codes, channels, config = TABLE_9[name]
    with torch.device("meta"):
        model = config.build(LatentSpec(latent_shape, codes), (channels, 16, 64, 64))
    assert model.n == math.prod(latent_shape) and model.out.weight.shape == (codes, config.dim)
    assert [len(table) for table in model.positions.tables] == list(latent_shape)
    for block in model.blocks:
        assert block.hidden[0].weight.shape == (config.hidden, config.dim)
        assert block.attention.heads == config.heads and hasattr(block, "cross") == bool(config.frames)
    if config.actions:
        assert model.conditioner.cond_dim == config.actions * 16 // latent_shape[0]
    if config.frames:
        encoder = model.conditioner.frames
        assert encoder.shape == (channels, 1, 64, 64)  # Table 9: 1 x 64 x 64 and 3 x 64 x 64
        assert model.conditioner.memory_dim == 512
        blocks = sum(isinstance(layer, ResidualBlock3d) for layer in encoder.layers)
        assert blocks == {18: 8, 34: 16}[config.resnet_depth]


def test_a_grey_frame_in_bf16_is_what_it_is_in_fp32():
    """torch's CPU reads past the end of one frame with one channel whose strides are of channels last, as those of a
    decoded picture are: what lay there in memory came out."""
    torch.manual_seed(0)
    encoder = FrameEncoder(1, 1, 32, 32, 18, 16)
    frames = torch.randn(4, 1, 32, 32, 1).movedim(-1, 1)
    expected = encoder(frames)
    for _ in range(5):
        left_over = [torch.full((n,), torch.nan) for n in (1_000, 10_000, 100_000, 1_000_000) for _ in range(6)]
        del left_over
        with torch.autocast("cpu", torch.bfloat16):
            seen = encoder(frames)
        torch.testing.assert_close(seen.float(), expected, rtol=0, atol=0.1)
