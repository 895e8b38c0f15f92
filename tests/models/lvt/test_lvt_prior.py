"""LVT's prior: a likelihood that sums to one, an order that nothing breaks, loops for reference, sampling by counts."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from slow_lvt import NEIGHBOURS, code_nats, inside, random_, slices

from lvlib.models.lvt.layers import MaskedConv3d, earlier_taps, sinusoid
from lvlib.models.lvt.prior import LVTConfig, LVTSampling
from lvlib.stages import GivenFrames, LatentSpec

KINDS = "query-key", "key", "relative"
SMALL = {"dim": 12, "embedding_dim": 6, "heads": 2, "head_dim": 5, "encoder_layers": 1, "decoder_layers": 1}


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    torch.manual_seed(0)


def small_model(latent_shape, codes, **options):
    return random_(LVTConfig(**{**SMALL, **options}).build(LatentSpec(latent_shape, codes)))


def bits_of(model, clips, given_latents=1):
    return model.scores(clips, given_latents=given_latents)["bits_per_dim"]


def factors(shape):
    """Every subscale factor that divides the shape: single-frame, spatial, spatiotemporal and all others."""
    return list(product(*([d for d in range(1, size + 1) if size % d == 0] for size in shape)))


def every_nll(model, clips, prime_frames):
    """Nats of each code of clips (b, t, h, w, k), 0 at priming frames, from one `nll` a slice."""
    nats = torch.zeros(clips.shape, dtype=torch.float64)
    for number, positions in enumerate(slices(model.shape, model.factor)):
        t, h, w = torch.tensor(positions).T
        with torch.no_grad():
            nats[:, t, h, w] = model.nll(clips, torch.full((len(clips),), number), prime_frames)
    return nats


SHAPES = (4, 2, 4), (3, 4, 2)
CASES = [(shape, factor, (1, 3)[i % 2], KINDS[i % 3]) for shape in SHAPES for i, factor in enumerate(factors(shape))]


@pytest.mark.parametrize("shape, factor, k, kind", CASES)
def test_equals_the_formulas_in_loops(shape, factor, k, kind):
    model = small_model((*shape, k), 5, subscale=factor, attention=kind)
    clips = torch.randint(5, (2, *shape, k))
    for prime_frames in (1, 2):
        nats = every_nll(model, clips, prime_frames)
        assert (nats[:, :prime_frames] == 0).all()
        for clip, values in zip(clips.numpy(), nats.numpy(), strict=True):
            expected = code_nats(model, clip, prime_frames, kind)
            assert np.allclose(values[prime_frames:], expected[prime_frames:], atol=1e-6)  # waves are float32


def test_each_clip_has_a_slice_of_its_own():
    model, clips = small_model((4, 2, 4, 2), 5, subscale=(2, 1, 2)), torch.randint(5, (4, 4, 2, 4, 2))
    together = model.nll(clips, torch.tensor([3, 0, 2, 3]), 1)
    alone = [model.nll(clip[None], torch.tensor([number]), 1) for clip, number in zip(clips, (3, 0, 2, 3), strict=True)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape, codes, k", [((2, 1, 2), 2, 2), ((3, 2, 1), 3, 1), ((4, 1, 2), 2, 1)])
def test_probabilities_of_all_volumes_sum_to_one(shape, codes, k, kind):
    """Of all volumes with these priming frames, in every subscale order."""
    for factor, prime_frames in product(factors(shape), range(1, shape[0])):
        model = small_model((*shape, k), codes, subscale=factor, attention=kind)
        free = math.prod((shape[0] - prime_frames, *shape[1:], k))
        futures = torch.tensor(list(product(range(codes), repeat=free))).reshape(-1, shape[0] - prime_frames,
                                                                                *shape[1:], k)
        prime = torch.randint(codes, (1, prime_frames, *shape[1:], k)).expand(len(futures), -1, -1, -1, -1)
        probs = (-every_nll(model, torch.cat([prime, futures], 1), prime_frames).flatten(1).sum(1)).exp()
        assert len(probs) == codes**free and abs(probs.sum() - 1) < 1e-9
        assert probs.max() > 1.05 * probs.min()  # not a model that knows nothing


def order_and_reach(shape, factor, k, prime_frames):
    """When each code comes, (t, h, w, k); and what must reach what, bool (codes, codes), entry (j, i) from j to i.

    Earlier slices, priming frames and earlier codes of a position reach all that comes later. Codes of the slice itself
    reach at least what comes with or after the first position of which they are a neighbour.
    """
    index = np.arange(math.prod(shape) * k).reshape(*shape, k)
    when, reach = np.empty_like(index), np.zeros((index.size, index.size), bool)
    known = list(index[:prime_frames].flatten())
    count = 0
    small = tuple(size // step for size, step in zip(shape, factor, strict=True))
    for positions in slices(shape, factor):
        for i, p in enumerate(positions):
            when[p] = np.arange(count, count + k)
            count += k
            reach[np.ix_(known, index[p])] = True
            reach[np.ix_(index[p], index[p])] |= np.triu(np.ones((k, k), bool), 1)
            for step, there in product(NEIGHBOURS[:13], [np.unravel_index(i, small)]):
                before = np.add(there, step)
                if inside(before, small):
                    neighbour = positions[np.ravel_multi_index(before, small)]
                    for later in positions[i:]:
                        reach[np.ix_(index[neighbour], index[later])] = True
        known += [code for p in positions for code in index[p]]
    return when, reach


ORDERS = [((4, 2, 4), factor, 1) for factor in factors((4, 2, 4))]
ORDERS += [((4, 2, 2), factor, 4) for factor in [(4, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 2)]]
ORDERS += [((16, 1, 2), (16, 1, 1), 1), ((16, 2, 1), (16, 1, 1), 4), ((3, 3, 3), (3, 1, 3), 1)]


@pytest.mark.parametrize("shape, factor, k", ORDERS)
def test_no_code_changes_what_comes_before_and_each_changes_what_comes_after(shape, factor, k):
    for kind, prime_frames in [("query-key", 1), ("key", shape[0] // 2), ("relative", 1)]:
        model = small_model((*shape, k), 5, subscale=factor, attention=kind, dim=24)
        clip = torch.randint(5, (1, *shape, k))
        changed = clip.flatten() + torch.eye(clip.numel(), dtype=torch.int64) * torch.randint(1, 5, (clip.numel(), 1))
        clips = torch.cat([clip, (changed % 5).reshape(-1, *shape, k)])
        nats = every_nll(model, clips, prime_frames).flatten(1)
        change = (nats[1:] - nats[:1]).abs().numpy()  # (changed code, code)

        when, reach = order_and_reach(shape, factor, k, prime_frames)
        given = np.zeros((*shape, k), bool)
        given[:prime_frames] = True
        given, when = given.flatten(), when.flatten()
        later = (when[:, None] < when) & ~given[:, None] | given[:, None]
        may, must = (later | np.eye(len(when), dtype=bool)) & ~given, reach & ~given
        assert change[~may].max(initial=0) < 1e-12
        assert change[must].min() > 1e-9


@pytest.mark.parametrize("prime_frames", [1, 3])
def test_loss_is_bits_per_dim_on_average(prime_frames):
    """Over the slices, each as likely as the others; bits_per_dim is the sum of all nats over the generated codes."""
    shape, factor, k = (4, 2, 4), (2, 1, 2), 2
    model = small_model((*shape, k), 5, subscale=factor, prime_frames=prime_frames)
    clips = torch.randint(5, (2, *shape, k))
    nats = every_nll(model, clips, prime_frames).flatten(1).sum(1)
    exact = nats / math.log(2) / (math.prod(shape) * k * (shape[0] - prime_frames) / shape[0])
    assert torch.allclose(bits_of(model, clips, prime_frames), exact)

    drawn, losses, nll = Counter(), {}, model.nll

    def watched_nll(latents, numbers, prime_frames):
        drawn[int(numbers)] += 1
        losses["latest"] = int(numbers)
        return nll(latents, numbers, prime_frames)

    model.nll = watched_nll
    torch.manual_seed(0)
    for _ in range(200):
        with torch.no_grad():
            loss, metrics = model.loss(clips[:1])
        losses[losses["latest"]] = loss.item()
        assert metrics["bits_per_dim"].item() == pytest.approx(loss.item() / math.log(2))
    del losses["latest"]
    generated = {n for n, positions in enumerate(slices(shape, factor)) if positions[-1][0] >= prime_frames}
    assert set(drawn) == generated and min(drawn.values()) > 100 / len(generated)
    assert np.mean(list(losses.values())) / math.log(2) == pytest.approx(exact[0].item(), rel=1e-9)


def test_slices_are_drawn_for_each_clip_alone():
    model = small_model((4, 2, 2), 5, subscale=(4, 1, 1))
    seen, nll = [], model.nll
    model.nll = lambda latents, numbers, prime_frames: (seen.append(numbers), nll(latents, numbers, prime_frames))[1]
    torch.manual_seed(0)
    model.loss(torch.randint(5, (64, 4, 2, 2)))
    assert seen[0].unique().tolist() == [1, 2, 3]


def test_a_new_model_knows_nothing_and_every_weight_learns():
    model = LVTConfig(**SMALL, subscale=(2, 1, 2)).build(LatentSpec((4, 2, 4, 2), 5))
    clips = torch.randint(5, (64, 4, 2, 4, 2))
    assert bits_of(model, clips, 1).mean().item() == pytest.approx(math.log2(5), abs=0.3)
    model = random_(model)
    model.loss(clips)[0].backward()
    assert [name for name, weight in model.named_parameters() if not weight.grad.any()] == []


def test_training_and_evaluation_agree():
    model, clips = small_model((4, 2, 2), 5, subscale=(2, 2, 1)), torch.randint(5, (2, 4, 2, 2))
    numbers = torch.tensor([1, 3])
    assert torch.equal(model.train().nll(clips, numbers, 1), model.eval().nll(clips, numbers, 1))


@torch.no_grad()
def naive_sample(model, n, prime, temperature=1.0):
    """Each code anew from the whole model: its probabilities are read from `nll`, one value after the other tried."""
    t0, codes = prime.shape[1], model.spec.num_codes
    volume = torch.zeros(n, *model.shape, model.spec.codebooks, dtype=torch.int64)
    volume[:, :t0] = prime.reshape(*prime.shape[:4], -1)
    for number, positions in enumerate(slices(model.shape, model.factor)):
        for i, p in enumerate(positions):
            for k in range(volume.shape[-1]) if p[0] >= t0 else ():
                tried = volume.repeat(codes, 1, 1, 1, 1)
                tried[(slice(None), *p, k)] = torch.arange(codes).repeat_interleave(n)
                nats = model.nll(tried, torch.full((len(tried),), number), t0)[:, i, k].reshape(codes, n).T
                volume[(slice(None), *p, k)] = torch.multinomial((-nats / temperature).softmax(-1), 1)[:, 0]
    return volume.reshape(n, *model.spec.shape)


SAMPLED = [(factor, k) for factor in [(4, 1, 1), (1, 2, 2), (2, 2, 2), (1, 1, 1), (4, 2, 2), (2, 1, 2)] for k in (0, 3)]


@pytest.mark.parametrize("factor, k", SAMPLED)
def test_cached_sampling_equals_sampling_anew(factor, k):
    for kind, prime_frames, layers in [("query-key", 1, 2), ("key", 2, 1), ("relative", 3, 1), ("query-key", 3, 1)]:
        model = small_model((4, 2, 2, k) if k else (4, 2, 2), 5, subscale=factor, attention=kind, decoder_layers=layers)
        prime = torch.randint(5, (2, prime_frames, *model.spec.shape[1:]))
        temperature = 1.0 if prime_frames == 1 else 0.7
        torch.manual_seed(1)
        sampled = model.sample(2, given=prime, sampling=LVTSampling(temperature))
        torch.manual_seed(1)
        assert torch.equal(sampled, naive_sample(model, 2, prime, temperature))
        assert torch.equal(sampled[:, :prime_frames], prime)
        assert sampled.dtype == torch.int64 and 0 <= sampled.min() and sampled.max() < 5


def test_clips_of_a_batch_do_not_see_each_other():
    model, prime = small_model((4, 2, 2, 2), 5, subscale=(2, 2, 1)), torch.randint(5, (2, 1, 2, 2, 2))
    other = prime.clone()
    other[1] = (other[1] + 1) % 5
    torch.manual_seed(0)
    first = model.sample(2, given=prime)
    torch.manual_seed(0)
    second = model.sample(2, given=other)
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1, 1:], second[1, 1:])


def test_one_priming_clip_for_all_samples():
    model, prime = small_model((4, 2, 2), 5, subscale=(4, 1, 1)), torch.randint(5, (1, 2, 2, 2))
    torch.manual_seed(0)
    together = model.sample(3, given=prime)
    torch.manual_seed(0)
    assert torch.equal(together, model.sample(3, given=prime.expand(3, -1, -1, -1)))
    assert len(together.unique(dim=0)) == 3


@pytest.mark.parametrize("factor, k", [((2, 1, 1), 2), ((1, 1, 2), 2), ((2, 1, 2), 1)])
def test_samples_come_as_often_as_the_likelihood_says(factor, k):
    torch.manual_seed(0)
    model, n = small_model((2, 1, 2, k), 2, subscale=factor), 20_000
    prime = torch.randint(2, (1, 1, 1, 2, k))
    futures = torch.tensor(list(product(range(2), repeat=2 * k))).reshape(-1, 1, 1, 2, k)
    nats = every_nll(model, torch.cat([prime.expand(len(futures), -1, -1, -1, -1), futures], 1), 1)
    expected = n * (-nats.flatten(1).sum(1)).exp()
    counts = Counter(tuple(future) for future in model.sample(n, given=prime)[:, 1].flatten(1).tolist())
    observed = torch.tensor([counts[tuple(future)] for future in futures.flatten(1).tolist()])
    assert ((observed - expected).square() / expected).sum() < 45  # chi square, 15 degrees of freedom: 1 in 10,000
    assert expected.max() > 2 * expected.min()


def test_a_low_temperature_takes_the_likeliest_code():
    model, prime = small_model((2, 1, 2), 5, subscale=(2, 1, 1)), torch.randint(5, (1, 1, 1, 2))
    sampled = model.sample(8, given=prime, sampling=LVTSampling(1e-4))
    first = torch.cat([prime.expand(5, -1, -1, -1), torch.arange(5).reshape(5, 1, 1, 1).expand(-1, -1, -1, 2)], 1)
    best = every_nll(model, first[..., None], 1)[:, 1, 0, 0, 0].argmin()
    assert (sampled[:, 1, 0, 0] == best).all() and len(sampled.unique(dim=0)) == 1


def test_in_bfloat16_nothing_but_digits_is_lost():
    """As mixed precision trains it: weights stay float32."""
    model = LVTConfig(**SMALL, subscale=(2, 1, 2)).build(LatentSpec((4, 2, 4, 2), 5)).requires_grad_(True)
    model, clips = random_(model, std=0.2).float(), torch.randint(5, (8, 4, 2, 4, 2))
    exact = bits_of(model, clips, 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.loss(clips)
        rounded, sampled = bits_of(model, clips, 1), model.sample(8, given=clips[:, :1])
    assert loss.dtype == rounded.dtype == torch.float32 and torch.allclose(rounded, exact, rtol=0.02)
    assert sampled.dtype == torch.int64


def test_masked_convolution_sees_only_what_comes_before():
    conv, shape = random_(MaskedConv3d(2, 3)), (3, 3, 4)
    assert conv.mask.sum() == 13 and torch.equal(earlier_taps((3, 3, 3)), conv.mask)
    x = torch.randn(1, 2, *shape, dtype=torch.float64)
    plain = conv(x)
    assert plain.shape == (1, 3, *shape)
    places = list(product(*map(range, shape)))
    for i, place in enumerate(places):
        other = x.clone()
        other[(0, slice(None), *place)] += 1
        reached = (conv(other) - plain)[0].abs().amax(0).flatten() > 1e-12
        near = [max(abs(np.subtract(there, place))) == 1 for there in places]
        assert reached.tolist() == [j > i and near[j] for j in range(len(places))]


@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 3, 3), (5, 3, 1)])
def test_taps_before_the_centre(kernel):
    centre = tuple(size // 2 for size in kernel)
    for tap in product(*map(range, kernel)):
        assert earlier_taps(kernel)[tap] == (tap < centre)  # tuples compare in raster order


@pytest.mark.parametrize("shape, dim", [((4, 8, 8), 12), ((1, 16, 16), 512), ((16, 8, 8), 128)])
def test_waves_tell_positions_apart(shape, dim):
    waves = sinusoid(shape, dim)
    assert waves.shape == (math.prod(shape), dim) and waves.abs().max() <= 1
    assert torch.cdist(waves, waves).fill_diagonal_(9).min() > 0.1
    assert dim % 6 == 0 or (waves[:, dim // 6 * 6:] == 0).all()


@pytest.mark.parametrize("kind, millions", [("query-key", 49.87), ("key", 41.50), ("relative", 33.09)])
def test_parameters_of_table_7(kind, millions):
    with torch.device("meta"):
        model = LVTConfig(attention=kind).build(LatentSpec((16, 16, 16, 4), 512))
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.005)


def error_of(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("options, words", [
    ({"subscale": (3, 1, 1)}, ("3", "time", "1, 2, 4")), ({"subscale": (1, 4, 1)}, ("4", "height", "1, 2")),
    ({"subscale": (1, 1, 0)}, ("0", "width", "1, 2, 3, 6")), ({"prime_frames": 4}, ("prime_frames", "4")),
    ({"prime_frames": 0}, ("prime_frames", "at least 1", "0")), ({"dim": 0}, ("dim", "at least 1")),
    ({"attention": "query"}, ("query-key, key, relative", "'query'")), ({"decoder_layers": -1}, ("at least 0", "-1"))])
def test_sizes_that_do_not_fit(options, words):
    message = error_of(lambda: LVTConfig(**{**SMALL, "subscale": (4, 1, 1), **options}).build(LatentSpec((4, 2, 6), 5)))
    assert all(word in message for word in words), message


@pytest.mark.parametrize("shape, words", [
    ((2, 1, 2, 2), "each of the 3, not of 2"), ((1, 1, 2, 3), "(b, 1 to 3, 2, 2), not (1, 1, 2, 3)"),
    ((1, 1, 2, 2, 1), "(b, 1 to 3, 2, 2), not (1, 1, 2, 2, 1)"), ((1, 1, 2), "(b, 1 to 3, 2, 2), not (1, 1, 2)"),
    ((1, 4, 2, 2), "(b, 1 to 3, 2, 2), not (1, 4, 2, 2)"), ((1, 0, 2, 2), "(b, 1 to 3, 2, 2), not (1, 0, 2, 2)")])
def test_priming_codes_of_another_shape(shape, words):
    model = small_model((4, 2, 2), 5, subscale=(4, 1, 1))
    assert words in error_of(lambda: model.sample(3, given=torch.zeros(shape, dtype=torch.int64)))


@pytest.mark.parametrize("temperature", [0, -1.0, 1e-7, math.inf, math.nan])
def test_a_temperature_that_no_distribution_has(temperature):
    message = error_of(lambda: LVTSampling(temperature))
    assert message == f"temperature must be at least 1e-6 and finite, not {temperature}"
    assert LVTSampling(1e-6).temperature == 1e-6 and LVTSampling() == LVTConfig.Sampling(1.0)


@pytest.mark.parametrize("latents, given_latents, words", [
    (torch.zeros(1, 3, 2, 2), 1, "(b, 4, 2, 2), not (1, 3, 2, 2)"), (torch.zeros(1, 4, 2, 2), 4, "1 to 3, not 4"),
    (torch.zeros(1, 4, 2, 2), 0, "1 to 3, not 0"), (torch.full((1, 4, 2, 2), 5), 1, "0..4; got 5 to 5")])
def test_no_likelihood_of_codes_that_do_not_fit(latents, given_latents, words):
    model = small_model((4, 2, 2), 5, subscale=(4, 1, 1))
    assert words in error_of(lambda: bits_of(model, latents.long(), given_latents))


@pytest.mark.parametrize("code", [-1, 5])
def test_priming_codes_out_of_range(code):
    model = small_model((4, 2, 2), 5, subscale=(4, 1, 1))
    message = error_of(lambda: model.sample(1, given=torch.full((1, 1, 2, 2), code)))
    assert "0..4" in message and str(code) in message


def test_what_a_prior_that_only_goes_on_refuses():
    model, codes = small_model((4, 2, 2), 5, subscale=(4, 1, 1)), torch.zeros(1, 4, 2, 2, dtype=torch.int64)
    assert error_of(lambda: model.sample(1)) == "this model goes on from given codes, of 1 to 3 latent frames"
    assert "clips of 4 latent frames, not of 8" in error_of(lambda: model.sample(1, {}, codes[:, :1], None, 8))
    label = {"label": torch.zeros(1)}
    for call in (lambda: model.loss(codes, label), lambda: model.scores(codes, label),
                 lambda: model.sample(1, label, codes[:, :1])):
        assert error_of(call) == "this model takes no condition, not label"
    assert model.sample(1, {}, codes[:, :1], None, 4).shape == codes.shape


def test_what_the_configuration_says_of_itself():
    config, video = LVTConfig(prime_frames=2), (3, 16, 64, 64)
    assert (config.likelihood, config.extends, config.conditions(video)) == ("exact", False, ())
    assert config.given_frames(LatentSpec((16, 16, 16), 512), video) == GivenFrames(1, 15, 1, 2)
    assert config.given_frames(LatentSpec((4, 16, 16), 512, frames_per_latent=4), video) == GivenFrames(4, 12, 4, 8)
    message = error_of(lambda: config.build(LatentSpec((4, 16, 8, 8)), video))
    assert message == "LVT's prior predicts codes, and these latents are 4 x 16 x 8 x 8 numbers a clip"
