# Never edit this file: `python -m lvlib.course build` makes it from solutions/02_vq_vae.py,
# solutions/03_codebook_collapse.py and solutions/04_sliced_quantization.py.
"""Vector quantization: nearest code, straight-through gradient, codebooks that learn, their health.

Every quantizer here maps vectors (..., d) to (quantized vectors (..., d), codes int64 (...),
loss (), metrics).
"""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code nearest to each vector (Euclidean), the first of equal ones.

    z (..., d), codebook (k, d) -> int64 (...).
    """
    # |z - e|^2 = |z|^2 - 2 z.e + |e|^2, and |z|^2 is the same for every code.
    # On a CPU, min is faster than argmin.
    return (codebook.square().sum(1) - z @ (2 * codebook.T)).min(-1).indices


def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """Equal to q (any shape) in the forward pass; its gradient goes to z alone, unchanged.

    Van den Oord et al. 2017, section 3.2; TATS, section 2.1.
    """
    return z + (q - z).detach()


def vq_losses(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """(codebook loss, which moves q alone; commitment loss, which moves z alone), both ().

    VideoGPT, section 2.1.
    """
    return F.mse_loss(q, z.detach()), F.mse_loss(z, q.detach())


class GradientCodebook(nn.Module):
    """Codes learned by gradient descent.

    The objective of VideoGPT, section 2.1, less the reconstruction.
    """

    def __init__(self, num_codes: int, dim: int, commitment: float = 0.25):
        super().__init__()
        self.commitment = commitment
        self.embedding = nn.Parameter(torch.randn(num_codes, dim))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (..., d) -> quantized (..., d), codes int64 (...), loss (), metrics by name."""
        codes = nearest_code(z, self.embedding)
        q = self.lookup(codes)
        codebook_loss, commitment_loss = vq_losses(z, q)
        loss = codebook_loss + self.commitment * commitment_loss
        metrics = {"commitment_loss": commitment_loss}
        return straight_through(z, q), codes, loss, metrics

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (...) -> their vectors (..., d)."""
        return F.embedding(codes, self.embedding)


def code_statistics(z: Tensor, codes: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each code (num_codes,), and their sum (num_codes, d).

    z floats (n, d), codes int64 (n,); both results have the dtype of z.
    """
    count = torch.bincount(codes, minlength=num_codes).to(z.dtype)
    total = torch.zeros(num_codes, z.shape[1], dtype=z.dtype,
                        device=z.device).index_add_(0, codes, z)
    return count, total


# Introduced in solutions/03_codebook_collapse.py
def usage(codes: Tensor, num_codes: int) -> Tensor:
    """Share of the codebook that occurs in codes at least once.

    Codes of any shape -> a float tensor () in [0, 1].
    """
    return (torch.bincount(codes.flatten(), minlength=num_codes) > 0).float().mean()


def perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """How many equally frequent codes would be as hard to guess: exp(entropy in nats).

    Codes of any shape -> a float tensor () in [1, num_codes].
    """
    frequency = torch.bincount(codes.flatten(), minlength=num_codes).float() / codes.numel()
    return torch.special.entr(frequency).sum().exp()


def restart_codes(
    dead: Tensor, fresh: Tensor, fresh_count: Tensor,
    embedding: Tensor, count: Tensor, total: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """New (embedding (k, d), count (k,), total (k, d)), fresh (k, d) wherever dead (k,) is True.

    fresh_count (): the count that a fresh code begins with. The inputs stay as they are.
    VideoGPT, section 4.1 ("random restarts").
    """
    embedding = torch.where(dead[:, None], fresh, embedding)
    count = torch.where(dead, fresh_count, count)
    total = torch.where(dead[:, None], fresh_count * fresh, total)
    return embedding, count, total


def sum_over_processes(x: Tensor) -> Tensor:
    """x summed over all processes of a training, in place; x itself if there is only one."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(x)
    return x


def random_vectors(z: Tensor, number: int, seed: int) -> Tensor:
    """`number` random vectors from the z (n, d) of all processes; the same on each of them."""
    is_distributed = dist.is_available() and dist.is_initialized()
    rank, world = (dist.get_rank(), dist.get_world_size()) if is_distributed else (0, 1)
    order = torch.randperm(world * len(z), generator=torch.Generator().manual_seed(seed))
    chosen = order.repeat(-(-number // len(order)))[:number].to(z.device) - rank * len(z)
    is_local = (0 <= chosen) & (chosen < len(z))
    return sum_over_processes(torch.where(is_local[:, None], z[chosen.clamp(0, len(z) - 1)], 0))


class EMACodebook(nn.Module):
    """Running means of the vectors that choose a code, restarted where none do. LVT, section 3.1.

    restart: a code is dead when its running count is below this share of the mean count; 0: never.
    first_batch: start on vectors of the first batch (VideoGPT, section 4.1), else where codes lie.
    """

    def __init__(self, num_codes: int, dim: int, commitment: float = 1.0, decay: float = 0.99,
                 restart: float = 0.05, first_batch: bool = True):
        super().__init__()
        self.commitment, self.decay = commitment, decay
        self.restart, self.first_batch = restart, first_batch
        self.register_buffer("embedding", torch.randn(num_codes, dim))
        self.register_buffer("count", torch.ones(num_codes))
        self.register_buffer("total", self.embedding.clone())  # shared memory would break the mean
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (..., d) -> quantized (..., d), codes int64 (...), loss (), metrics by name.

        Learns in training mode.
        """
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            if self.training and self.first_batch and self.updates == 0:
                self.start(z.detach().flatten(0, -2))
            codes = nearest_code(z, self.embedding)
            q = self.lookup(codes)
            if self.training:
                self.update(z.detach().flatten(0, -2), codes.flatten())
            loss = vq_losses(z, q)[1]
            metrics = {"commitment_loss": loss, "perplexity": perplexity(codes, len(self.count))}
            return straight_through(z, q), codes, self.commitment * loss, metrics

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (...) -> their vectors (..., d)."""
        return F.embedding(codes, self.embedding)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Puts every code on a vector of z (n, d)."""
        self.embedding.copy_(random_vectors(z, len(self.count), int(self.updates)))
        self.total.copy_(self.embedding)

    @torch.no_grad()
    def update(self, z: Tensor, codes: Tensor) -> None:
        """One step of the running means, then the restarts. z (n, d), codes (n,)."""
        count, total = code_statistics(z, codes, len(self.count))
        self.count.lerp_(sum_over_processes(count), 1 - self.decay)
        self.total.lerp_(sum_over_processes(total), 1 - self.decay)
        self.updates += 1
        in_use = self.count[:, None] > 1e-6  # a code that nobody chose for very long stays put
        self.embedding.copy_(torch.where(in_use, self.total / self.count[:, None], self.embedding))
        if self.restart:
            mean, buffers = self.count.mean(), (self.embedding, self.count, self.total)
            fresh = random_vectors(z, len(self.count), int(self.updates))
            parts = restart_codes(self.count < self.restart * mean, fresh, mean, *buffers)
            for buffer, new in zip(buffers, parts, strict=True):
                buffer.copy_(new)


# Introduced in solutions/04_sliced_quantization.py
def code_bits(latent_shape: tuple[int, ...], num_codes: int) -> float:
    """Bits that a grid of codes takes, at log2(num_codes) bits a code."""
    return math.prod(latent_shape) * math.log2(num_codes)


class SlicedQuantizer(nn.Module):
    """n codebooks side by side, each for its own slice of the channels. LVT, section 3.1."""

    def __init__(self, codebooks: list[nn.Module]):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (..., d) -> quantized (..., d), codes int64 (..., n), loss (), metrics.

        Loss and metrics are means over the codebooks. Each codebook is called once; quantized
        vectors and loss keep their gradients.
        """
        slices = z.chunk(len(self.codebooks), -1)
        parts = [codebook(part) for codebook, part in zip(self.codebooks, slices, strict=True)]
        q, codes, losses, metrics = zip(*parts, strict=True)
        means = {name: torch.stack([m[name] for m in metrics]).mean() for name in metrics[0]}
        return torch.cat(q, -1), torch.stack(codes, -1), torch.stack(losses).mean(), means

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (..., n) -> their vectors (..., d)."""
        return torch.cat([codebook.lookup(codes[..., i])
                          for i, codebook in enumerate(self.codebooks)], -1)


def ema_quantizer(num_codes: int, dim: int, codebooks: int, **options: float) -> nn.Module:
    """One `EMACodebook` for vectors of size dim, or several in a `SlicedQuantizer`.

    options: those of each codebook.
    """
    parts = [EMACodebook(num_codes, dim // codebooks, **options) for _ in range(codebooks)]
    return SlicedQuantizer(parts) if codebooks > 1 else parts[0]
