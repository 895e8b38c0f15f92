"""Answers to notebook 01: right ones in other styles, and wrong ones that a check once took for right."""

import math

import einops
import numpy as np
import torch

from lvlib.errors import UserError
from lvlib.metrics.pixels import mse


def right_1_unfold(length, frames, stride):
    return torch.arange(length).unfold(0, (frames - 1) * stride + 1, 1)[:, ::stride]


def right_1_loop(length, frames, stride):
    rows = []
    for start in range(length):
        row = [start + i * stride for i in range(frames)]
        if row[-1] < length:
            rows.append(row)
    return torch.tensor(rows)


def right_1_numpy_inside(length, frames, stride):
    starts = np.arange(length - (frames - 1) * stride)
    return torch.from_numpy(starts[:, None] + stride * np.arange(frames)[None])


def right_1_meshgrid(length, frames, stride):
    first, step = torch.meshgrid(
        torch.arange(length - stride * (frames - 1)), torch.arange(frames) * stride, indexing="ij")
    return first + step


def right_1_slices(length, frames, stride):
    span = (frames - 1) * stride + 1
    return torch.stack([torch.arange(start, start + span, stride) for start in range(length - span + 1)])


def right_1_stacked_columns(length, frames, stride):
    clips = length - (frames - 1) * stride
    return torch.stack([torch.arange(i * stride, i * stride + clips) for i in range(frames)], dim=1)


def right_2_diff(frames):
    return frames.short().diff(dim=0)


def right_2_int_inside(frames):
    return (frames[1:].int() - frames[:-1].int()).to(torch.int16)


def right_2_float_inside(frames):
    return (frames[1:].double() - frames[:-1].double()).short()


def right_2_loop(frames):
    return torch.stack([frames[i].short() - frames[i - 1].short() for i in range(1, len(frames))])


def right_2_numpy_inside(frames):
    return torch.from_numpy(np.diff(frames.numpy().astype(np.int16), axis=0))


def right_2_added(frames):
    x = frames.to(torch.int16)
    return x[1:] + -1 * x[:-1]


def right_3_two_logarithms(video, other):
    return 20 * math.log10(2) - 10 * torch.log10(mse(video, other))


def right_3_float64(video, other):
    return 10 * torch.log10(4 / mse(video, other).double())


def right_3_root(video, other):
    return 20 * torch.log10(2 / mse(video, other).sqrt())


def right_3_natural(video, other):
    return 10 * (4 / mse(video, other)).log() / math.log(10)


def right_3_own_error(video, other):
    if video.shape != other.shape:
        raise UserError("shapes differ")
    return 10 * torch.log10(4 / ((video - other) ** 2).mean((1, 2, 3, 4)))


def right_3_loop(video, other):
    errors = mse(video, other)
    return torch.tensor([10 * math.log10(4 / e) if e > 0 else math.inf for e in errors.tolist()])


def right_3_reciprocal(video, other):
    return -10 * torch.log10(mse(video, other) / 4)


def right_4_one_division_after_another(nll_nats, dims):
    return nll_nats / math.log(2) / dims


def right_4_log2_of_e(nll_nats, dims):
    return nll_nats * math.log2(math.e) / dims


def right_4_float64(nll_nats, dims):
    return nll_nats.double() / (dims * math.log(2))


def right_4_tensor(nll_nats, dims):
    return nll_nats / torch.log(torch.tensor(2.0)) / dims


def right_4_bits_first(nll_nats, dims):
    bits = nll_nats / np.log(2)
    return bits / dims


def right_4_inverse(nll_nats, dims):
    return nll_nats * (1 / (dims * math.log(2)))


def right_5_index_add(context, value):
    table = torch.ones(256 * 256, dtype=torch.float64)
    table.index_add_(0, (context * 256 + value).flatten(), torch.ones(context.numel(), dtype=torch.float64))
    table = table.view(256, 256)
    return table / table.sum(dim=1, keepdim=True)


def right_5_loop(context, value):
    rows = [[1] * 256 for _ in range(256)]
    for c, v in zip(context.flatten().tolist(), value.flatten().tolist(), strict=True):
        rows[c][v] += 1
    return torch.tensor([[n / sum(row) for n in row] for row in rows])


def right_5_float32(context, value):
    pairs = torch.bincount((256 * context + value).flatten(), minlength=65536).reshape(256, 256)
    return (pairs + 1) / (pairs.sum(1, keepdim=True) + 256)


def right_5_put(context, value):
    table = torch.ones(256, 256)
    one = torch.ones(context.numel())
    table.index_put_((context.flatten(), value.flatten()), one, accumulate=True)
    return table / einops.reduce(table, "context value -> context 1", "sum")


def right_5_numpy_inside(context, value):
    table = np.ones((256, 256))
    np.add.at(table, (context.numpy().ravel(), value.numpy().ravel()), 1)
    return torch.tensor(table / table.sum(1, keepdims=True))


def right_5_row_by_row(context, value):
    context, value = context.flatten(), value.flatten()
    rows = [torch.bincount(value[context == c], minlength=256) + 1.0 for c in range(256)]
    return torch.stack([row / row.sum() for row in rows])


def wrong_1_one_clip_length(length, frames, stride):
    return torch.arange(length - 3 * stride)[:, None] + stride * torch.arange(4)[:frames]


def wrong_1_int32(length, frames, stride):
    return (torch.arange(length - (frames - 1) * stride)[:, None] + stride * torch.arange(frames)).int()


def wrong_2_int64(frames):
    return frames.long().diff(dim=0)


def wrong_2_numpy(frames):
    return np.diff(frames.numpy().astype(np.int16), axis=0)


def wrong_3_kept_axes(video, other):
    return 10 * torch.log10(4 / mse(video, other)).reshape(-1, 1, 1, 1, 1)


def wrong_3_no_error(video, other):
    return 10 * torch.log10(4 / (video - other).square().flatten(1).mean(1))


def wrong_3_never_infinite(video, other):
    return 10 * torch.log10(4 / (mse(video, other) + 1e-8))


def wrong_3_capped(video, other):
    return (10 * torch.log10(4 / mse(video, other))).clamp(max=100)


def wrong_4_hundred_dims(nll_nats, dims):
    return nll_nats / (100 * math.log(2))


def wrong_4_numpy(nll_nats, dims):
    return nll_nats.detach().numpy() / (dims * math.log(2))


def wrong_4_no_gradient(nll_nats, dims):
    return nll_nats.detach() / (dims * math.log(2))


def wrong_5_counts_of_one(context, value):
    table = torch.ones(256, 256)
    table[context.flatten(), value.flatten()] += 1
    return table / table.sum(1, keepdim=True)


def wrong_5_small_addend(context, value):
    pairs = torch.bincount((256 * context + value).flatten(), minlength=65536).reshape(256, 256).double() + 0.99
    return pairs / pairs.sum(1, keepdim=True)


def wrong_3_compares_sizes(video, other):
    if video.numel() != other.numel() or len(video) != len(other):
        raise UserError("the shapes differ")
    return 10 * torch.log10(4 / (video.flatten(1) - other.flatten(1)).square().mean(1))


def wrong_4_at_most_8(nats, dims):
    return (nats / (dims * math.log(2))).clamp(0, 8)
