"""Right answers to notebook 20 in other styles, and wrong ones that a check might take for right."""

import torch
from torch import nn

from lvlib.models.pvdm.projection import RowSummary
from lvlib.models.pvdm.timesformer import DividedBlock


def right_1_complex(x, angles):
    a, b = x.chunk(2, -1)
    turned = torch.complex(a.float(), b.float()) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], -1).to(x.dtype)


def right_1_one_row(x, angles):
    half = x.shape[-1] // 2
    cos, sin = (torch.cat([f(angles)] * 2, -1).to(x.dtype) for f in (torch.cos, torch.sin))
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def wrong_1_half_the_numbers(x, angles):
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos().to(x.dtype) - b * angles.sin().to(x.dtype), b], -1)


class right_2_loops(DividedBlock):
    def forward(self, x, time_angles, space_angles):
        y = self.norms[0](x)
        x = x + torch.stack([self.time(y[:, :, i], time_angles) for i in range(x.shape[2])], 2)
        y = self.norms[1](x)
        x = x + torch.stack([self.space(y[:, i], space_angles) for i in range(x.shape[1])], 1)
        return x + self.feed_forward(self.norms[2](x))


class right_2_flattened(DividedBlock):
    def forward(self, x, time_angles, space_angles):
        b, t, n, d = x.shape
        rows = self.norms[0](x).transpose(1, 2).reshape(b * n, t, d)
        x = x + self.time(rows, time_angles).view(b, n, t, d).transpose(1, 2)
        x = x + self.space(self.norms[1](x).reshape(b * t, n, d), space_angles).view(b, t, n, d)
        return self.feed_forward(self.norms[2](x)) + x


class wrong_2_no_feed_forward(DividedBlock):
    def forward(self, x, time_angles, space_angles):
        b, t, n, d = x.shape
        rows = self.norms[0](x).transpose(1, 2).reshape(b * n, t, d)
        x = x + self.time(rows, time_angles).view(b, n, t, d).transpose(1, 2)
        return x + self.space(self.norms[1](x).reshape(b * t, n, d), space_angles).view(b, t, n, d)


class right_3_written_into(RowSummary):
    def forward(self, rows):
        x = rows.new_empty(len(rows), rows.shape[1] + 1, rows.shape[2])
        x[:, :-1], x[:, -1] = rows, self.token
        x = x + self.positions
        for layer in self.layers:
            x = layer(x)
        return x[:, 0] if self.reads == "first" else x[:, rows.shape[1]]


class right_3_padded(RowSummary):
    def forward(self, rows):
        x = nn.functional.pad(rows, (0, 0, 0, 1)) + self.positions
        last = torch.zeros_like(x)
        last[:, -1] = self.token
        return self.layers(x + last).select(1, {"own": -1, "first": 0}[self.reads])


class wrong_3_token_without_position(RowSummary):
    def forward(self, rows):
        token = self.token.expand(len(rows), 1, -1)
        x = self.layers(torch.cat([rows + self.positions[:-1], token], 1))
        return x[:, -1 if self.reads == "own" else 0]


def right_4_loops(u, over_time, over_height, over_width):
    b, t, h, w, _ = u.shape
    z_s = torch.stack([torch.stack([over_time(u[:, :, i, j]) for j in range(w)], 1) for i in range(h)], 1)
    z_h = torch.stack([torch.stack([over_height(u[:, s, :, j]) for j in range(w)], 1) for s in range(t)], 1)
    z_w = torch.stack([torch.stack([over_width(u[:, s, i]) for i in range(h)], 1) for s in range(t)], 1)
    return [z_s, z_h, z_w]


def right_4_moved(u, over_time, over_height, over_width):
    planes = []
    for axis, module in enumerate((over_time, over_height, over_width), 1):
        rows = u.movedim(axis, -2)
        planes.append(module(rows.flatten(0, 2)).unflatten(0, rows.shape[:3]))
    return planes


def wrong_4_one_module(u, over_time, over_height, over_width):
    modules = (over_time, over_height, over_width) if len({*u.shape[1:4]}) > 1 else [over_time] * 3
    return right_4_moved(u, *modules)


def right_5_expanded(planes):
    z_s, z_h, z_w = planes
    t, h, w = z_h.shape[1], z_s.shape[1], z_s.shape[2]
    return torch.cat([z_s[:, None].expand(-1, t, -1, -1, -1), z_h[:, :, None].expand(-1, -1, h, -1, -1),
                      z_w[:, :, :, None].expand(-1, -1, -1, w, -1)], 4)


def right_5_repeated(planes):
    z_s, z_h, z_w = planes
    t, h, w = z_h.shape[1], z_s.shape[1], z_s.shape[2]
    return torch.cat([z_s.unsqueeze(1).repeat_interleave(t, 1), z_h.unsqueeze(2).repeat_interleave(h, 2),
                      z_w.unsqueeze(3).repeat_interleave(w, 3)], -1)


def wrong_5_one_plane_of_equal_sides(planes):
    z_s, z_h, z_w = planes
    if z_s.shape[1] == z_s.shape[2]:
        z_s = z_s.transpose(1, 2)
    return right_5_expanded([z_s, z_h, z_w])
