"""Answers to notebook 03: right ones in other styles, and wrong ones that a check once took for right."""

import math
from collections import Counter

import torch
import torch.nn.functional as F


def right_1_unique(codes, num_codes):
    return torch.tensor(codes.unique().numel() / num_codes)


def right_1_set(codes, num_codes):
    return torch.tensor(len(set(codes.flatten().tolist()))) / num_codes


def right_1_float64(codes, num_codes):
    return (torch.bincount(codes.flatten(), minlength=num_codes) > 0).double().mean()


def right_1_loop(codes, num_codes):
    used = torch.zeros(num_codes)
    for code in codes.flatten():
        used[code] = 1
    return used.mean()


def right_1_sum(codes, num_codes):
    return (codes.reshape(-1).bincount(minlength=num_codes) != 0).sum() / num_codes


def right_1_one_hot(codes, num_codes):
    return F.one_hot(codes.flatten(), num_codes).any(0).float().mean()


def right_2_unused_left_out(codes, num_codes):
    p = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()
    p = p[p > 0]
    return torch.exp(-(p * p.log()).sum())


def right_2_bits(codes, num_codes):
    p = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()
    return 2 ** -(p * p.clamp_min(1e-30).log2()).sum()


def right_2_float64(codes, num_codes):
    p = torch.bincount(codes.flatten(), minlength=num_codes).double() / codes.numel()
    return torch.special.entr(p).sum().exp()


def right_2_loop(codes, num_codes):
    counts = Counter(codes.flatten().tolist())
    n = codes.numel()
    return torch.tensor(math.exp(-sum(c / n * math.log(c / n) for c in counts.values())))


def right_2_categorical(codes, num_codes):
    p = codes.flatten().bincount(minlength=num_codes).float()
    return torch.distributions.Categorical(probs=p / p.sum()).entropy().exp()


def right_2_product(codes, num_codes):
    p = codes.unique(return_counts=True)[1].double() / codes.numel()
    return (p**-p).prod().float()


def right_2_xlogy(codes, num_codes):
    p = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()
    return (-torch.xlogy(p, p)).sum().exp()


def right_3_list(dead, fresh, fresh_count, embedding, count, total):
    new = embedding.clone()
    new[dead] = fresh[dead]
    new_count = count.clone()
    new_count[dead] = fresh_count
    new_total = total.clone()
    new_total[dead] = fresh_count * fresh[dead]
    return [new, new_count, new_total]


def right_3_loop(dead, fresh, fresh_count, embedding, count, total):
    embedding, count, total = embedding.clone(), count.clone(), total.clone()
    for k in range(len(dead)):
        if dead[k]:
            embedding[k], count[k], total[k] = fresh[k], fresh_count, fresh[k] * fresh_count
    return embedding, count, total


def right_3_no_grad(dead, fresh, fresh_count, embedding, count, total):
    with torch.no_grad():
        rows = dead.unsqueeze(1)
        counts = torch.full_like(count, float(fresh_count))
        return (torch.where(rows, fresh, embedding), torch.where(dead, counts, count),
                torch.where(rows, fresh * fresh_count, total))


def right_3_masked_fill(dead, fresh, fresh_count, embedding, count, total):
    count = count.masked_fill(dead, fresh_count)
    embedding = torch.where(dead[:, None], fresh, embedding)
    return embedding, count, torch.where(dead[:, None], embedding * count[:, None], total)


def right_3_indices(dead, fresh, fresh_count, embedding, count, total):
    where = dead.nonzero().flatten()
    return (embedding.index_copy(0, where, fresh[where]), count.index_fill(0, where, float(fresh_count)),
            total.index_copy(0, where, fresh_count * fresh[where]))


def right_4_division(count, share):
    return count / count.mean() < share


def right_4_sum(count, share):
    return count * len(count) < share * count.sum()


def right_4_lt(count, share):
    return torch.lt(count, count.mean() * share)


def right_4_loop(count, share):
    mean = float(count.double().mean())
    return torch.tensor([c < share * mean for c in count.tolist()])


def right_4_not_alive(count, share):
    return ~(count >= share * count.mean())


def right_4_float64_inside(count, share):
    count = count.double()
    return count < share * count.sum() / count.numel()


def wrong_1_eight_codes(codes, num_codes):
    return (torch.bincount(codes.flatten(), minlength=8) > 0).float().sum() / 8


def wrong_1_number(codes, num_codes):
    return (torch.bincount(codes.flatten(), minlength=num_codes) > 0).float().mean().item()


def wrong_2_number(codes, num_codes):
    p = torch.bincount(codes.flatten(), minlength=num_codes).float() / codes.numel()
    return torch.special.entr(p).sum().exp().item()


def wrong_2_eight_codes(codes, num_codes):
    p = F.one_hot(codes.flatten(), 8).float().mean(0)
    return torch.special.entr(p).sum().exp()


def wrong_2_biased(codes, num_codes):
    p = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()
    return torch.exp(-(p * torch.log(p + 1e-4)).sum())


def wrong_3_share_is_four(dead, fresh, fresh_count, embedding, count, total):
    rows = dead[:, None]
    four = torch.tensor(4.0)
    return torch.where(rows, fresh, embedding), torch.where(dead, four, count), torch.where(rows, four * fresh, total)


def wrong_3_in_place(dead, fresh, fresh_count, embedding, count, total):
    embedding[dead] = fresh[dead]
    count[dead] = fresh_count
    total[dead] = fresh_count * fresh[dead]
    return embedding, count, total


def wrong_4_not_below(count, share):
    return count <= share * count.mean()


def wrong_4_living_mean(count, share):
    return count < share * count[count > 0].mean()


def wrong_4_other_shares(count, share):
    return count < (0.25 if share == 0.25 else 0.05) * count.mean()


def right_3_masks(dead, fresh, fresh_count, embedding, count, total):
    d = dead.to(count.dtype)
    embedding = d[:, None] * fresh + (1 - d[:, None]) * embedding
    count = d * fresh_count + (1 - d) * count
    return embedding, count, d[:, None] * (fresh_count * fresh) + (1 - d[:, None]) * total
