# Never edit this file: `python -m lvlib.course build` makes it from solutions/13_video_vqgan.py.
"""Norms for a GAN's volumes: BatchNorm over all processes, or GroupNorm. TATS, A.1."""

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NormKind = Literal["batch", "group"]


class SyncBatchNorm(_BatchNorm):
    """BatchNorm over the clips of all processes, (b, channels, ...). torch's is for GPUs alone."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
        if alone or not self.training:
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce  # its gradient is summed, too

        axes, shape = [axis for axis in range(x.ndim) if axis != 1], [1, -1] + [1] * (x.ndim - 2)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        here = wide.new_full((x.shape[1],), x.numel() / x.shape[1])
        total, number = all_reduce(torch.stack([wide.sum(axes), here]))
        mean, n = total / number, number[0]
        centred = wide - mean.view(shape)  # first: the mean of squares loses what is far from 0
        variance = all_reduce(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias.view(shape), centred, scale.view(shape)).to(x.dtype)


def norm_of(kind: NormKind, channels: int) -> nn.Module:
    """A norm for (b, channels, ...). group: 32 groups, or as many as channels if they are fewer."""
    if kind == "group":
        return nn.GroupNorm(min(32, channels), channels, eps=1e-6)
    return SyncBatchNorm(channels)
