"""Video continued from its first frames: encoded, sampled by a prior, and decoded."""

import torch
from torch import Tensor, nn

BATCH = 16  # clips that are sampled together: the memory is the same however many are asked for


@torch.no_grad()
def continue_video(autoencoder: nn.Module, prior: nn.Module, given: Tensor, n: int, temperature: float = 1.0) -> Tensor:
    """n clips as long as the prior's: the given frames as they are, then what the prior makes of their codes.

    given: float (1 or n, c, t0, h, w) in [-1, 1]. Returns (n, c, t, h, w). Draws from torch's global random numbers.
    """
    parts = []
    for start in range(0, n, BATCH):
        part = given if len(given) == 1 else given[start:start + BATCH]
        video = autoencoder.decode(prior.sample(min(BATCH, n - start), autoencoder.encode(part), temperature))
        video[:, :, :part.shape[2]] = part
        parts.append(video)
    return torch.cat(parts)
