"""VideoGPT's prior without a condition: a likelihood that sums to one, nothing sees ahead, sampling by counts."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from slow_lvt import random_
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lvlib.models.videogpt import sampling
from lvlib.models.videogpt.prior import VideoGPT, VideoGPTConfig
from lvlib.models.videogpt.sampling import VideoGPTSampling, decode_row, keep_likely, row_cache
from lvlib.stages import LatentSpec

SHAPES = (3, 2, 2), (2, 3, 2), (2, 2, 2, 2), (4, 1, 1, 2)  # (t, h, w), or (t, h, w, k) for 2 codebooks
LOCALS = None, 1, 3  # None: full attention


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    torch.manual_seed(0)


def new_model(shape, codes, **sizes):
    return VideoGPT(VideoGPTConfig(**{"dropout": 0.0, **sizes}), LatentSpec(shape, codes))


def small_model(shape, num_codes=5, local=None, dropout=0.0, layers=1):
    attention = {} if local is None else {"attention": "sparse", "local": local}
    return random_(new_model(shape, num_codes, dim=12, heads=2, layers=layers, hidden=8, dropout=dropout, **attention))


def sample(model, n, given=None, **options):
    return model.sample(n, given=given, sampling=VideoGPTSampling(**options))


def bits_of(model, clips, given_latents=0):
    return model.scores(clips, given_latents=given_latents)["bits_per_dim"]


def every_volume(shape, codes):
    return torch.tensor(list(product(range(codes), repeat=math.prod(shape)))).reshape(-1, *shape)


def sees(shape, local, layers):
    """bool (code, code before): through its own position and those that attention reaches, layer after layer.

    Position i holds the code before it, i - 1.
    """
    n, frame = math.prod(shape), math.prod(shape[1:])
    once = np.array([[j <= i and (local is None or i - j < local or (i - j) % frame == 0) for j in range(n)]
                     for i in range(n)])
    reached = np.linalg.matrix_power(once.astype(int), layers) > 0
    return np.concatenate([reached[:, 1:], np.zeros((n, 1), bool)], 1)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("local", LOCALS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_code_changes_the_prediction_of_those_after_it_alone(shape, local, layers):
    model, n = small_model(shape, local=local, layers=layers), math.prod(shape)
    clip = torch.randint(5, (1, n))
    poked = (clip + torch.eye(n, dtype=torch.int64) * torch.randint(1, 5, (n, 1))) % 5
    with torch.no_grad():
        change = model.logits(poked.reshape(-1, *shape)) - model.logits(clip.reshape(-1, *shape))
    assert np.array_equal((change.abs().amax(-1) > 1e-12).T, sees(shape, local, layers))


@pytest.mark.parametrize("local", LOCALS)
@pytest.mark.parametrize("shape, codes", [((2, 2, 1), 3), ((2, 1, 3), 2), ((2, 1, 1, 2), 4)])
def test_probabilities_of_all_volumes_sum_to_one(shape, codes, local):
    model = small_model(shape, codes, local)
    probs = (-model.nll(every_volume(shape, codes)).sum(1)).exp()
    assert len(probs) == codes ** math.prod(shape) and abs(probs.sum() - 1) < 1e-6
    assert probs.max() > 1.05 * probs.min()  # not a model that knows nothing


def test_loss_and_bits_are_means_of_nll():
    model, clips = small_model((2, 2, 2, 2)), torch.randint(5, (3, 2, 2, 2, 2))
    nats = model.nll(clips)
    loss, metrics = model.loss(clips)
    assert nats.shape == (3, 16) and torch.allclose(loss, nats.mean())
    assert torch.allclose(metrics["bits_per_dim"], nats.mean() / math.log(2))
    assert torch.allclose(bits_of(model, clips), nats.mean(1) / math.log(2))
    assert torch.allclose(bits_of(model, clips, 1), nats[:, 8:].mean(1) / math.log(2))
    logs, codes = model.logits(clips).log_softmax(-1), clips.flatten(1)
    by_hand = [-logs[b, i, codes[b, i]] for b, i in product(range(3), range(16))]
    assert torch.allclose(nats.flatten(), torch.stack(by_hand).float())


@pytest.mark.parametrize("dim, layers, codes", [(192, 8, 512), (64, 2, 32), (512, 2, 1024)])
def test_a_new_model_finds_all_codes_about_equally_likely(dim, layers, codes):
    model = new_model((2, 4, 4), codes, dim=dim, heads=4, layers=layers, hidden=2 * dim)
    with torch.no_grad():
        loss, _ = model.loss(torch.randint(codes, (8, 2, 4, 4)))
    assert abs(loss - math.log(codes)) < 0.15


def test_every_weight_learns():
    model = small_model((2, 2, 2), layers=2)
    model.loss(torch.randint(5, (64, 2, 2, 2)))[0].backward()
    assert [name for name, weight in model.named_parameters() if not weight.grad.any()] == []


@torch.no_grad()
def sample_slowly(model, n, given=None, temperature=1.0, top_k=None, top_p=None):
    """Each code anew from the whole model."""
    codes = torch.zeros(n, *model.spec.shape, dtype=torch.int64)
    known = 0 if given is None else given[0].numel()
    flat = codes.view(n, -1)
    if known:
        flat[:, :known] = given.flatten(1)
    for i in range(known, flat.shape[1]):
        logits = keep_likely(model.logits(codes)[:, i].float() / temperature, top_k, top_p)
        flat[:, i] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    return codes


def under_one_seed(sampler, *arguments, **options):
    torch.manual_seed(1)
    return sampler(*arguments, **options)


OPTIONS = {}, {"temperature": 0.7}, {"top_k": 2}, {"top_p": 0.6, "temperature": 1.3}, {"top_k": 3, "top_p": 0.9}


@pytest.mark.parametrize("local", LOCALS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cached_sampling_gives_the_codes_of_sampling_anew(shape, local):
    model = small_model(shape, local=local, layers=2)
    for options in OPTIONS:
        assert torch.equal(under_one_seed(sample, model, 3, **options),
                           under_one_seed(sample_slowly, model, 3, **options))
    given = torch.randint(5, (3, *shape))[:, :shape[0] - 1]
    assert torch.equal(under_one_seed(model.sample, 3, given=given), under_one_seed(sample_slowly, model, 3, given))


@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_attention_with_a_full_window_gives_the_codes_of_full_attention(shape):
    full, sparse = small_model(shape, layers=2), small_model(shape, local=math.prod(shape), layers=2)
    sparse.load_state_dict(full.state_dict())
    codes = under_one_seed(full.sample, 4)
    assert torch.equal(under_one_seed(sparse.sample, 4), codes)
    assert torch.equal(under_one_seed(sample_slowly, sparse, 4), codes)


@pytest.mark.parametrize("local", [None, 2])
def test_sampling_reads_only_what_is_filled(local, monkeypatch):
    model = small_model((3, 2, 2), local=local, layers=2)
    expected = under_one_seed(model.sample, 2)

    def cache_of_nan(attention, batch, n):
        cache = row_cache(attention, batch, n)
        cache.keys.fill_(math.nan)
        cache.values.fill_(math.nan)
        return cache

    monkeypatch.setattr(sampling, "row_cache", cache_of_nan)
    assert torch.equal(under_one_seed(model.sample, 2), expected)


@torch.no_grad()
def flops_of_codes(model, n):
    """Of each code of n clips; attention in plain matrix products so that they are counted."""
    counts, steps = [], decode_row(model, torch.zeros(n, model.n, dtype=torch.int64))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for _ in steps:
            counts.append(counter.get_total_flops())
    return np.diff(counts)


def test_work_for_a_code_grows_linearly_with_what_is_there_and_with_the_batch():
    counts = flops_of_codes(small_model((3, 2, 2), layers=2), 1)
    assert set(np.diff(counts)) == {2 * 2 * 2 * 12}  # in each of 2 layers: query with key, weight with value
    assert (flops_of_codes(small_model((3, 2, 2), layers=2), 3) == 3 * counts).all()


def test_clips_of_a_batch_do_not_see_each_other():
    model, clips = small_model((3, 2, 2), layers=2), torch.randint(5, (2, 3, 2, 2))
    other = clips.clone()
    other[1] = (other[1] + 1) % 5
    assert torch.equal(model.nll(clips)[0], model.nll(other)[0])
    assert torch.allclose(model.nll(clips), torch.cat([model.nll(clip[None]) for clip in clips]))
    first, second = (under_one_seed(sample, model, 2, given[:, :1], temperature=0.1) for given in (clips, other))
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1, 1:], second[1, 1:])


def test_given_codes_stay_and_one_clip_serves_all():
    model, given = small_model((3, 2, 2)), torch.randint(5, (1, 2, 2, 2))
    sampled = under_one_seed(model.sample, 4, given=given)
    assert (sampled[:, :2] == given).all() and len(sampled.unique(dim=0)) > 1
    assert sampled.dtype == torch.int64 and 0 <= sampled.min() and sampled.max() < 5
    assert torch.equal(sampled, under_one_seed(model.sample, 4, given=given.expand(4, -1, -1, -1)))


def chi_square(sampled, volumes, probs):
    counts = Counter(tuple(clip) for clip in sampled.flatten(1).tolist())
    observed = torch.tensor([counts[tuple(volume)] for volume in volumes.flatten(1).tolist()])
    expected = len(sampled) * probs
    assert observed.sum() == len(sampled)
    return ((observed - expected).square() / expected).sum()


@pytest.mark.parametrize("shape, codes", [((2, 1, 2), 2), ((2, 1, 1, 2), 2), ((4, 1, 1), 2)])
def test_samples_come_as_often_as_the_likelihood_says(shape, codes):
    model, volumes = small_model(shape, codes), every_volume(shape, codes)
    probs = (-model.nll(volumes).sum(1)).exp().double()
    assert len(volumes) == 16 and probs.max() > 2 * probs.min()
    assert chi_square(model.sample(20_000), volumes, probs) < 45  # 15 degrees of freedom: 1 in 10,000
    first = volumes[:1, :1]
    begin_so = (volumes[:, :1] == first).flatten(1).all(1)
    rest = probs[begin_so] / probs[begin_so].sum()
    assert chi_square(model.sample(20_000, given=first), volumes[begin_so], rest) < 35  # at most 7


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(temperature):
    """With one code a clip: probabilities are the softmax of logits over temperature."""
    model = small_model((1, 1, 1), num_codes=6)
    probs = (model.logits(torch.zeros(1, 1, 1, 1, dtype=torch.int64))[0, 0] / temperature).softmax(-1).detach()
    sampled = sample(model, 20_000, temperature=temperature)
    assert chi_square(sampled, every_volume((1, 1, 1), 6), probs) < 26  # 5 degrees of freedom: 1 in 10,000


def test_a_low_temperature_takes_the_likeliest_code():
    model = small_model((3, 2, 2))
    sampled = sample(model, 8, temperature=1e-5)
    assert len(sampled.unique(dim=0)) == 1
    assert torch.equal(model.logits(sampled[:1]).argmax(-1).view(1, 3, 2, 2), sampled[:1])
    assert torch.equal(sample(model, 8, top_k=1), sampled) and torch.equal(sample(model, 8, top_p=1e-6), sampled)


def keep_likely_slowly(logits, top_k, top_p):
    """One row, by definition, with lists. Returns the indices that stay."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    if top_k is not None:
        order = [i for i in order if logits[i] >= logits[order[:top_k][-1]]]
    if top_p is not None:
        weights = [math.exp(logits[i]) for i in order]
        kept, together = [], 0.0
        for i, weight in zip(order, weights, strict=True):
            if together < top_p:
                kept.append(i)
            together += weight / sum(weights)
        order = kept
    return set(order)


@pytest.mark.parametrize("top_k", [None, 1, 2, 5, 9, 40])
@pytest.mark.parametrize("top_p", [None, 1e-9, 0.3, 0.71, 0.98, 1.0])
def test_keep_likely_by_definition(top_k, top_p):
    logits = 2 * torch.randn(4, 3, 9, dtype=torch.float64)
    kept = keep_likely(logits, top_k, top_p)
    stays = kept > -math.inf
    assert torch.equal(kept[stays], logits[stays]) and stays.any(-1).all()
    for row, result in zip(logits.flatten(0, 1).tolist(), stays.flatten(0, 1), strict=True):
        assert set(result.nonzero()[:, 0].tolist()) == keep_likely_slowly(row, top_k, top_p)


@pytest.mark.parametrize("spread", [1, 3, 30])
def test_a_top_p_of_one_keeps_every_code(spread):
    """A sum of the probabilities of 4,096 codes in float32, the likeliest first, is 1 before it should be."""
    logits = spread * torch.randn(200, 4096)
    assert torch.equal(keep_likely(logits, top_p=1.0), logits)


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.999, 1 - 1e-6])
def test_no_code_is_lost_in_rounding(top_p):
    logits = 3 * torch.randn(50, 4096)
    stays, exact = ((keep_likely(values, top_p=top_p) > -math.inf).sum(-1) for values in (logits, logits.double()))
    assert ((stays - exact).abs() <= 1 + exact // 100).all()


def test_keep_likely_where_codes_are_equally_likely():
    logits = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0])
    assert (keep_likely(logits, top_k=3) == logits).all()  # the third is as likely as two others
    assert (keep_likely(logits, top_k=2) > -math.inf).tolist() == [False, True, False, True, False]
    flat = torch.zeros(10)
    assert (keep_likely(flat, top_p=0.25) > -math.inf).sum() == 3  # the fewest with at least a quarter
    assert (keep_likely(flat, top_k=1) == flat).all()


def test_keep_likely_leaves_its_input_and_all_codes_alone_by_default():
    logits = torch.randn(2, 5)
    before = logits.clone()
    assert torch.equal(keep_likely(logits), before)
    keep_likely(logits, 1, 0.1)
    assert torch.equal(logits, before)


def test_no_dropout_while_sampling_and_afterwards_as_before():
    model = small_model((3, 2, 2), dropout=0.5, layers=2)
    expected = under_one_seed(model.eval().sample, 3)
    assert not model.training
    assert torch.equal(under_one_seed(model.train().sample, 3), expected)
    assert all(module.training for module in model.modules())
    clips = torch.randint(5, (1, 3, 2, 2))
    assert not torch.equal(model.nll(clips), model.nll(clips))  # while it trains there is dropout


@pytest.mark.parametrize("training", [True, False])
def test_an_error_while_sampling_leaves_the_mode_as_before(training, monkeypatch):
    model = small_model((3, 2, 2)).train(training)

    def broken(*_):
        raise RuntimeError("a draw that fails")

    monkeypatch.setattr(torch, "multinomial", broken)
    with pytest.raises(RuntimeError, match="a draw that fails"):
        model.sample(2)
    with pytest.raises(ValueError, match="no condition"):
        model.sample(2, condition={"label": torch.zeros(2)})
    assert all(module.training == training for module in model.modules())


def test_sampling_keeps_no_gradients():
    model = small_model((2, 1, 2)).requires_grad_(True)
    assert not model.sample(2).requires_grad and not bits_of(model, torch.zeros(1, 2, 1, 2).long()).requires_grad


def test_in_bfloat16_nothing_but_digits_is_lost():
    """As mixed precision trains it: weights stay float32."""
    model, clips = new_model((3, 2, 2), 5, dim=32, heads=2, layers=2, hidden=64).eval(), torch.randint(5, (8, 3, 2, 2))
    exact = bits_of(model, clips)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = model.loss(clips)
        rounded, sampled = bits_of(model, clips), sample(model, 8, top_p=0.9)
    assert loss.dtype == rounded.dtype == torch.float32 and torch.allclose(rounded, exact, rtol=0.02)
    assert sampled.dtype == torch.int64 and sampled.unique().numel() == 5


def error_of(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(1, 3, 2), (1, 3, 2, 2, 2), (1, 2, 2, 2), (1, 3, 2, 3)])
def test_codes_of_another_shape(shape):
    model, codes = small_model((3, 2, 2)), torch.zeros(shape, dtype=torch.int64)
    for method in (model.loss, model.nll, model.scores):
        assert f"(b, 3, 2, 2), not {shape}" in error_of(lambda method=method: method(codes))


@pytest.mark.parametrize("code", [-1, 5])
def test_codes_out_of_range(code):
    model, codes = small_model((3, 2, 2)), torch.full((1, 3, 2, 2), code)
    for call in (lambda: model.scores(codes), lambda: model.sample(1, given=codes[:, :1])):
        assert "0..4" in error_of(call) and str(code) in error_of(call)


@pytest.mark.parametrize("shape, words", [
    ((2, 1, 2, 2), "each of the 3, not of 2"), ((1, 0, 2, 2), "(b, 1 to 2, 2, 2), not (1, 0, 2, 2)"),
    ((1, 3, 2, 2), "(b, 1 to 2, 2, 2), not (1, 3, 2, 2)"), ((1, 1, 2, 3), "(b, 1 to 2, 2, 2)"),
    ((1, 1, 2), "(b, 1 to 2, 2, 2)"), ((4,), "(b, 1 to 2, 2, 2)")])
def test_given_codes_that_do_not_fit(shape, words):
    model = small_model((3, 2, 2))
    assert words in error_of(lambda: model.sample(3, given=torch.zeros(shape, dtype=torch.int64)))


@pytest.mark.parametrize("options, words", [
    ({"temperature": 0.0}, "temperature must be at least 1e-6 and finite, not 0.0"),
    ({"temperature": -1.0}, "not -1.0"), ({"temperature": 1e-7}, "not 1e-07"), ({"temperature": math.inf}, "not inf"),
    ({"temperature": math.nan}, "not nan"), ({"top_k": 0}, "top_k must be at least 1, not 0"),
    ({"top_p": 0.0}, "top_p must be above 0 and at most 1, not 0.0"), ({"top_p": 1.5}, "at most 1, not 1.5"),
    ({"top_p": math.nan}, "at most 1, not nan")])
def test_sampling_options_that_no_distribution_has(options, words):
    assert words in error_of(lambda: VideoGPTConfig.Sampling(**options))


def test_given_latents_and_lengths_that_do_not_fit():
    model, codes = small_model((3, 2, 2)), torch.zeros(1, 3, 2, 2, dtype=torch.int64)
    for given_latents in (-1, 3):
        assert f"0 to 2, not {given_latents}" in error_of(lambda given=given_latents: bits_of(model, codes, given))
    assert "clips of 3 latent frames, not of 6" in error_of(lambda: model.sample(1, latent_frames=6))
    assert model.sample(1, {}, None, None, 3).shape == codes.shape


def test_a_condition_for_a_model_without_one():
    model, codes = small_model((3, 2, 2)), torch.zeros(1, 3, 2, 2, dtype=torch.int64)
    for call in (lambda: model.loss(codes, {"label": torch.zeros(1)}),
                 lambda: model.sample(1, condition={"label": torch.zeros(1)})):
        assert error_of(call) == "this model takes no condition, not label"
