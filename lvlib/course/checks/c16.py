"""Checks of notebook 16: the masks of Fig. 14, which outputs predict the middle, the gaps, the probe."""

from itertools import pairwise

import torch

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.tats import interpolation
from lvlib.models.tats.interpolation import InterpolationCausal


def leaky_allows(pattern, query, key):
    return pattern.is_anchor(key) | (key <= query)


def probe(predict, codes, place, num_codes):
    changed = codes.clone()
    changed[:, place] = (codes[:, place] + 1) % num_codes
    return (predict(changed) - predict(codes)).abs().amax((0, 2))


def _mask(rule):
    """A wrong pattern: rule(query is an anchor, key is an anchor, query, key, itself)."""

    def allows(self, query, key):
        return rule(self.is_anchor(query), self.is_anchor(key), query, key, self)

    return type("InterpolationCausal", (InterpolationCausal,), {"allows": allows})


def _pair_cases(draw, case):
    """All pairs of places in rows of several sizes; one pair; int32."""
    sizes = [(2, 6, 2), (1, 1, 1), (3, 2, 2), (1, 3, 4), (draw.size(2, 6), draw.size(4, 9), draw.size(1, 6))]
    for first, middle, last in sizes:
        place = torch.arange(first + middle + last)
        whose = "the notebook's row of" if (first, middle, last) == sizes[0] else "all pairs of"
        yield case(f"{whose} {first} + {middle} + {last} places", first, middle, place[:, None], place)
    place = torch.arange(9)
    yield case("int32 of the shapes (n, 1) and (n,)", 3, 4, place.int()[:, None], place.int())
    yield case("one query and one key", 3, 4, torch.tensor(7), torch.tensor(4))
    first, middle = draw.size(2, 4), draw.size(2, 5)
    query, key = (draw.integers(0, 2 * first + middle, 2, 3) for _ in range(2))
    yield case("pairs of shape (2, 3)", first, middle, query, key)


def _pattern_cases(draw):
    def case(about, first, middle, query, key):
        return Case(about, (query, key), init=(first, middle), method="allows", gradients=False)

    yield from _pair_cases(draw, case)


@exercise("16.1", reference=InterpolationCausal, wrong={
    "the anchors see the middle": _mask(lambda asks, anchor, query, key, self: anchor | (key <= query)),
    "the middle looks ahead": _mask(lambda asks, anchor, query, key, self: anchor | ~asks),
    "the last anchor is hidden": _mask(lambda asks, anchor, query, key, self: (key < self.first) | (
        ~asks & ~anchor & (key <= query))),
    "the first anchor is hidden": _mask(lambda asks, anchor, query, key, self: (key >= self.first + self.middle) | (
        ~asks & ~anchor & (key <= query))),
    "an anchor sees all of both anchors": _mask(lambda asks, anchor, query, key, self: (anchor & ~asks) | (
        anchor & (key <= query)) | (~asks & (key <= query))),
    "a place sees itself, too": _mask(lambda asks, anchor, query, key, self: anchor | (~asks & (key < query))),
    "the middle sees the middle before it": _mask(lambda asks, anchor, query, key, self: anchor | (
        ~asks & (key == query))),
}, cases=_pattern_cases)
def _(cls, expect):
    place = torch.arange(10)
    seen = cls(first=2, middle=6).allows(place[:, None], place)
    expect(seen.shape == (10, 10) and seen.dtype == torch.bool, "the result must be bool, one for each pair",
           look_at="comparisons joined with & and |")
    expect(not seen[[0, 1, 8, 9], 2:8].any(), "the anchors see the middle", look_at="~self.is_anchor(query)")
    middle = seen[2:8, 2:8]
    expect(not middle.triu(1).any(), "the middle looks ahead", look_at="key <= query")
    expect(middle.diagonal().all(), "a place sees itself, too", look_at="< or <=")
    expect(torch.equal(middle, torch.ones(6, 6).tril().bool()), "the middle sees the middle before it",
           look_at="key <= query")
    expect(seen[2:8, :2].all(), "the first anchor is hidden", look_at="self.is_anchor(key)")
    expect(seen[2:8, 8:].all(), "the last anchor is hidden", look_at="self.is_anchor(key)")
    expect(seen[[0, 1, 8, 9]][:, [0, 1, 8, 9]].all(), "an anchor sees all of both anchors",
           look_at="self.is_anchor(key), whoever asks")
    expect(cls(2, 6) == cls(2, 6) and hash(cls(2, 6)) == hash(cls(2, 6)), "two patterns of the same numbers are equal",
           look_at="@dataclass(frozen=True) stays above the class")


def _leaky_cases(draw):
    def case(about, first, middle, query, key):
        return Case(about, (InterpolationCausal(first, middle), query, key), gradients=False)

    yield from _pair_cases(draw, case)


@exercise("16.2", reference=leaky_allows, wrong={
    "the last anchor must see the middle": lambda pattern, query, key: pattern.allows(query, key),
    "all see the last anchor": lambda pattern, query, key: key <= query,
    "the middle looks ahead": lambda pattern, query, key: pattern.is_anchor(key) | (query == query) & (key == key),
    "a place sees itself, too": lambda pattern, query, key: pattern.is_anchor(key) | (key < query),
}, cases=_leaky_cases)
def _(fn, expect):
    place = torch.arange(10)
    seen = fn(InterpolationCausal(2, 6), place[:, None], place)
    expect(seen.shape == (10, 10) and seen.dtype == torch.bool, "the result must be bool, one for each pair",
           look_at="comparisons joined with & and |")
    expect(not seen[2:8, 2:8].triu(1).any(), "the middle looks ahead", look_at="key <= query")
    expect(seen.diagonal().all(), "a place sees itself, too", look_at="< or <=")
    expect(seen[:8, 8:].all(), "all see the last anchor", look_at="pattern.is_anchor(key)")
    expect(seen[8:, 2:8].all(), "the last anchor must see the middle", look_at="the last two rows of (b)")


def _output_cases(draw):
    def case(about, b, first, middle, last, *rest, dtype=torch.float32):
        outputs = draw.normal(b, first + middle + last, *rest, dtype=dtype)
        return Case(about, (outputs, InterpolationCausal(first, middle)))

    yield case("the notebook's five frames of two tokens", 3, 2, 6, 2, 4)
    yield case("one clip", 1, 3, 4, 3, 5)
    yield case("one code in the middle", 2, 1, 1, 1, 3)
    yield case("a label before the first anchor", 2, 5, 8, 4, 3)
    yield case("outputs of shape (b, places)", 2, draw.size(1, 5), draw.size(2, 9), draw.size(1, 5))
    yield case("float64", 2, 2, draw.size(2, 9), 2, 1, 2, dtype=torch.float64)


def _outputs(start, end):
    """A wrong slice, by its ends: of the first anchor and of the middle."""
    return lambda outputs, pattern: outputs[:, pattern.first + start:pattern.first + pattern.middle + end]


@exercise("16.3", reference=interpolation.middle_outputs, wrong={
    "a place predicts the code after it": _outputs(0, 0),
    "the last code of the middle is missing": _outputs(-1, -2),
    "the first code of the middle is missing": _outputs(0, -1),
    "the code after the middle is the last anchor's": _outputs(-1, 0),
    "the outputs before the middle are the first anchor's": lambda outputs, pattern: outputs[
        :, :pattern.first + pattern.middle - 1],
    "the first code is predicted by the first anchor": lambda outputs, pattern: torch.cat(
        [outputs[:, -1:], outputs[:, pattern.first:pattern.first + pattern.middle - 1]], 1),
}, cases=_output_cases)
def _(fn, expect):
    places = torch.arange(10.0).expand(2, 10)
    found = fn(places, InterpolationCausal(2, 6))[0].tolist()
    expect(found != [2, 3, 4, 5, 6, 7], "a place predicts the code after it", look_at="one place earlier")
    expect(found != [1, 2, 3, 4, 5], "the last code of the middle is missing", look_at="pattern.middle outputs")
    expect(found != [2, 3, 4, 5, 6], "the first code of the middle is missing", look_at="pattern.first - 1")
    expect(found != [1, 2, 3, 4, 5, 6, 7], "the code after the middle is the last anchor's",
           look_at="pattern.middle outputs")
    expect(found[:1] != [0], "the outputs before the middle are the first anchor's", look_at="pattern.first - 1")
    expect(found[:1] != [9], "the first code is predicted by the first anchor",
           look_at="its last place, not that of the whole row")
    expect(found == [1, 2, 3, 4, 5, 6], "these are not the six outputs", look_at="outputs[:, 1:7] for this row")


def _span_cases(draw):
    def case(about, b, t, h, w, every, dtype=torch.int64):
        return Case(about, (draw.integers(0, 50, b, t, h, w).to(dtype), every), gradients=False)

    yield case("the notebook's 17 frames of 4 x 4 codes, every 4th", 2, 17, 4, 4, 4)
    yield case("frames after the last whole stretch", 2, 16, 2, 3, 4)
    yield case("one stretch", 1, 5, 2, 2, 4)
    yield case("every 2nd", 1, 8, 3, 1, 2)
    yield case("a stretch without a middle", 2, 4, 1, 2, 1)
    every = draw.size(2, 5)
    yield case(f"every {every}th of float latents", 3, every * draw.size(2, 4) + 2, 2, 3, every, torch.float32)


def _stacked(latents, every, starts, size):
    return torch.stack([latents[:, i:i + size] for i in starts], 1)


@exercise("16.4", reference=interpolation.spans, wrong={
    "neighbours share an anchor": lambda latents, every: latents[:, :latents.shape[1] // (every + 1) * (
        every + 1)].unflatten(1, (-1, every + 1)),
    "the last anchor is missing": lambda latents, every: latents.unfold(1, every, every).movedim(-1, 2),
    "a stretch begins at every frame": lambda latents, every: latents.unfold(1, every + 1, 1).movedim(-1, 2),
    "the frames of a stretch are axis 2": lambda latents, every: latents.unfold(1, every + 1, every),
    "the last whole stretch is missing": lambda latents, every: _stacked(
        latents, every, range(0, max(latents.shape[1] - every - 1, 1), every), every + 1),
}, cases=_span_cases)
def _(fn, expect):
    latents = torch.arange(11)[None, :, None, None].expand(2, 11, 3, 4)
    found = fn(latents, 4)
    expect(found.shape != (2, 2, 3, 4, 5), "the frames of a stretch are axis 2", look_at="movedim(-1, 2)")
    expect(found.ndim == 5, "the result must be (b, gaps, every + 1, h, w)", look_at="unfold, then movedim")
    expect(found.shape[2:3] != (4,), "the last anchor is missing", look_at="every + 1 frames")
    expect(found.shape[1] < 3, "a stretch begins at every frame", look_at="a step of `every`")
    frames = found[0, :, :, 0, 0].tolist()
    expect(all(left[-1] == right[0] for left, right in pairwise(frames)), "neighbours share an anchor",
           look_at="a step of `every`, not every + 1")
    whole = fn(latents[:, :9], 4)
    expect(whole.shape[1] == 2, "the last whole stretch is missing", look_at="9 frames have the stretches 0-4 and 4-8")
    expect(frames == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]], "these are not the stretches", look_at="0-4, then 4-8")


class _Sums:
    """A made-up model: the prediction of place i is a weighted sum of what the codes up to there stand for."""

    def __init__(self, weights, table):
        self.weights, self.table = weights, table

    def __call__(self, codes):
        return torch.einsum("ij, bjd -> bid", self.weights, self.table[codes])


def _probe_cases(draw):
    def case(about, b, n, num_codes, place, d=3):
        weights = draw.normal(n, n) * (draw.uniform(n, n) < 0.5)
        model = _Sums(weights, draw.normal(num_codes, d))
        return Case(about, (model, draw.integers(0, num_codes, b, n), place, num_codes), gradients=False)

    yield case("the notebook's ten places, 32 codes", 4, 10, 32, 5)
    yield case("one clip", 1, 6, 8, 2)
    yield case("two codes", 5, 7, 2, 3)
    yield case("the first place", 3, 5, 6, 0)
    yield case("the last place", 3, 5, 6, 4)
    yield case("one number a prediction", 3, draw.size(4, 8), draw.size(3, 9), 1, d=1)


def _probing(change, measure):
    def probe(predict, codes, place, num_codes):
        changed = codes.clone()
        change(changed, place, num_codes)
        return measure(predict(changed) - predict(codes))

    return probe


def _next_code(codes, place, num_codes):
    codes[:, place] = (codes[:, place] + 1) % num_codes


def _largest(difference):
    return difference.abs().amax((0, 2))


@exercise("16.5", reference=probe, wrong={
    "some codes stay what they were": _probing(lambda codes, place, num_codes: codes[:, place].zero_(), _largest),
    "the codes must stay below num_codes": _probing(lambda codes, place, num_codes: codes[:, place].add_(1),
                                                     _largest),
    "one place alone is changed": _probing(lambda codes, place, num_codes: codes.copy_((codes + 1) % num_codes),
                                           _largest),
    "a change may be negative, too": _probing(_next_code, lambda difference: difference.amax((0, 2))),
    "changes may cancel each other": _probing(_next_code, lambda difference: difference.sum((0, 2)).abs()),
    "the result has a number for each place": _probing(_next_code, lambda difference: difference.abs().amax(2)),
    "the largest change of any clip, not the mean": _probing(_next_code, lambda difference: difference.abs().mean((
        0, 2))),
}, cases=_probe_cases)
def _(fn, expect):
    asked, table = [], torch.tensor([0.0, 1.0, 4.0, 9.0])
    codes = torch.tensor([[0, 1, 1, 0, 1, 2], [2, 1, 0, 0, 1, 2], [0, 0, 1, 0, 1, 1], [2, 2, 0, 2, 2, 2]])

    def predict(codes, logits=(1.0, 0.0)):
        """Of each place the sum of what stood before it, squared, times each of the logits."""
        asked.extend(codes.clone().split(4))
        return torch.einsum("bi, d -> bid", table[codes].cumsum(1) - table[codes], torch.tensor(logits))

    found = fn(predict, codes, 2, 3)
    expect(found.shape == (6,), "the result has a number for each place", look_at="amax over clips and logits")
    changed = [other for other in asked if not torch.equal(other, codes)]
    expect(changed, "no code was changed", look_at="codes[:, place]")
    for other in changed:
        expect(torch.equal(other[:, [0, 1, 3, 4, 5]], codes[:, [0, 1, 3, 4, 5]]), "one place alone is changed",
               look_at="codes[:, place]")
    fn(predict, codes, 5, 3)
    for other in asked:
        expect((other < 3).all(), "the codes must stay below num_codes", look_at="% num_codes")
    for other in changed:
        expect((other[:, 2] != codes[:, 2]).all(), "some codes stay what they were", look_at="(code + 1) % num_codes")
    falls = fn(lambda codes: predict(codes, (-1.0, -1.0)), codes, 2, 3)
    expect(falls[5] > 0, "a change may be negative, too", look_at="abs()")
    opposed = fn(lambda codes: predict(codes, (1.0, -1.0)), codes, 2, 3)
    expect(opposed[5] > 0, "changes may cancel each other", look_at="abs() before all else")
    expect(found[5] == 3, "the largest change of any clip, not the mean", look_at="amax")
    expect(found.tolist() == [0, 0, 0, 3, 3, 3], "these are not the changes of the predictions", look_at="predict")
