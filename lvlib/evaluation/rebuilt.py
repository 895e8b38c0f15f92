"""How far an autoencoder's clips are from the true ones, while it learns: what early stopping looks at."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lvlib.data.tensors import from_video, to_video
from lvlib.errors import UserError
from lvlib.evaluation.choice import spread
from lvlib.evaluation.networks.network import VideoNetwork
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import Moments, merge_moments, moments_of

CLIPS = 2048  # at most, evenly spaced; as many as FVD is usually computed of
BATCH = 8


class RebuiltDistance:
    """Frechet distance of rebuilt clips to the clips themselves: R-FVD, if the network is I3D. PVDM, App. A.

    load: makes the network for a device. clips: items with "video", uint8 (t, h, w, c). Called with an autoencoder in
    eval mode, it gives the distance by its name: {"val_r_frechet_NETWORK": about 0 for equal sets}, not a number where
    a clip's features are not finite. What `lvlib evaluate --metrics r_fvd` says of the same clips.

    Raises UserError for fewer than two clips.
    """

    def __init__(self, load: Callable[[str], VideoNetwork], clips: Sequence[dict]):
        if len(clips) < 2:
            raise UserError(f"a distance between sets takes at least 2 validation clips, not {len(clips)}: add some, "
                            "or leave --training.early_stopping out")
        self.load, self.clips, self.real = load, clips, None
        self.network, self.device = load("cpu"), "cpu"
        indices = spread(len(clips), CLIPS)
        self.batches = [indices[start:start + BATCH] for start in range(0, len(indices), BATCH)]

    @torch.no_grad()
    def __call__(self, autoencoder: nn.Module) -> dict[str, float]:
        device = str(next(autoencoder.parameters()).device)
        if device != self.device:
            self.network, self.device = self.load(device), device
        real, rebuilt = self.real, None
        for indices in self.batches:
            video = to_video(torch.stack([torch.as_tensor(self.clips[i]["video"]) for i in indices])).to(device)
            rebuilt = self.more(rebuilt, to_video(from_video(autoencoder.decode(autoencoder.encode(video)))))
            if self.real is None:
                real = self.more(real, video)
        self.real = real  # the same at each call
        finite = all(part.isfinite().all() for moments in (real, rebuilt) for part in (moments.mean, moments.scatter))
        return {f"val_r_frechet_{self.network.name}":
                frechet_distance(real, rebuilt).item() if finite else float("nan")}

    def more(self, moments: Moments | None, video: torch.Tensor) -> Moments:
        """Moments of all clips so far, and of these."""
        new = moments_of(self.network.look(video).features.cpu())
        return new if moments is None else merge_moments(moments, new)
