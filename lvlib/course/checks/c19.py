"""Checks of notebook 19: how many codes, which, where they go, parts of a revision, lengths of a curriculum."""

import math

import torch

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.mebt import curriculum, decoding, schedule


def _counted(totals, check=True):
    """A wrong `fill_counts`, from its totals."""

    def fill_counts(name, steps, n):
        if check and not 1 <= steps <= n:
            raise ValueError("steps")
        there = totals(name, steps, n)
        return [after - before for before, after in zip([0, *there], there, strict=False)]

    return fill_counts


def _hidden(name, steps, n, s, shift=1):
    return schedule.still_hidden(name, (s + shift) / steps) * n


def _clamped(there, n):
    there[-1] = n
    return [max(count, s + 1) for s, count in enumerate(there)]


def _sum_up(name, steps, n):
    counts = schedule.fill_counts(name, steps, n)
    return [sum(counts[:s + 1]) for s in range(steps)]


def _count_cases(draw):
    yield Case("the notebook's 256 codes in 16 passes", ("cosine", 16, 256), gradients=False)
    yield Case("its 8 passes", ("cosine", 8, 256), gradients=False)
    for name in "cosine", "linear", "square":
        n = draw.size(20, 90)
        for steps in 1, 2, draw.size(3, 12), n - 1, n:
            yield Case(f"{name}, {n} codes in {steps}", (name, steps, n), gradients=False)
    yield Case("one code", ("square", 1, 1), gradients=False)
    yield Case("more steps than codes", ("cosine", 5, 4), raises=ValueError)
    yield Case("no step", ("linear", 0, 4), raises=ValueError)


@exercise("19.1", reference=schedule.fill_counts, wrong={
    "the last codes are never accepted": _counted(lambda name, steps, n: [
        n - math.ceil(_hidden(name, steps, n, s, 0)) for s in range(steps)]),
    "what a step adds is asked for, not what is there then": _sum_up,
    "every step accepts at least one code": _counted(lambda name, steps, n: [
        n - math.ceil(_hidden(name, steps, n, s) - 1e-9) for s in range(steps)]),
    "what is hidden is rounded up": _counted(lambda name, steps, n: _clamped([
        n - math.floor(_hidden(name, steps, n, s)) for s in range(steps)], n)),
    "all n codes are accepted in the end": _counted(lambda name, steps, n: [
        max(n - math.ceil(_hidden(name, steps, n, s)), s + 1) for s in range(steps)]),
    "more steps than codes must raise ValueError": _counted(lambda name, steps, n: _clamped([
        n - math.ceil(_hidden(name, steps, n, s)) for s in range(steps)], n), check=False),
}, cases=_count_cases)
def _(fn, expect):
    found = fn("linear", 4, 64)
    expect(len(found) == 4, "one number for each step")
    expect(list(found) != [16, 32, 48, 64], "what a step adds is asked for, not what is there then",
           look_at="differences of neighbours")
    cosine = fn("cosine", 8, 256)
    expect(cosine[0] > 0 and sum(fn("square", 6, 50)) != 35, "the last codes are never accepted",
           look_at="(s + 1) / steps")
    expect(sum(cosine) == 256, "all n codes are accepted in the end", look_at="there[-1] = n")
    expect(min(fn("cosine", 60, 64)) >= 1, "every step accepts at least one code", look_at="max(count, s + 1)")
    expect(cosine[0] != 5, "what is hidden is rounded up", look_at="math.ceil")
    raised = False
    try:
        fn("cosine", 9, 8)
    except ValueError:
        raised = True
    expect(raised, "more steps than codes must raise ValueError", look_at="the line above yours stays")


def _choice_cases(draw):
    def case(about, b, m, count, noise, dtype=torch.float32):
        log_probs = -3 * draw.uniform(b, m, dtype=dtype)
        return Case(about, (log_probs, draw.uniform(b, m, dtype=dtype), count, noise), gradients=False, batch=(0, 1))

    yield case("the notebook's noise of 4 on 256 codes", 2, 256, 19, 4.0)
    yield case("without noise", 3, 40, 7, 0.0)
    yield case("one clip, one code", 1, draw.size(3, 9), 1, 1.0)
    yield case("all codes", 2, 6, 6, 2.0)
    yield case("none", 2, 6, 0, 2.0)
    yield case("float64", 3, draw.size(5, 20), draw.size(1, 4), 0.5, torch.float64)
    uniform = draw.uniform(2, 8)
    uniform[:, ::3] = 0
    for noise in 0.0, 1.5:
        yield Case(f"random numbers of 0, noise {noise}", (-draw.uniform(2, 8), uniform, 3, noise), gradients=False)


def _chosen(scores):
    def most_certain(log_probs, uniform, count, noise):
        return schedule.hide_smallest(-scores(log_probs, uniform, noise), count)

    return most_certain


def _gumbel(uniform):
    return -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))


def _over_all_clips(log_probs, uniform, count, noise):
    scores = (log_probs + noise * _gumbel(uniform)).flatten()
    chosen = scores.topk(count * len(log_probs)).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(0, chosen, True).view(log_probs.shape)


@exercise("19.2", reference=schedule.most_certain, wrong={
    "the likeliest are accepted, not the least likely": _chosen(lambda log_p, u, noise: -(log_p + noise * _gumbel(u))),
    "the noise is missing": _chosen(lambda log_p, u, noise: log_p),
    "Gumbel noise is large where u is near 1": _chosen(lambda log_p, u, noise: log_p - noise * _gumbel(u)),
    "the noise is Gumbel's": _chosen(lambda log_p, u, noise: log_p + noise * u),
    "the noise is multiplied by `noise`": _chosen(lambda log_p, u, noise: log_p + (noise > 0) * _gumbel(u)),
    "random numbers of 0 must do no harm": _chosen(lambda log_p, u, noise: log_p + noise * -torch.log(-torch.log(u))),
    "as many in each clip": _over_all_clips,
}, cases=_choice_cases)
def _(fn, expect):
    log_probs = torch.tensor([[-3.0, -0.1, -2.0, -1.0, -5.0], [-9.0, -8.0, -7.0, -6.0, -5.5]])
    half = torch.full((2, 5), 0.5)
    found = fn(log_probs, half, 2, 0.0)
    expect(found.shape == (2, 5) and found.dtype == torch.bool, "bool (b, m) is asked for")
    expect(found[0].tolist() != [True, False, False, False, True], "the likeliest are accepted, not the least likely",
           look_at="hide_smallest marks the smallest: minus the scores")
    expect(bool((found.sum(1) == 2).all()), "as many in each clip", look_at="along axis 1")
    expect(found.tolist() == [[False, True, False, True, False], [False, False, False, True, True]],
           "without noise the likeliest are accepted")
    even = torch.zeros(1, 5)
    uniform = torch.tensor([[0.1, 0.9, 0.3, 0.5, 0.7]])
    chosen = fn(even, uniform, 1, 1.0)
    expect(not torch.equal(chosen, fn(even, uniform.flip(1), 1, 1.0)), "the noise is missing",
           look_at="noise * gumbel")
    expect(bool(chosen[0, 1]), "Gumbel noise is large where u is near 1", look_at="-log(-log(uniform)), added")
    # 0.9 has Gumbel noise 2.25, 0.5 has 0.37
    pair, two = torch.tensor([[0.0, 1.5]]), torch.tensor([[0.9, 0.5]])
    expect(bool(fn(pair, two, 1, 1.0)[0, 0]), "the noise is Gumbel's", look_at="-torch.log(-torch.log(uniform))")
    expect(bool(fn(pair, two, 1, 0.5)[0, 1]), "the noise is multiplied by `noise`", look_at="noise * gumbel")
    zero = torch.tensor([[0.0, 0.5, 0.0]])
    expect(fn(torch.tensor([[-1.0, -2.0, -3.0]]), zero, 1, 0.0)[0].tolist() == [True, False, False]
           and fn(torch.tensor([[-3.0, -2.0, -1.0]]), zero, 1, 0.0)[0].tolist() == [False, False, True],
           "random numbers of 0 must do no harm", look_at="uniform.clamp(1e-20, ...)")


def _accept_cases(draw):
    def case(about, b, n, m, keep):
        order = draw.uniform(b, n).argsort(1)[:, :m].sort(1).values
        hidden = torch.zeros(b, n, dtype=torch.bool).scatter(1, order, True)
        accepted = torch.zeros(b, m, dtype=torch.bool).scatter(1, draw.uniform(b, m).argsort(1)[:, :keep], True)
        args = draw.integers(0, 50, b, n), hidden, order, draw.integers(50, 99, b, m), accepted
        return Case(about, args, gradients=False, batch=(0, 1, 2, 3, 4))

    yield case("the notebook's 256 codes, all hidden", 1, 256, 256, 19)
    yield case("some hidden", 3, 12, 7, 3)
    yield case("none is accepted", 2, 8, 5, 0)
    yield case("all are accepted", 2, draw.size(6, 12), 5, 5)
    yield case("one hidden", draw.size(2, 5), 6, 1, 1)


def _put(codes_of, hidden_of):
    def accept(codes, hidden, places, drawn, accepted):
        return codes_of(codes, places, drawn, accepted), hidden_of(hidden, places, accepted)

    return accept


def _right_codes(codes, places, drawn, accepted):
    return codes.scatter(1, places, torch.where(accepted, drawn, codes.gather(1, places)))


def _right_hidden(hidden, places, accepted):
    return hidden.scatter(1, places, ~accepted)


def _at_the_start(codes, places, drawn, accepted):
    m = places.shape[1]
    return torch.cat([torch.where(accepted, drawn, codes[:, :m]), codes[:, m:]], 1)


@exercise("19.3", reference=decoding.accept, wrong={
    "a draw belongs to its place": _put(_at_the_start, _right_hidden),
    "what is not accepted is not written": _put(
        lambda codes, places, drawn, accepted: codes.scatter(1, places, drawn), _right_hidden),
    "what is accepted is no longer hidden": _put(
        _right_codes, lambda hidden, places, accepted: hidden.scatter(1, places, accepted)),
    "the others stay hidden": _put(
        _right_codes, lambda hidden, places, accepted: hidden.scatter(1, places, False)),
    "what is not accepted keeps its code": _put(
        lambda codes, places, drawn, accepted: codes.scatter(1, places, drawn * accepted), _right_hidden),
}, cases=_accept_cases)
def _(fn, expect):
    codes, hidden = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[False, True, False, True, True]])
    args = torch.tensor([[1, 3, 4]]), torch.tensor([[70, 80, 90]]), torch.tensor([[False, True, False]])
    result = fn(codes, hidden, *args)
    expect(isinstance(result, tuple) and len(result) == 2, "codes and hidden are asked for, in a tuple")
    after, still = result
    expect(after.tolist() != [[1, 80, 3, 4, 5]], "a draw belongs to its place", look_at="scatter(1, places, ...)")
    expect(after.tolist() != [[1, 70, 3, 80, 90]], "what is not accepted is not written", look_at="torch.where")
    expect(after.tolist() != [[1, 0, 3, 80, 0]], "what is not accepted keeps its code",
           look_at="codes.gather(1, places)")
    expect(after.tolist() == [[1, 2, 3, 80, 5]], "the code 80 belongs to place 3, and the others stay")
    expect(still.dtype == torch.bool, "hidden is bool")
    expect(not still[0, 3], "what is accepted is no longer hidden", look_at="~accepted")
    expect(still.tolist() == [[False, True, False, False, True]], "the others stay hidden", look_at="~accepted")


def _part_cases(draw):
    def case(about, b, m, parts):
        return Case(about, (draw.uniform(b, m), parts), gradients=False)

    yield case("the notebook's 256 places in 2 parts", 1, 256, 2)
    yield case("4 parts", 2, 64, 4)
    for parts in 1, 3, 4, 7, 10:
        yield case(f"10 places in {parts}", 3, 10, parts)
    m = draw.size(11, 30)
    yield case(f"{m} places in {m // 2}", draw.size(2, 4), m, m // 2)
    yield Case("more parts than places", (draw.uniform(2, 4), 5), raises=ValueError)
    yield Case("no part", (draw.uniform(2, 4), 0), raises=ValueError)


def _parts(number, check=True):
    def parts_in_turn(uniform, parts):
        if check and not 1 <= parts <= uniform.shape[1]:
            raise ValueError("parts")
        which = number(uniform, uniform.shape[1], parts)
        return [which == part for part in range(parts)]

    return parts_in_turn


def _rank(uniform):
    return uniform.argsort(1).argsort(1)


@exercise("19.4", reference=schedule.parts_in_turn, wrong={
    "the order of the places is not the rank of a place": _parts(lambda u, m, parts: u.argsort(1) * parts // m),
    "parts are as large as each other": _parts(lambda u, m, parts: (u * parts).long()),
    "each clip is divided in its own way": _parts(lambda u, m, parts: (_rank(u) * parts // m)[:1].expand(len(u), m)),
    "the smallest numbers are part 0": _parts(lambda u, m, parts: _rank(-u) * parts // m),
    "stretches of ranks, not every other one": _parts(lambda u, m, parts: _rank(u) % parts),
    "more parts than places must raise ValueError": _parts(lambda u, m, parts: _rank(u) * parts // m, check=False),
    "the division is at random": _parts(lambda u, m, parts: (torch.arange(m) * parts // m).expand(len(u), m)),
}, cases=_part_cases)
def _(fn, expect):
    uniform = torch.tensor([[0.9, 0.8, 0.1, 0.95, 0.85, 0.7], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    found = fn(uniform, 3)
    expect(isinstance(found, list) and len(found) == 3, "a list of `parts` is asked for")
    expect(all(part.shape == (2, 6) and part.dtype == torch.bool for part in found), "each part is bool (b, m)")
    which = sum(part.long() * i for i, part in enumerate(found))
    expect(which[0].tolist() != [0, 0, 1, 1, 2, 2], "the division is at random", look_at="the ranks of `uniform`")
    expect(bool((torch.stack(found).sum(2) == 2).all()), "parts are as large as each other",
           look_at="ranks, not the numbers themselves")
    expect(which[1].tolist() != which[0].tolist(), "each clip is divided in its own way", look_at="argsort(1)")
    expect(which[1].tolist() != [2, 2, 1, 1, 0, 0], "the smallest numbers are part 0", look_at="argsort(1)")
    expect(which[1].tolist() != [0, 1, 2, 0, 1, 2], "stretches of ranks, not every other one",
           look_at="rank * parts // m")
    expect(which[0].tolist() == [2, 1, 0, 2, 1, 0], "the order of the places is not the rank of a place",
           look_at="argsort twice")
    raised = False
    try:
        fn(uniform, 7)
    except ValueError:
        raised = True
    expect(raised, "more parts than places must raise ValueError", look_at="the line above yours stays")


def _length_cases(draw):
    def case(about, *args):
        return Case(about, args, gradients=False)

    for step in 0, 240_000, 930_000, 3_300_000, 10**9:
        yield case(f"the notebook's 32 latent frames at step {step:,}", "gaussian", 32, step, 30_000, 2.0)
    yield case("two latent frames", "gaussian", 2, 7, 10.0, 0.5)
    yield case("one", "gaussian", 1, 7, 10.0, 0.5)
    yield case("a wide bell", "gaussian", draw.size(4, 9), draw.size(0, 90), 20.0, 6.0)
    yield case("a narrow one", "gaussian", draw.size(4, 9), draw.size(0, 90), 20.0, 0.1)
    for kind in "none", "uniform", "renormalised":
        yield case(kind, kind, draw.size(3, 9), draw.size(0, 90), 15.0, 2.0)


def _lengths(probs):
    def interval_probs(kind, frames, step, alpha, beta):
        if kind != "gaussian":
            return curriculum.interval_probs(kind, frames, step, alpha, beta)
        lengths = torch.arange(1, frames + 1, dtype=torch.float64)
        return probs(lengths, 1 + step / alpha, beta)

    return interval_probs


def _between(low, high, mean, beta, first=True, last=True):
    up, down = torch.special.ndtr((high - mean) / beta), torch.special.ndtr((low - mean) / beta)
    if last:
        up[-1] = 1
    if first:
        down[0] = 0
    return up - down


@exercise("19.5", reference=curriculum.interval_probs, wrong={
    "the official code's lengths": _lengths(lambda v, mean, beta: (-((v - mean) / beta)**2 / 2).softmax(0)),
    "longer ones are cut to the longest": _lengths(lambda v, mean, beta: _between(v - 1, v, mean, beta, last=False)),
    "shorter ones become 1": _lengths(lambda v, mean, beta: _between(v - 1, v, mean, beta, first=False)),
    "the real number is rounded up, not to the nearest": _lengths(
        lambda v, mean, beta: _between(v - 0.5, v + 0.5, mean, beta)),
    "the real number is rounded up, not down": _lengths(lambda v, mean, beta: _between(v, v + 1, mean, beta)),
    "what is cut goes to the ends, not to all": _lengths(
        lambda v, mean, beta: (lambda p: p / p.sum().clamp_min(1e-300))(
            _between(v - 1, v, mean, beta, False, False))),
    "float64 is asked for": _lengths(lambda v, mean, beta: _between(v - 1, v, mean, beta).float()),
}, cases=_length_cases)
def _(fn, expect):
    def is_like(probs):
        return torch.allclose(found, probs, atol=1e-6)

    found = fn("gaussian", 5, 20, 10.0, 1.5)
    expect(found.shape == (5,), "a probability for each length")
    expect(found.dtype == torch.float64, "float64 is asked for")
    v, mean, beta = torch.arange(1, 6, dtype=torch.float64), 3.0, 1.5
    expect(not is_like((-((v - mean) / beta)**2 / 2).softmax(0)), "the official code's lengths",
           look_at="the probability between v - 1 and v")
    plain = _between(v - 1, v, mean, beta, False, False)
    expect(not is_like(plain / plain.sum()), "what is cut goes to the ends, not to all", look_at="up_to[-1] = 1")
    expect(not is_like(_between(v - 1, v, mean, beta, last=False)), "longer ones are cut to the longest",
           look_at="up_to[-1] = 1")
    expect(not is_like(_between(v - 1, v, mean, beta, first=False)), "shorter ones become 1",
           look_at="from 0, not from the probability of 0")
    expect(not is_like(_between(v - 0.5, v + 0.5, mean, beta)), "the real number is rounded up, not to the nearest")
    expect(not is_like(_between(v, v + 1, mean, beta)), "the real number is rounded up, not down")
    expect(abs(found.sum().item() - 1) < 1e-6, "probabilities sum to 1")
