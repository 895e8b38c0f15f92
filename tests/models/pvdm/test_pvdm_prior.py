"""PVDM's prior: both halves of its objective, standardized planes, clips appended, guidance, what it refuses."""

import pytest
import torch
from torch import Tensor, nn

from lvlib.models.pvdm import prior as pvdm
from lvlib.models.pvdm.prior import PVDMConfig, Standardize, TriplaneDiffusion, coin_loss, guided, joint_loss
from lvlib.models.pvdm.samplers import DiffusionSampling
from lvlib.stages import GivenFrames, LatentSpec

PLANES = ((2, 3), (4, 3), (4, 2))
SPEC = LatentSpec((4, 26), None, 4, PLANES)
PAIR = LatentSpec((4, 52), None, 4, PLANES * 2)
SMALL = {"width": 8, "multipliers": (1, 2), "blocks": 1, "heads": 2, "across": 1}
FEW = DiffusionSampling(steps=3, next_steps=2)


def prior(**fields) -> TriplaneDiffusion:
    torch.manual_seed(0)
    model = PVDMConfig(**SMALL | fields).build(SPEC, (1, 4, 8, 12))
    for parameter in model.parameters():  # what begins at zero hides what it multiplies
        nn.init.normal_(parameter, std=0.2)
    model.standardize.measure(some_latents(20))
    return model.eval()


def some_latents(clips: int = 3, in_a_row: int = 1, seed: int = 1) -> Tensor:
    """In [-1, 1], with other means and deviations in each plane and channel."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.1, 0.5, 4)[:, None] * torch.cat([torch.full((6,), 0.3), torch.full((12,), 0.8),
                                                              torch.full((8,), 1.0)])
    clip = [scale * (torch.randn(clips, 4, 26, generator=generator) + 0.5) for _ in range(in_a_row)]
    return torch.cat(clip, 2).clamp(-1, 1)


class Asked:
    """Stands in for the U-Net: keeps what it is asked, and says a noise that depends on x and on the clip before."""

    def __init__(self, model: TriplaneDiffusion):
        self.calls: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        self.split, self.join = model.spec.split_planes, model.spec.join_planes
        model._modules.pop("unet")
        model.unet = self

    def __call__(self, planes, before, t, actions=None):
        x, context = self.join(planes), self.join(before)
        self.calls.append((x.clone(), context.clone(), t.clone(), actions))
        return [z / 2 + c / 4 for z, c in zip(planes, before, strict=True)]


# The objective


def test_the_weighted_sum_by_hand():
    x, before, noise = torch.randn(3, 2, 4, 5)
    t = torch.tensor([4, 9])

    def predict(x, t, before):
        return x * t[:, None, None] + before

    after = (x * t[:, None, None] + before - noise).square().mean()
    alone = (x * t[:, None, None] - noise).square().mean()
    loss, *errors = joint_loss(predict, x, t, before, noise, 0.3)
    torch.testing.assert_close(loss, 0.3 * after + 0.7 * alone)
    torch.testing.assert_close(errors, [after, alone])


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_coin_has_the_loss_of_the_sum_in_the_mean(share):
    x, before, noise = torch.randn(3, 40, 4, 5, generator=torch.Generator().manual_seed(0))
    t = torch.ones(40, dtype=torch.int64)

    def predict(x, t, before):
        return x / 2 + before

    wanted, after, alone = joint_loss(predict, x, t, before, noise, share)
    assert abs(after - alone) > 0.2
    torch.manual_seed(0)
    mean = torch.stack([coin_loss(predict, x, t, before, noise, share) for _ in range(400)]).mean()
    assert mean.item() == pytest.approx(wanted.item(), abs=0.02)
    assert coin_loss(predict, x, t, before, noise, 1.0) == after
    assert coin_loss(predict, x, t, before, noise, 0.0) == alone


@pytest.mark.parametrize("objective", ["sum", "coin"])
def test_the_loss_is_of_the_second_clip_after_the_first(objective):
    model, latents = prior(objective=objective, conditional=0.5), some_latents(50, 2)
    asked = Asked(model)
    torch.manual_seed(0)
    loss, metrics = model.loss(latents, {})
    (x, context, t, _), = asked.calls
    first, second = (model.standardize(z) for z in latents.split(26, 2))
    known = context.flatten(1).any(1)
    assert torch.equal(context[known], first.repeat(len(x) // 50, 1, 1)[known])
    assert len(x) == (100 if objective == "sum" else 50)
    assert known.tolist() == [True] * 50 + [False] * 50 if objective == "sum" else 10 < known.sum() < 40
    a = model.schedule.alpha_bars[t][:, None, None].float()
    noise = (x - a.sqrt() * second.repeat(len(x) // 50, 1, 1)) / (1 - a).sqrt()
    assert abs(noise.mean()) < 0.05 and noise.std().item() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(loss, (x / 2 + context / 4 - noise).square().mean(), atol=1e-3, rtol=1e-3)
    assert 1 <= t.min() and t.max() <= 1000 and len(t.unique()) > 20
    both = {"noise_mse_after", "noise_mse_alone"} if objective == "sum" else set()
    assert set(metrics) == {"noise_mse"} | both


@pytest.mark.parametrize("conditional, clips, known", [(0.0, 1, False), (1.0, 2, True)])
def test_one_half_of_the_objective_alone(conditional, clips, known):
    config = PVDMConfig(**SMALL, objective="coin", conditional=conditional)
    assert config.clips == clips
    model = prior(objective="coin", conditional=conditional)
    asked = Asked(model)
    model.loss(some_latents(6, clips), {})
    assert asked.calls[0][1].flatten(1).any(1).tolist() == [known] * 6


def test_the_gradient_reaches_every_weight():
    model = prior(actions=2).train()
    model.loss(some_latents(2, 2), {"actions": torch.randn(2, 8, 2)})[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


# Standardized planes


def test_standardized_planes_have_mean_0_and_deviation_1_channel_by_channel():
    latents, standardize = some_latents(200), Standardize(SPEC)
    assert torch.equal(standardize(latents), latents)  # not measured yet
    standardize.measure(latents)
    for plane in SPEC.split_planes(standardize(latents)):
        torch.testing.assert_close(plane.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(plane.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(standardize.undo(standardize(latents)), latents)


def test_a_constant_channel_does_no_harm():
    latents, standardize = some_latents(5), Standardize(SPEC)
    latents[:, 2, :6] = 0.25
    standardize.measure(latents)
    found = standardize(latents)
    assert found.isfinite().all() and found[:, 2, :6].abs().max() < 1e-3


def test_it_is_measured_in_training_until_there_were_enough_clips(monkeypatch):
    monkeypatch.setattr(pvdm, "MEASURED", 12)
    model = PVDMConfig(**SMALL).build(SPEC, (1, 4, 8, 12))
    model.eval().loss(some_latents(4, 2), {})
    assert model.standardize.measured == 0
    expected, seen = Standardize(SPEC), []
    for seed, clips in enumerate((4, 2, 3)):
        latents = some_latents(clips, 2, seed=seed)
        model.train().loss(latents, {})
        seen += latents.split(26, 2) if len(seen) < 4 else []
    expected.measure(torch.cat(seen))  # of 12 clips at once: those of the third batch come too late
    assert model.standardize.measured == 12 == len(torch.cat(seen))
    torch.testing.assert_close(model.standardize.mean, expected.mean)
    torch.testing.assert_close(model.standardize.std, expected.std)


def process(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    standardize = Standardize(SPEC)
    for latents in some_latents(16).split(8):
        standardize.measure(latents.split([5, 3])[rank])
    torch.save(standardize.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_in_several_processes_it_is_that_of_all(tmp_path):
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    expected = Standardize(SPEC)
    expected.measure(some_latents(16))
    for rank in 0, 1:
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), dict(expected.state_dict()))


# Sampling


def test_each_clip_goes_on_after_the_one_before_it_alone():
    model = prior()
    asked = Asked(model)
    torch.manual_seed(0)
    made = model.sample(2, {}, None, FEW, 3)
    assert made.shape == (2, 4, 78)
    clips = [model.standardize(z) for z in made.split(26, 2)]
    contexts = [context for _, context, _, _ in asked.calls]
    assert len(contexts) == 3 + 2 + 2  # N steps of the first clip, M of each other
    assert all(not context.any() for context in contexts[:3])
    for context in contexts[3:5]:
        torch.testing.assert_close(context, clips[0], atol=1e-5, rtol=1e-4)
    for context in contexts[5:]:
        torch.testing.assert_close(context, clips[1], atol=1e-5, rtol=1e-4)


def test_the_steps_of_the_first_clip_and_of_the_others():
    model = prior()
    asked = Asked(model)
    model.sample(1, {}, None, DiffusionSampling(steps=4, next_steps=2), 2)
    assert [int(t[0]) for *_, t, _ in asked.calls] == [1000, 750, 500, 250, 1000, 500]
    asked.calls.clear()
    model.sample(1, {}, some_latents(1), DiffusionSampling(steps=4, next_steps=2), 2)
    assert [int(t[0]) for *_, t, _ in asked.calls] == [1000, 500]  # after a given clip M, though it is the first drawn


@pytest.mark.parametrize("given", [some_latents(1), some_latents(3), some_latents(1, 2), some_latents(3, 2)])
def test_given_clips_stay_as_they_are(given):
    model, untouched = prior(), given.clone()
    made = model.sample(3, {}, given, FEW, 4)
    assert made.shape == (3, 4, 104) and torch.equal(given, untouched)
    torch.testing.assert_close(made[:, :, :given.shape[2]], given.expand(3, -1, -1), atol=1e-5, rtol=1e-5)
    assert not torch.equal(made[0, :, -26:], made[1, :, -26:])


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_the_same_seed_makes_the_same_clips(sampler):
    model, sampling, results = prior(), DiffusionSampling(steps=3, next_steps=2, sampler=sampler), []
    for seed in 0, 0, 1:
        torch.manual_seed(seed)
        results.append(model.sample(2, {}, None, sampling, 2))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_latents_stay_where_tanh_leaves_them():
    model = prior()
    Asked(model)
    last = model.sample(20, {}, None, DiffusionSampling(steps=3, eta=0.0))
    assert last.abs().max() <= 1 + 1e-5
    wild = model.sample(20, {}, None, DiffusionSampling(steps=3, eta=0.0, clamp=False))
    assert wild.abs().max() > 1


@pytest.mark.parametrize("weight, before, batches", [(0.0, True, [3]), (1.5, True, [6]), (0.0, False, [3]),
                                                     (1.5, False, [3])])
def test_guidance_costs_a_second_pass_only_where_it_is_used(weight, before, batches):
    torch.manual_seed(0)
    x, clip, t, seen = torch.randn(3, 4, 26), torch.randn(3, 4, 26), torch.tensor([5, 6, 7]), []

    def predict(x, t, before):
        seen.append(len(x))
        return x * t[:, None, None] + before.sin()

    found = guided(predict, x, t, clip if before else None, weight)
    after, alone = x * t[:, None, None] + clip.sin(), x * t[:, None, None]
    assert seen == batches
    torch.testing.assert_close(found, (1 + weight) * after - weight * alone if before else alone)


def test_the_network_runs_once_a_step_without_guidance():
    model = prior()
    asked = Asked(model)
    model.sample(2, {}, None, FEW, 2)
    assert [len(x) for x, *_ in asked.calls] == [2, 2, 2, 2, 2]
    asked.calls.clear()
    model.sample(2, {}, None, DiffusionSampling(steps=3, next_steps=2, guidance=1.0), 2)
    assert [len(x) for x, *_ in asked.calls] == [2, 2, 2, 4, 4]


def test_guidance_of_one_clip_is_refused():
    """There it would change nothing, and say nothing."""
    with pytest.raises(ValueError, match="guidance is of clips that go on after another: of one clip leave it 0"):
        prior().sample(2, {}, None, DiffusionSampling(steps=1, guidance=1.0))


# Actions


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_each_clip_is_told_its_own_actions(clips, guidance):
    model = prior(actions=2)
    asked = Asked(model)
    actions = torch.arange(clips * 12 * 2.0).view(clips, 12, 2)
    model.sample(2, {"actions": actions}, None, DiffusionSampling(steps=1, next_steps=1, guidance=guidance), 3)
    told = [each for *_, each in asked.calls]
    for i, rows in enumerate(told):
        expected = actions[:, 4 * i:4 * i + 4].expand(2, -1, -1)
        assert torch.equal(rows, expected if i == 0 or not guidance else expected.repeat(2, 1, 1))


def test_the_loss_is_told_the_actions_of_the_second_clip():
    model = prior(actions=2, objective="sum")
    asked = Asked(model)
    actions = torch.randn(3, 8, 2)
    model.loss(some_latents(3, 2), {"actions": actions})
    assert torch.equal(asked.calls[0][3], actions[:, 4:].repeat(2, 1, 1))


# What is refused


@pytest.mark.parametrize("given, clips, message", [
    (some_latents(2, 2), 2, r"given latents must be \(b, 4, k \* 26\) with k from 1 to 1, the clips but one, not "
                            r"\(2, 4, 52\)"),
    (some_latents(2)[:, :, :20], 3, "given latents must be"), (some_latents(2)[:, :3], 3, "given latents must be"),
    (some_latents(2)[0], 3, "given latents must be"), (some_latents(2), 1, "given latents must be"),
    (some_latents(2), 3, "give the latents of one video, or of each of the 3, not of 2"),
])
def test_given_latents_that_do_not_fit_are_refused(given, clips, message):
    with pytest.raises(ValueError, match=f"^{message}") as error:
        prior().sample(3, {}, given, FEW, clips)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("steps, next_steps, name", [(1001, 2, "steps"), (2, 1001, "next_steps")])
def test_more_steps_than_there_are_are_refused(steps, next_steps, name):
    with pytest.raises(ValueError, match=rf"^{name} must be 1 to 1000, not 1001$"):
        prior().sample(1, {}, None, DiffusionSampling(steps=steps, next_steps=next_steps), 2)


def test_clips_that_were_never_learned_are_refused():
    with pytest.raises(ValueError, match=r"^this model learned clips alone \(conditional 0\), none that goes on after"):
        prior(objective="coin", conditional=0.0).sample(1, {}, None, FEW, 2)
    with pytest.raises(ValueError, match=r"^this model learned clips after another alone \(conditional 1\): give it a"):
        prior(objective="coin", conditional=1.0).sample(1, {}, None, FEW, 2)
    assert prior(objective="coin", conditional=0.0).sample(1, {}, None, FEW).shape == (1, 4, 26)
    assert prior(objective="coin", conditional=1.0).sample(1, {}, some_latents(1), FEW, 2).shape == (1, 4, 52)


@pytest.mark.parametrize("fields, condition, message", [
    ({}, {"actions": torch.zeros(1, 4, 2)}, "actions"),
    ({"actions": 2}, {}, "this model is told actions, not nothing"),
    ({"actions": 2}, {"label": torch.zeros(1)}, "this model is told actions, not label"),
    ({"actions": 2}, {"actions": torch.zeros(1, 4, 3)}, r"actions must be \(1 or 2, at least 4, 2\), not \(1, 4, 3\)"),
    ({"actions": 2}, {"actions": torch.zeros(1, 3, 2)}, r"actions must be \(1 or 2, at least 4, 2\), not \(1, 3, 2\)"),
    ({"actions": 2}, {"actions": torch.zeros(3, 4, 2)}, r"actions must be \(1 or 2, at least 4, 2\), not \(3, 4, 2\)"),
    ({"actions": 2}, {"actions": torch.zeros(4, 2)}, r"actions must be \(1 or 2, at least 4, 2\), not \(4, 2\)"),
])
def test_a_condition_that_does_not_fit_is_refused(fields, condition, message):
    with pytest.raises(ValueError, match=message) as error:
        prior(**fields).sample(2, condition, None, FEW)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fields, message", [
    ({"objective": "dice"}, "objective must be one of sum, coin, not 'dice'"),
    ({"conditional": 1.0}, "conditional must be from 0 to 1, and of a sum neither, not 1.0"),
    ({"conditional": 0}, "conditional must be from 0 to 1, and of a sum neither, not 0"),
    ({"objective": "coin", "conditional": 1.5}, "conditional must be from 0 to 1"),
    ({"objective": "coin", "conditional": -0.1}, "conditional must be from 0 to 1"),
    ({"conditional": float("nan")}, "conditional must be from 0 to 1"),
    ({"width": 0}, "width must be at least 1, not 0"), ({"blocks": 0}, "blocks must be at least 1"),
    ({"across": -1}, "across must be at least 0, not -1"), ({"actions": -1}, "actions must be at least 0"),
    ({"timesteps": 0}, "timesteps must be at least 1"),
    ({"multipliers": ()}, r"multipliers must be 1 or more, not \(\)"),
    ({"multipliers": (1, 0)}, r"multipliers must be 1 or more, not \(1, 0\)"),
    ({"width": 9, "heads": 3}, "width must be even, and each level's a multiple of heads, 3: not 9"),
    ({"width": 10, "heads": 4}, "width must be even, and each level's a multiple of heads, 4: not 10"),
    ({"betas": (0.0, 0.1)}, "betas must rise from above 0 to below 1"),
    ({"betas": (0.0015, 0.5), "timesteps": 1000}, "betas must .* 1e-7 of the data, not .* in 1000 timesteps"),
    ({"betas": (0.2, 0.1)}, "betas must rise"), ({"betas": (0.1, 1.0)}, "betas must rise"),
])
def test_sizes_that_are_not_allowed_are_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{message}") as error:
        PVDMConfig(**SMALL | fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("latents, frames, why", [
    (LatentSpec((4, 4, 2, 3)), 4, "PVDM's prior takes the three planes of one clip, not 4 x"),
    (PAIR, 8, ".* data.frames must be the frames of the autoencoder's clips"),
])
def test_latents_that_are_no_three_planes_are_refused(latents, frames, why):
    with pytest.raises(ValueError, match=f"^{why}"):
        PVDMConfig(**SMALL).build(latents, (1, frames, 8, 12))


@pytest.mark.parametrize("clips", [1, 3])
def test_the_loss_takes_pairs_alone(clips):
    with pytest.raises(ValueError, match=f"^the loss takes 2 clips in a row, not {clips}"):
        prior().loss(some_latents(2, clips), {})


def test_whole_clips_can_be_given():
    config = PVDMConfig(**SMALL)
    assert config.given_frames(SPEC, (1, 4, 8, 12)).most == 0
    assert config.given_frames(PAIR, (1, 12, 8, 12)) == GivenFrames(0, 8, 4, 4)
    alone = PVDMConfig(**SMALL, objective="coin", conditional=0.0)
    assert alone.given_frames(PAIR, (1, 12, 8, 12)) == GivenFrames(0, 0, 4, 0)
    after = PVDMConfig(**SMALL, objective="coin", conditional=1.0)
    assert after.given_frames(PAIR, (1, 8, 8, 12)) == GivenFrames(4, 4, 4, 4)
