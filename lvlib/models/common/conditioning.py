# Never edit this file: `python -m lvlib.course build` makes it from solutions/09_conditioning.py.
"""What a clip is conditioned on, turned into what a transformer can use. VideoGPT, section 3."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, cat, int64, nn

from lvlib.models.common.volume import AxialPositions
from lvlib.stages import Condition


def by_latent_frame(actions: Tensor, latent_frames: int) -> Tensor:
    """Each latent frame's own actions side by side: (b, t, a) -> (b, latent_frames, s * a), s = t / latent_frames."""
    return rearrange(actions, "b (t s) a -> b t (s a)", t=latent_frames)


class ResidualBlock3d(nn.Module):
    """Two 3x3x3 convolutions added to their input, ReLU after the sum. (b, channels, t, h, w) -> (b, width, t, h', w').

    stride: 2 halves height and width. The time axis stays. The correction begins at zero. Its norms are of each channel
    of a clip: over all channels together, a frame that is mostly black looks like any other.
    """

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.correction = nn.Sequential(
            nn.Conv3d(channels, width, 3, (1, stride, stride), 1, bias=False), nn.GroupNorm(width, width), nn.ReLU(),
            nn.Conv3d(width, width, 3, 1, 1, bias=False), nn.GroupNorm(width, width),
        )
        nn.init.zeros_(self.correction[-1].weight)
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Conv3d(channels, width, 1, (1, stride, stride), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.correction(x))


STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks of each width, as in the 2D networks of that depth


def described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


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
        self.places = frames, -(-height // 4), -(-width // 4)
        self.positions = AxialPositions(self.places, units)
        self.norm = nn.LayerNorm(units)

    def forward(self, frames: Tensor) -> Tensor:
        if frames.shape[1:] != self.shape or not frames.is_floating_point():
            raise ValueError(f"the given frames must be float (b, {', '.join(map(str, self.shape))}), "
                             f"not {described(frames)}")
        features = rearrange(self.layers(frames), "b d t h w -> b (t h w) d")
        return self.norm(features) + self.positions(self.places).flatten(0, -2)


def side_by_side(vectors: list[Tensor]) -> Tensor | None:
    """(b or 1, t or 1, d_i) each -> (b, t, sum of d_i); None for none. Raises ValueError for different clips."""
    if not vectors:
        return None
    clips, frames = (max(vector.shape[axis] for vector in vectors) for axis in (0, 1))
    if any(len(vector) not in (1, clips) for vector in vectors):
        raise ValueError(f"label and actions must be of the same clips, not of {vectors[0].shape[0]} and "
                         f"{vectors[1].shape[0]}")
    return cat([vector.expand(clips, frames, -1) for vector in vectors], -1)


class Conditioner(nn.Module):
    """Label and actions become vectors for the norms, given frames a memory for cross attention.

    classes: of the label, 0 for none. actions: numbers a video frame, 0 for none. frames: the encoder of given
    frames, None for none. video_frames, latent_frames: of a clip; each latent frame gets the actions of its own.
    """

    def __init__(self, classes: int, actions: int, frames: FrameEncoder | None, video_frames: int, latent_frames: int):
        super().__init__()
        self.classes, self.actions, self.frames = classes, actions, frames
        self.video_frames, self.latent_frames = video_frames, latent_frames
        self.cond_dim = classes + actions * (video_frames // latent_frames)
        self.memory_dim = frames.norm.normalized_shape[0] if frames else 0
        wanted = {"label": classes, "actions": actions, "frames": frames}
        self.fields = tuple(name for name, size in wanted.items() if size)

    def forward(self, condition: Condition) -> tuple[Tensor | None, Tensor | None]:
        """{"label": int64 (b,), "actions": (b, t, a), "frames": (b, c, n, h, w)}, those that the model takes ->
        vectors (b, latent frames or 1, cond_dim) or None, memory (b, m, memory_dim) or None.

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
