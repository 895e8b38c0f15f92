"""Video from a prior: its codes drawn, after those of given frames where there are some, and decoded."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lvlib.models.videogpt.prior import VideoGPT

BATCH = 16  # clips that are sampled together: the memory is the same however many are asked for


@torch.no_grad()
def generate_video(autoencoder: nn.Module, prior: nn.Module, n: int, given: Tensor | None = None,
                   condition: Mapping[str, Tensor] | None = None, **sampling) -> Tensor:
    """n clips as long as the prior's, (n, c, t, h, w): the given frames as they are, then what the prior makes of them.

    given: float (1 or n, c, t0, h, w) in [-1, 1], which LVT needs. condition: what VideoGPT is told, one for all or for
    each, (1 or n, ...); with "frames" in it these are the given frames, else the codes of `given` are gone on with.
    sampling: temperature and the like, as `prior.sample` takes them. Draws from torch's global random numbers.
    """
    condition = condition or {}
    if "frames" in condition:
        given = condition["frames"]
    parts = []
    for start in range(0, n, BATCH):
        count = min(BATCH, n - start)
        told = {name: _part(value, start) for name, value in condition.items()}
        shown = None if given is None else _part(given, start)
        begin = None
        if isinstance(prior, VideoGPT):
            if given is not None and "frames" not in condition:
                begin = _begin(autoencoder, shown, prior.latent_shape[0])
            codes = prior.sample(count, told, given=begin, **sampling)
        else:
            codes = prior.sample(count, autoencoder.encode(shown), **sampling)
        video = autoencoder.decode(codes)
        if shown is not None:
            video[:, :, :shown.shape[2]] = shown
        parts.append(video)
    return torch.cat(parts)


def _begin(autoencoder: nn.Module, shown: Tensor, latent_frames: int) -> Tensor:
    """Codes of the given frames (b, c, t0, h, w), as they are in a clip that goes on.

    A space-time encoder looks ahead: the last given frame stands in for those to come, or else the codes would say that
    the clip ends here.
    """
    rate = autoencoder.config.downsample[0]
    still = shown[:, :, -1:].expand(-1, -1, latent_frames * rate - shown.shape[2], -1, -1)
    return autoencoder.encode(torch.cat([shown, still], 2))[:, :shown.shape[2] // rate]


def _part(clips: Tensor, start: int) -> Tensor:
    return clips if len(clips) == 1 else clips[start:start + BATCH]
