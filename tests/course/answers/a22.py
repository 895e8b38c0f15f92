"""Right and wrong answers to notebook 22 in other styles."""

import torch
import torch.nn.functional as F
from einops import rearrange


def right_1_rearranged(attention, planes):
    row = torch.cat([rearrange(plane, "b c h w -> b c (h w)") for plane in planes], -1)
    row, found = attention(row), []
    for plane in planes:
        h, w = plane.shape[2:]
        found.append(rearrange(row[:, :, :h * w], "b c (h w) -> b c h w", h=h))
        row = row[:, :, h * w:]
    return found


def right_1_positions(attention, planes):
    b, c = planes[0].shape[:2]
    positions = [plane.shape[2] * plane.shape[3] for plane in planes]
    row = planes[0].new_zeros(b, c, sum(positions))
    start = 0
    for n, plane in zip(positions, planes, strict=True):
        row[:, :, start:start + n] = plane.reshape(b, c, n)
        start += n
    ends = torch.tensor(positions).cumsum(0)[:-1]
    return tuple(part.unflatten(2, plane.shape[2:]) for part, plane in zip(
        attention(row).tensor_split(ends, 2), planes, strict=True))


def right_2_two_calls(predict, x, t, before, noise, weight):
    first = F.mse_loss(predict(x, t, before), noise)
    second = F.mse_loss(predict(x, t, before * 0), noise)
    return weight * first + (1 - weight) * second, first, second


def right_2_stacked(predict, x, t, before, noise, weight):
    none = torch.zeros(before.shape, dtype=before.dtype)
    predicted = predict(x.repeat(2, 1, 1), t.repeat(2), torch.cat([before, none]))
    errors = (predicted - noise.repeat(2, 1, 1)).pow(2).reshape(2, -1).mean(1)
    return torch.lerp(errors[1], errors[0], weight), errors[0], errors[1]


def wrong_2_mean_of_both(predict, x, t, before, noise, weight):
    first = F.mse_loss(predict(x, t, before), noise)
    second = F.mse_loss(predict(x, t, torch.zeros_like(before)), noise)
    return (first + second) / 2, first, second


def wrong_2_steps_not_doubled(predict, x, t, before, noise, weight):
    first = F.mse_loss(predict(x, t, before), noise)
    second = F.mse_loss(predict(x, torch.zeros_like(t), torch.zeros_like(before)), noise)
    return weight * first + (1 - weight) * second, first, second


def right_3_while(given, clips, steps, draw):
    made = [*given]
    while len(made) < clips:
        if not made:
            made.append(draw(None, 0, steps[0]))
        else:
            made.append(draw(made[-1], len(made), steps[1]))
    return made


def right_3_before(given, clips, steps, draw):
    made, before = given.copy(), given[-1] if given else None
    for number in range(len(given), clips):
        before = draw(before, number, steps[0] if number == 0 else steps[1])
        made.append(before)
    return made


def right_3_recursive(given, clips, steps, draw):
    if len(given) == clips:
        return given[:]
    first = len(given) == 0
    clip = draw(None if first else given[-1], len(given), steps[0] if first else steps[1])
    return right_3_recursive([*given, clip], clips, steps, draw)


def wrong_3_new_clips_alone(given, clips, steps, draw):
    made = list(given)
    for i in range(len(made), clips):
        made.append(draw(made[-1] if made else None, i, steps[min(i, 1)]))
    return made[len(given):]


def wrong_3_first_steps_after_given(given, clips, steps, draw):
    made = list(given)
    for i in range(len(made), clips):
        made.append(draw(made[-1] if made else None, i, steps[0] if i == len(given) else steps[1]))
    return made


def right_4_weighted(predict, x, t, before, weight):
    if before is None:
        return predict(x, t, 0 * x)
    if not weight:
        return predict(x, t, before)
    both = predict(x.repeat(2, 1, 1), t.repeat(2), torch.cat([before, 0 * before]))
    return (1 + weight) * both[:len(x)] - weight * both[len(x):]


def right_4_alone_first(predict, x, t, before, weight):
    if before is not None and weight > 0:
        both = predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([torch.zeros_like(before), before]))
        alone, after = both.split(len(x))
        return alone + (1 + weight) * (after - alone)
    return predict(x, t, before if before is not None else torch.zeros_like(x))


def wrong_4_none_is_pushed_too(predict, x, t, before, weight):
    if before is None:
        return predict(x, t, torch.zeros_like(x)) * (1 + weight)
    if weight == 0:
        return predict(x, t, before)
    after, alone = predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([before, torch.zeros_like(x)])).chunk(2)
    return after + weight * (after - alone)


def wrong_4_interleaved(predict, x, t, before, weight):
    if before is None or weight == 0:
        return predict(x, t, torch.zeros_like(x) if before is None else before)
    both = predict(x.repeat_interleave(2, 0), t.repeat(2), torch.cat([before, torch.zeros_like(x)]))
    after, alone = both.chunk(2)
    return after + weight * (after - alone)
