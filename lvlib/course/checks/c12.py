"""Checks of notebook 12: moments that stream, the trace of a root, the kernel distance without bias, coherence."""

import torch
from torch import Tensor

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.metrics import coherence, frechet, kernel
from lvlib.metrics.moments import Moments, merge_moments, moments_of


def _merged(mean=None, scatter=None, count=None):
    """A wrong `merge_moments`: what to give in place of the right mean, scatter or count, from (a, b, right)."""

    def merge(a, b):
        right = merge_moments(a, b)
        return Moments(count(a, b) if count else right.count, mean(a, b) if mean else right.mean,
                       scatter(a, b) if scatter else right.scatter)

    return merge


def _between(weight):
    def scatter(a, b):
        return a.scatter + b.scatter + weight(a, b) * torch.outer(b.mean - a.mean, b.mean - a.mean)

    return _merged(scatter=scatter)


def _weight(a, b):
    return a.count * b.count / max(a.count + b.count, 1)


def _undefined_if_empty(a, b):
    count = torch.tensor(float(a.count + b.count)).double()
    return (a.mean * a.count + b.mean * b.count) / count


def _moment_cases(draw):
    def case(about, n, m, d, spread=1.0, far=0.0):
        sets = (spread * draw.normal(n, d, dtype=torch.float64) + far * draw.normal(d, dtype=torch.float64)
                for n in (n, m))
        return Case(about, tuple(moments_of(x) for x in sets), gradients=False)

    yield case("the notebook's 64 features of 40 and 24 clips", 40, 24, 64)
    yield case("sets of 1 vector", 1, 1, draw.size(3, 6))
    yield case("1 vector and many", 1, draw.size(5, 30), 4)
    yield case("many vectors and 1", draw.size(5, 30), 1, 4)
    yield case("sets far apart", draw.size(4, 9), draw.size(10, 20), draw.size(2, 5), far=100)
    yield case("one feature", draw.size(3, 9), draw.size(10, 20), 1)
    yield case("an empty set first", 0, draw.size(2, 9), 3, far=1)
    yield case("an empty set last", draw.size(2, 9), 0, 3, far=1)
    yield case("two empty sets", 0, 0, 3)
    yield case("an empty set and 1 vector", 0, 1, 3, far=1)
    yield case("an empty set and 1 vector", 0, 1, 3, far=1)


@exercise("12.1", reference=merge_moments, wrong={
    "count is how many vectors both sets have": _merged(count=lambda a, b: max(a.count, b.count)),
    "each mean counts as much as its set has vectors": _merged(mean=lambda a, b: (a.mean + b.mean) / 2),
    "each set has the weight of the other": _merged(
        mean=lambda a, b: (b.count * a.mean + a.count * b.mean) / max(a.count + b.count, 1)),
    "how far apart the two means are is missing": _between(lambda a, b: 0),
    "a scatter is a sum over vectors: it is not averaged": _merged(
        scatter=lambda a, b: (a.count * a.scatter + b.count * b.scatter) / max(a.count + b.count, 1)),
    "the outer product has another weight": _between(lambda a, b: a.count + b.count),
    "features that move together are lost: it takes the outer product": _merged(
        scatter=lambda a, b: a.scatter + b.scatter + _weight(a, b) * (b.mean - a.mean).square().diag()),
    "an empty set must change nothing": _merged(mean=_undefined_if_empty),
    "Moments are asked for": lambda a, b: tuple(merge_moments(a, b)),
}, cases=_moment_cases)
def _(fn, expect):
    x = torch.randn(9, 3, dtype=torch.float64) + torch.tensor([0.0, 5.0, -3.0])
    x[:2] += torch.tensor([7.0, 2.0, 1.0])
    a, b, whole = moments_of(x[:2]), moments_of(x[2:]), moments_of(x)
    count, mean, scatter = out = fn(a, b)
    expect(hasattr(out, "scatter"), "Moments are asked for", look_at="Moments(count, mean, scatter)")
    expect(count == 9, "count is how many vectors both sets have", look_at=f"of 2 and 7 vectors it is 9, not {count}")
    expect(mean.shape == (3,) and scatter.shape == (3, 3), "mean is (d,) and scatter (d, d)")
    expect(not torch.allclose(mean, (a.mean + b.mean) / 2), "each mean counts as much as its set has vectors",
           look_at="the share of b is b.count / count")
    expect(not torch.allclose(mean, (7 * a.mean + 2 * b.mean) / 9), "each set has the weight of the other",
           look_at="the mean moves from a.mean towards b.mean by the share of b")
    expect(torch.allclose(mean, whole.mean), "the mean is not that of all vectors")
    expect(not torch.allclose(scatter, a.scatter + b.scatter), "how far apart the two means are is missing",
           look_at="torch.outer(apart, apart)")
    between = whole.scatter - a.scatter - b.scatter
    expect(not torch.allclose(scatter, (2 * a.scatter + 7 * b.scatter) / 9),
           "a scatter is a sum over vectors: it is not averaged", look_at="a.scatter + b.scatter + ...")
    expect(not torch.allclose(scatter - scatter.diag().diag(), (whole.scatter - between)
                              - (whole.scatter - between).diag().diag()),
           "features that move together are lost: it takes the outer product", look_at="torch.outer")
    expect(torch.allclose(scatter, whole.scatter), "the outer product has another weight",
           look_at="a.count * b.count / count")
    empty = moments_of(x[:0])
    for left, right in (a, empty), (empty, a), (empty, empty):
        out, filled = fn(left, right), left if left.count else right
        expect(all(torch.equal(torch.as_tensor(y), torch.as_tensor(z)) or torch.allclose(y, z)
                   for y, z in zip(out, filled, strict=True)),
               "an empty set must change nothing", look_at="a count of 0 in the denominator")


def _root(x: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(x)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def _covariance(draw, d, n, dtype=torch.float64):
    x = draw.normal(n, d, dtype=torch.float64)
    return (x.T @ x / n).to(dtype)


def _trace_cases(draw):
    def case(about, *matrices):
        return Case(about, matrices, gradients=False, loose=True)

    d = draw.size(3, 7)
    yield case("the notebook's 64 features", _covariance(draw, 64, 200), _covariance(draw, 64, 200))
    yield case("other sizes", _covariance(draw, d, 20), 30 * _covariance(draw, d, 20))
    yield case("one feature", _covariance(draw, 1, 5), _covariance(draw, 1, 5))
    same = _covariance(draw, d, 20)
    yield case("twice the same", same, same)
    yield case("fewer clips than features", _covariance(draw, 12, 5), _covariance(draw, 12, 4))
    yield case("features that move together", torch.ones(40, 40).double(), 1e4 * _covariance(draw, 40, 2))
    yield case("no spread at all", torch.zeros(d, d).double(), _covariance(draw, d, 9))
    yield case("eigenvalues of a and b that rounding made negative", torch.tensor([2.0, -1e-18, 1]).double().diag(),
               torch.tensor([-1e-18, 3.0, 4]).double().diag())
    yield case("float32", _covariance(draw, 4, 30, torch.float32), _covariance(draw, 4, 30, torch.float32))


@exercise("12.2", reference=frechet.trace_sqrt_product, wrong={
    "the square root is missing": lambda a, b: (a @ b).trace(),
    "it is the trace of a root, not the root of a trace": lambda a, b: (a @ b).trace().sqrt(),
    "the root of a matrix is not the roots of its numbers": lambda a, b: (a @ b).clamp(min=0).sqrt().trace(),
    "the root of a product is not the product of the roots": lambda a, b: (_root(a) @ _root(b)).trace(),
    "a b is not symmetric, and eigvalsh reads half of it": lambda a, b: torch.linalg.eigvalsh(a @ b).clamp(
        min=0).sqrt().sum(),
    "a negative eigenvalue gives NaN": lambda a, b: torch.linalg.eigvalsh(_root(a) @ b @ _root(a)).sqrt().sum(),
    "one number is asked for": lambda a, b: torch.linalg.eigvalsh(_root(a) @ b @ _root(a)).clamp(min=0).sqrt(),
}, cases=_trace_cases)
def _(fn, expect):
    # eigenvalues of a: 1 and 9; of b: 16 and 4, along other axes
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]]).double()
    a, b = turn @ torch.tensor([1.0, 9.0]).double().diag() @ turn.T, torch.tensor([16.0, 4.0]).double().diag()
    right, product = torch.linalg.eigvals(a @ b).real.sqrt().sum(), a @ b
    out = fn(a, b)
    expect(isinstance(out, Tensor), "a tensor is asked for", look_at=f"this is of type {type(out).__name__}")
    expect(out.shape == (), "one number is asked for", look_at="the sum of the roots")

    def is_near(value):
        return torch.allclose(out.double(), torch.as_tensor(value).double(), rtol=1e-3)

    expect(not is_near(product.trace()), "the square root is missing", look_at="the roots of the eigenvalues")
    expect(not is_near(product.trace().sqrt()), "it is the trace of a root, not the root of a trace",
           look_at="the roots of the eigenvalues, then their sum")
    expect(not is_near(product.clamp(min=0).sqrt().trace()), "the root of a matrix is not the roots of its numbers",
           look_at="torch.linalg.eigh")
    expect(not is_near((_root(a) @ _root(b)).trace()), "the root of a product is not the product of the roots",
           look_at="a^(1/2) b a^(1/2): the two agree only where a and b commute")
    expect(not is_near(torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()),
           "a b is not symmetric, and eigvalsh reads half of it", look_at="a^(1/2) b a^(1/2)")
    expect(is_near(right), f"where the roots add up to {right:.2f} it gives {out:.2f}")
    rounded, whole = torch.tensor([2.0, -1e-18]).double().diag(), torch.eye(2).double()
    expect(not fn(rounded, whole).isnan() and not fn(whole, rounded).isnan(), "a negative eigenvalue gives NaN",
           look_at="clamp(min=0), before each root")


def _matrix(x, y):
    return (x.double() @ y.double().T / x.shape[1] + 1).pow(3)


def _within(x, paired=False):
    pairs = _matrix(x, x)
    return pairs.mean() if paired else (pairs.sum() - pairs.trace()) / (len(x) * (len(x) - 1))


def _distance(cross=2.0, matrix=_matrix, within=_within):
    """A wrong `kernel_distance`: the weight of the pairs between the sets, the kernel, the mean within a set."""

    def distance(real, generated):
        kernel.kernel_distance(real, generated)  # raises what is promised
        return within(real) + within(generated) - cross * matrix(real, generated).mean()

    return distance


def _plain_kernel(x, y):
    return (x.double() @ y.double().T + 1).pow(3)


def _over_all(x):
    pairs = _matrix(x, x)
    return (pairs.sum() - pairs.trace()) / len(x) ** 2


def _other_diagonal(x):
    pairs = _matrix(x, x)
    return (pairs.sum() - (x.double().square().sum(1) + 1).pow(3).sum()) / (len(x) * (len(x) - 1))


def _set_cases(draw):
    def case(about, n, m, d, dtype=torch.float32, far=0.0, **options):
        real, generated = (draw.normal(k, d, dtype=dtype) + far for k in (n, m))
        return Case(about, (real, generated + 0.5), gradients=False, loose=True, **options)

    yield case("the notebook's 64 features of 40 and 24 clips", 40, 24, 64)
    yield case("2 vectors each", 2, 2, draw.size(2, 5))
    yield case("3 vectors and many", 3, draw.size(6, 20), draw.size(2, 5))
    yield case("many vectors and 2", draw.size(6, 20), 2, draw.size(2, 5))
    yield case("one feature", draw.size(4, 8), draw.size(4, 8), 1)
    yield case("float64", draw.size(4, 8), draw.size(4, 8), 3, torch.float64)
    yield case("features that are far from 0", 9, draw.size(6, 12), 4, far=300)
    real = draw.normal(6, 3)
    yield Case("a set and itself", (real, real), gradients=False, loose=True)
    yield Case("vectors of zeros", (torch.zeros(3, 4), torch.zeros(2, 4)), gradients=False, loose=True)
    for n, m in (1, 5), (5, 1):
        yield case(f"sets of {n} and {m}", n, m, 3, raises=ValueError)
    yield Case("other numbers of features", (draw.normal(4, 3), draw.normal(4, 2)), raises=ValueError)


@exercise("12.3", reference=kernel.kernel_distance, wrong={
    "within a set no vector is paired with itself": _distance(within=lambda x: _within(x, paired=True)),
    "the pairs within a set are n (n - 1)": _distance(within=_over_all),
    "the pairs between the sets count twice": _distance(cross=1.0),
    "the pairs between the sets come off": _distance(cross=-2.0),
    "the kernel divides by the number of features": _distance(
        matrix=_plain_kernel, within=lambda x: (_plain_kernel(x, x).sum() - _plain_kernel(x, x).trace())
        / (len(x) * (len(x) - 1))),
    "what comes off is the same kernel of each vector with itself": _distance(within=_other_diagonal),
    "it may be below 0": lambda real, generated: kernel.kernel_distance(real, generated).clamp(min=0),
    "it is the squared distance": lambda real, generated: kernel.kernel_distance(real, generated).abs().sqrt(),
    "there are n m pairs between sets of n and m": lambda real, generated: kernel.kernel_distance(real, generated)
    + 2 * kernel.kernel_sum(real.double(), generated.double()) * (1 / (len(real) * len(generated)) - 1 / len(real)**2),
    "one number is asked for": lambda real, generated: kernel.kernel_distance(real, generated)[None],
}, cases=_set_cases)
def _(fn, expect):
    real, generated = torch.randn(5, 4), torch.randn(7, 4) + 1
    out = fn(real, generated)
    expect(isinstance(out, Tensor), "a tensor is asked for", look_at=f"this is of type {type(out).__name__}")
    expect(out.shape == (), "one number is asked for", look_at="sums over all pairs")

    def is_right(value):
        return torch.allclose(out.double(), value, rtol=1e-4)

    between = _matrix(real, generated)
    within = _within(real) + _within(generated)
    right = within - 2 * between.mean()
    plain = _distance(matrix=_plain_kernel, within=lambda x: (
        _plain_kernel(x, x).sum() - _plain_kernel(x, x).trace()) / (len(x) * (len(x) - 1)))
    expect(not is_right(_within(real, True) + _within(generated, True) - 2 * between.mean()),
           "within a set no vector is paired with itself", look_at="take the diagonal off")
    expect(not is_right(_over_all(real) + _over_all(generated) - 2 * between.mean()),
           "the pairs within a set are n (n - 1)", look_at="how many pairs are left without the diagonal?")
    expect(not is_right(_other_diagonal(real) + _other_diagonal(generated) - 2 * between.mean()),
           "what comes off is the same kernel of each vector with itself", look_at="(|x|^2 / d + 1)^3")
    expect(not is_right(within - between.mean()), "the pairs between the sets count twice", look_at="2 *")
    expect(not is_right(within + 2 * between.mean()), "the pairs between the sets come off", look_at="the sign")
    expect(not is_right(plain(real, generated)), "the kernel divides by the number of features", look_at="x.shape[1]")
    expect(not is_right(right.abs().sqrt()), "it is the squared distance", look_at="no root")
    expect(not is_right(within - 2 * between.sum() / 25), "there are n m pairs between sets of n and m",
           look_at="len(real) * len(generated)")
    expect(is_right(right), f"of two sets whose distance is {right:.4f} it gives {out:.4f}")
    x = torch.randn(6, 4)
    expect(fn(x, x) < 0, "it may be below 0", look_at="no clamp, no abs")


def _coherence(divergence):
    """A wrong `inception_coherence`: a sum over the classes, from the probabilities and their logarithms."""

    def inception_coherence(probs):
        probs = probs.double()
        return divergence(probs, probs.clamp(min=coherence.LEAST).log())

    return inception_coherence


def _unprotected(probs):
    probs = probs.double()
    return (probs * (probs / probs[:, :1]).log()).sum(-1)


def _probs_cases(draw):
    def case(about, b, n, classes, dtype=torch.float32, sharp=3.0):
        return Case(about, ((sharp * draw.normal(b, n, classes, dtype=dtype)).softmax(-1),), gradients=False,
                    loose=True, batch=(0,))

    yield case("the notebook's 6 windows of 16 classes", 24, 6, 16)
    yield case("one video", 1, 3, draw.size(4, 9))
    yield case("one window", draw.size(2, 5), 1, 4)
    yield case("one class", 2, 3, 1)
    yield case("float64", 2, draw.size(3, 6), draw.size(2, 9), torch.float64)
    yield case("windows that are nearly sure", 3, 4, 5, sharp=40)
    sure = torch.eye(4)[draw.integers(0, 4, 3, 5)]
    yield Case("windows that are sure", (sure,), gradients=False, loose=True, batch=(0,))


@exercise("12.4", reference=coherence.inception_coherence, wrong={
    "it is the divergence from the first window's classes": _coherence(
        lambda p, log: (p[:, :1] * (log[:, :1] - log)).sum(-1)),
    "the first window is the same for all: it is not the one before": _coherence(
        lambda p, log: (p * (log - torch.cat([log[:, :1], log[:, :-1]], 1))).sum(-1)),
    "it is the cross-entropy: what the window itself is unsure of comes off": _coherence(
        lambda p, log: -(p * log[:, :1]).sum(-1)),
    "in nats": _coherence(lambda p, log: (p * (log - log[:, :1])).sum(-1) / torch.tensor(2.0).log()),
    "classes add up, they are not averaged": _coherence(lambda p, log: (p * (log - log[:, :1])).mean(-1)),
    "each video has its own numbers": _coherence(lambda p, log: (p * (log - log[:, :1])).sum((0, -1))),
    "the sign": _coherence(lambda p, log: (p * (log[:, :1] - log)).sum(-1)),
    "a probability of 0 gives NaN": _unprotected,
}, cases=_probs_cases)
def _(fn, expect):
    probs = torch.tensor([[[0.7, 0.2, 0.1], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]],
                          [[0.5, 0.3, 0.2], [0.4, 0.5, 0.1], [0.6, 0.2, 0.2]]])
    out = fn(probs)
    expect(isinstance(out, Tensor), "a tensor is asked for", look_at=f"this is of type {type(out).__name__}")
    expect(out.shape == (2, 3), "each video has its own numbers", look_at="(b, n): the sum is over the classes alone")
    logs = probs.log()

    def is_right(value):
        return torch.allclose(out.float(), value, atol=1e-5)

    right = (probs * (logs - logs[:, :1])).sum(-1)
    expect(not is_right(-right), "the sign", look_at="a divergence is never below 0")
    expect(not is_right((probs[:, :1] * (logs[:, :1] - logs)).sum(-1)),
           "it is the divergence from the first window's classes", look_at="the window's own stand in front")
    expect(not is_right((probs * (logs - torch.cat([logs[:, :1], logs[:, :-1]], 1))).sum(-1)),
           "the first window is the same for all: it is not the one before", look_at="probs[:, :1]")
    expect(not is_right(-(probs * logs[:, :1]).sum(-1)),
           "it is the cross-entropy: what the window itself is unsure of comes off", look_at="p log p - p log q")
    expect(not is_right(right / torch.tensor(2.0).log()), "in nats", look_at="the natural logarithm")
    expect(not is_right(right / 3), "classes add up, they are not averaged", look_at="sum(-1)")
    expect(is_right(right), f"in the second window it gives {out[0, 1]:.4f}, and {right[0, 1]:.4f} is right")
    sure = torch.eye(3)[torch.tensor([[0, 0, 1]])]
    expect(fn(sure).isfinite().all(), "a probability of 0 gives NaN", look_at="clamp(min=LEAST)")
