"""What notebook 22 measures: pairs of clips, exchanged planes, planes that disagree, the cube beside the planes."""

from functools import partial

import pytest
import torch
from torch import nn

from lvlib.course import plane_diffusion as trials
from lvlib.models.pvdm.prior import PVDMConfig
from lvlib.reports.bench import count_flops
from lvlib.stages import LatentSpec

SPEC = LatentSpec((4, 20), None, 3, ((2, 4), (3, 2), (3, 2)))


def prior(across: int = 1):
    torch.manual_seed(0)
    model = PVDMConfig(width=8, multipliers=(1,), blocks=1, heads=2, across=across).build(SPEC, (1, 3, 8, 8))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def test_all_neighbouring_clips_are_pairs():
    latents = torch.arange(2 * 3 * 5).view(2, 1, 15)
    pairs = trials.neighbours(latents, 5)
    assert pairs[:, 0].tolist() == [[*range(start, start + 10)] for start in (0, 15, 5, 20)]


def test_held_out_errors_are_those_of_both_kinds_and_the_same_each_time():
    model, pairs = prior(), torch.randn(3, 4, 40)
    errors = trials.held_out(model, pairs)
    assert errors == trials.held_out(model, pairs) and errors["alone"] != errors["after"]
    model.noise = lambda x, t, before: torch.zeros_like(x)
    assert all(0.8 < error < 1.2 for error in trials.held_out(model, pairs).values())


def test_a_swap_is_seen_by_a_network_that_knows_the_planes():
    model, x0 = prior(), torch.randn(3, 4, 20)
    assert trials.swap_seen(model.unet, SPEC, x0, model.schedule.alpha_bars) > 1e-3
    nn.init.zeros_(model.unet.plane.weight)
    assert trials.swap_seen(model.unet, SPEC, x0, model.schedule.alpha_bars) < 1e-4


def test_planes_that_come_back_do_not_disagree():
    class Halves(nn.Module):
        """Loses what is beyond 1."""

        def decode(self, z):
            return z.clamp(-1, 1)

        encode = decode

    inside, beyond = torch.rand(2, 4, 20), torch.rand(2, 4, 20)
    beyond[:, :, 8:14] += 1
    model = prior()
    assert trials.disagreement(Halves(), model, inside) == [0, 0, 0]
    found = trials.disagreement(Halves(), model, beyond)
    assert found[0] == found[2] == 0 < found[1]


def test_noise_that_is_known_is_taken_out():
    model, z = prior(), torch.rand(2, 4, 20) - 0.5
    torch.manual_seed(0)
    noise = torch.randn_like(z)
    model.noise = lambda x, t, before: noise
    noisy, clean = trials.half_noised(model, z, 400)
    torch.testing.assert_close(clean, z, atol=1e-4, rtol=0)
    assert (noisy - z).abs().mean() > 0.2


def test_a_level_of_the_cube_costs_more():
    with torch.no_grad():
        small, large = ([count_flops(work) for work in trials.level_work(16, side, "meta")] for side in (8, 32))
    assert small[1] > 5 * small[0] and large[1] > 40 * large[0]


def test_what_a_forward_pass_keeps():
    """A layer keeps its input, which counts once however many read it, and not its weights; a sum keeps nothing."""
    x = torch.randn(10, 8, requires_grad=True)
    assert trials.kept_bytes(partial(nn.Linear(8, 4), x)) == x.nbytes
    assert trials.kept_bytes(partial(Twice(), x)) == x.nbytes
    assert trials.kept_bytes(partial(Sum(), x)) == 0


class Twice(nn.Module):
    def forward(self, x):
        return x.square(), x[:5].square()


class Sum(nn.Module):
    def forward(self, x):
        return x.sum()


def test_memory_of_planes_and_of_a_cube_grows_with_their_positions():
    planes, cube = map(trials.kept_bytes, trials.level_work(16, 8))
    assert cube / planes == pytest.approx(1024 / 320, rel=0.1)
