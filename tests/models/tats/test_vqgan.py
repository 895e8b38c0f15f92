"""TATS's autoencoder: official sizes, one pass a step, two optimizers that keep apart, pieces that are the whole."""

import dataclasses
import os
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from lvlib.configs import named_config
from lvlib.models.tats.equivariance import decoder_reach
from lvlib.models.tats.normalization import SyncBatchNorm
from lvlib.models.tats.vqgan import PIECE, VQGAN, VQGANBlock, VQGANConfig, random_frame
from lvlib.training import TrainingConfig, train
from lvlib.training.checkpoint import MODEL, folder_of
from lvlib.training.step import Step

SMALL = VQGANConfig(channels=1, hidden=4, residual_blocks=(1, 1), downsample=(4, 2, 2), codes=16, code_dim=4,
                    decay=0.9, restart=0.05, perceptual=None, gan_start=2, disc_hidden=4, disc_layers=1)
TRAINING = TrainingConfig(steps=6, batch=4, learning_rate=1e-3, gradient_clip=1.0, betas=(0.5, 0.9), log_every=1,
                          checkpoint_every=2)


def vqgan(**changes) -> VQGAN:
    torch.manual_seed(0)
    return dataclasses.replace(SMALL, **changes).build()


def clips(count: int = 4) -> torch.Tensor:
    torch.manual_seed(1)
    return nn.functional.interpolate(torch.rand(count, 1, 2, 4, 4) * 2 - 1, (8, 8, 8), mode="trilinear")


def part(name: str) -> str:
    return "discriminator" if name.startswith("discriminators.") else "autoencoder"


def test_it_has_as_many_weights_as_the_official_one():
    """At the sizes of the speed comparison; its codebook, 256 x 64, is no parameter."""
    config = named_config("bench-tats").autoencoder
    with torch.device("meta"):
        model = config.build()
    counts = {"autoencoder": 0, "discriminator": 0}
    for name, parameter in model.named_parameters():
        counts[part(name)] += parameter.numel()
    assert counts == {"autoencoder": 1_400_899, "discriminator": 3_471_554}


@pytest.mark.parametrize(("downsample", "blocks", "padding"), [
    ((4, 2, 2), (1, 2), "replicate"), ((4, 2, 2), (1, 2), "zero"), ((1, 4, 4), (1, 2), "replicate"),
    ((1, 8, 8), (1, 2), "zero"), ((2, 4, 4), (0, 5), "reflect")])
def test_decoded_in_pieces_it_is_what_is_decoded_at_once(downsample, blocks, padding):
    model = vqgan(padding=padding, residual_blocks=blocks, downsample=downsample).eval()
    reach = decoder_reach(model.decoder)
    codes = torch.randint(16, (2, 2 * PIECE + reach + 3, 1, 2))
    with torch.no_grad():
        whole = model.video(model.quantizer.lookup(codes)).clamp(-1, 1)
    pieces = model.decode(codes)
    assert pieces.shape == whole.shape == (2, 1, downsample[0] * codes.shape[1], downsample[1], 2 * downsample[2])
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)
    short = codes[:, :5].repeat(10, 1, 1, 1)  # more clips than go through at once
    torch.testing.assert_close(model.decode(short), model.decode(short[:2]).repeat(10, 1, 1, 1, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("downsample", "blocks"), [((4, 2, 2), 2), ((1, 4, 4), 2), ((1, 8, 8), 1), ((2, 4, 4), 5)])
def test_a_frame_sees_as_far_as_the_reach_of_the_decoder(downsample, blocks):
    """By gradients: which latent frames move the frames of one in the middle?"""
    model = vqgan(residual_blocks=(0, blocks), downsample=downsample).eval()
    n, rate, reach = 81, downsample[0], decoder_reach(model.decoder)
    latents = torch.randn(1, 4 * 2 ** max(f.bit_length() - 1 for f in downsample), n, 1, 1, requires_grad=True)
    model.decoder(latents)[:, :, n // 2 * rate:(n // 2 + 1) * rate].square().sum().backward()
    first, *_, last = latents.grad.abs().sum((0, 1, 3, 4)).nonzero().flatten().tolist()
    assert max(n // 2 - first, last - n // 2) == reach


def test_reflect_needs_frames_to_reflect():
    with pytest.raises(ValueError, match="padding reflect needs 3 latent frames or more, not 2"):
        vqgan(padding="reflect").encode(torch.zeros(1, 1, 8, 8, 8))
    assert vqgan(padding="reflect").encode(torch.zeros(1, 1, 12, 8, 8)).shape == (1, 3, 4, 4)


def test_the_clip_goes_through_it_once_a_step_and_the_codebook_learns_once():
    model, passes = vqgan(), []
    model.encoder.register_forward_hook(lambda *_: passes.append("encoder"))
    model.decoder.register_forward_hook(lambda *_: passes.append("decoder"))
    step = Step(model.train(), TRAINING)
    for number in (1, 2, 3):
        losses, _ = step(number, [(clips(),)])
        assert model.quantizer.updates == number
        assert ("discriminator_loss" in losses) == (number >= 2)
    assert passes == ["encoder", "decoder"] * 3


def test_before_the_start_step_the_discriminators_do_nothing():
    model, seen = vqgan(gan_start=3), []
    for judge in model.discriminators.values():
        judge.register_forward_hook(lambda *_: seen.append(1))
    before = {name: p.clone() for name, p in model.discriminators.state_dict().items()}
    step = Step(model.train(), TRAINING)
    step(1, [(clips(),)])
    step(2, [(clips(),)])
    assert not seen
    torch.testing.assert_close(model.discriminators.state_dict(), before, rtol=0, atol=0)
    step(3, [(clips(),)])
    assert len(seen) == 6  # each of two: what was rebuilt twice, the real clips once


def test_the_discriminators_loss_has_no_way_to_the_autoencoder():
    model = vqgan().train()
    parts, turns = model.optimizers(), {}
    for name, loss, _ in model.losses(clips(), step=2):
        own, other = parts[name], parts["autoencoder" if name == "discriminator" else "discriminator"]
        turns[name] = [torch.autograd.grad(loss, some, retain_graph=True, allow_unused=True) for some in (own, other)]
    assert list(turns) == ["autoencoder", "discriminator"]
    for own, _ in turns.values():
        assert all(gradient is not None for gradient in own)
    assert all(gradient is None for gradient in turns["discriminator"][1])


def test_a_step_brings_each_loss_to_its_own_parameters_alone():
    model, reached = vqgan(), []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: reached.append(part(name)))
    Step(model.train(), TRAINING)(2, [(clips(),)])
    counts = {name: len(parameters) for name, parameters in model.optimizers().items()}
    assert reached == ["autoencoder"] * counts["autoencoder"] + ["discriminator"] * counts["discriminator"]


def test_the_losses_are_those_of_the_paper_written_out():
    model, video = vqgan(gan_weight=0.5, match_weight=3.0).train(), clips()
    other = vqgan(gan_weight=0.5, match_weight=3.0).train()
    (_, loss, metrics), (_, judged, _) = model.losses(video, step=2)
    q, _, commitment, _ = other.quantizer(other.vectors(video))
    rebuilt, frame = other.video(q), random_frame(2, 8)
    expected, against = 4 * (rebuilt - video).abs().mean() + commitment, 0
    pairs = {"frame": (video[:, :, frame], rebuilt[:, :, frame]), "clip": (video, rebuilt)}
    for name, (real, fake) in pairs.items():
        seen, target = (other.discriminators[name](x) for x in (fake, real))
        expected = expected - 0.5 * seen[-1].mean()
        expected = expected + 3 * sum((a - b).abs().mean() for a, b in zip(seen[:-1], target[:-1], strict=True))
        against = against + 0.5 * ((1 - target[-1]).relu().mean() + (1 + seen[-1]).relu().mean())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(judged, against)
    assert metrics["reconstruction_loss"].item() == pytest.approx((rebuilt - video).abs().mean().item(), rel=1e-5)


class Without(nn.Module):
    """In place of a BatchNorm: nothing, so that clips of a batch do not matter to each other."""

    def forward(self, x):
        return x


def test_six_micro_batches_of_two_are_twelve_clips():
    """Gradients of both optimizers, where no norm looks at the batch and the codebook stands still."""
    gradients = []
    for pieces in (1, 6):
        model = vqgan(norm="group", hidden=16).train()
        for judge in model.discriminators.values():
            for stage in judge.stages:
                if isinstance(stage, nn.Sequential):
                    for i, layer in enumerate(stage):
                        stage[i] = Without() if isinstance(layer, SyncBatchNorm) else layer
        model.quantizer.decay, model.quantizer.first_batch, model.quantizer.restart = 1.0, False, 0
        settings = dataclasses.replace(TRAINING, batch=12, accumulate=pieces, gradient_clip=0.0, learning_rate=1e-30)
        losses, _ = Step(model, settings)(2, [(some,) for some in clips(12).chunk(pieces)])
        gradients.append({name: p.grad for name, p in model.named_parameters()} | losses)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 40
    for name, whole in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], whole, rtol=1e-3, atol=5e-5, msg=name)  # a bias: -1 + 1


class Clips(Dataset):
    def __init__(self):
        self.video = ((clips(9) + 1) * 127.5).to(torch.uint8).movedim(1, -1).numpy()

    def __len__(self):
        return len(self.video)

    def __getitem__(self, index):
        return {"video": self.video[index]}


@pytest.mark.slow
@pytest.mark.posix
def test_killed_between_its_optimizers_and_resumed_it_ends_as_one_never_stopped(tmp_path):
    class Deadly(VQGAN):
        def losses(self, video, *, step):
            for number, turn in enumerate(super().losses(video, step=step)):
                if step == 5 and number == 1:  # between the two optimizers
                    os.kill(os.getpid(), signal.SIGKILL)
                yield turn

    settings, threads = dataclasses.replace(TRAINING, accumulate=2), torch.get_num_threads()
    torch.set_num_threads(1)  # after a fork more of them may wait for ever
    train(vqgan(), Clips(), settings, tmp_path / "whole")
    child = os.fork()
    if not child:
        try:
            model = vqgan()
            model.__class__ = Deadly
            train(model, Clips(), settings, tmp_path / "killed")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    train(vqgan(), Clips(), settings, tmp_path / "killed")  # from step 4 on
    torch.set_num_threads(threads)
    whole, killed = (folder_of(tmp_path / run, 6) / MODEL for run in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def test_the_frame_that_is_judged_is_drawn_from_all_and_is_the_steps():
    drawn = [random_frame(step, 16) for step in range(400)]
    assert set(drawn) == set(range(16)) and drawn == [random_frame(step, 16) for step in range(400)]
    assert max(drawn.count(frame) for frame in range(16)) < 50


def test_a_block_whose_convolutions_lose_frames_loses_them_beside_it_too():
    block = VQGANBlock(4, "batch", "replicate").eval()
    x = torch.randn(1, 4, 9, 5, 5)
    padded = block(x)
    for layer in block.correction:
        if hasattr(layer, "time_padding"):
            layer.time_padding = None
    assert block(x).shape[2] == 5
    torch.testing.assert_close(block(x), padded[:, :, 2:7])


@pytest.mark.parametrize("change, allowed", [
    ({"gan_loss": "wasserstein"}, "hinge"), ({"norm": "layer"}, "batch"), ({"padding": "mirror"}, "replicate"),
    ({"gan_start": 0}, "gan_start"), ({"downsample": (3, 2, 2)}, "1, 2, 4, 8 or 16"),
    ({"norm": "group", "hidden": 20}, "multiple of 16"), ({"residual_blocks": (-1, 1)}, "0 or more"),
])
def test_sizes_that_do_not_fit_are_one_line_that_says_what_does(change, allowed):
    with pytest.raises(ValueError, match=allowed) as raised:
        dataclasses.replace(SMALL, **change)
    assert "\n" not in str(raised.value)


def test_a_clip_of_other_colours_or_lengths_is_refused():
    model = vqgan().eval()
    with pytest.raises(ValueError, match="1 channels, not 3"):
        model.encode(torch.zeros(1, 3, 8, 8, 8))
    with pytest.raises(ValueError, match="frames must be a multiple of 4"):
        model.encode(torch.zeros(1, 1, 6, 8, 8))
