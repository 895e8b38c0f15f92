"""Wrong answers to notebook 09 that a check might take for right."""

from dataclasses import dataclass

import numpy as np
import torch

from lvlib.models.common.attention import Sparse


def wrong_1_first_channel_poked(layer, x):
    n = len(x)
    copies = x.repeat(n, 1, 1)
    copies[:, :, 0] += torch.eye(n)
    return ((layer(copies) - layer(x[None])).abs().amax(-1) > 1e-6).T


def wrong_1_six_positions(layer, x):
    change = layer(x + torch.eye(6)[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 1e-6).T


def wrong_1_any_difference(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change != 0).any(-1).T


def wrong_1_large_changes_alone(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 0.1).T


def wrong_1_threshold_of_1e_5(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 1e-5).T


def wrong_1_threshold_of_1e_8(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 1e-8).T


def wrong_1_first_channel_of_the_output(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change[..., 0].abs() > 1e-6).T


def wrong_1_without_the_batch(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x)
    return (change.abs().amax(-1) > 1e-6).T


def wrong_1_mean_over_channels(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change.mean(-1).abs() > 1e-6).T


def wrong_1_as_many_channels_as_positions(layer, x):
    change = layer(x + torch.eye(x.shape[1])[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 1e-6).T


def wrong_1_int(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 1e-6).T.int()


def wrong_1_numpy(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return np.asarray(change.abs().amax(-1) > 1e-6).T


def wrong_1_changes_x(layer, x):
    before, columns = layer(x[None]), []
    for j in range(len(x)):
        x[j] += 1
        columns.append((layer(x[None]) - before).abs().amax((0, 2)) > 1e-6)
        x[j] -= 2
    return torch.stack(columns, 1)


def wrong_1_closest_neighbours(layer, x):
    change = layer(x + torch.eye(len(x))[:, :, None]) - layer(x[None])
    return (change.abs().amax(-1) > 1e-6).T & torch.ones(len(x), len(x)).tril(5).bool()


@dataclass(frozen=True)
class wrong_2_everything_seen(Sparse):
    def seen(self, position):
        return torch.arange(position + 1)


@dataclass(frozen=True)
class wrong_2_one_query_alone(Sparse):
    def allows(self, query, key):
        behind = int(query) - key
        return (behind >= 0) & ((behind < self.local) | (behind % self.stride == 0))


@dataclass(frozen=True)
class wrong_2_int64_alone(Sparse):
    def allows(self, query, key):
        behind = (query.long() - key.long()).view(query.shape if query.ndim > key.ndim else key.shape)
        return (behind >= 0) & ((behind < self.local) | (behind % self.stride == 0))


@dataclass(frozen=True)
class wrong_2_stride_of_eight(Sparse):
    def allows(self, query, key):
        behind = query - key
        return (behind >= 0) & ((behind < self.local) | (behind % 8 == 0))


@dataclass(frozen=True)
class wrong_2_last_frame_alone(Sparse):
    def allows(self, query, key):
        behind = query - key
        return (behind >= 0) & ((behind < self.local) | (behind == self.stride) | (behind == 2 * self.stride))


@dataclass(frozen=True)
class wrong_2_local_by_distance(Sparse):
    def allows(self, query, key):
        behind = query - key
        return (behind.abs() < self.local) | ((behind >= 0) & (behind % self.stride == 0))


@dataclass(frozen=True)
class wrong_2_strided_before_local_alone(Sparse):
    def allows(self, query, key):
        behind = query - key
        return (behind >= 0) & ((behind < self.local) | ((behind % self.stride == 0) & (behind < 4 * self.local)))


@dataclass(frozen=True)
class wrong_2_int(Sparse):
    def allows(self, query, key):
        behind = query - key
        return ((behind >= 0) & ((behind < self.local) | (behind % self.stride == 0))).int()


@dataclass
class wrong_2_not_frozen:
    local: int
    stride: int

    def allows(self, query, key):
        behind = query - key
        return (behind >= 0) & ((behind < self.local) | (behind % self.stride == 0))

    def seen(self, position):
        before = torch.arange(position + 1)
        return before[self.allows(torch.tensor(position), before)]
