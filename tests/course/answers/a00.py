"""Answers to notebook 00: right ones in other styles, and wrong ones that a check once took for right."""

import einops
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def right_1_index(frames):
    return frames[torch.arange(len(frames) - 1, -1, -1)]


def right_1_loop(frames):
    out = torch.empty_like(frames)
    for i in range(len(frames)):
        out[len(frames) - 1 - i] = frames[i]
    return out


def right_1_stack(frames):
    return torch.stack(list(reversed(list(frames))))


def right_1_flip_by_name(frames):
    return torch.flip(frames, dims=[0])


def right_1_numpy_inside(frames):
    return torch.from_numpy(frames.numpy()[::-1].copy())


def right_1_negative_axis(frames):
    return frames.flip(-4)


def right_2_einops(frames):
    return einops.rearrange(frames, "t h w c -> c t h w").float() / 127.5 - 1


def right_2_half_first(frames):
    return frames.permute(3, 0, 1, 2).float() / 255 * 2 - 1


def right_2_float64_inside(frames):
    return ((frames.double() - 127.5) / 127.5).movedim(-1, 0).float()


def right_2_loop(frames):
    t, h, w, c = frames.shape
    video = torch.zeros(c, t, h, w)
    for i in range(c):
        video[i] = frames[..., i] / 255.0 * 2.0 - 1.0
    return video


def right_2_numpy_inside(frames):
    return torch.tensor(frames.numpy().transpose(3, 0, 1, 2).astype(np.float32) / 127.5 - 1)


def right_2_stack(frames):
    return torch.stack([(channel.float() - 127.5) / 127.5 for channel in frames.unbind(-1)])


def right_3_product(frames):
    t = 1
    for n in frames.shape:
        t *= n
    return t * 8


def right_3_numpy(frames):
    return np.prod(frames.shape, dtype=int) * 8


def right_3_bytes(frames):
    return 8 * frames.nbytes


def right_3_flat(frames):
    return len(frames.flatten()) * 8


def right_3_item_size(frames):
    return int(torch.tensor(frames.shape).prod() * frames.element_size() * 8)


def right_4_pool(video):
    return F.avg_pool3d(video[None], (2, 4, 4))[0]


def right_4_reshape(video):
    c, t, h, w = video.shape
    return video.reshape(c, t // 2, 2, h // 4, 4, w // 4, 4).mean((2, 4, 6))


def right_4_float64(video):
    return einops.reduce(video.double(), "c (t a) (h b) (w d) -> c t h w", "mean", a=2, b=4, d=4)


def right_4_sums(video):
    total = sum(video[:, i::2, j::4, k::4] for i in range(2) for j in range(4) for k in range(4))
    return total / 32


def right_4_loop(video):
    c, t, h, w = video.shape
    out = torch.zeros(c, t // 2, h // 4, w // 4)
    for i in range(t // 2):
        for j in range(h // 4):
            for k in range(w // 4):
                out[:, i, j, k] = video[:, 2 * i : 2 * i + 2, 4 * j : 4 * j + 4, 4 * k : 4 * k + 4].mean((1, 2, 3))
    return out


def right_4_axis_by_axis(video):
    means = einops.reduce(video, "c (t a) h w -> c t h w", "mean", a=2)
    means = einops.reduce(means, "c t (h b) w -> c t h w", "mean", b=4)
    return einops.reduce(means, "c t h (w d) -> c t h w", "mean", d=4)


def right_4_unfold(video):
    return video.unfold(1, 2, 2).unfold(2, 4, 4).unfold(3, 4, 4).mean((-3, -2, -1))


def wrong_1_five_frames(frames):
    return frames[[4, 3, 2, 1, 0]]


def wrong_1_numpy(frames):
    return frames.numpy()[::-1]


def wrong_1_list(frames):
    return list(frames)[::-1]


def wrong_2_own_range(frames):
    x = frames.permute(3, 0, 1, 2).float()
    return 2 * (x - x.min()) / (x.max() - x.min()) - 1


def wrong_2_own_largest(frames):
    x = frames.permute(3, 0, 1, 2).float()
    return 2 * x / x.max() - 1


def wrong_2_three_channels(frames):
    return torch.stack([frames[..., i].float() / 127.5 - 1 for i in range(3)])


def wrong_2_float64(frames):
    return frames.permute(3, 0, 1, 2).double() / 127.5 - 1


def wrong_2_float16(frames):
    return frames.permute(3, 0, 1, 2).half() / 127.5 - 1


def wrong_2_numpy(frames):
    return frames.permute(3, 0, 1, 2).float().numpy() / 127.5 - 1


def wrong_3_three_channels(frames):
    return frames[..., 0].numel() * 3 * 8


def wrong_3_constant(frames):
    return 5040


def wrong_4_three_channels(video):
    return F.avg_pool3d(video[None, :3].expand(1, 3, *video.shape[1:]), (2, 4, 4))[0]


def wrong_4_one_size(video):
    return video.reshape(-1, 4, 2, 4, 4, 6, 4).mean((2, 4, 6))


def wrong_4_numpy(video):
    return F.avg_pool3d(video[None], (2, 4, 4))[0].numpy()


def wrong_4_float16(video):
    return F.avg_pool3d(video[None], (2, 4, 4))[0].half()


def wrong_4_grown(video: Tensor) -> Tensor:
    return F.avg_pool3d(video, (2, 4, 4))[None]


def wrong_1_at_most_16_frames(frames):
    return frames.flip(0) if len(frames) <= 16 else frames


def wrong_4_view(video):
    c, t, h, w = video.shape
    return video.view(c * t // 2, 2, h // 4, 4, w // 4, 4).mean((1, 3, 5)).view(c, t // 2, h // 4, w // 4)
