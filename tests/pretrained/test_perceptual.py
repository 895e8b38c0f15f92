"""Perceptual networks as losses. What they measure is in tests/evaluation/networks."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from stand_ins import VggStandIn, save
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lvlib.configs.config import Config, DataConfig
from lvlib.errors import UserError
from lvlib.evaluation.networks.efficientnet import EfficientNetFrames
from lvlib.evaluation.networks.files import LpipsVgg
from lvlib.pretrained import perceptual_distance, perceptual_network
from lvlib.pretrained.lpips import _VggShapes
from lvlib.reports.describe import describe
from lvlib.stages import LatentSpec
from lvlib.training import TrainingConfig, train
from lvlib.training.checkpoint import EMA, MODEL, load_tensors

KINDS = ["efficientnet-lite0", "file"]
PLACES = {"meta": lambda: torch.device("meta"), "fake": FakeTensorMode}


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, str]:
    """What `perceptual_network` is called with."""
    file = save(VggStandIn(), tmp_path_factory.mktemp("vgg") / "vgg.pt")
    return {"efficientnet-lite0": "efficientnet-lite0", "file": str(file)}


@pytest.fixture(params=KINDS)
def name(request, names) -> str:
    if request.param == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite_pytorch")
    return names[request.param]


def pair(n=2, channels=3, size=32) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    frames, others = (2 * torch.rand(n, channels, size, size, generator=random) - 1 for _ in range(2))
    return frames, others


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_distance_that_scores_are_made_of(name, channels):
    frames, others = pair(20, channels)  # more than are compared at once
    scored = (LpipsVgg(name) if name.endswith(".pt") else EfficientNetFrames()).distance(frames, others)
    distance = perceptual_network(name)(frames, others)
    assert distance.shape == (20,) and (distance > 0).all() and torch.equal(distance, scored)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_reach_both_frames_and_are_those_of_small_differences(name, channels):
    frames, others = (one.requires_grad_() for one in pair(1, channels))
    network = perceptual_network(name)
    network(frames, others).sum().backward()
    for frame, other in (frames, others), (others, frames):
        direction = frame.grad / frame.grad.norm()
        with torch.no_grad():
            ahead, behind = (network(frame + step * direction, other).item() for step in (0.02, -0.02))
        assert (ahead - behind) / 0.04 == pytest.approx(frame.grad.norm().item(), rel=0.05)


def test_learning_from_it_brings_frames_nearer(name):
    frames, others = pair(1)
    network, before = perceptual_network(name), None
    for _ in range(5):
        frames = frames.detach().requires_grad_()
        distance = network(frames, others)
        assert before is None or distance < before
        before = distance.item()
        distance.backward()
        frames = frames - 0.5 * frames.grad / frames.grad.norm()


def test_it_is_frozen_and_in_eval_mode(name):
    network = perceptual_network(name)
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


class Nearer(nn.Module):
    """Learns how much brighter frames should be."""

    def __init__(self, network: str):
        super().__init__()
        self.network = network
        self.shift = nn.Parameter(torch.zeros(()))

    def loss(self, video):
        frames = video.transpose(1, 2).flatten(0, 1)
        return perceptual_distance(self.network, frames + self.shift, frames + 0.5).mean(), {}


@dataclass(frozen=True)
class NearerConfig:
    network: str
    channels: int = 3

    def latents(self, video_shape):
        return LatentSpec(video_shape)

    def build(self):
        return Nearer(self.network)


def test_it_is_no_part_of_the_model_that_learns_from_it(name, tmp_path):
    """Which is described, trained, averaged and saved without it."""
    settings = TrainingConfig(steps=3, batch=2, learning_rate=1e-2, ema_decay=0.5)
    described = describe(Config(DataConfig(frames=2, size=32), NearerConfig(name), settings))
    assert described["parameters"] == {"prior": 0, "autoencoder": 1}
    model = Nearer(name)
    clips = [{"video": np.full((2, 32, 32, 3), 40 * value, np.uint8)} for value in range(4)]
    train(model, clips, settings, tmp_path, device="cpu")
    saved = {file: load_tensors(tmp_path, 3, file) for file in (MODEL, EMA)}
    assert [tensors.keys() for tensors in saved.values()] == [{"shift"}, {"shift"}]
    assert 0 < saved[EMA]["shift"] < saved[MODEL]["shift"] == model.shift
    assert torch.equal(perceptual_distance(name, *pair()), perceptual_network(name)(*pair()))


@pytest.mark.parametrize("place", PLACES)
def test_where_tensors_have_no_numbers_it_reads_none(name, place, monkeypatch):
    def read(*_, **__):
        raise AssertionError("read a file")

    monkeypatch.setattr(torch, "load", read)
    monkeypatch.setattr(torch.jit, "load", read)
    with PLACES[place]():
        network = perceptual_network(name)
        frames = torch.rand(18, 1, 64, 64).requires_grad_()
        distance = network(frames, torch.rand(18, 1, 64, 64))
        assert distance.shape == (18,) and distance.untyped_storage().device.type == "meta"
        distance.sum().backward()
    assert frames.grad.shape == frames.shape
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_shapes_of_vgg16_are_those_of_the_network():
    """14,714,688 weights, without the classes (Simonyan and Zisserman 2015), and as many features a frame."""
    shapes = _VggShapes()
    assert sum(weights.numel() for weights in shapes.parameters()) == 14_714_688
    pictures = torch.zeros(1, 3, 64, 64)
    how = {"resize_images": False, "return_lpips": True}
    assert shapes(pictures, **how).shape == VggStandIn()(pictures, **how).shape


@pytest.mark.parametrize(("kind", "least"), [("efficientnet-lite0", 32), ("file", 16)])
def test_frames_that_are_too_small(names, kind, least):
    if kind == "efficientnet-lite0":
        pytest.importorskip("efficientnet_lite_pytorch")
    network = perceptual_network(names[kind])
    assert network(*pair(size=least)).isfinite().all()
    with pytest.raises(UserError, match=f"{least} x {least} or larger, not {least - 1} x {least - 1}"):
        network(*pair(size=least - 1))


@pytest.mark.parametrize("place", ["real", *PLACES])
@pytest.mark.parametrize("wrong", ["efficientnet-lite1", "nowhere/vgg16.pt", "", "."])
def test_another_name_is_one_line_that_says_what_there_is(wrong, place):
    with (PLACES[place]() if place != "real" else torch.device("cpu")), pytest.raises(UserError) as refused:
        perceptual_network(wrong)
    assert repr(wrong) in str(refused.value) and "efficientnet-lite0, or a file, the LPIPS" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_shift_by_one_pixel_is_nearer_than_noise_of_the_same_squared_error():
    """What a squared error cannot tell apart, on a crop of scikit-learn's photo of a palace."""
    pytest.importorskip("efficientnet_lite_pytorch")
    photo = torch.tensor(pytest.importorskip("sklearn.datasets").load_sample_images().images[0])
    crop = photo[100:229, 200:329].permute(2, 0, 1)[None].float() / 127.5 - 1
    picture = nn.functional.interpolate(crop, (65, 65), mode="bilinear", antialias=True)
    frames, shifted = picture[..., :-1, :-1], picture[..., :-1, 1:]
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    noisy = frames + noise * (frames - shifted).square().mean().sqrt() / noise.square().mean().sqrt()
    torch.testing.assert_close((frames - noisy).square().mean(), (frames - shifted).square().mean())
    network = perceptual_network("efficientnet-lite0")
    assert 2 * network(frames, shifted) < network(frames, noisy)
