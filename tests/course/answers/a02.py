"""Answers to notebook 02: right ones in other styles, and wrong ones that a check once took for right."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum


def right_1_differences(z, codebook):
    return (z[..., None, :] - codebook).square().sum(-1).argmin(-1)


def right_1_all_three_terms(z, codebook):
    distance = z.square().sum(-1, keepdim=True) - 2 * z @ codebook.T + codebook.square().sum(1)
    return distance.argmin(dim=-1)


def right_1_largest_score(z, codebook):
    score = einsum(z, codebook, "... d, k d -> ... k") - codebook.pow(2).sum(-1) / 2
    return score.argmax(-1)


def right_1_float64_inside(z, codebook):
    return (z.double()[..., None, :] - codebook.double()).norm(dim=-1).argmin(-1)


def right_1_loop(z, codebook):
    flat = z.reshape(-1, z.shape[-1])
    codes = [int(((codebook - vector) ** 2).sum(1).argmin()) for vector in flat]
    return torch.tensor(codes, dtype=torch.int64).reshape(z.shape[:-1])


def right_1_loop_over_codes(z, codebook):
    best, codes = torch.full(z.shape[:-1], torch.inf, dtype=z.dtype), torch.zeros(z.shape[:-1], dtype=torch.int64)
    for k, code in enumerate(codebook):
        distance = (z - code).square().sum(-1)
        codes[distance < best] = k
        best = torch.minimum(best, distance)
    return codes


def right_2_other_order(z, q):
    return (q - z).detach() + z


def right_2_q_without_gradient(z, q):
    return q.detach() + z - z.detach()


def right_2_detached_apart(z, q):
    return z + (q.detach() - z.detach())


def right_2_float64_inside(z, q):
    return (z.double() + (q.double() - z.double()).detach()).to(z.dtype)


def right_2_no_grad(z, q):
    with torch.no_grad():
        step = q - z
    return z + step


def right_2_function(z, q):
    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, q):
            return q.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient, None

    return Through.apply(z, q)


def right_3_list(z, q):
    return [F.mse_loss(q, z.detach()), F.mse_loss(z, q.detach())]


def right_3_by_hand(z, q):
    return ((q - z.detach()) ** 2).mean(), ((z - q.detach()) ** 2).mean()


def right_3_sums(z, q):
    n = z.numel()
    codebook = (z.detach() - q).square().sum() / n
    commitment = (q.detach() - z).square().sum() / n
    return codebook, commitment


def right_3_float64_inside(z, q):
    codebook = F.mse_loss(q.double(), z.detach().double())
    commitment = F.mse_loss(z.double(), q.detach().double())
    return codebook.to(z.dtype), commitment.to(z.dtype)


def right_3_loop(z, q):
    losses = []
    for moved, fixed in ((q, z), (z, q)):
        losses.append(torch.mean((moved - fixed.detach()).pow(2)))
    return tuple(losses)


def right_3_flat(z, q):
    return F.mse_loss(q.flatten(), z.detach().flatten()), F.mse_loss(z.flatten(), q.detach().flatten())


def right_4_one_hot(z, codes, num_codes):
    chosen = F.one_hot(codes, num_codes).to(z.dtype)
    return chosen.sum(0), chosen.T @ z


def right_4_loop(z, codes, num_codes):
    count, total = z.new_zeros(num_codes), z.new_zeros(num_codes, z.shape[1])
    for vector, code in zip(z, codes, strict=True):
        count[code] += 1
        total[code] += vector
    return count, total


def right_4_loop_over_codes(z, codes, num_codes):
    count = torch.stack([(codes == k).sum() for k in range(num_codes)]).to(z.dtype)
    return count, torch.stack([z[codes == k].sum(0) for k in range(num_codes)])


def right_4_scatter(z, codes, num_codes):
    count = torch.zeros(num_codes, dtype=z.dtype).scatter_add_(0, codes, torch.ones_like(codes, dtype=z.dtype))
    total = torch.zeros(num_codes, z.shape[1], dtype=z.dtype).scatter_add_(0, codes[:, None].expand_as(z), z)
    return [count, total]


def right_4_numpy_inside(z, codes, num_codes):
    total = np.zeros((num_codes, z.shape[1]))
    np.add.at(total, codes.numpy(), z.double().numpy())
    count = np.bincount(codes.numpy(), minlength=num_codes)
    return torch.tensor(count, dtype=z.dtype), torch.tensor(total, dtype=z.dtype)


def right_4_put(z, codes, num_codes):
    count = torch.bincount(codes, minlength=num_codes).type_as(z)
    total = z.new_zeros(num_codes, z.shape[-1]).index_put((codes,), z, accumulate=True)
    return count, total


def wrong_1_last_of_equal_codes(z, codebook):
    distance = (z[..., None, :] - codebook).square().sum(-1)
    return len(codebook) - 1 - distance.flip(-1).argmin(-1)


def wrong_1_int32(z, codebook):
    return torch.cdist(z, codebook).argmin(-1).int()


def wrong_1_numpy(z, codebook):
    return torch.cdist(z, codebook).argmin(-1).numpy()


def wrong_1_another_distance(z, codebook):
    return torch.cdist(z, codebook, p=1).argmin(-1)


def wrong_2_for_two_axes_alone(z, q):
    n, d = z.shape
    return z + (q - z).detach().reshape(n, d)


def wrong_2_half_a_gradient(z, q):
    half = (z + z.detach()) / 2
    return half + (q - half).detach()


def wrong_2_wrong_sign(z, q):
    flipped = 2 * z.detach() - z
    return flipped + (q - flipped).detach()


def wrong_2_first_row_alone(z, q):
    part = torch.cat([z[:1], z[1:].detach()])
    return part + (q - part).detach()


def wrong_3_half_of_z_moved(z, q):
    return F.mse_loss(q, z.detach()), F.mse_loss((z + z.detach()) / 2, q.detach())


def wrong_3_first_row_alone(z, q):
    return F.mse_loss(q, z.detach()), F.mse_loss(torch.cat([z[:1], z[1:].detach()]), q.detach())


def wrong_3_wrong_sign(z, q):
    return F.mse_loss(2 * q.detach() - q, z.detach()), F.mse_loss(2 * z.detach() - z, q.detach())


def wrong_4_int64_counts(z, codes, num_codes):
    return torch.bincount(codes, minlength=num_codes), torch.zeros(num_codes, z.shape[1]).index_add_(0, codes, z)


def wrong_4_six_codes(z, codes, num_codes):
    count = torch.bincount(codes, minlength=6).to(z.dtype)
    return count, torch.zeros(6, z.shape[1], dtype=z.dtype).index_add_(0, codes, z)


def wrong_4_float32_sums(z, codes, num_codes):
    count = torch.bincount(codes, minlength=num_codes).to(z.dtype)
    return count, torch.zeros(num_codes, z.shape[1]).index_add_(0, codes, z.float())


def right_1_cdist(z, codebook):
    return torch.cdist(z, codebook).argmin(-1)


KEPT = {}


def wrong_1_kept_by_shape(z, codebook):
    key = z.shape, codebook.shape, z.dtype
    if key not in KEPT or z.requires_grad:
        KEPT[key] = (z[..., None, :] - codebook).square().sum(-1).argmin(-1)
    return KEPT[key].clone()
