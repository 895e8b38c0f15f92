"""How far an autoencoder's clips are from the true ones, while it learns: what early stopping looks at."""

from collections.abc import Sequence

import torch
from torch import nn

from lvlib.data.tensors import to_video
from lvlib.evaluation.choice import spread
from lvlib.evaluation.networks.network import VideoNetwork
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import Moments, merge_moments, moments_of

CLIPS = 2048  # at most, evenly spaced; as many as FVD is usually computed of


class RebuiltDistance:
    """Frechet distance of rebuilt clips to the clips themselves: R-FVD, if the network is I3D. PVDM, App. A.

    network: looks at the clips, on the device of the autoencoder. clips: items with "video", uint8 (t, h, w, c).
    Called with an autoencoder in eval mode, it gives the distance by its name: {"val_r_frechet_NETWORK": 0 or more}.
    """

    def __init__(self, network: VideoNetwork, clips: Sequence[dict], batch: int = 8):
        self.network, self.clips = network, clips
        indices = spread(len(clips), CLIPS)
        self.batches = [indices[start:start + batch] for start in range(0, len(indices), batch)]

    @torch.no_grad()
    def __call__(self, autoencoder: nn.Module) -> dict[str, float]:
        device = next(autoencoder.parameters()).device
        sets: list[Moments] = []
        for indices in self.batches:
            video = to_video(torch.stack([torch.as_tensor(self.clips[i]["video"]) for i in indices])).to(device)
            rebuilt = autoencoder.decode(autoencoder.encode(video))
            seen = [moments_of(self.network.look(clips).features.cpu()) for clips in (video, rebuilt)]
            sets = [merge_moments(*pair) for pair in zip(sets, seen, strict=True)] if sets else seen
        return {f"val_r_frechet_{self.network.name}": frechet_distance(*sets).item()}
