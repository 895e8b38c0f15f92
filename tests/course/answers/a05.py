"""Answers to notebook 05: right ones in other styles, and wrong ones that a check once took for right."""

import itertools
import math

import numpy as np
import torch
from einops import rearrange

from lvlib.models.lvt.subscale import slice_numbers, slice_offset, slice_shape


def right_1_list(number, factor):
    s_t, s_h, s_w = factor
    return [number // (s_h * s_w) % s_t, number // s_w % s_h, number % s_w]


def right_1_remainders(number, factor):
    s_h, s_w = factor[1:]
    a = number // (s_h * s_w)
    b = (number - a * s_h * s_w) // s_w
    return a, b, number - a * s_h * s_w - b * s_w


def right_1_divmod(number, factor):
    rest, c = number // factor[2], number % factor[2]
    return rest // factor[1], rest % factor[1], c


def right_1_unravel(number, factor):
    if isinstance(number, int):
        return tuple(int(i) for i in np.unravel_index(number, factor))
    return torch.unravel_index(number, factor)


def right_1_loop(number, factor):
    offset = []
    for step in reversed(factor):
        offset.append(number % step)
        number = number // step
    return tuple(reversed(offset))


def right_1_table(number, factor):
    table = list(itertools.product(*(range(s) for s in factor)))
    if isinstance(number, int):
        return table[number]
    return torch.tensor(table)[number].unbind(-1)


def right_1_tensors_for_an_int(number, factor):
    return torch.unravel_index(torch.as_tensor(number), factor)


def right_2_permute(shape, factor):
    (t, h, w), (a, b, c) = slice_shape(shape, factor), factor
    raster = torch.arange(math.prod(shape)).reshape(t, a, h, b, w, c)
    return raster.permute(1, 3, 5, 0, 2, 4).flatten()


def right_2_sorted(shape, factor):
    slice_shape(shape, factor)
    return slice_numbers(shape, factor).flatten().argsort(stable=True)


def right_2_slices(shape, factor):
    slice_shape(shape, factor)
    raster = torch.arange(math.prod(shape)).reshape(shape)
    s_t, s_h, s_w = factor
    slices = [raster[a::s_t, b::s_h, c::s_w].flatten() for a, b, c in itertools.product(*map(range, factor))]
    return torch.cat(slices)


def right_2_loop(shape, factor):
    if any(n % s for n, s in zip(shape, factor, strict=True)):
        raise ValueError("the factor does not divide the shape")
    order = []
    for a, b, c in itertools.product(*map(range, factor)):
        for t in range(a, shape[0], factor[0]):
            for h in range(b, shape[1], factor[1]):
                for w in range(c, shape[2], factor[2]):
                    order.append((t * shape[1] + h) * shape[2] + w)
    return torch.tensor(order)


def right_2_numpy_inside(shape, factor):
    t, h, w = slice_shape(shape, factor)
    raster = np.arange(np.prod(shape)).reshape(t, factor[0], h, factor[1], w, factor[2])
    return torch.from_numpy(raster.transpose(1, 3, 5, 0, 2, 4).reshape(-1).astype(np.int64))


def right_2_two_steps(shape, factor):
    t, h, w = slice_shape(shape, factor)
    raster = torch.arange(math.prod(shape)).view(shape)
    slices = rearrange(raster, "(t a) (h b) (w c) -> (a b c) t h w", t=t, h=h, w=w)
    return slices.reshape(-1)


def right_3_where(shape, factor, numbers, prime_frames=0):
    own = slice_numbers(shape, factor)[None]
    frame = torch.arange(shape[0])[None, :, None, None]
    return torch.where(frame < prime_frames, True, own < numbers.reshape(-1, 1, 1, 1))


def right_3_written(shape, factor, numbers, prime_frames=0):
    seen = slice_numbers(shape, factor) < numbers[:, None, None, None]
    seen[:, :prime_frames] = True
    return seen


def right_3_loop(shape, factor, numbers, prime_frames=0):
    own = slice_numbers(shape, factor)
    seen = torch.zeros(len(numbers), *shape, dtype=torch.bool)
    for i, number in enumerate(numbers):
        seen[i] = own < number
        for frame in range(prime_frames):
            seen[i, frame] = True
    return seen


def right_3_stack(shape, factor, numbers, prime_frames=0):
    own = slice_numbers(shape, factor)
    own[:prime_frames] = -1
    return torch.stack([own < number for number in numbers.tolist()])


def right_3_positions(shape, factor, numbers, prime_frames=0):
    seen = torch.zeros(len(numbers), *shape, dtype=torch.bool)
    for number in range(math.prod(factor)):
        a, b, c = slice_offset(number, factor)
        seen[:, a :: factor[0], b :: factor[1], c :: factor[2]] = (number < numbers)[:, None, None, None]
    seen[:, :prime_frames] = True
    return seen


def right_3_logical_or(shape, factor, numbers, prime_frames=0):
    earlier = torch.lt(slice_numbers(shape, factor)[None], numbers.view(-1, 1, 1, 1))
    primed = (torch.arange(shape[0]) < prime_frames).view(1, -1, 1, 1)
    return torch.logical_or(earlier, primed)


def wrong_1_float_numbers(number, factor):
    number = torch.as_tensor(number)
    _, s_h, s_w = factor
    return (torch.floor(number / (s_h * s_w)), torch.floor(number / s_w) % s_h, number % s_w)


def wrong_1_float_for_an_int(number, factor):
    _, s_h, s_w = factor
    if isinstance(number, int):
        return float(number // (s_h * s_w)), float(number // s_w % s_h), float(number % s_w)
    return number // (s_h * s_w), number // s_w % s_h, number % s_w


def wrong_1_numpy(number, factor):
    return np.unravel_index(np.asarray(number), factor)


def wrong_2_no_error(shape, factor):
    (t, h, w), (a, b, c) = (n // s for n, s in zip(shape, factor, strict=True)), factor
    raster = torch.arange(t * h * w * a * b * c).reshape(t, a, h, b, w, c)
    return raster.permute(1, 3, 5, 0, 2, 4).flatten()


def wrong_2_another_error(shape, factor):
    (t, h, w), (a, b, c) = (n // s for n, s in zip(shape, factor, strict=True)), factor
    assert (t * a, h * b, w * c) == tuple(shape)
    raster = torch.arange(t * h * w * a * b * c).reshape(t, a, h, b, w, c)
    return raster.permute(1, 3, 5, 0, 2, 4).flatten()


def wrong_2_int32(shape, factor):
    slice_shape(shape, factor)
    return slice_numbers(shape, factor).flatten().argsort(stable=True).int()


def wrong_3_two_priming_frames(shape, factor, numbers, prime_frames=0):
    seen = slice_numbers(shape, factor) < numbers[:, None, None, None]
    if prime_frames:
        seen[:, :2] = True
    return seen


def wrong_3_batch_of_six(shape, factor, numbers, prime_frames=0):
    seen = slice_numbers(shape, factor).expand(6, -1, -1, -1) < numbers[:, None, None, None]
    seen[:, :prime_frames] = True
    return seen


def wrong_3_float(shape, factor, numbers, prime_frames=0):
    seen = slice_numbers(shape, factor) < numbers[:, None, None, None]
    seen[:, :prime_frames] = True
    return seen.float()
