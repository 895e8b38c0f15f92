"""Answers to notebook 04: right ones in other styles, and wrong ones that a check once took for right."""

import math

import numpy as np
import torch
from torch import nn


def right_1_loop(latent_shape, num_codes):
    codes = 1
    for n in latent_shape:
        codes *= n
    return codes * math.log2(num_codes)


def right_1_natural(latent_shape, num_codes):
    return math.prod(latent_shape) * math.log(num_codes) / math.log(2)


def right_1_numpy(latent_shape, num_codes):
    return np.prod(latent_shape) * np.log2(num_codes)


def right_1_base(latent_shape, num_codes):
    return math.log(num_codes, 2) * math.prod(latent_shape)


def right_1_tensor_inside(latent_shape, num_codes):
    return torch.empty(latent_shape).numel() * torch.tensor(num_codes).double().log2().item()


def right_1_sum(latent_shape, num_codes):
    return float(sum(math.log2(num_codes) for _ in range(math.prod(latent_shape))))


class right_2_loop(nn.Module):
    def __init__(self, codebooks):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, z):
        q, codes, loss, sums = [], [], 0, {}
        width = z.shape[-1] // len(self.codebooks)
        for i, codebook in enumerate(self.codebooks):
            part, code, part_loss, metrics = codebook(z[..., i * width : (i + 1) * width])
            q.append(part)
            codes.append(code)
            loss = loss + part_loss
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0) + value
        n = len(self.codebooks)
        return torch.cat(q, -1), torch.stack(codes, -1), loss / n, {name: value / n for name, value in sums.items()}

    def lookup(self, codes):
        return torch.cat([codebook.lookup(c) for codebook, c in zip(self.codebooks, codes.unbind(-1), strict=True)], -1)


class right_2_list(nn.Module):
    def __init__(self, codebooks):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, z):
        parts = [codebook(x) for codebook, x in zip(self.codebooks, z.chunk(len(self.codebooks), dim=-1), strict=True)]
        metrics = {name: sum(p[3][name].detach() for p in parts) / len(parts) for name in parts[0][3]}
        return [torch.cat([p[0] for p in parts], dim=-1), torch.stack([p[1] for p in parts], dim=-1),
                sum(p[2] for p in parts) / len(parts), metrics]

    def lookup(self, codes):
        return torch.cat([codebook.lookup(codes[..., i]) for i, codebook in enumerate(self.codebooks)], -1)


class right_2_reshape(nn.Module):
    def __init__(self, codebooks):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, z):
        n = len(self.codebooks)
        slices = z.reshape(*z.shape[:-1], n, z.shape[-1] // n)
        parts = [self.codebooks[i](slices[..., i, :]) for i in range(n)]
        q = torch.stack([part[0] for part in parts], -2).reshape(z.shape)
        codes = torch.cat([part[1][..., None] for part in parts], -1)
        loss = torch.stack([part[2] for part in parts]).mean()
        return q, codes, loss, {k: torch.stack([part[3][k] for part in parts]).mean() for k in parts[0][3]}

    def lookup(self, codes):
        return torch.cat([codebook.lookup(codes[..., i]) for i, codebook in enumerate(self.codebooks)], -1)


class right_2_written_into(nn.Module):
    def __init__(self, codebooks):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, z):
        q, losses, all_metrics = torch.empty_like(z), [], []
        codes = torch.empty(*z.shape[:-1], len(self.codebooks), dtype=torch.int64)
        start = 0
        for i, (codebook, part) in enumerate(zip(self.codebooks, z.split(z.shape[-1] // len(self.codebooks), -1),
                                                 strict=True)):
            quantized, codes[..., i], loss, metrics = codebook(part)
            q[..., start : start + part.shape[-1]] = quantized
            start += part.shape[-1]
            losses.append(loss)
            all_metrics.append(metrics)
        means = {name: sum(m[name] for m in all_metrics) / len(all_metrics) for name in all_metrics[0]}
        return q, codes, sum(losses) / len(losses), means

    def lookup(self, codes):
        return torch.cat([codebook.lookup(codes[..., i]) for i, codebook in enumerate(self.codebooks)], -1)


def right_3_powers(codes, num_codes):
    n = codes.shape[-1]
    powers = torch.tensor([num_codes ** (n - 1 - i) for i in range(n)])
    return (codes * powers).sum(-1)


def right_3_sum(codes, num_codes):
    n = codes.shape[-1]
    return sum(codes[..., i] * num_codes ** (n - 1 - i) for i in range(n))


def right_3_from_the_right(codes, num_codes):
    number, worth = 0, 1
    for i in reversed(range(codes.shape[-1])):
        number = number + worth * codes[..., i]
        worth *= num_codes
    return number


def right_3_product(codes, num_codes):
    return codes @ (num_codes ** torch.arange(codes.shape[-1] - 1, -1, -1))


def right_3_in_python(codes, num_codes):
    numbers = []
    for digits in codes.reshape(-1, codes.shape[-1]).tolist():
        number = 0
        for digit in digits:
            number = num_codes * number + digit
        numbers.append(number)
    return torch.tensor(numbers).reshape(codes.shape[:-1])


def wrong_1_tensor(latent_shape, num_codes):
    return math.prod(latent_shape) * torch.tensor(float(num_codes)).log2()


def wrong_1_four_axes(latent_shape, num_codes):
    return math.prod(latent_shape[:4]) * math.log2(num_codes)


class wrong_2_three_slices(right_2_loop):
    def forward(self, z):
        parts = [codebook(x) for codebook, x in zip(self.codebooks, z.chunk(3, -1), strict=False)]
        means = {name: torch.stack([p[3][name] for p in parts]).mean() for name in parts[0][3]}
        q, codes = torch.cat([p[0] for p in parts], -1), torch.stack([p[1] for p in parts], -1)
        return q, codes, torch.stack([p[2] for p in parts]).mean(), means


class wrong_2_slices_of_four(right_2_loop):
    def forward(self, z):
        parts = [codebook(x) for codebook, x in zip(self.codebooks, z.split(4, -1), strict=False)]
        means = {name: torch.stack([p[3][name] for p in parts]).mean() for name in parts[0][3]}
        q, codes = torch.cat([p[0] for p in parts], -1), torch.stack([p[1] for p in parts], -1)
        return q, codes, torch.stack([p[2] for p in parts]).mean(), means


class wrong_2_loss_of_numbers(right_2_loop):
    def forward(self, z):
        q, codes, loss, metrics = super().forward(z)
        return q, codes, torch.tensor(loss.item()), metrics


class wrong_2_no_gradient(right_2_loop):
    @torch.no_grad()
    def forward(self, z):
        return super().forward(z)


class wrong_2_perplexity_alone(right_2_loop):
    def forward(self, z):
        q, codes, loss, metrics = super().forward(z)
        return q, codes, loss, {name: value for name, value in metrics.items() if name == "perplexity"}


class wrong_2_called_twice(right_2_loop):
    def forward(self, z):
        for codebook, part in zip(self.codebooks, z.chunk(len(self.codebooks), -1), strict=True):
            codebook(part)
        return super().forward(z)


def wrong_3_base_three(codes, num_codes):
    a, b, c, d = codes.unbind(-1)
    return ((a * 3 + b) * 3 + c) * 3 + d


def wrong_3_four_codebooks(codes, num_codes):
    return sum(codes[..., i] * num_codes ** (3 - i) for i in range(4))


def wrong_3_rows_alone(codes, num_codes):
    n = codes.shape[1]
    return (codes * torch.tensor([num_codes ** (n - 1 - i) for i in range(n)])).sum(1)


def wrong_3_float(codes, num_codes):
    n = codes.shape[-1]
    return (codes * float(num_codes) ** torch.arange(n - 1, -1, -1)).sum(-1)


def right_3_float64_inside(codes, num_codes):
    number = codes[..., 0].double()
    for i in range(1, codes.shape[-1]):
        number = number * num_codes + codes[..., i]
    return number.long()
