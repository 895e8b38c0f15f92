"""Predictions that need no model of video: what a score must beat to mean something."""

from dataclasses import dataclass

import torch
from torch import Tensor


def repeat_last_frame(given: Tensor, frames: int) -> Tensor:
    """The baseline of LVT, section 4.2: (b, c, t0, h, w) -> (b, c, frames, h, w), all of them the last one given."""
    return given[:, :, -1:].expand(-1, -1, frames, -1, -1)


def crossfade(before: Tensor, after: Tensor, frames: int) -> Tensor:
    """What lies between two frames (b, c, h, w), as even steps from one to the other: (b, c, frames, h, w)."""
    share = torch.arange(1, frames + 1, device=before.device)[:, None, None] / (frames + 1)
    return torch.lerp(before[:, :, None], after[:, :, None], share.to(before.dtype))


@dataclass(frozen=True)
class CodeBaselines:
    """Two ways to guess a code, with what they counted in the codes of other clips than those that they are scored on.

    marginal: each code by its frequency in its codebook, wherever it stands: (k, codes), rows sum to one.
    copy: with this probability the code that stood here one (latent) frame before, else one drawn from the marginal.
    """

    marginal: Tensor
    copy: float

    def bits_per_dim(self, latents: Tensor, given_latents: int) -> dict[str, Tensor]:
        """Bits a code of each clip, (b,), from latent frame given_latents on: latents int64 (b, t, h, w[, k])."""
        codes = latents.reshape(*latents.shape[:4], -1)
        prob = probs_of(self.marginal, codes)
        copied = self.copy * (codes[:, 1:] == codes[:, :-1]) + (1 - self.copy) * prob[:, 1:]
        copied = torch.cat([prob[:, :1], copied], 1)  # before the first frame is none
        return {name: -p[:, given_latents:].log2().flatten(1).mean(1)
                for name, p in (("copy_baseline", copied), ("marginal", prob))}


def count_codes(latents: Tensor, num_codes: int) -> CodeBaselines:
    """Counts the marginal, each code once more than it occurs (none is impossible); then fits the chance of a copy.

    latents: codes of training clips, int64 (b, t, h, w) or (b, t, h, w, k).
    """
    codes = latents.reshape(*latents.shape[:4], -1)
    counts = torch.stack([book.flatten().bincount(minlength=num_codes) for book in codes.unbind(-1)]) + 1
    marginal = counts.double() / counts.sum(1, keepdim=True)
    now, before = codes[:, 1:], codes[:, :-1]
    same = probs_of(marginal, now)[now == before]  # the other codes were not copied: of them nothing is to be found out
    copy = 0.5
    for _ in range(100):  # EM: how many of the equal codes were copies, and not drawn equal by chance?
        copy = (copy / (copy + (1 - copy) * same)).sum().item() / max(now.numel(), 1)
    return CodeBaselines(marginal, min(copy, 1 - 1e-6))


def probs_of(marginal: Tensor, codes: Tensor) -> Tensor:
    """The marginal's probability of each code: codes (..., k) -> (..., k)."""
    return marginal[torch.arange(codes.shape[-1], device=codes.device), codes]
