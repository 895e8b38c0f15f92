"""Checks of notebook 03: usage, perplexity, restarts, and what counts as dead."""

import torch

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.common import quantize


def _codes_cases(draw):
    def case(about, num_codes, codes):
        return Case(about, (codes, num_codes), loose=True)

    yield case("the notebook's 512 codes", 512, draw.integers(0, 512, 512))
    for num_codes, shape in (8, (2, 3)), (5, (40,)), (draw.size(20, 90), (2, 3, 4, 4, 2)), (3, (1,)):
        yield case(f"{num_codes} codes in shape {shape}", num_codes, draw.integers(0, num_codes, *shape))
    yield case("the codes of one codebook of two", 6, draw.integers(0, 6, 3, 4, 4, 2)[..., 1])
    yield case("a single code", 1, torch.zeros(6, dtype=torch.int64))
    yield case("codes that never occur", 9, draw.integers(2, 5, 4, 6))
    yield case("a code that occurs once", 6, torch.tensor([5, 0, 0, 0, 3, 3]))
    yield case("all codes alike", 7, torch.arange(7).repeat(3))


@exercise("3.1", reference=quantize.usage, wrong={
    "codes that occur often count more than once": lambda codes, num_codes: (
        torch.bincount(codes.flatten(), minlength=num_codes).float().mean()),
    "the share of the whole codebook is asked for": lambda codes, num_codes: codes.unique().numel() * torch.ones(()),
    "a code that occurs once is in use too": lambda codes, num_codes: (
        torch.bincount(codes.flatten(), minlength=num_codes) > 1).float().mean(),
    "codes that never occur are left out of the share": lambda codes, num_codes: (
        torch.bincount(codes.flatten()) > 0).float().mean(),
}, cases=_codes_cases)
def _(fn, expect):
    codes = torch.tensor([[0, 0, 2], [2, 2, 2]])
    result = float(fn(codes, 8))
    expect(result != 0.75, "codes that occur often count more than once", look_at="compare the counts with 0 first")
    expect(result != 2, "the share of the whole codebook is asked for", look_at="divide by num_codes")
    expect(abs(result - 2 / 3) > 1e-6, "codes that never occur are left out of the share",
           look_at="minlength=num_codes")
    expect(abs(result - 0.25) < 1e-6, "two of eight codes occur here, so usage is 0.25", look_at="the hint")
    expect(abs(float(fn(torch.tensor([0, 0, 5]), 8)) - 0.25) < 1e-6, "a code that occurs once is in use too",
           look_at="compare the counts with 0")


def _entropy(codes, num_codes):
    return quantize.perplexity(codes, num_codes).log()


def _in_bits(codes, num_codes):
    return (_entropy(codes, num_codes) / torch.tensor(2.0).log()).exp()


def _zero_times_log_zero(codes, num_codes):
    p = torch.bincount(codes.flatten(), minlength=num_codes).float() / codes.numel()
    return (-(p * p.log()).sum()).exp()


@exercise("3.2", reference=quantize.perplexity, wrong={
    "this is the entropy; perplexity is exp of it": _entropy,
    "the entropy is in bits and the exponential in base e": _in_bits,
    "not a number: 0 times log 0 should be 0": _zero_times_log_zero,
    "the counts must become frequencies first": lambda codes, num_codes: torch.special.entr(
        torch.bincount(codes.flatten(), minlength=num_codes).float()).sum().exp(),
}, cases=_codes_cases)
def _(fn, expect):
    codes = torch.arange(4).repeat(2, 3)  # four codes, equally often
    result = torch.as_tensor(fn(codes, 8), dtype=torch.float)
    expect(not torch.isnan(result), "not a number: 0 times log 0 should be 0", look_at="torch.special.entr")
    expect(not torch.isclose(result, torch.tensor(4.0).log()), "this is the entropy; perplexity is exp of it",
           look_at="the last step")
    expect(not torch.isclose(result, torch.tensor(2.0).exp()), "the entropy is in bits and the exponential in base e",
           look_at="use the same base twice")
    expect(result > 1e-3, "the counts must become frequencies first", look_at="divide by codes.numel()")
    expect(torch.isclose(result, torch.tensor(4.0)), "four codes equally often have perplexity 4", look_at="the hint")
    lopsided = torch.tensor([0] * 6 + [1] * 2)
    p = torch.tensor([0.75, 0.25])
    result = torch.as_tensor(fn(lopsided, 8), dtype=torch.float)
    expect(torch.isclose(result, (-(p * p.log()).sum()).exp()), "wrong for codes of unequal frequency",
           look_at="exp(-sum p log p)")


def _embedding_alone(dead, fresh, fresh_count, embedding, count, total):
    return torch.where(dead[:, None], fresh, embedding), count, total


def _everything(dead, fresh, fresh_count, embedding, count, total):
    return fresh, fresh_count.expand(len(dead)), fresh_count * fresh


def _alive_instead(dead, fresh, fresh_count, embedding, count, total):
    return quantize.restart_codes(~dead, fresh, fresh_count, embedding, count, total)


def _total_is_fresh(dead, fresh, fresh_count, embedding, count, total):
    embedding, count, _ = quantize.restart_codes(dead, fresh, fresh_count, embedding, count, total)
    return embedding, count, torch.where(dead[:, None], fresh, total)


def _restart_cases(draw):
    def case(about, dead, d, dtype=torch.float32):
        k = len(dead)
        embedding, fresh = (draw.normal(k, d, dtype=dtype) for _ in range(2))
        count, fresh_count = 5 * draw.uniform(k, dtype=dtype), 1 + draw.uniform(dtype=dtype)
        # Not for training: the codebook moves by counting.
        return Case(about, (dead, fresh, fresh_count, embedding, count, count[:, None] * embedding), gradients=False)

    yield case("the notebook's 512 codes", draw.uniform(512) < 0.4, 64)
    for k, d in (4, 3), (draw.size(5, 9), draw.size(5, 9)), (3, 1):
        yield case(f"{k} codes of {d} numbers", torch.arange(k) % 2 == 1, d)
    yield case("no dead code", torch.zeros(4, dtype=torch.bool), 2)
    yield case("dead codes alone", torch.ones(3, dtype=torch.bool), 5)
    yield case("float64", torch.tensor([True, False, True]), 2, torch.float64)


@exercise("3.3", reference=quantize.restart_codes, wrong={
    "only the embedding is fresh: the next update undoes it": _embedding_alone,
    "a living code was changed": _everything,
    "the living were restarted, the dead left": _alive_instead,
    "total / count is not the fresh vector": _total_is_fresh,
}, cases=_restart_cases)
def _(fn, expect):
    dead, fresh_count = torch.tensor([False, True, True, False]), torch.tensor(4.0)
    embedding, fresh, count = torch.randn(4, 3), torch.randn(4, 3), torch.rand(4) + 1
    total = count[:, None] * embedding
    result = fn(dead, fresh, fresh_count, embedding, count, total)
    expect(isinstance(result, tuple | list) and len(result) == 3, "three tensors are asked for",
           look_at="return embedding, count, total")
    new_embedding, new_count, new_total = result
    expect(not torch.equal(new_embedding[dead], embedding[dead]), "the living were restarted, the dead left",
           look_at="torch.where(dead, new, old)")
    alive = ~dead
    expect(torch.equal(new_embedding[alive], embedding[alive]) and torch.equal(new_count[alive], count[alive])
           and torch.equal(new_total[alive], total[alive]), "a living code was changed",
           look_at="torch.where(dead, new, old)")
    expect(torch.equal(new_embedding[dead], fresh[dead]), "a dead code is not the fresh vector", look_at="the hint")
    expect(not torch.equal(new_total[dead], total[dead]), "only the embedding is fresh: the next update undoes it",
           look_at="count and total belong to it")
    expect(torch.allclose(new_total / new_count[:, None], new_embedding, atol=1e-5),
           "total / count is not the fresh vector", look_at="total = fresh_count * fresh")
    expect(torch.equal(new_count[dead], fresh_count.expand(2)),
           "a fresh code should begin with the count `fresh_count`", look_at="torch.where(dead, fresh_count, count)")


def _count_cases(draw):
    def case(about, count, share):
        return Case(about, (count, share), gradients=False)  # counts are no numbers to train

    yield case("the notebook's 64 codes", draw.integers(0, 40, 64) + 0.25, 0.05)
    for k, share in (8, 0.25), (draw.size(20, 40), 0.75):
        yield case(f"{k} codes and share {share}", 9 * draw.uniform(k), share)
    yield case("a single code", draw.uniform(1), 0.5)
    yield case("float64", draw.uniform(9, dtype=torch.float64), 0.5)
    yield case("codes that were never chosen", torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 9.0]), 0.5)
    yield case("counts that are all 0", torch.zeros(5), 0.05)
    yield case("a count of exactly share times the mean", torch.tensor([2.0, 4.0, 1.0, 9.0]), 0.5)
    yield case("share 0", torch.tensor([0.0, 4.0, 1.0]), 0.0)


def dead_codes(count, share):
    return count < share * count.mean()


@exercise("3.4", reference=dead_codes, wrong={
    "this depends on the size of the batch": lambda count, share: count < 1.0,
    "the living are marked, not the dead": lambda count, share: count >= share * count.mean(),
    "this depends on the size of the codebook": lambda count, share: count < share * count.sum(),
    "True or False for each code is asked for": lambda count, share: (count < share * count.mean()).sum(),
    "the bound is not share times the mean": lambda count, share: count < share * count.median(),
}, cases=_count_cases)
def _(fn, expect):
    count = torch.tensor([4.0, 4.0, 0.1, 3.9, 8.0, 0.0, 4.0, 4.0])
    right = [False, False, True, False, False, True, False, False]
    result = fn(count, 0.05)
    expect(result.shape == count.shape and result.dtype == torch.bool, "True or False for each code is asked for",
           look_at="a comparison gives a bool tensor")
    expect(result.tolist() != [not r for r in right], "the living are marked, not the dead", look_at="< or >?")
    expect(fn(count / 100, 0.05).tolist() == fn(count, 0.05).tolist() == fn(count * 100, 0.05).tolist(),
           "this depends on the size of the batch", look_at="compare with the mean count, not with a fixed number")
    expect(fn(count.repeat(50), 0.05).tolist() == right * 50, "this depends on the size of the codebook",
           look_at="compare with the mean count, not the sum")
    lopsided = torch.tensor([1.0] * 5 + [13.0, 0.6, 0.4])  # mean 2.25, median 1, largest 13
    expect(fn(lopsided, 0.25).tolist() == [False] * 7 + [True], "the bound is not share times the mean",
           look_at="not the largest, not the median, and do not forget share")
    expect(result.tolist() == right, "below share times the mean count is asked for", look_at="the hint")
