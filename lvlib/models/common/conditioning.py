# Never edit this file: `python -m lvlib.course build` makes it from solutions/11_conditioning.py.
"""What a clip is conditioned on, turned into what a transformer can use. VideoGPT, section 3."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, cat, contiguous_format, int64, nn

from lvlib.models.common.checks import check_no_condition
from lvlib.models.common.volume import AxialPositions
from lvlib.stages import Condition


class ConditionalNorm(nn.Module):
    """LayerNorm; with a condition, its scale and shift are affine functions of it. VideoGPT,
    section 3.

    cond_dim: of the condition's vectors, 0 for a model without one.
    """

    def __init__(self, dim: int, cond_dim: int = 0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.to_scale_shift = nn.Linear(cond_dim, 2 * dim, bias=False) if cond_dim else None

    def forward(self, x: Tensor, cond_vector: Tensor | None = None) -> Tensor:
        """x (b, n, dim), cond_vector (b, n, cond_dim) -> (b, n, dim)."""
        x = self.norm(x)
        if self.to_scale_shift is None:
            return x
        scale, shift = self.to_scale_shift(cond_vector).chunk(2, -1)
        return x * (1 + scale) + shift


def by_latent_frame(actions: Tensor, latent_frames: int) -> Tensor:
    """Each latent frame's own actions side by side: (b, t, a) -> (b, latent_frames, s * a), s = t /
    latent_frames."""
    return rearrange(actions, "b (t s) a -> b t (s a)", t=latent_frames)


class ResidualBlock3d(nn.Module):
    """Two 3x3x3 convolutions added to their input, ReLU after the sum. (b, channels, t, h, w) ->
    (b, width, t, h', w').

    stride: 2 halves height and width. The time axis stays. The correction begins at zero. Its norms
    are of each channel of a clip: over all channels together, a frame that is mostly black looks
    like any other.
    """

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.correction = nn.Sequential(
            nn.Conv3d(channels, width, 3, (1, stride, stride), 1, bias=False),
            nn.GroupNorm(width, width), nn.ReLU(),
            nn.Conv3d(width, width, 3, 1, 1, bias=False), nn.GroupNorm(width, width),
        )
        nn.init.zeros_(self.correction[-1].weight)
        same = stride == 1 and channels == width
        self.shortcut = (nn.Identity() if same
                         else nn.Conv3d(channels, width, 1, (1, stride, stride), bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.correction(x))


# blocks of each width, as in the 2D networks of that depth
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


class FrameEncoder(nn.Module):
    """A 3D ResNet over the given frames: (b, channels, n, h, w) in [-1, 1] -> (b, n * h/4 * w/4,
    units).

    depth: 18 or 34. units: width of the last stage; the first has an eighth of it.
    """

    def __init__(self, channels: int, frames: int, height: int, width: int, depth: int, units: int):
        super().__init__()
        self.shape = channels, frames, height, width
        layers = [nn.Conv3d(channels, units // 8, 3, (1, 2, 2), 1), nn.ReLU()]
        before = units // 8
        for stage, blocks in enumerate(STAGES[depth]):
            for block in range(blocks):
                layers.append(ResidualBlock3d(before, units * 2**stage // 8,
                                              2 if stage == 1 and block == 0 else 1))
                before = units * 2**stage // 8
        self.layers = nn.Sequential(*layers)
        self.places = frames, -(-height // 4), -(-width // 4)
        self.positions = AxialPositions(self.places, units)
        self.norm = nn.LayerNorm(units)

    def forward(self, frames: Tensor) -> Tensor:
        if frames.shape[1:] != self.shape or not frames.is_floating_point():
            raise ValueError("the given frames must be float (b, "
                             f"{', '.join(map(str, self.shape))}), not {described(frames)}")
        # In bf16 a CPU reads past the end of one grey frame whose strides are of channels last.
        frames = frames.clone(memory_format=contiguous_format)
        features = rearrange(self.layers(frames), "b d t h w -> b (t h w) d")
        return self.norm(features) + self.positions(self.places).flatten(0, -2)


class CrossAttention(nn.Module):
    """Multi-head attention from codes to a memory that stays the same for the whole clip. VideoGPT,
    section 3."""

    def __init__(self, dim: int, heads: int, memory_dim: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(memory_dim, 2 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim)

    def memory_kv(self, memory: Tensor) -> Tensor:
        """(b, m, memory_dim) -> its keys and values, (2, b, heads, m, d): once a clip, however many
        codes look."""
        return rearrange(self.kv(memory), "b m (p h d) -> p b h m d", p=2, h=self.heads)

    def forward(self, x: Tensor, memory_kv: Tensor) -> Tensor:
        """x (b, n, dim) and what `memory_kv` gave -> (b, n, dim)."""
        query = rearrange(self.query(x), "b n (h d) -> b h n d", h=self.heads)
        attended = F.scaled_dot_product_attention(query, *memory_kv)
        return self.out_proj(rearrange(attended, "b h n d -> b n (h d)"))


class Conditioner(nn.Module):
    """Label and actions become vectors for the norms, given frames a memory for cross attention.

    classes: of the label, 0 for none. actions: numbers a video frame, 0 for none. frames: the
    encoder of given frames, None for none. video_frames, latent_frames: of a clip; each latent
    frame gets the actions of its own.
    """

    def __init__(self, classes: int, actions: int, frames: FrameEncoder | None, video_frames: int,
                 latent_frames: int):
        super().__init__()
        self.classes, self.actions, self.frames = classes, actions, frames
        self.video_frames, self.latent_frames = video_frames, latent_frames
        self.cond_dim = classes + actions * (video_frames // latent_frames)
        self.memory_dim = frames.norm.normalized_shape[0] if frames else 0
        wanted = {"label": classes, "actions": actions, "frames": frames}
        self.fields = tuple(name for name, size in wanted.items() if size)

    def forward(self, condition: Condition) -> tuple[Tensor | None, Tensor | None]:
        """{"label": int64 (b,), "actions": (b, t, a), "frames": (b, c, n, h, w)}, those that the
        model takes -> vectors (b, latent frames or 1, cond_dim) or None, memory (b, m, memory_dim)
        or None.

        Raises ValueError for a missing or a needless condition, and for values that do not fit.
        """
        check_condition(self, condition)
        vectors = []
        if self.classes:
            vectors.append(F.one_hot(condition["label"], self.classes).float()[:, None])
        if self.actions:
            vectors.append(by_latent_frame(condition["actions"].float(), self.latent_frames))
        memory = self.frames(condition["frames"]) if self.frames else None
        return side_by_side(vectors), memory


def side_by_side(vectors: list[Tensor]) -> Tensor | None:
    """(b or 1, t or 1, d_i) each -> (b, t, sum of d_i); None for none. Raises ValueError for
    different clips."""
    if not vectors:
        return None
    clips, frames = (max(vector.shape[axis] for vector in vectors) for axis in (0, 1))
    if any(len(vector) not in (1, clips) for vector in vectors):
        raise ValueError("label and actions must be of the same clips, not of "
                         f"{vectors[0].shape[0]} and {vectors[1].shape[0]}")
    return cat([vector.expand(clips, frames, -1) for vector in vectors], -1)


def check_labels(label: Tensor, classes: int) -> None:
    """Raises ValueError unless these are int64 (b,), each 0 to classes - 1."""
    if label.ndim != 1 or label.dtype != int64:
        raise ValueError(f"label must be int64 (b,), not {described(label)}")
    if label.min() < 0 or label.max() >= classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}; got {label.min()} to {label.max()}")


def check_condition(conditioner: Conditioner, condition: Condition) -> None:
    """Raises ValueError for a condition that is missing or needless, or does not fit."""
    if set(condition) != set(conditioner.fields):
        raise ValueError(f"this model is conditioned on {', '.join(conditioner.fields)}; "
                         f"it got {', '.join(condition) or 'nothing'}")
    shape = [conditioner.video_frames, conditioner.actions]
    if conditioner.classes:
        check_labels(condition["label"], conditioner.classes)
    if conditioner.actions and list(condition["actions"].shape[1:]) != shape:
        raise ValueError(f"actions must be (b, {shape[0]}, {shape[1]}), {shape[1]} numbers for "
                         f"each frame, not {tuple(condition['actions'].shape)}")


def condition_tensors(conditioner: nn.Module | None, condition: Condition | None, clips: int,
                      codes: int) -> tuple[Tensor | None, Tensor | None]:
    """What norms see at each code (clips, codes of a clip, cond_dim), and what cross attention sees
    (clips, m, memory_dim). None for what there is not.

    Raises ValueError if the model takes a condition and gets none, or the other way round, or for
    other clips.
    """
    if conditioner is None:
        check_no_condition(condition)
        return None, None
    cond_vector, memory = conditioner(condition or {})
    if cond_vector is not None:
        cond_vector = cond_vector.repeat_interleave(codes // cond_vector.shape[1], 1)
    for part in (cond_vector, memory):
        if part is not None and len(part) not in (1, clips):
            raise ValueError(f"give the condition of one clip, or of each of the {clips}, "
                             f"not of {len(part)}")
    return tuple(None if part is None else part.expand(clips, -1, -1)
                 for part in (cond_vector, memory))
