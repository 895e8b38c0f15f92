"""Vector quantization: nearest code, straight-through gradient, codebooks that learn, and signs of their health."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code (Euclidean) of each vector. z (..., d), codebook (k, d) -> (...) int64."""
    # |z - e|^2 = |z|^2 - 2 z.e + |e|^2, and |z|^2 is the same for every code.
    distance = codebook.square().sum(1) - 2 * z @ codebook.T
    return distance.argmin(-1)


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """Worth q (any shape) in the forward pass; passes its gradient to z alone. LVT, section 3.1."""
    return z + (q - z).detach()


class GradientCodebook(nn.Module):
    """Codes learned by gradient descent: the three-term objective of VideoGPT, section 2.1."""

    def __init__(self, codes: int, dim: int, commitment: float = 0.25):
        super().__init__()
        self.commitment = commitment
        self.embedding = nn.Parameter(torch.randn(codes, dim))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (..., d) -> quantized (..., d), codes (...) int64, loss ()."""
        codes = nearest_code(z, self.embedding)
        q = self.lookup(codes)
        codebook_loss = F.mse_loss(q, z.detach())
        commitment_loss = F.mse_loss(z, q.detach())
        return straight_through(z, q), codes, codebook_loss + self.commitment * commitment_loss

    def lookup(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.embedding)


def usage(codes: Tensor, n_codes: int) -> Tensor:
    """Share of the codebook that occurs in codes at least once, in [0, 1]."""
    return (torch.bincount(codes.flatten(), minlength=n_codes) > 0).float().mean()


def perplexity(codes: Tensor, n_codes: int) -> Tensor:
    """Effective number of codes in use: 2 to the entropy in bits of the code frequencies, in [1, n_codes]."""
    frequency = torch.bincount(codes.flatten(), minlength=n_codes).float() / codes.numel()
    return torch.special.entr(frequency).sum().exp()


def sum_over_ranks(x: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(x)
    return x


class EMACodebook(nn.Module):
    """Codes as running means of the vectors that choose them, restarted where nobody does."""

    def __init__(self, codes: int, dim: int, commitment: float = 1.0, decay: float = 0.99, restart: float = 0.05):
        super().__init__()
        self.commitment, self.decay, self.restart = commitment, decay, restart
        self.register_buffer("embedding", torch.randn(codes, dim))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("total", self.embedding.clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.training and self.updates == 0:
                self._restart(z, torch.ones_like(self.count, dtype=torch.bool))
            codes = nearest_code(z, self.embedding)
            q = self.lookup(codes)
            loss = self.commitment * F.mse_loss(z, q)
            if self.training:
                self._update(z.detach().flatten(0, -2), codes.flatten())
            return straight_through(z, q), codes, loss

    def lookup(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.embedding)

    @torch.no_grad()
    def _update(self, z: Tensor, codes: Tensor) -> None:
        count = torch.bincount(codes, minlength=len(self.count)).to(z.dtype)
        total = torch.zeros_like(self.total).index_add_(0, codes, z)
        self.count.lerp_(sum_over_ranks(count), 1 - self.decay)
        self.total.lerp_(sum_over_ranks(total), 1 - self.decay)
        self.embedding.copy_(self.total / self.count.clamp_min(1e-8)[:, None])
        self.updates += 1
        if self.restart:
            self._restart(z, self.count < self.restart * self.count.mean())

    @torch.no_grad()
    def _restart(self, z: Tensor, dead: Tensor) -> None:
        z = z.detach().flatten(0, -2)
        generator = torch.Generator().manual_seed(int(self.updates))
        chosen = torch.randint(len(z), self.count.shape, generator=generator).to(z.device)
        fresh = z[chosen]
        count = torch.full_like(self.count, len(z) / len(self.count))
        self.embedding.copy_(torch.where(dead[:, None], fresh, self.embedding))
        self.count.copy_(torch.where(dead, count, self.count))
        self.total.copy_(torch.where(dead[:, None], fresh * count[:, None], self.total))


class SlicedQuantizer(nn.Module):
    """n codebooks side by side, each for its own slice of the channels. LVT, section 3.1."""

    def __init__(self, codebooks: list[nn.Module]):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (..., d) -> quantized (..., d), codes (..., n) int64, loss ()."""
        slices = [codebook(part) for codebook, part in zip(self.codebooks, z.chunk(len(self.codebooks), -1), strict=True)]
        q, codes, loss = zip(*slices, strict=True)
        return torch.cat(q, -1), torch.stack(codes, -1), torch.stack(loss).mean()

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (..., n) -> vectors (..., d)."""
        return torch.cat([codebook.lookup(codes[..., k]) for k, codebook in enumerate(self.codebooks)], -1)
