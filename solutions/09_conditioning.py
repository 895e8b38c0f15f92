# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · Conditioning

# %% tags=["export:models.conditioning"]
"""What a clip is conditioned on, turned into what a transformer can use. VideoGPT, section 3."""

from collections.abc import Mapping

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, cat, int64, nn

from lvlib.models.attention import AxialPositions


class ResidualBlock3d(nn.Module):
    """Two 3x3x3 convolutions added to their input, ReLU after the sum. (b, channels, t, h, w) -> (b, width, t, h', w').

    stride: 2 halves height and width. The time axis stays.
    """

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.correction = nn.Sequential(
            nn.Conv3d(channels, width, 3, (1, stride, stride), 1, bias=False), nn.GroupNorm(1, width), nn.ReLU(),
            nn.Conv3d(width, width, 3, 1, 1, bias=False), nn.GroupNorm(1, width),
        )
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Conv3d(channels, width, 1, (1, stride, stride), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.correction(x))


STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks of each width, as in the 2D networks of that depth


class FrameEncoder(nn.Module):
    """A 3D ResNet over the given frames: (b, channels, n, h, w) in [-1, 1] -> (b, n * h/4 * w/4, units).

    depth: 18 or 34. units: width of the last stage; the first has an eighth of it.
    """

    def __init__(self, channels: int, frames: int, height: int, width: int, depth: int, units: int):
        super().__init__()
        self.shape = channels, frames, height, width
        layers = [nn.Conv3d(channels, units // 8, 3, (1, 2, 2), 1), nn.ReLU()]
        before = units // 8
        for stage, blocks in enumerate(STAGES[depth]):
            for block in range(blocks):
                layers.append(ResidualBlock3d(before, units * 2**stage // 8, 2 if stage == 1 and block == 0 else 1))
                before = units * 2**stage // 8
        self.layers = nn.Sequential(*layers)
        self.positions = AxialPositions((frames, -(-height // 4), -(-width // 4)), units)
        self.norm = nn.LayerNorm(units)

    def forward(self, frames: Tensor) -> Tensor:
        if frames.shape[1:] != self.shape or not frames.is_floating_point():
            raise ValueError(f"the given frames must be float (b, {', '.join(map(str, self.shape))}), "
                             f"not {described(frames)}")
        features = rearrange(self.layers(frames), "b d t h w -> b (t h w) d")
        return self.norm(features) + self.positions()

# %% tags=["export:models.conditioning"]
def by_latent_frame(actions: Tensor, latent_frames: int) -> Tensor:
    """Each latent frame's own actions side by side: (b, t, a) -> (b, latent_frames, s * a), s = t / latent_frames."""
    return rearrange(actions, "b (t s) a -> b t (s a)", t=latent_frames)

# %% tags=["export:models.conditioning"]
def condition_fields(label: object, actions: object, frames: object) -> tuple[str, ...]:
    """The names of those parts of a condition that a model takes: the ones that are neither 0 nor None."""
    parts = {"label": label, "actions": actions, "frames": frames}
    return tuple(name for name, wanted in parts.items() if wanted)


def side_by_side(vectors: list[Tensor]) -> Tensor | None:
    """(b or 1, t or 1, d_i) each -> (b, t, sum of d_i); None for none. Raises ValueError for different clips."""
    if not vectors:
        return None
    clips, frames = (max(vector.shape[axis] for vector in vectors) for axis in (0, 1))
    if any(len(vector) not in (1, clips) for vector in vectors):
        raise ValueError(f"label and actions must be of the same clips, not of {vectors[0].shape[0]} and "
                         f"{vectors[1].shape[0]}")
    return cat([vector.expand(clips, frames, -1) for vector in vectors], -1)


def described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


class Conditioner(nn.Module):
    """Label and actions become vectors that steer the norms, given frames a memory for cross attention.

    classes: of the label, 0 for none. actions: numbers a video frame, 0 for none. frames: the encoder of given
    frames, None for none. video_frames, latent_frames: of a clip; each latent frame gets the actions of its own.
    """

    def __init__(self, classes: int, actions: int, frames: FrameEncoder | None, video_frames: int, latent_frames: int):
        super().__init__()
        self.classes, self.actions, self.frames = classes, actions, frames
        self.video_frames, self.latent_frames = video_frames, latent_frames
        self.vector_dim = classes + actions * (video_frames // latent_frames)
        self.memory_dim = frames.norm.normalized_shape[0] if frames else 0
        self.fields = condition_fields(classes, actions, frames)

    def forward(self, condition: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """{"label": int64 (b,), "actions": (b, t, a), "frames": (b, c, n, h, w)}, those that the model takes ->
        vectors (b, latent frames or 1, vector_dim) or None, memory (b, m, memory_dim) or None.

        Raises ValueError for a missing or a needless condition, and for values that do not fit.
        """
        if set(condition) != set(self.fields):
            raise ValueError(f"this model is conditioned on {', '.join(self.fields)}; "
                             f"it got {', '.join(condition) or 'nothing'}")
        vectors = []
        if self.classes:
            vectors.append(self.label_vector(condition["label"]))
        if self.actions:
            vectors.append(self.action_vectors(condition["actions"]))
        return side_by_side(vectors), self.frames(condition["frames"]) if self.frames else None

    def label_vector(self, label: Tensor) -> Tensor:
        """int64 (b,) -> one-hot (b, 1, classes)."""
        if label.ndim != 1 or label.dtype != int64:
            raise ValueError(f"label must be int64 (b,), not {described(label)}")
        if label.min() < 0 or label.max() >= self.classes:
            raise ValueError(f"labels must lie in 0..{self.classes - 1}; got {label.min()} to {label.max()}")
        return F.one_hot(label, self.classes).float()[:, None]

    def action_vectors(self, actions: Tensor) -> Tensor:
        """(b, t, a) -> those of each latent frame side by side: (b, latent frames, s * a), s = t / latent frames."""
        if list(actions.shape[1:]) != [self.video_frames, self.actions]:
            raise ValueError(f"actions must be (b, {self.video_frames}, {self.actions}), {self.actions} numbers for "
                             f"each frame, not {tuple(actions.shape)}")
        return by_latent_frame(actions.float(), self.latent_frames)

# %% tags=["export:models.videogpt"]
import math
from dataclasses import dataclass
from typing import Literal, get_args

from lvlib.models.attention import Sparse
from lvlib.models.conditioning import STAGES, Conditioner, FrameEncoder, condition_fields
from lvlib.models.videogpt import VideoGPT

AttentionKind = Literal["full", "sparse"]


@dataclass(frozen=True)
class VideoGPTConfig:
    """Sizes of a `VideoGPT`. The defaults are those for BAIR, Table 9, without its condition.

    Raises ValueError for sizes that do not fit together.
    """

    dim: int = 512
    """Width of the transformer."""
    heads: int = 4
    layers: int = 16
    hidden: int = 2048
    """Width between the two linear layers of a block."""
    dropout: float = 0.2
    """After the embedding, the attention and the linear layers."""
    attention: AttentionKind = "full"
    """Which earlier codes are seen: all, or the near ones and the same place in earlier frames (section 4.1)."""
    local: int = 256
    """Codes back that sparse attention sees without a gap."""
    classes: int = 0
    """Classes of the label that the model is conditioned on; 0 for none."""
    actions: int = 0
    """Numbers a frame of the actions that the model is conditioned on; 0 for none."""
    frames: int = 0
    """Frames of video that the model is conditioned on; 0 for none."""
    resnet_depth: int = 18
    """Of the encoder of these frames: 18 or 34."""
    resnet_units: int = 512
    """Width of its last stage."""

    def __post_init__(self):
        for name in ("dim", "heads", "layers", "hidden", "local", "resnet_units"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("classes", "actions", "frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads = {self.heads}, not {self.dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {self.dropout}")
        if self.attention not in get_args(AttentionKind):
            raise ValueError(f"attention must be one of {', '.join(get_args(AttentionKind))}, not {self.attention!r}")
        if self.resnet_depth not in STAGES:
            raise ValueError(f"resnet_depth must be one of {', '.join(map(str, STAGES))}, not {self.resnet_depth}")
        if self.resnet_units % 8:
            raise ValueError(f"resnet_units must be a multiple of 8, not {self.resnet_units}")

    @property
    def fields(self) -> tuple[str, ...]:
        """What a clip must come with: of "label", "actions", "frames"."""
        return condition_fields(self.classes, self.actions, self.frames)

    def build(self, latent_shape: tuple[int, ...], codes: int, video_shape: tuple[int, int, int, int]) -> VideoGPT:
        """The model, with new weights, for codes 0 <= code < codes of shape (t, h, w), or (t, h, w, k), of clips of
        video_shape (c, t, h, w).

        Raises ValueError if more frames are to be given than a clip has.
        """
        channels, frames, height, width = video_shape
        if self.frames > frames:
            raise ValueError(f"frames must be at most the {frames} of a clip, not {self.frames}")
        pattern = Sparse(self.local, math.prod(latent_shape[1:])) if self.attention == "sparse" else None
        conditioner = None
        if self.fields:
            size = channels, self.frames, height, width, self.resnet_depth, self.resnet_units
            encoder = FrameEncoder(*size) if self.frames else None
            conditioner = Conditioner(self.classes, self.actions, encoder, frames, latent_shape[0])
        return VideoGPT(latent_shape, codes, self.dim, self.heads, self.layers, self.hidden, self.dropout, pattern,
                        conditioner)
