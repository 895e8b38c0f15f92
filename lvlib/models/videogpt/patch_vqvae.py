# Never edit this file: `python -m lvlib.course build` makes it from solutions/09_one_row_of_codes.py and
# solutions/10_writing_clips.py.
"""An autoencoder of clips whose codes see their own block of pixels alone. Ours.

VideoGPT's encoder looks around each block (section 3): what moves beside it changes its code.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from lvlib.models.common.volume import Triple
from lvlib.models.videogpt.vqvae import VideoVQVAE, VideoVQVAEConfig


class PatchBlock(nn.Module):
    """x plus a correction, computed at each position alone: (b, channels, t, h, w)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.correction = nn.Sequential(nn.ReLU(), nn.Conv3d(channels, hidden, 1),
                                        nn.ReLU(), nn.Conv3d(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.correction(x)


class VideoPatchEncoder(nn.Sequential):
    """Video (b, channels, t, h, w) -> vectors (b, hidden, t', h', w'), each of its own pixels."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int,
                 downsample: Triple):
        super().__init__(nn.Conv3d(channels, hidden, downsample, downsample),
                         *[PatchBlock(hidden, residual_hidden) for _ in range(residual_blocks)])

    def forward(self, video: Tensor, positions: Tensor | None) -> Tensor:
        """positions: not used, so that a block has the same code wherever it lies."""
        return super().forward(video)


# Introduced in solutions/10_writing_clips.py
@dataclass(frozen=True)
class PatchVideoVQVAEConfig(VideoVQVAEConfig):
    """A `VideoVQVAE` with another encoder: each code sees its own block of pixels alone. Ours.

    Raises ValueError for sizes that do not fit together.
    """

    def build(self) -> VideoVQVAE:
        """The model, with new weights."""
        model = super().build()
        model.encoder = VideoPatchEncoder(self.channels, self.hidden, self.residual_hidden,
                                     self.residual_blocks, self.downsample)
        return model
