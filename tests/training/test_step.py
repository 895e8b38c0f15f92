"""A step of several optimizers and losses, in micro-batches, against the same written out in plain torch."""

import dataclasses

import pytest
import torch
from torch import nn
from toys import GAN, Clips, config, gan, line

from lvlib.data import to_video
from lvlib.models.common.quantize import GradientCodebook
from lvlib.training.step import Step, build_optimizer, learning_rate, losses_of, parameters_of

SETTINGS = config(batch=12, gradient_clip=0.05, learning_rate=1e-2, schedule="cosine", warmup=2)


def videos(clips: int = 12) -> torch.Tensor:
    return to_video(torch.stack([torch.tensor(Clips()[i]["video"]) for i in range(clips)]))


def test_a_step_of_two_optimizers_is_these_lines_of_torch():
    """Adam, clipped: each loss moves its own parameters, the discriminator from step 3 on, and what comes second sees
    what the first has moved."""
    stepped, model, video = gan(GradientCodebook), gan(GradientCodebook), videos()
    step = Step(stepped, SETTINGS)
    parts = model.optimizers()
    moments = {name: [[torch.zeros_like(p) for p in own] for _ in range(2)] for name, own in parts.items()}
    taken = dict.fromkeys(parts, 0)
    for number in range(1, 6):
        losses, metrics = step(number, [(video,)])
        for (name, loss, expected_metrics), (key, logged) in zip(
                model.losses(video, number), losses.items(), strict=True):
            assert key == f"{name}_loss" and logged == pytest.approx(loss.item(), rel=1e-5)
            assert {key: metrics[key] for key in expected_metrics} == pytest.approx(
                {key: value.item() for key, value in expected_metrics.items()}, rel=1e-4)
            gradients = torch.autograd.grad(loss, parts[name])
            norm = sum(g.square().sum() for g in gradients).sqrt()
            assert norm > 0.05  # else this would not test clipping
            taken[name] += 1
            rate = learning_rate(SETTINGS, number)
            for p, g, first, second in zip(parts[name], gradients, *moments[name], strict=True):
                g = g * (0.05 / norm)
                first.lerp_(g, 0.1)
                second.lerp_(g**2, 0.001)
                mean, square = first / (1 - 0.9 ** taken[name]), second / (1 - 0.999 ** taken[name])
                with torch.no_grad():
                    p -= rate * mean / (square.sqrt() + 1e-8)
        torch.testing.assert_close(stepped.state_dict(), model.state_dict(), rtol=1e-4, atol=1e-5)
    assert taken == {"generator": 5, "discriminator": 3}


@pytest.mark.parametrize("pieces", [2, 6, 12])
def test_micro_batches_are_the_whole_batch_in_turns(pieces):
    """Up to rounding, where nothing is drawn at random and nothing learns at each forward."""
    whole, split, video = gan(GradientCodebook), gan(GradientCodebook), videos()
    step_of_one = Step(whole, SETTINGS)
    step_of_many = Step(split, dataclasses.replace(SETTINGS, accumulate=pieces))
    for number in range(1, 7):
        one = step_of_one(number, [(video,)])
        many = step_of_many(number, [(part,) for part in video.chunk(pieces)])
        for expected, got in zip(one, many, strict=True):
            assert {key: value.item() for key, value in got.items()} == pytest.approx(
                {key: value.item() for key, value in expected.items()}, rel=1e-4, abs=1e-5)
    torch.testing.assert_close(split.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_codebook_by_running_means_learns_from_each_micro_batch():
    """As the docstring of Step says: n times a step; and equal memory with the n-th root of the decay."""
    once, twice, video = gan(), gan(), videos()
    once.codebook.decay, twice.codebook.decay = 0.81, 0.9
    still = config(batch=12, learning_rate=1e-30)
    for number in range(1, 30):
        Step(once, still)(number, [(video,)])
        Step(twice, still)(number, [(video[:6],), (video[6:],)])
    assert once.codebook.updates == 29 and twice.codebook.updates == 58
    # Both have forgotten how they began by now: an update's mean count is that of the vectors it saw.
    assert once.codebook.count.sum().item() == pytest.approx(12 * 2 * 4 * 4, rel=0.05)
    assert twice.codebook.count.sum().item() == pytest.approx(6 * 2 * 4 * 4, rel=0.05)


def test_a_gradient_reaches_the_parameters_of_its_own_optimizer_alone():
    model, reached = gan(), []
    names = {id(parameter): name.partition(".")[0] for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda parameter: reached.append(names[id(parameter)]))
    Step(model, config())(3, [(videos(4),), (videos(4),)])
    generator, discriminator = ["decoder"] * 2 + ["encoder"] * 2, ["discriminator"] * 4
    assert [sorted(reached[i:i + 4]) for i in range(0, 16, 4)] == [generator, generator, discriminator, discriminator]


def test_the_first_step_does_not_see_gradients_that_the_model_came_with():
    stale, fresh, video = line(noise=0), line(noise=0), videos(4)
    stale.loss(-video)[0].backward()
    for model in stale, fresh:
        Step(model, config())(1, [(video,)])
    assert all(torch.equal(a, b) for a, b in zip(stale.parameters(), fresh.parameters(), strict=True))


def test_a_model_with_one_loss_has_one_optimizer():
    model = line()
    model.conv.bias.requires_grad_(False)
    assert parameters_of(model) == {"model": [model.conv.weight]}
    (name, loss, metrics), = losses_of(model, (videos(4),), step=1)
    assert name == "model" and loss.ndim == 0 and metrics.keys() == {"largest_error"}
    bias = model.conv.bias.clone()
    losses, _ = Step(model, config())(1, [(videos(4),)])
    assert losses.keys() == {"loss"} and torch.equal(model.conv.bias, bias)
    assert model.conv.bias.grad is None


class Misnamed(GAN):
    def optimizers(self):
        parts = super().optimizers()
        return self.change(parts) or parts


def lose(parts):
    del parts["discriminator"][0]


def twice(parts):
    parts["generator"].append(parts["discriminator"][0])


def foreign(parts):
    parts["generator"].append(nn.Parameter(torch.zeros(1)))


@pytest.mark.parametrize("change, reason", [
    (lose, "discriminator.0.weight must be in one optimizer"), (twice, "discriminator.0.weight must be in one"),
    (foreign, "parameters that are not the model's"),
])
def test_each_parameter_learns_in_one_optimizer(change, reason):
    model = gan()
    model.__class__, model.change = Misnamed, change
    with pytest.raises(ValueError, match=reason):
        Step(model, config())


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_the_state_of_optimizers_goes_from_one_step_to_the_next(optimizer):
    """What an optimizer remembers is taken over, its settings are not: they are the configuration's."""
    settings = config(optimizer=optimizer)
    whole, first = gan(GradientCodebook), gan(GradientCodebook)
    steps = Step(whole, settings)
    for number in range(1, 7):
        steps(number, [(videos(),)])
    start = Step(first, settings)
    for number in range(1, 5):
        start(number, [(videos(),)])
    saved = start.state_dict()
    saved["generator"]["param_groups"][0]["betas"] = "never read"
    rest = Step(first, settings)
    rest.load_state_dict(saved)
    for number in range(5, 7):
        rest(number, [(videos(),)])
    for name, tensor in whole.state_dict().items():
        assert torch.equal(first.state_dict()[name], tensor), name


def no_second(saved):
    del saved["discriminator"]


def no_moment(saved):
    del saved["generator"]["state"][0]["exp_avg"]


def other_shape(saved):
    saved["generator"]["state"][0]["exp_avg"] = torch.zeros(2, 2)


def no_such_parameter(saved):
    saved["generator"]["state"][17] = saved["generator"]["state"][0]


@pytest.mark.parametrize("harm", [no_second, no_moment, other_shape, no_such_parameter])
def test_a_state_that_does_not_fit_is_refused(harm):
    step = Step(gan(), config())
    for number in range(1, 4):
        step(number, [(videos(4),)])
    saved = step.state_dict()
    harm(saved)
    with pytest.raises((ValueError, IndexError)):
        Step(gan(), config()).load_state_dict(saved)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_rate_per_clip_is_multiplied_by_the_whole_batch(optimizer):
    """TATS B.2: 4.5e-6 times the batch, here 12 clips in six micro-batches. Under a warm-up and a cosine, too: it is
    the rate of a run whose learning_rate is the product."""
    settings = config(optimizer=optimizer, batch=12, accumulate=6, learning_rate=4.5e-6, rate_per_clip=True)
    assert learning_rate(settings, 1) == learning_rate(settings, 9) == pytest.approx(5.4e-5, rel=1e-12)
    scheduled = dataclasses.replace(settings, schedule="cosine", warmup=4, steps=20)
    assert [learning_rate(scheduled, step) for step in (2, 4, 5, 13)] == pytest.approx(
        [2.7e-5, 5.4e-5, 5.4e-5, 2.7e-5], rel=1e-12)
    per_clip, plain = line(noise=0), line(noise=0)
    one = Step(per_clip, settings)
    one(1, [(part,) for part in videos().chunk(6)])
    assert [group["lr"] for group in one.optimizers["model"].param_groups] == pytest.approx([5.4e-5])
    Step(plain, dataclasses.replace(settings, learning_rate=4.5e-6 * 12, rate_per_clip=False))(
        1, [(part,) for part in videos().chunk(6)])
    assert torch.equal(per_clip.conv.weight, plain.conv.weight)
    assert not torch.equal(plain.conv.weight, line(noise=0).conv.weight)


def test_optimizers_have_the_settings_of_the_configuration():
    parameters = [nn.Parameter(torch.zeros(2))]
    adam = build_optimizer(parameters, config(optimizer="adamw", betas=(0.5, 0.9), weight_decay=0.1)).defaults
    assert (adam["lr"], adam["betas"], adam["weight_decay"]) == (1e-2, (0.5, 0.9), 0.1)
    rmsprop = build_optimizer(parameters, config(optimizer="rmsprop", betas=(0.5, 0.9))).defaults
    assert (rmsprop["momentum"], rmsprop["alpha"]) == (0.5, 0.9)
