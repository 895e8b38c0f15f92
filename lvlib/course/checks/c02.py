"""Checks of notebook 02: nearest code, straight-through gradient, the two losses, the statistics of a batch."""

import torch
import torch.nn.functional as F

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.common import quantize


def _grid(draw):
    """Vectors as an encoder leaves them: (b, t, h, w, d), and in memory the channels before the rows."""
    return draw.normal(2, 1, 64, 8, 8).movedim(2, -1)


def _nearest_cases(draw):
    yield Case("the notebook's vectors and 512 codes", (_grid(draw), draw.normal(512, 64)))
    for vectors, k, d in ((6,), 3, 4), ((1,), 1, 1), ((2, 3), draw.size(5, 9), draw.size(5, 9)):
        size = f"z {(*vectors, d)} and {k} codes"
        yield Case(size, (draw.normal(*vectors, d), draw.normal(k, d)), batch=(0,))
    yield Case("float64", (draw.normal(3, 5, dtype=torch.float64), draw.normal(4, 5, dtype=torch.float64)))
    equal = draw.integers(-3, 4, 3, 2).float()  # whole numbers: equal distances are equal in any formula
    yield Case("equal codes", (draw.integers(-3, 4, 9, 2).float(), equal.repeat(3, 1)))


@exercise("2.1", reference=quantize.nearest_code, wrong={
    "this is not the nearest code": lambda z, codebook: (codebook.square().sum(1) - 2 * z @ codebook.T).argmax(-1),
    "long codes win too often": lambda z, codebook: (z @ codebook.T).argmax(-1),
    "the result should be whole numbers (int64), one for each vector": lambda z, codebook: codebook[
        (z[..., None, :] - codebook).square().sum(-1).argmin(-1)],
    "wrong for vectors in a grid": lambda z, codebook: torch.cdist(z.flatten(0, -2), codebook).argmin(-1),
}, cases=_nearest_cases)
def _(fn, expect):
    codebook = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 10.0]])
    found = fn(torch.tensor([[0.1, 0.1], [0.9, 0.2], [0.3, 1.0], [0.0, 9.0]]), codebook)
    expect(not found.is_floating_point(), "the result should be whole numbers (int64), one for each vector",
           look_at="return the index, not the code")
    expect(found.tolist() != [2, 2, 2, 2], "long codes win too often",
           look_at="the term |e|^2 belongs to the distance")
    look_at = "the smallest sum of squared differences; written out as |e|^2 - 2 z.e, it needs the 2 and the minus"
    expect(found.tolist() == [0, 1, 0, 2], "this is not the nearest code", look_at)
    z, codebook = torch.randn(2, 3, 4, 5), torch.randn(7, 5)
    expect(fn(z, codebook).shape == (2, 3, 4), "wrong for vectors in a grid",
           look_at="z is (..., d): keep all axes but the last")
    expect(torch.equal(fn(z, codebook), (z[..., None, :] - codebook).square().sum(-1).argmin(-1)),
           "this is not the nearest code", look_at)


def _pairs_of_vectors(draw):
    """z and q of one shape, of all kinds."""
    yield Case("the notebook's grid", (_grid(draw), draw.normal(2, 1, 8, 8, 64)))
    for shape in (4, 5), (1, 1), (draw.size(2, 5), draw.size(2, 5), 3), (7,):
        yield Case(f"shape {shape}", (draw.normal(*shape), draw.normal(*shape)))
    yield Case("float64", tuple(draw.normal(3, 2, dtype=torch.float64) for _ in range(2)))
    same = draw.normal(3, 4)
    yield Case("z equal to q", (same, same.clone()))


@exercise("2.2", reference=quantize.straight_through, wrong={
    "gradient never reaches z": lambda z, q: q + 0 * z.detach(),
    "equal to z, not to q": lambda z, q: z + 0 * q.detach(),
    "gradient also reaches q": lambda z, q: z.detach() + (q - z) + (z - z.detach()) * 2,
    "the gradient of z is changed on its way": lambda z, q: 2 * z + (q - 2 * z).detach(),
}, cases=_pairs_of_vectors)
def _(fn, expect):
    z, q = (torch.randn(4, 5, requires_grad=True) for _ in range(2))
    out = fn(z, q)
    expect(torch.allclose(out, q, atol=1e-5), "equal to z, not to q", look_at="start from z and add something")
    expect(out.requires_grad, "gradient never reaches z", look_at="which term is detached?")
    weight = torch.randn(4, 5)
    grad_z, grad_q = torch.autograd.grad((out * weight).sum(), (z, q), allow_unused=True)
    expect(grad_z is not None and bool(grad_z.any()), "gradient never reaches z", look_at="which term is detached?")
    expect(grad_q is None or not grad_q.any(), "gradient also reaches q", look_at="detach the difference, not z")
    expect(torch.allclose(grad_z, weight), "the gradient of z is changed on its way",
           look_at="z appears once without detach, with factor 1")


@exercise("2.3", reference=quantize.vq_losses, wrong={
    "the codebook loss should move q alone": lambda z, q: (F.mse_loss(q, z), F.mse_loss(z, q.detach())),
    "the commitment loss should move z alone": lambda z, q: (F.mse_loss(q, z.detach()), F.mse_loss(z, q)),
    "the two losses are swapped": lambda z, q: (F.mse_loss(z, q.detach()), F.mse_loss(q, z.detach())),
    "wrong value: the mean of the squared differences is asked for": lambda z, q: (
        F.mse_loss(q, z.detach(), reduction="sum"), F.mse_loss(z, q.detach(), reduction="sum")),
}, cases=_pairs_of_vectors)
def _(fn, expect):
    z, q = (torch.randn(4, 5, requires_grad=True) for _ in range(2))
    result = fn(z, q)
    expect(isinstance(result, tuple | list) and len(result) == 2, "two losses are asked for", look_at="return a, b")
    expect(all(loss.ndim == 0 for loss in result), "each loss should be one number",
           look_at="the mean over all elements")
    expect(all(loss.requires_grad for loss in result), "a loss has no gradient at all",
           look_at="detach one side, not both")
    moved = [[g is not None and bool(g.any()) for g in torch.autograd.grad(loss, (z, q), allow_unused=True)]
             for loss in result]
    expect(moved != [[True, False], [False, True]], "the two losses are swapped", look_at="codebook loss first")
    expect(moved[0] == [False, True], "the codebook loss should move q alone", look_at="which side is detached?")
    expect(moved[1] == [True, False], "the commitment loss should move z alone", look_at="which side is detached?")
    value = (z - q).square().mean()
    expect(all(torch.allclose(loss, value) for loss in result),
           "wrong value: the mean of the squared differences is asked for", look_at="F.mse_loss")


def _frequencies(z, codes, num_codes):
    count, total = quantize.code_statistics(z, codes, num_codes)
    return count / len(codes), total


def _means(z, codes, num_codes):
    count, total = quantize.code_statistics(z, codes, num_codes)
    return count, total / count.clamp_min(1)[:, None]


def _last_one_wins(z, codes, num_codes):
    total = torch.zeros(num_codes, z.shape[1])
    total[codes] += z
    return torch.bincount(codes, minlength=num_codes).to(z.dtype), total


def _statistics_cases(draw):
    def case(about, n, d, num_codes, used, dtype=torch.float32):
        # Not for training: the codebook moves by counting.
        return Case(about, (draw.normal(n, d, dtype=dtype), draw.integers(0, used, n), num_codes), gradients=False)

    yield case("the notebook's 64 vectors and 512 codes", 64, 64, 512, 512)
    for n, d, k in (5, 3, 4), (1, 1, 1), (draw.size(10, 20), draw.size(2, 7), draw.size(7, 12)):
        yield case(f"{n} vectors of {d} and {k} codes", n, d, k, k)
    yield case("codes that nobody chose", 4, 3, 9, 5)
    yield case("float64", 8, 2, 3, 3, torch.float64)


@exercise("2.4", reference=quantize.code_statistics, wrong={
    "codes that nobody chose are missing": lambda z, codes, num_codes: (
        torch.bincount(codes), torch.zeros(int(codes.max()) + 1, z.shape[1]).index_add_(0, codes, z)),
    "the first result should be how many vectors chose each code": _frequencies,
    "the second result should be the sum, not the mean": _means,
    "where several vectors choose one code, only one of them counts": _last_one_wins,
}, cases=_statistics_cases)
def _(fn, expect):
    z, codes = torch.randn(6, 3), torch.tensor([1, 1, 1, 0, 3, 3])
    count, total = fn(z, codes, 6)
    expect((count.ndim, total.ndim) != (2, 1), "the two results are swapped", look_at="the counts first, then the sums")
    expect(len(count) == 6 and total.shape == (6, 3), "codes that nobody chose are missing",
           look_at="minlength, and zeros of shape (num_codes, d)")
    expect(count.tolist() == [1, 3, 0, 2, 0, 0], "the first result should be how many vectors chose each code",
           look_at="torch.bincount, not divided by anything")
    sums = torch.stack([z[codes == k].sum(0) for k in range(6)])
    means = sums / torch.tensor([1, 3, 1, 2, 1, 1])[:, None]
    expect(not torch.allclose(total, means), "the second result should be the sum, not the mean",
           look_at="the division comes later")
    expect(torch.allclose(total, sums, atol=1e-5), "where several vectors choose one code, only one of them counts",
           look_at="x[index] += y adds once for each index; index_add_ adds every time")
