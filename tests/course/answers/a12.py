"""Answers to notebook 12: right ones in other styles, and wrong ones that a check could take for right."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def right_1_weighted_means(a, b):
    count = a.count + b.count
    if count == 0:
        return a
    mean = (a.count * a.mean + b.count * b.mean) / count
    scatter = a.scatter + b.scatter
    for part in a, b:
        scatter = scatter + part.count * torch.outer(part.mean - mean, part.mean - mean)
    return type(a)(count, mean, scatter)


def right_1_raw_second_moments(a, b):
    count = a.count + b.count
    second = sum(part.scatter + part.count * part.mean[:, None] * part.mean for part in (a, b))
    total = a.count * a.mean + b.count * b.mean
    mean = total / count if count else total
    return type(a)(count, mean, second - count * mean[:, None] * mean)


def right_1_empty_first(a, b):
    if not a.count:
        return b
    if not b.count:
        return a
    count, apart = a.count + b.count, (b.mean - a.mean)[None]
    return a._replace(count=count, mean=a.mean + apart[0] * b.count / count,
                      scatter=a.scatter + b.scatter + apart.T @ apart * a.count * b.count / count)


def right_1_numpy_inside(a, b):
    n, m = a.count, b.count
    apart = b.mean.numpy() - a.mean.numpy()
    between = np.outer(apart, apart) * n * m / max(n + m, 1)
    mean = np.average([a.mean.numpy(), b.mean.numpy()], axis=0, weights=[n, m]) if n + m else a.mean.numpy()
    return type(a)(n + m, torch.from_numpy(mean), a.scatter + b.scatter + torch.from_numpy(between))


def right_1_one_vector_at_a_time_from_the_other_side(a, b):
    share = a.count / (a.count + b.count) if a.count else 0.0
    apart = a.mean - b.mean
    between = torch.einsum("i,j->ij", apart, apart) * (b.count * share)
    return type(a)(count=a.count + b.count, mean=torch.lerp(b.mean, a.mean, share),
                   scatter=a.scatter + b.scatter + between)


def wrong_1_covariances_added(a, b):
    count = a.count + b.count
    mean = (a.count * a.mean + b.count * b.mean) / max(count, 1)
    return type(a)(count, mean, (a.scatter / max(a.count - 1, 1) + b.scatter / max(b.count - 1, 1)) * max(count - 1, 1))


def wrong_1_the_first_set_is_never_empty(a, b):
    apart = b.mean - a.mean
    between = torch.outer(apart, apart) / (1 / a.count + (1 / b.count if b.count else math.inf))
    share = b.count / (a.count + b.count)
    return type(a)(a.count + b.count, a.mean + share * apart, a.scatter + b.scatter + between)


def wrong_1_in_place(a, b):
    count = a.count + b.count
    apart = b.mean - a.mean
    a.scatter.add_(b.scatter).add_(torch.outer(apart, apart), alpha=a.count * b.count / max(count, 1))
    return type(a)(count, a.mean + apart * (b.count / max(count, 1)), a.scatter)


def wrong_1_count_in_a_tensor(a, b):
    count = torch.tensor(a.count + b.count)
    share = b.count / count.clamp(min=1)
    apart = b.mean - a.mean
    return type(a)(count, a.mean + share * apart, a.scatter + b.scatter + a.count * share * torch.outer(apart, apart))


def right_2_singular_values_of_the_roots(a, b):
    roots = []
    for x in (a, b):
        values, vectors = torch.linalg.eigh(x.double())
        roots.append(vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.mT)
    return torch.linalg.matrix_norm(roots[0] @ roots[1], "nuc")


def right_2_the_other_root(a, b):
    values, vectors = torch.linalg.eigh(b)
    half = vectors * F.relu(values).sqrt()
    return F.relu(torch.linalg.eigvalsh(half.T @ a @ half)).sqrt().sum()


def right_2_numpy_inside(a, b):
    values, vectors = np.linalg.eigh(a.numpy().astype(np.float64))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ b.numpy() @ root)
    return torch.tensor(np.sqrt(np.maximum(middle, 0)).sum())


def right_2_svd(a, b):
    u, s, _ = torch.linalg.svd(a)
    root = u @ s.sqrt().diag() @ u.mT
    return torch.linalg.svdvals(root @ b @ root).sqrt().sum()


def right_2_loop_over_eigenvalues(a, b):
    values, vectors = torch.linalg.eigh(a)
    root = sum(max(v, 0) ** 0.5 * torch.outer(w, w) for v, w in zip(values.tolist(), vectors.T, strict=True))
    total = 0.0
    for value in torch.linalg.eigvalsh(root @ b @ root).tolist():
        total += math.sqrt(value) if value > 0 else 0.0
    return torch.tensor(total)


def wrong_2_cholesky(a, b):
    lower = torch.linalg.cholesky(a)
    return torch.linalg.eigvalsh(lower.mT @ b @ lower).clamp(min=0).sqrt().sum()


def wrong_2_a_little_is_added(a, b):
    lower = torch.linalg.cholesky(a + 1e-3 * torch.eye(len(a), dtype=a.dtype))
    return torch.linalg.eigvalsh(lower.mT @ b @ lower).clamp(min=0).sqrt().sum()


def wrong_2_float32_inside(a, b):
    values, vectors = torch.linalg.eigh(a.float())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return torch.linalg.eigvalsh(root @ b.float() @ root).clamp(min=0).sqrt().sum()


def wrong_2_absolute_values(a, b):
    return torch.linalg.eigvals(a @ b).real.abs().sum().sqrt()


def wrong_2_nan_made_zero(a, b):
    return (a @ b).sqrt().nan_to_num().trace()


def right_3_diagonal_filled(real, generated):
    if real.shape[1:] != generated.shape[1:] or len(real) < 2 or len(generated) < 2:
        raise ValueError("no")
    x, y, d = real.double(), generated.double(), real.shape[1]
    n, m = len(x), len(y)
    xx, yy, xy = ((p @ q.T / d + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    return xx.fill_diagonal_(0).sum() / (n * (n - 1)) + yy.fill_diagonal_(0).sum() / (m * (m - 1)) - 2 * xy.mean()


def right_3_masks(real, generated):
    if real.shape[1] != generated.shape[1] or min(len(real), len(generated)) <= 1:
        raise ValueError("no")

    def kernel(x, y):
        return (torch.einsum("id,jd->ij", x, y) / x.shape[1] + 1).pow(3)

    real, generated = real.double(), generated.double()
    off = [kernel(x, x)[~torch.eye(len(x), dtype=torch.bool)].mean() for x in (real, generated)]
    return off[0] + off[1] - 2 * kernel(real, generated).mean()


def right_3_loop_over_pairs(real, generated):
    if real.shape[1] != generated.shape[1] or len(real) < 2 or len(generated) < 2:
        raise ValueError("no")
    rows, others = real.double(), generated.double()

    def mean(x, y):
        values = [(x[i].dot(y[j]) / x.shape[1] + 1) ** 3 for i in range(len(x)) for j in range(len(y))
                  if x is not y or i != j]
        return torch.stack(values).mean()

    return mean(rows, rows) + mean(others, others) - 2 * mean(rows, others)


def right_3_numpy_inside(real, generated):
    x, y = real.numpy().astype(np.float64), generated.numpy().astype(np.float64)
    if x.shape[1] != y.shape[1] or len(x) < 2 or len(y) < 2:
        raise ValueError("no")

    def within(z):
        k = (z @ z.T / z.shape[1] + 1) ** 3
        return (k.sum() - np.trace(k)) / (len(z) ** 2 - len(z))

    return torch.tensor(within(x) + within(y) - 2 * ((x @ y.T / x.shape[1] + 1) ** 3).mean(), dtype=torch.float64)


def right_3_upper_triangle(real, generated):
    if real.shape[1] != generated.shape[1] or len(real) < 2 or len(generated) < 2:
        raise ValueError("no")
    x = torch.cat([real, generated]).double()
    k, n = (x @ x.T / x.shape[1] + 1).pow(3), len(real)
    i, j = torch.triu_indices(n, n, 1)
    v, w = torch.triu_indices(len(generated), len(generated), 1) + n
    return k[i, j].mean() + k[v, w].mean() - 2 * k[:n, n:].mean()


def wrong_3_float32_inside(real, generated):
    if real.shape[1] != generated.shape[1] or len(real) < 2 or len(generated) < 2:
        raise ValueError("no")
    xx, yy, xy = ((p @ q.T / p.shape[1] + 1) ** 3 for p, q in (
        (real, real), (generated, generated), (real, generated)))
    n, m = len(real), len(generated)
    return ((xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1)) - 2 * xy.mean()).double()


def wrong_3_one_set_of_one_is_taken(real, generated):
    if real.shape[1] != generated.shape[1]:
        raise ValueError("no")
    x, y, d = real.double(), generated.double(), real.shape[1]
    n, m = len(x), len(y)
    xx, yy, xy = ((p @ q.T / d + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    return ((xx.sum() - xx.trace()) / max(n * (n - 1), 1) + (yy.sum() - yy.trace()) / max(m * (m - 1), 1)
            - 2 * xy.mean())


def wrong_3_equal_pairs_come_off_between_the_sets_too(real, generated):
    if real.shape[1] != generated.shape[1] or len(real) < 2 or len(generated) < 2:
        raise ValueError("no")
    x, y, d = real.double(), generated.double(), real.shape[1]
    n, m = len(x), len(y)
    xx, yy, xy = ((p @ q.T / d + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    return ((xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
            - 2 * (xy.sum() - xy.trace()) / (n * m - min(n, m)))


def wrong_3_gaussian_kernel(real, generated):
    if real.shape[1] != generated.shape[1] or len(real) < 2 or len(generated) < 2:
        raise ValueError("no")
    x, y = real.double(), generated.double()
    xx, yy, xy = ((-torch.cdist(p, q).square() / p.shape[1]).exp() for p, q in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    return (xx.sum() - n) / (n * (n - 1)) + (yy.sum() - m) / (m * (m - 1)) - 2 * xy.mean()


def right_4_kl_div(probs):
    logs = probs.double().clamp(min=1e-12).log()
    return F.kl_div(logs[:, :1].expand_as(logs), logs, reduction="none", log_target=True).sum(-1)


def right_4_xlogy(probs):
    probs = probs.double()
    first = probs[:, :1].clamp(min=1e-12)
    return (torch.xlogy(probs, probs.clamp(min=1e-12)) - probs * first.log()).sum(dim=-1)


def right_4_two_sums(probs):
    logs = torch.log(torch.maximum(probs.double(), torch.tensor(1e-12, dtype=torch.float64)))
    return torch.einsum("bnc,bnc->bn", probs.double(), logs) - torch.einsum("bnc,bc->bn", probs.double(), logs[:, 0])


def right_4_loops(probs):
    out = torch.zeros(probs.shape[:2], dtype=torch.float64)
    for i, video in enumerate(probs.tolist()):
        for j, window in enumerate(video):
            for p, q in zip(window, video[0], strict=True):
                out[i, j] += p * (math.log(max(p, 1e-12)) - math.log(max(q, 1e-12)))
    return out


def right_4_numpy_inside(probs):
    p = probs.numpy().astype(np.float64)
    ratio = np.maximum(p, 1e-12) / np.maximum(p[:, :1], 1e-12)
    return torch.from_numpy((p * np.log(ratio)).sum(-1))


def wrong_4_symmetric(probs):
    probs = probs.double()
    logs = probs.clamp(min=1e-12).log()
    return ((probs - probs[:, :1]) * (logs - logs[:, :1])).sum(-1) / 2


def wrong_4_a_little_is_added(probs):
    probs = probs.double() + 1e-3
    logs = probs.log()
    return (probs * (logs - logs[:, :1])).sum(-1)


def wrong_4_another_least(probs):
    probs = probs.double()
    logs = probs.clamp(min=1e-6).log()
    return (probs * (logs - logs[:, :1])).sum(-1)


def wrong_4_first_of_the_batch(probs):
    probs = probs.double()
    logs = probs.clamp(min=1e-12).log()
    return (probs * (logs - logs[:1])).sum(-1)


def wrong_4_infinite(probs):
    probs = probs.double()
    return (probs.xlogy(probs) - probs.xlogy(probs[:, :1])).sum(-1)
