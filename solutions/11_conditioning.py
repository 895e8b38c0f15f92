# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · Conditioning: tell the model what you want
#
# **What you will build.** Three ways to tell VideoGPT's prior what to make: a class, the actions of each
# frame, and given frames of video.
#
# **Why it matters.** A model that draws *some* clip is a toy. One that draws the clip you asked for is a
# tool, and one that answers to actions is a small world: at the end of this notebook you walk through a maze
# that exists only in a model.
#
# Below, the model that ships with the course got ten wishes, the digits 0 to 9, and the same random numbers
# for each.

# %% jupyter={"source_hidden": true}
import math
import os

import torch
import torch.nn.functional as F
from einops import rearrange
from matplotlib import pyplot as plt
from torch import Tensor

from lvlib.course import check, progress
from lvlib.course.experiments import fit
from lvlib.data import ClipSet, MovingDigits, data_home, to_video
from lvlib.evaluation.flow import horizontal_shift, turn_agreement
from lvlib.metrics.pixels import psnr
from lvlib.models.videogpt.prior import VideoGPTSampling
from lvlib.runs import load_checkpoint
from lvlib.stages import LatentSpec
from lvlib.viz import curves, pad, set_style, show, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %%
prior = load_checkpoint("videogpt-digits")
autoencoder = load_checkpoint("videogpt-digits/autoencoder")
likely, wishes = VideoGPTSampling(top_p=0.9), []
for label in range({"smoke": 2, "course": 10}[profile]):
    torch.manual_seed(3)
    wishes.append(autoencoder.decode(prior.sample(1, {"label": torch.tensor([label])},
                                                  sampling=likely)))
show(strip(torch.cat(wishes), frames=16, titles=[str(label) for label in range(len(wishes))]),
     limit=40_000,
     alt="One row of 16 frames for each digit from 0 to 9. Most rows show a moving digit of the "
         "class asked for.")

# %% [markdown]
# **What it costs.** About a minute and a half on one core. **What it needs.** Notebook 09 (the prior without a
# condition).
#
# ## 1. A norm that listens
#
# LayerNorm brings each vector to mean 0 and variance 1, then multiplies by a learned gain and adds a learned
# bias (newer papers say *scale* and *shift*). These two are the same for every clip. *Conditional norms* (the
# paper's section 3) make them depend on what we want: a vector, for instance a one-hot label, goes through a
# linear layer, and comes out as a change of the two. One norm before every layer: the wish is heard everywhere.
#
# ### Exercise 11.1 · a norm that listens (about 10 min)
# Normalise `x` over its last axis. Let scale and shift be the two halves of `cond_vector @ weight.T`, in this
# order. The result is the normalised x times (1 + scale), plus the shift.
#
# <details><summary>Hint</summary>Two steps: normalise without any gain or bias, then let the
# condition scale and shift.</details>
# <details><summary>The call</summary><code>F.layer_norm(x, x.shape[-1:])</code> and
# <code>.chunk(2, -1)</code>.</details>

# %% tags=["exercise", "ex-11.1"]
def conditional_norm(x: Tensor, cond_vector: Tensor, weight: Tensor) -> Tensor:
    """x (b, n, dim), cond_vector (b, n, cond_dim), weight (2 * dim, cond_dim) -> (b, n, dim).
    VideoGPT, section 3. Normalised as by LayerNorm: the variance divides by dim, not dim - 1."""
    ### BEGIN SOLUTION
    scale, shift = (cond_vector @ weight.T).chunk(2, -1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
    ### END SOLUTION

# %% tags=["check", "ex-11.1"]
conditional_norm = check("11.1", conditional_norm)

# %% [markdown]
# Why 1 + scale, and not the scale alone? A vector of zeros then changes nothing: a model that is told nothing
# behaves like one without a condition. As a module, it is in every layer of notebook 09:

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.prior"]
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import nn

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.conditioning import STAGES, Conditioner, FrameEncoder
from lvlib.models.videogpt.prior import VideoGPT
from lvlib.models.videogpt.sampling import VideoGPTSampling
from lvlib.stages import ConditionSpec, GivenFrames, LatentSpec, VideoShape

AttentionKind = Literal["full", "sparse"]

# %% jupyter={"source_hidden": true} tags=["export:models.common.conditioning"]
"""What a clip is conditioned on, turned into what a transformer can use. VideoGPT, section 3."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, cat, contiguous_format, int64, nn

from lvlib.models.common.checks import check_no_condition
from lvlib.models.common.volume import AxialPositions
from lvlib.stages import Condition


# %% tags=["export:models.common.conditioning"]
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

# %%
norm, x = ConditionalNorm(8, cond_dim=3), torch.randn(1, 4, 8)
told_nothing = norm(x, torch.zeros(1, 4, 3))
print("zeros leave the LayerNorm as it is:", torch.allclose(told_nothing, norm.norm(x)))
label_1 = F.one_hot(torch.tensor([[1] * 4]), 3).float()
print(f"the label 1 changes it by {(norm(x, label_1) - told_nothing).abs().mean():.2f} on average")

# %% [markdown]
# Does the model listen? It gives each clip a number of bits. Tell it the true label, then a wrong one: the
# difference is what the lie costs.

# %%
count = {"smoke": 4, "course": 60}[profile]
data = MovingDigits(count, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
clips = data.batch(slice(0, count))
codes = autoencoder.encode(to_video(torch.tensor(clips["video"])))
label = torch.tensor(clips["label"])
labels = {"the true label": label, "the next digit": (label + 1) % 10,
          "the one after": (label + 2) % 10}
bits = {}
for name, given_label in labels.items():
    scores = prior.scores(codes, {"label": given_label})["bits_per_dim"]
    bits[name] = scores.mean().item() * codes[0].numel()
    print(f"told {name:<15} {bits[name]:6.1f} bits a clip")
if profile != "smoke":
    assert bits["the true label"] < min(bits["the next digit"], bits["the one after"]) - 3

# %% [markdown]
# A wrong label costs far more than the 3.3 bits that name one digit of ten: the model expects other strokes, and
# is surprised by each.
#
# ## 2. An action for each frame
#
# A label holds for the whole clip. Actions come frame by frame: which buttons were held. A latent frame
# covers several frames of video, and gets the actions of its own frames, side by side. A code then knows the
# actions of its latent frame from its norms, and those of earlier ones from what it reads of earlier codes.
# It never knows later ones: that is what lets us drive.
#
# ### Exercise 11.2 · whose actions? (about 5 min)
# Cut the t frames into `latent_frames` runs of s neighbours, and join the actions of each run: all numbers of its
# first frame, then all of its second.
#
# <details><summary>Hint</summary>Time is cut in two axes, t runs of s frames, and s is then
# joined with a. Which of t and s moves slower? And which of s and a?</details>
# <details><summary>The call</summary>One <code>rearrange</code>: <code>"b (t s) a -&gt; ..."</code>
# with <code>t=latent_frames</code>.</details>

# %% tags=["exercise", "ex-11.2", "export:models.common.conditioning"]
def by_latent_frame(actions: Tensor, latent_frames: int) -> Tensor:
    """Each latent frame's own actions side by side: (b, t, a) -> (b, latent_frames, s * a), s = t /
    latent_frames."""
    ### BEGIN SOLUTION
    return rearrange(actions, "b (t s) a -> b t (s a)", t=latent_frames)
    ### END SOLUTION

# %% tags=["check", "ex-11.2"]
by_latent_frame = check("11.2", by_latent_frame)

# %% [markdown]
# ## 3. Given frames: something to look at
#
# "Go on from this picture" is too much for a scale and a shift. VideoGPT sends the given frames through a 3D
# ResNet. Each position of its output is a vector that the codes can look at; together they are the *memory*.
# The codes read it by *cross attention*: queries come from the codes, keys and values from the memory. The
# frames do not change while a clip is sampled, so keys and values are computed once a clip.
#
# ### Exercise 11.3 · a residual block (about 5 min)
# A ResNet is made of blocks that add a correction to their input. `self.shortcut` passes the input on (where
# sizes change, through a 1x1x1 convolution), `self.correction` is two convolutions. Write `forward`: one
# ReLU, after the sum.
#
# > **In the official code** there is another ReLU on the correction, before the sum. Then a block can only add.
#
# <details><summary>Hint</summary>Shortcut and correction are two ways from the same input; their
# sum goes on.</details>
# <details><summary>The call</summary>Two terms, one <code>F.relu</code>.</details>

# %% tags=["exercise", "ex-11.3", "export:models.common.conditioning"]
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
        ### BEGIN SOLUTION
        return F.relu(self.shortcut(x) + self.correction(x))
        ### END SOLUTION

# %% tags=["check", "ex-11.3"]
ResidualBlock3d = check("11.3", ResidualBlock3d)

# %% [markdown]
# The whole encoder: a convolution that halves, four stages of blocks, one of which halves again. The time
# axis stays.

# %% tags=["export:models.common.conditioning"]
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

# %% [markdown]
# Cross attention asks the keys and values of this memory. `memory_kv` makes them.

# %% tags=["export:models.common.conditioning"]
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

# %%
look = CrossAttention(dim=16, heads=2, memory_dim=64)
encoder = FrameEncoder(channels=1, frames=1, height=32, width=32, depth=18, units=64)
first = to_video(torch.tensor(clips["video"][:2]))[:, :, :1]
read = look(torch.randn(2, 5, 16), look.memory_kv(encoder(first)))
print(f"first frames {tuple(first.shape)}; what 5 codes read from them {tuple(read.shape)}")

# %% [markdown]
# ## 4. One place for all conditions
#
# `Conditioner` turns what a clip is conditioned on into what the transformer takes: a vector for the norms
# (label and actions, side by side), and a memory for cross attention. It refuses what does not fit.

# %% tags=["export:models.common.conditioning"]
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

# %% jupyter={"source_hidden": true} tags=["export:models.common.conditioning"]
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

# %% [markdown]
# The model repeats what belongs to a latent frame at each of its codes, and what belongs to one clip for all.

# %% jupyter={"source_hidden": true} tags=["export:models.common.conditioning"]
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

# %% [markdown]
# ## 5. The configuration
#
# `VideoGPTConfig` names all sizes, and builds the model with its conditions. Whoever trains or samples needs to
# know what to hand over, before there is a model. Its method `conditions` lists it, a `ConditionSpec` each: name,
# kind, shape. `given_frames` says how many frames of video the model can go on from.

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.prior"]
@dataclass(frozen=True)
class VideoGPTConfig:
    """Sizes of a `VideoGPT`. The defaults are those for BAIR, Table 9, without its condition.
    Raises ValueError for sizes that do not fit together.
    """

    renamed: ClassVar[dict[str, str]] = {
        "project": "qkv", "join": "out_proj", "cross.memory": "cross.kv", "steer": "to_scale_shift"}
    """What parts of the names of weights in older checkpoints are called now."""
    Sampling: ClassVar[type] = VideoGPTSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = "exact"
    extends: ClassVar[bool] = False
    dim: int = 512
    """Width of the transformer."""
    heads: int = 4
    layers: int = 16
    hidden: int = 2048
    """Width between the two linear layers of a block."""
    dropout: float = 0.2
    """After the embedding, the attention and the linear layers."""
    attention: AttentionKind = "full"
    """Earlier codes that are seen: all, or the near and the same place in earlier frames (4.1)."""
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
        check_sizes_of_prior(self)

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """Those of label, actions and frames whose size is not 0."""
        return conditions_of(self, video_shape)

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """The frames that it is conditioned on; without them whole latent frames, by default 1."""
        if self.frames:
            return GivenFrames(self.frames, self.frames, default=self.frames)
        frames = latents.frames_per_latent
        most = (latents.shape[0] - 1) * frames
        return GivenFrames(0, most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> VideoGPT:
        """The model, with new weights, for these codes of clips (c, t, h, w). Raises ValueError for
        what does not fit."""
        return VideoGPT(self, latents, conditioner_of(self, latents, video_shape))

# %% tags=["export:models.videogpt.prior"]
def conditions_of(config: VideoGPTConfig, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
    """What a model of these sizes is conditioned on, for clips (c, t, h, w)."""
    channels, frames, height, width = video_shape
    first = channels, config.frames, height, width
    known = (ConditionSpec("label", "class", (), config.classes, option="classes"),
             ConditionSpec("actions", "per-frame", (frames, config.actions), option="actions"),
             ConditionSpec("frames", "given-frames", first, option="frames"))
    return tuple(spec for spec in known if getattr(config, spec.option))


def conditioner_of(config: VideoGPTConfig, latents: LatentSpec,
                   video_shape: VideoShape) -> nn.Module | None:
    """The part of the model that reads its conditions; None where it has none.

    Raises ValueError if all frames of a clip are to be given, or more, and if the latents are not
    codes.
    """
    channels, frames, height, width = video_shape
    if latents.num_codes is None:
        raise ValueError(f"VideoGPT's prior predicts codes, and these latents are {latents}")
    if config.frames >= frames:
        raise ValueError(f"frames must be fewer than the {frames} of a clip, not {config.frames}")
    if not config.conditions(video_shape):
        return None
    size = channels, config.frames, height, width, config.resnet_depth, config.resnet_units
    encoder = FrameEncoder(*size) if config.frames else None
    return Conditioner(config.classes, config.actions, encoder, frames, latents.shape[0])

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.prior"]
def check_sizes_of_prior(config: VideoGPTConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    names = "dim", "heads", "layers", "hidden", "local", "resnet_units"
    check_numbers(config, *names, least=1)
    check_numbers(config, "classes", "actions", "frames", least=0)
    check_numbers(config, "dropout", least=0, below=1)
    check_choice(config, "attention", get_args(AttentionKind))
    check_choice(config, "resnet_depth", STAGES)
    if config.dim % config.heads:
        raise ValueError(f"dim must be a multiple of heads = {config.heads}, not {config.dim}")
    if config.resnet_units % 8:
        raise ValueError(f"resnet_units must be a multiple of 8, not {config.resnet_units}")

# %% [markdown]
# ### Who hears what?
# We do not believe it, we measure it. A model with a label, actions of 8 frames (2 to a latent frame) and one
# given frame: change one thing, and see which logits change.

# %%
torch.manual_seed(0)
small = VideoGPTConfig(dim=32, heads=2, layers=2, hidden=64, dropout=0.0,
                       classes=10, actions=3, frames=1, resnet_units=32)
for spec in small.conditions((1, 8, 16, 16)):
    print(f"{spec.name:<8} {spec.kind:<13} {spec.shape}")
model = small.build(LatentSpec((4, 2, 2), 16), (1, 8, 16, 16)).eval()
latents = torch.randint(16, (1, 4, 2, 2))
condition = {"label": torch.tensor([3]), "actions": torch.zeros(1, 8, 3),
             "frames": torch.randn(1, 1, 1, 16, 16)}
before = model.logits(latents, condition)


def changed(name: str, value: Tensor) -> list[bool]:
    """In which latent frames do the logits change, if this part of the condition does?"""
    difference = (model.logits(latents, {**condition, name: value}) - before).abs().amax((0, 2))
    return (rearrange(difference, "(t s) -> t s", t=4).amax(1) > 0).tolist()


pressed = condition["actions"].clone()
pressed[0, 5, 0] = 1
heard = {"another label": changed("label", torch.tensor([4])),
         "another given frame": changed("frames", torch.randn(1, 1, 1, 16, 16)),
         "a button in frame 5": changed("actions", pressed)}
for name, frames in heard.items():
    print(f"{name:<20} changes latent "
          "frames", [frame for frame, hears in enumerate(frames) if hears])
assert heard["a button in frame 5"] == [False, False, True, True]
assert all(heard["another label"]) and all(heard["another given frame"])

# %% [markdown]
# Frame 5 is in latent frame 2 (frames 4 and 5). The button is heard there and later, and never before.
#
# ## 6. What is a condition worth?
#
# Exactly as much as it says. To see this we need a world that we can count, again (notebook 09 had one). Ours
# is tiny: a dot on 8x8 pixels starts anywhere and goes one of eight ways for 4 frames. What leaves on one side
# comes in on the other. We need no autoencoder: the code of a frame is the dot's place, 0 to 63.

# %%
# rows down, columns right
WAYS = torch.tensor([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])


def dot_world(n: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Codes of n clips, int64 (n, 4, 1, 1), and what can be told of them: way (n,), first frame (n,
    1, 1, 8, 8)."""
    way = torch.randint(8, (n,))
    places = (torch.randint(8, (n, 1, 2)) + torch.arange(4)[:, None] * WAYS[way][:, None]) % 8
    codes = 8 * places[..., 0] + places[..., 1]
    first_frame = 2 * F.one_hot(codes[:, 0], 64).float() - 1
    return codes[..., None, None], {"label": way,
                                    "frames": rearrange(first_frame, "n (h w) -> n 1 1 h w", h=8)}

# %% [markdown]
# Now count. Where is the dot in the first frame? 64 places, 6 bits. Which way does it go? 8 ways, 3 bits, and
# the second frame shows it. From then on nothing is open. So a clip has 9 bits. Tell the model the way (a
# label), and 6 should remain. Show it the first frame, and 3 should. Do both, and nothing is left to say.
#
# We train four models that differ in their condition alone, each for 500 steps.

# %%
steps = {"smoke": 2, "course": 500}[profile]
tellings = {"nothing": {}, "the way": {"classes": 8}, "the first frame": {"frames": 1},
            "both": {"classes": 8, "frames": 1}}
torch.manual_seed(1)
test_dots, test_truth = dot_world(512)
dot_priors, dot_bits = {}, {}
for name, telling in tellings.items():
    torch.manual_seed(0)
    sizes = VideoGPTConfig(dim=64, heads=4, layers=2, hidden=128, dropout=0.0, resnet_units=64,
                           **telling)
    dot_prior = sizes.build(LatentSpec((4, 1, 1), 64), (1, 4, 8, 8))
    fields = [spec.name for spec in sizes.conditions((1, 4, 8, 8))]

    def loss(model=dot_prior, fields=fields) -> Tensor:
        dots, truth = dot_world(64)
        return model.loss(dots, {field: truth[field] for field in fields})[0]

    fit(dot_prior, loss, steps, f"told {name}", rate=3e-3)
    with torch.no_grad():
        condition = {field: test_truth[field] for field in fields}
        dot_bits[name] = dot_prior.nll(test_dots, condition).mean(0) / math.log(2)
    dot_priors[name] = dot_prior
    print(f"told {name:<16} {dot_bits[name].sum():5.2f} bits a clip: "
          + ", ".join(f"{bits:.2f}" for bits in dot_bits[name]))
if profile != "smoke":
    for name, bits in zip(tellings, (9, 6, 3, 0), strict=True):
        assert -0.2 < dot_bits[name].sum() - bits < 0.5

# %% [markdown]
# The label takes its 3 bits from the second frame, where the way would show. The given frame takes its 6 from
# the first. And the models find this out alone, from pictures and codes.
#
# A condition does not make the future certain, it takes away what it knows. Give 16 times the *same* first frame
# to the third model, and the samples go different ways:

# %%
torch.manual_seed(0)
shown_frame = test_truth["frames"][:1]
futures = dot_priors["the first frame"].sample(16, {"frames": shown_frame}).flatten(1)
video = 2 * F.one_hot(futures, 64).float() - 1
show(strip(rearrange(video, "n t (h w) -> n 1 t h w", h=8)[:6], frames=4),
     alt="Six rows of four frames of 8 by 8 pixels with one white dot. The first frame is the same "
         "in all rows; from there the dots go different ways, and one of them turns at its last "
         "step.")

# %% [markdown]
# One dot may turn on its way, against the rule of its world: of the bits above, the few hundredths of the last
# frames are such mistakes. (The same with digits: notebook 10, section 7.)
#
# ## 7. A world with buttons
#
# VideoGPT's section 4.4 learns ViZDoom: a maze, and the buttons *turn left*, *turn right*, *move forward*.
# `make data` records such clips, with the buttons that were held. (The paper's are played by policies *trained*
# for each map; ours by a scripted walk.) The player sees a frame, holds some buttons for 4 ticks of the game's
# clock, and sees the next frame.

# %%
doom = data_home() / "doom"
many = {"smoke": 2, "course": 30}[profile]
if (doom / "meta.json").exists():
    val = ClipSet(doom, "val", 16)
    recorded = [val[2 * index] for index in range(many)]  # every other one
    clips = torch.stack([to_video(torch.as_tensor(clip["video"])) for clip in recorded])
    held = torch.stack([torch.as_tensor(clip["actions"]) for clip in recorded])
    show_video(clips[:many:10], alt="Recorded clips of a walk through a maze with green ground and "
                                    "grey walls.")
else:
    print(f"no clips in {doom}: `lvlib data vizdoom --out {doom}` records them (it needs the "
          "package vizdoom)")
    clips = held = None

# %% [markdown]
# `videogpt-doom-course` has learned from 800 such walks (*episodes*) of 100 frames each. Its autoencoder has a
# hard job: one of 512 codes, 9 bits, for a box of 2 frames of 8x8 pixels.

# %%
doom_prior = load_checkpoint("videogpt-doom-course")
doom_autoencoder = load_checkpoint("videogpt-doom-course/autoencoder")
if clips is None:  # what the model makes up then is where we begin
    torch.manual_seed(0)
    held = torch.zeros(many, 16, 3)
    held[::2, :, 0] = held[1::2, :, 1] = 1  # half of them turn left, half right
    codes = doom_prior.sample(many, {"actions": held}, sampling=likely)
    clips = doom_autoencoder.decode(codes)
codes = doom_autoencoder.encode(clips)
rebuilt = doom_autoencoder.decode(codes)
print(f"a clip is {tuple(codes.shape[1:])} codes; rebuilt at {psnr(rebuilt, clips).mean():.1f} dB "
      "PSNR")
show(strip([video[i] for i in range(2) for video in (clips, rebuilt)],
           titles=["recorded", "rebuilt"] * 2),
     alt="Two recorded clips, each above its reconstruction. Large shapes keep their places; "
         "bricks, grass and edges are blurred, and the corner that begins the second clip is gone.")

# %% [markdown]
# Bricks and grass are gone, walls and ways remain. No sample can be sharper than this.
#
# ### Does it turn left when told left?
# We give the codes of 8 frames, and hold a button for the 8 frames that the model makes. When a player turns
# left, all that is seen moves to the *right*. `horizontal_shift` finds by how many pixels: it tries all shifts
# of one frame, and takes the one that fits the next frame best.

# %%
HOLD = {"left": [1, 0, 0], "right": [0, 1, 0], "forward": [0, 0, 1]}
torch.manual_seed(0)
shifts = {}
for name, buttons in HOLD.items():
    actions = held.clone()
    # frame 7 is the last given one: what is held there shows in frame 8
    actions[:, 7:] = torch.tensor(buttons).float()
    sampled = doom_prior.sample(many, {"actions": actions}, codes[:, :4], likely)
    made = doom_autoencoder.decode(sampled)
    shifts[name] = horizontal_shift(made)[:, 8:]  # the first of them is from frame 8 to 9
fig = curves({f"told {name}": shift.mean(0).tolist() for name, shift in shifts.items()},
             xlabel="step from one made frame to the next", ylabel="to the right (px)")
fig.axes[0].set(ylim=(-11, 9), xticks=range(shifts["left"].shape[1]))
fig.axes[0].legend(loc="lower center", ncols=3)
show(fig, alt="Three curves over the frames that the model makes. Told left the picture moves "
              "right by several pixels a frame, told right it moves left by as many, told forward "
              "it stays near zero.")
share = {}
for name, sign in {"left": 1, "right": -1}.items():
    share[name] = (sign * shifts[name] > 0).float().mean()
    whole = (sign * shifts[name].mean(1) > 0).float().mean()
    print(f"told {name:<6} {whole:4.0%} of clips turn the right way, {share[name]:4.0%} of single "
          "frames do")
print(f"the same measure on the buttons of recorded clips: {turn_agreement(clips, held):4.0%} of "
      f"single frames, rebuilt ones {turn_agreement(rebuilt, held):4.0%}")
if profile != "smoke":
    assert min(share.values()) > 0.8

# %% [markdown]
# It obeys. The starts are the same for each
# button, so it is the button that decides. The model was never told what a button means.
#
# ### The window moves on
# The model knows windows of 16 frames, 8 latent frames. To walk on for as long as we like, we keep some of them as
# given, and let the model make the rest. Which ones? Not the last: the autoencoder looks ahead as well as back,
# and at the end of a window there is nothing ahead. So the last codes of a window look different from those
# in its middle. We show only two of the four latent frames that the model makes, and keep these and the two
# before. The last two are thrown away. (Keeping the last ones instead, the turns soon slacken.)
#
# The actions go along. But not the last one that belongs to the kept frames: the frame that we stand in still
# waits for its button.
#
# The timeline shows it: what is kept of one window, and where it stands in the next.

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 1, figsize=(7.2, 3.4), sharex=True)
BLUE, ORANGE, GREY, GREEN = "#56B4E9", "#E69F00", "#D9D9D9", "#009E73"
windows = {"one window": ([GREY] * 2 + [BLUE] * 4 + [GREY] * 2,
                          [GREY] * 4 + [BLUE] * 7 + [GREY] * 5),
           "the next": ([BLUE] * 4 + [GREEN] * 4, [BLUE] * 7 + [ORANGE] * 9)}
for ax, (title, (latent_colours, action_colours)) in zip(axes, windows.items(), strict=True):
    ax.bar([2 * i + 0.5 for i in range(8)], 0.8, 1.9, 1, color=latent_colours)
    ax.bar(range(16), 0.6, 0.4, 0.2, color=action_colours)
    for i in range(8):
        ax.text(2 * i + 0.5, 1.4, f"{i}", ha="center", va="center")
    ax.set(title=title, yticks=[0.5, 1.4], yticklabels=["actions", "latents"], ylim=(0, 2.2),
           xlim=(-0.7, 15.7), xticks=range(16))
    ax.grid(False)
for ax, x, words in ((axes[0], 9.5, "shown last"), (axes[0], 13.5, "thrown away"),
                     (axes[1], 3.5, "given"), (axes[1], 9.5, "shown next")):
    ax.text(x, 1.93, words, ha="center", fontsize=8)
axes[1].set_xlabel("video frame of the window")
show(fig, alt="Two windows of 16 video frames, each with 8 latent frames above and 16 actions "
              "below. In the first the latent frames 2 to 5 and the actions of frames 4 to 10 are "
              "blue: they are kept. In the next they are the latent frames 0 to 3 and the actions "
              "0 to 6; the actions from 7 on are orange, the buttons held now, and the latent "
              "frames 4 to 7 are green: what the model makes. Frames 8 to 11 are shown.")

# %% [markdown]
# ### Exercise 11.4 · the window moves on (about 10 min)
# From the latents of a window and its actions make what `sample` needs for the next one: `keep` latent frames
# from number `first` on, and the actions of a whole window. `held` are the buttons from now on.
#
# <details><summary>Hint</summary>Look at the timeline: which actions are blue in both windows?
# One fewer than the frames that are kept.</details>
# <details><summary>The call</summary>A latent frame has s = t / latent frames of video. Slice the
# actions from <code>first * s</code>, <code>keep * s - 1</code> of them; <code>held.expand(...)</code> and
# <code>torch.cat</code> fill the window up.</details>

# %% tags=["exercise", "ex-11.4"]
def next_window(latents: Tensor, actions: Tensor, held: Tensor, first: int,
                keep: int) -> tuple[Tensor, Tensor]:
    """latents (b, t', h, w), actions (b, t, a), held (a,) -> given latents (b, keep, h, w), actions
    (b, t, a)."""
    ### BEGIN SOLUTION
    s = actions.shape[1] // latents.shape[1]
    kept = actions[:, first * s:(first + keep) * s - 1]
    new = held.expand(len(actions), actions.shape[1] - kept.shape[1], -1)
    return latents[:, first:first + keep], torch.cat([kept, new], 1)
    ### END SOLUTION

# %% tags=["check", "ex-11.4"]
next_window = check("11.4", next_window)

# %% [markdown]
# One start under four sequences of buttons, each held for 4 frames:

# %%
@torch.no_grad()
def walk_on(latents: Tensor, actions: Tensor, buttons: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The next window, and the 4 frames that come after those of the last one: (b, 3, 4, 64,
    64)."""
    given, window = next_window(latents, actions, torch.tensor(buttons).float(), first=2, keep=4)
    latents = doom_prior.sample(len(given), {"actions": window}, given, likely)
    return latents, window, doom_autoencoder.decode(latents)[:, :, 8:12]


begin = {"smoke": 0, "course": 25}[profile]
plans = {"left": ["left"] * 4, "right": ["right"] * 4, "forward": ["forward"] * 4,
         "left, then right": ["left"] * 2 + ["right"] * 2}
walks = []
for plan in plans.values():
    torch.manual_seed(0)
    latents, window = codes[begin:begin + 1], held[begin:begin + 1]
    frames = [rebuilt[begin:begin + 1, :, 8:12]]
    for name in plan:
        latents, window, answer = walk_on(latents, window, HOLD[name])
        frames.append(answer)
    walks.append(torch.cat(frames, 2)[0])
show_video(torch.stack(walks), titles=list(plans), frames=10,
           alt="Four walks from the same start. Told left, walls and ground slide to the right; "
               "told right, to the left; told forward, what is ahead grows; told left, then right, "
               "the picture slides there and back, but the start does not come again.")

# %% [markdown]
# ### Drive
# Now you. Each button is held for 4 frames; the answer comes in about a second. (Buttons need a running kernel.)

# %%
PAD = {"left": [1, 0, 0], "left + forward": [1, 0, 1], "forward": [0, 0, 1],
       "right + forward": [0, 1, 1],
       "right": [0, 1, 0], "wait": [0, 0, 0]}
where = codes[begin:begin + 1], held[begin:begin + 1]


def press(name: str) -> Tensor:
    """Holds the buttons of that name, and gives the 4 frames that we see then."""
    global where
    latents, window, answer = walk_on(*where, PAD[name])
    where = latents, window
    return answer


pad(press, list(PAD), rebuilt[begin, :, 4:12], fps=8.75,
    alt="What the player sees; at first the way ahead between two grey walls, with white boxes on "
        "green ground.")

# %% [markdown]
# ### What it has learned, and what not
# Turns are right, walls come nearer as we walk on, and the white boxes on the ground (medkits) slide past. But
# there is no maze behind the picture. A frame turns the player by 14 degrees, so a full circle takes 26
# frames, and the model is given 8: when you come round, it has forgotten where you began, and makes up new
# walls. And all is blurred, as the autoencoder is: the paper's has 2x2x2 pixels in a code, ours 2x8x8.
#
# ## 8. What the paper conditions on (Table 9)
#
# | data | condition | how |
# |---|---|---|
# | Moving MNIST | first frame | ResNet-18, cross attention |
# | BAIR | first frame; some samples: actions too | ResNet-34, cross attention; norms |
# | ViZDoom | actions | norms |
# | UCF-101, TGIF | nothing | |
#
# (Table 9 has actions as one vector of 60 or 315 numbers a clip; ours come by latent frame, so that one can
# drive.) The scale is another: their ViZDoom prior has 16 layers of width 512 and reads 8,192 codes a clip, ours 4 of
# width 192 and 512 codes.
#
# ## 9. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `ConditionalNorm`, `CrossAttention` | how a transformer hears them | `lvlib.models.common.conditioning` |
# | `by_latent_frame`, `Conditioner` | conditions, ready for the transformer | `lvlib.models.common.conditioning` |
# | `ResidualBlock3d`, `FrameEncoder` | given frames as a memory | `lvlib.models.common.conditioning` |
# | `VideoGPTConfig` | all sizes; builds the prior with its conditions | `lvlib.models.videogpt.prior` |
#
# ### Scale it up
#
# ```
# lvlib data vizdoom --out data/doom
# lvlib train videogpt-vqvae-bair --out runs/vqvae --data.root data/doom --devices 8 --precision bf16-mixed
# lvlib train videogpt-vizdoom --autoencoder runs/vqvae --out runs/doom --data.root data/doom --devices 8
# ```
# We have not run it at that size (`lvlib describe videogpt-vizdoom` tells parameters and memory).
#
# ### Questions to think about
# 1. In the world of dots, what would it be worth to be given the first *two* frames?
#    <details><summary>Answer</summary>All 9 bits: the second frame shows the way. Nothing is left to say.</details>
# 2. Actions reach a code through its norms. Could they be a memory for cross attention? What would it cost?
#    <details><summary>Answer</summary>Yes, if it is masked: a code may look at actions up to its own latent frame
#    only, or driving is impossible. It costs a cross attention in each layer, and positions for the actions;
#    the norm gets the right action without a search.</details>
# 3. A code knows the actions of its own latent frame, also of the later frames in it. Is that a fault?
#    <details><summary>Answer</summary>No: a code stands for all frames of its latent frame, and what is done in
#    the second of them changes it. It is why a button must be held for whole latent frames when one
#    drives.</details>

# %%
progress()
