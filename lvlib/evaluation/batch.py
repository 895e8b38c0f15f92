"""Some clips, and what stands beside them: what models make of them, or other videos; worked out when first asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lvlib.data import from_video, to_video
from lvlib.errors import UserError
from lvlib.evaluation.baselines import CodeBaselines, repeat_last_frame
from lvlib.evaluation.generate import Pipeline, finite
from lvlib.evaluation.networks.network import Seen, VideoNetwork
from lvlib.metrics.windows import windows

EVERYONE = ("model", "repeat_last_frame", "autoencoder")  # whose clips stand beside the real ones
SIZE = 16  # clips of a batch: the memory is the same however many are scored


class Batch:
    """`video`: real clips, float (b, c, t, h, w) in [-1, 1]. `start`: the number of the first one in the whole set.

    counted: of how many of the clips the scores are, but for the inception score, which may take more generated ones.
    """

    def __init__(self, start: int, video: Tensor, counted: int):
        self.start, self.video, self.counted = start, video, counted
        self._looks: dict[tuple, Seen] = {}

    @property
    def true(self) -> Tensor:
        """What predictions are compared with, frame by frame."""
        return self.video

    @property
    def predictions(self) -> dict[str, Tensor]:
        """Videos like `true`, by whose they are."""
        raise NotImplementedError

    def whole(self, of: str) -> Tensor | None:
        """The whole clips, also the frames that were given, of "real" and `EVERYONE`. None where there are none."""
        raise NotImplementedError

    def seen(self, network: VideoNetwork, of: str) -> Seen | None:
        """What the network makes of the whole clips, rounded to 8 bits as in a file. Raises UserError for features that
        are not finite."""
        return self._seen((network.name, of), network, lambda: self.whole(of))

    def seen_windows(self, network: VideoNetwork, of: str, frames: int, every: int) -> Seen | None:
        """The same of each window: features (b, n, d), probs (b, n, classes)."""
        video = self.whole(of)
        if video is None:
            return None
        seen = self._seen((network.name, of, frames, every), network,
                          lambda: windows(video, frames, every).flatten(0, 1))
        return Seen(*(None if part is None else part.unflatten(0, (len(video), -1)) for part in seen))

    def _seen(self, key: tuple, network: VideoNetwork, video) -> Seen | None:
        if key not in self._looks:
            clips = video()
            if clips is None:
                return None
            parts = [network.look(to_video(from_video(part))) for part in clips.split(SIZE)]
            seen = Seen(torch.cat([part.features for part in parts]),
                        None if parts[0].probs is None else torch.cat([part.probs for part in parts]))
            if not all(part.isfinite().all() for part in seen if part is not None):
                raise UserError(f"{network.name} makes features that are not finite of the {key[1]} clips from number "
                                f"{self.start} on: its file is of no use, or is not for these clips")
            self._looks[key] = seen
        return self._looks[key]


@dataclass(frozen=True)
class Setting:
    """What a run's score depends on besides the clips."""

    given_frames: int = 0
    """Frames that the samples go on from."""
    likelihood_given_frames: int = 0
    sampling: Any = None
    """How samples are drawn."""
    frames: int | None = None
    """Of a sample; None: as many as the prior learned from."""
    baselines: CodeBaselines | None = None


class RunBatch(Batch):
    """Clips, and what the stages of a run make of them."""

    def __init__(self, start: int, video: Tensor, counted: int, pipeline: Pipeline, setting: Setting,
                 condition: Mapping[str, Tensor]):
        super().__init__(start, video, counted)
        self.pipeline, self.setting, self.condition = pipeline, setting, condition

    @property
    def given(self) -> Tensor:
        return self.video[:, :, :self.setting.given_frames]

    @property
    def true(self) -> Tensor:
        return self.video[:, :, self.setting.given_frames:]

    @cached_property
    def latents(self) -> Tensor:
        return self.pipeline.autoencoder.encode(self.video)

    @cached_property
    def rebuilt(self) -> Tensor:
        return finite(self.pipeline.autoencoder.decode(self.latents))

    @cached_property
    def sampled(self) -> Tensor:
        frames = {spec.name for spec in self.pipeline.conditions if spec.kind == "given-frames"}
        others = {name: value for name, value in self.condition.items() if name not in frames}
        given = self.given if self.setting.given_frames else None
        return self.pipeline.generate(len(self.video), others, given, self.setting.sampling, self.setting.frames)

    @cached_property
    def predictions(self) -> dict[str, Tensor]:
        """From the first frame on that is not given; beside a prior's, the last given one repeated, and rebuilt."""
        kinds = ("model",) if self.pipeline.prior is None else EVERYONE
        videos = {of: self.whole(of) for of in kinds}
        return {of: video[:, :, self.setting.given_frames:] for of, video in videos.items() if video is not None}

    def whole(self, of: str) -> Tensor | None:
        if of == "real":
            return self.video
        if of == "autoencoder" or of == "model" and self.pipeline.prior is None:
            return self.rebuilt
        if of == "model":
            return self.sampled
        if not self.setting.given_frames:
            return None
        return torch.cat([self.given, repeat_last_frame(self.given, self.true.shape[2])], 2)


class FileBatch(Batch):
    """Real and generated videos from files."""

    def __init__(self, start: int, video: Tensor, generated: Tensor, counted: int = SIZE):
        super().__init__(start, video, counted)
        self.generated = generated

    @property
    def predictions(self) -> dict[str, Tensor]:
        return {"model": self.generated}

    def whole(self, of: str) -> Tensor | None:
        video = {"real": self.video, "model": self.generated}.get(of)
        return video if video is not None and len(video) else None
