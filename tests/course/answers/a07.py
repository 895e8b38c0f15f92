"""Answers to notebook 07: right ones in other styles, and wrong ones for lazy or mistaken students."""

import math

import torch
from torch import nn

from lvlib.models.lvt.frame_vqvae import Encoder
from lvlib.models.lvt.patch_vqvae import LayerEncoder, PatchEncoder, PatchResidualBlock


def right_1_products(layers):
    strides = [stride for _, stride in layers]
    return 1 + sum((kernel - 1) * math.prod(strides[:i]) for i, (kernel, _) in enumerate(layers))


def right_1_from_the_end(layers):
    seen = 1
    for kernel, stride in reversed(layers):
        seen = stride * (seen - 1) + kernel
    return seen


def right_1_recursion(layers):
    if not layers:
        return 1
    (kernel, stride), *rest = layers
    return kernel + stride * (right_1_recursion(rest) - 1)


def right_1_interval(layers):
    first = last = 0
    for kernel, stride in layers[::-1]:
        first, last = first * stride, last * stride + kernel - 1
    return last - first + 1


def wrong_1_the_notebooks_number(layers):
    return 18


def wrong_1_product_of_kernels(layers):
    return math.prod(kernel for kernel, _ in layers)


def wrong_1_strides_multiply_the_kernels(layers):
    return sum(kernel * stride for kernel, stride in layers)


def wrong_1_step_is_two(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        seen, step = seen + (kernel - 1) * step, step * (2 if stride > 1 else 1)
    return seen


def wrong_1_float(layers):
    return float(right_1_products(layers))


def wrong_1_turns_the_list(layers):
    layers.reverse()
    return right_1_from_the_end(layers[::-1])


def wrong_1_empties_the_list(layers):
    seen = right_1_products(layers)
    layers.clear()
    return seen


class right_2_loop(nn.Sequential):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        layers = [nn.Conv2d(channels, hidden, kernel_size=4, stride=4)]
        for _ in range(residual_blocks):
            layers.append(PatchResidualBlock(hidden, residual_hidden))
        super().__init__(*layers)


class right_2_appended(nn.Sequential):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__()
        self.append(nn.Conv2d(channels, hidden, (4, 4), (4, 4), padding=0))
        self.extend([PatchResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)])


class wrong_2_lvts(Encoder):
    pass


class wrong_2_three_channels(PatchEncoder):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(3, hidden, residual_hidden, residual_blocks)


class wrong_2_one_block(PatchEncoder):
    def __init__(self, channels, hidden, residual_hidden, residual_blocks):
        super().__init__(channels, hidden, residual_hidden, 1)


class wrong_2_detached(PatchEncoder):
    def forward(self, x):
        return super().forward(x.detach())


class wrong_2_no_grad(PatchEncoder):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class right_3_loop(LayerEncoder):
    def forward(self, frames):
        vectors, start = [], 0
        for encoder, width in zip(self.encoders, self.widths, strict=True):
            vectors.append(encoder(frames[:, start:start + width]))
            start += width
        return torch.concatenate(vectors, dim=1)


class right_3_tensor_split(LayerEncoder):
    def forward(self, frames):
        ends = torch.tensor(self.widths).cumsum(0)[:-1]
        parts = torch.tensor_split(frames, ends, dim=1)
        return torch.cat([self.encoders[i](part) for i, part in enumerate(parts)], -3)


class right_3_stacked(LayerEncoder):
    def forward(self, frames):
        layers = frames.split(self.widths, 1)
        return torch.stack([e(x) for e, x in zip(self.encoders, layers, strict=True)], 1).flatten(1, 2)


class wrong_3_two_layers(LayerEncoder):
    def forward(self, frames):
        return torch.cat([self.encoders[0](frames[:, :1]), self.encoders[1](frames[:, 1:])], 1)


class wrong_3_interleaved(LayerEncoder):
    def forward(self, frames):
        layers = frames.split(self.widths, 1)
        return torch.stack([e(x) for e, x in zip(self.encoders, layers, strict=True)], 2).flatten(1, 2)


class wrong_3_second_layer_detached(LayerEncoder):
    def forward(self, frames):
        first, *others = frames.split(self.widths, 1)
        rest = [e(x).detach() for e, x in zip(self.encoders[1:], others, strict=True)]
        return torch.cat([self.encoders[0](first), *rest], 1)


class wrong_3_along_the_width(LayerEncoder):
    def forward(self, frames):
        layers = frames.split(self.widths, 1)
        return torch.cat([e(x) for e, x in zip(self.encoders, layers, strict=True)], -1)
