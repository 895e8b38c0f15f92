"""Right and wrong answers to notebook 14 in other styles."""

import torch
from torch import nn

from lvlib.models.tats.equivariance import padded_layers
from lvlib.models.tats.padding import PaddedConv3d, same_padding


def right_1_loop(codes_early, codes_late):
    if codes_early.shape != codes_late.shape:
        raise ValueError("not the same shape")
    b, t, h, w = codes_early.shape
    if t < 2:
        raise ValueError("nothing to compare")
    same = torch.zeros(b)
    for i in range(1, t):
        for j in range(h):
            for k in range(w):
                same += (codes_early[:, i, j, k] == codes_late[:, i - 1, j, k]).float()
    return same / ((t - 1) * h * w)


def right_1_flat(codes_early, codes_late):
    if codes_early.size() != codes_late.size() or codes_early.size(1) == 1:
        raise ValueError("codes of two clips, please")
    early, late = codes_early[:, 1:].flatten(1), codes_late[:, :-1].flatten(1)
    return torch.eq(early, late).sum(1) / early.size(1)


def right_1_ones_that_differ(codes_early, codes_late):
    if codes_early.shape != codes_late.shape or codes_early.shape[1] < 2:
        raise ValueError
    t = codes_early.shape[1]
    differ = (codes_early.narrow(1, 1, t - 1) - codes_late.narrow(1, 0, t - 1)) != 0
    return 1 - differ.to(torch.float32).mean(dim=(1, 2, 3))


def wrong_1_mean_over_clips_and_back(codes_early, codes_late):
    if codes_early.shape != codes_late.shape or codes_early.shape[1] < 2:
        raise ValueError
    same = (codes_early[:, 1:] == codes_late[:, :-1]).float()
    return same.mean().expand(len(same))


def wrong_1_divided_as_printed(codes_early, codes_late):
    if codes_early.shape != codes_late.shape or codes_early.shape[1] < 2:
        raise ValueError
    return (codes_early[:, 1:] == codes_late[:, :-1]).float().sum((1, 2, 3)) / codes_early[0].numel()


def wrong_1_float64(codes_early, codes_late):
    if codes_early.shape != codes_late.shape or codes_early.shape[1] < 2:
        raise ValueError
    return (codes_early[:, 1:] == codes_late[:, :-1]).double().mean((1, 2, 3))


def right_2_backwards(encoder):
    first = last = 0
    for layer in reversed(padded_layers(encoder)):
        padding = same_padding(layer.kernel_size, layer.stride)[0][0]
        first = first * layer.stride[0] - padding
        last = last * layer.stride[0] - padding + layer.kernel_size[0] - 1
    return -first, last


def right_2_by_hand(encoder):
    before = after = 0
    worth = 1
    for layer in encoder.modules():
        if isinstance(layer, PaddedConv3d):
            k, s = layer.kernel_size[0], layer.stride[0]
            before += (k - s + 1) // 2 * worth
            after += (k - 1 - (k - s + 1) // 2) * worth
            worth = worth * s
    return before, after


def right_2_sums(encoder):
    layers = padded_layers(encoder)
    worth = [1]
    for layer in layers:
        worth.append(worth[-1] * layer.stride[0])
    pads = [same_padding(layer.kernel_size, layer.stride)[0] for layer in layers]
    before = sum(front * w for (front, _), w in zip(pads, worth, strict=False))
    return before, sum(back * w for (_, back), w in zip(pads, worth, strict=False)) + worth[-1] - 1


def wrong_2_symmetric(encoder):
    before, _ = right_2_backwards(encoder)
    return before, before


def wrong_2_registered_backwards(encoder):
    return right_2_by_hand(nn.Sequential(*padded_layers(encoder)[::-1]))


def wrong_2_one_too_far(encoder):
    before, after = right_2_backwards(encoder)
    return before, after + 1


def right_3_loop_with_break(encoder, k):
    layers = padded_layers(encoder)
    if k < 0 or k > len(layers):
        raise ValueError("so many layers there are not")
    before = after = 0
    rate = 1
    for i, layer in enumerate(layers):
        if i == k:
            break
        (front, back), _, _ = same_padding(layer.kernel_size, layer.stride)
        before, after = before + rate * front, after + rate * back
        rate *= layer.stride[0]
    return before, after


def right_3_from_the_receptive_field(encoder, k):
    layers = padded_layers(encoder)
    if k not in range(len(layers) + 1):
        raise ValueError("k")
    some = nn.Sequential(*layers[:k])
    before, after = right_2_backwards(some)
    own = 1
    for layer in some:
        own *= layer.stride[0]
    return before, after - (own - 1)


def right_3_recursion(encoder, k):
    layers = padded_layers(encoder)
    if not 0 <= k <= len(layers):
        raise ValueError("k")

    def inner(i):
        if i == k:
            return 0, 0
        front, back = same_padding(layers[i].kernel_size, layers[i].stride)[0]
        before, after = inner(i + 1)
        return front + layers[i].stride[0] * before, back + layers[i].stride[0] * after

    return inner(0)


def wrong_3_last_layers(encoder, k):
    layers = padded_layers(encoder)
    if not 0 <= k <= len(layers):
        raise ValueError("k")
    return right_3_loop_with_break(nn.Sequential(*layers[len(layers) - k:]), k)


def wrong_3_layers_that_pad_nothing_any_more(encoder, k):
    layers = [layer for layer in padded_layers(encoder) if layer.time_padding]
    if not 0 <= k <= len(padded_layers(encoder)):
        raise ValueError("k")
    return right_3_loop_with_break(nn.Sequential(*layers), min(k, len(layers)))


def wrong_3_negative_slices(encoder, k):
    if k > len(padded_layers(encoder)):
        raise ValueError("k")
    return right_3_from_the_receptive_field(encoder, len(padded_layers(encoder)[:k]))


def right_4_loops(codes, num_codes):
    t = codes.shape[1]
    table = torch.zeros(t, t)
    for i in range(t):
        for j in range(t):
            p = torch.bincount(codes[:, i].reshape(-1), minlength=num_codes) / codes[:, i].numel()
            q = torch.bincount(codes[:, j].reshape(-1), minlength=num_codes) / codes[:, j].numel()
            table[i, j] = (p - q).abs().sum() / 2
    return table


def right_4_one_hot(codes, num_codes):
    shares = nn.functional.one_hot(codes, num_codes).double().mean((0, 2, 3))
    return 0.5 * (shares[:, None] - shares[None]).abs().sum(-1)


def right_4_positive_part(codes, num_codes):
    """The sum over the codes that one has more of is as large."""
    frames = codes.transpose(0, 1).flatten(1)
    shares = torch.zeros(len(frames), num_codes, dtype=torch.float64)
    shares.scatter_add_(1, frames, torch.ones_like(frames, dtype=torch.float64))
    shares /= frames.shape[1]
    return (shares[:, None] - shares).clamp(min=0).sum(-1)


def wrong_4_largest_difference(codes, num_codes):
    shares = nn.functional.one_hot(codes, num_codes).double().mean((0, 2, 3))
    return (shares[:, None] - shares).abs().amax(-1)


def wrong_4_euclidean(codes, num_codes):
    shares = nn.functional.one_hot(codes, num_codes).double().mean((0, 2, 3))
    return torch.cdist(shares, shares) / 2


def wrong_4_place_by_place(codes, num_codes):
    shares = nn.functional.one_hot(codes, num_codes).double().mean(0)
    return (shares[:, None] - shares).abs().sum(-1).mean((-1, -2)) / 2
