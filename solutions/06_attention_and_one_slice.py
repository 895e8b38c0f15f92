# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Attention and one slice: what may look at what
#
# **What you will build.** The parts of the Latent Video Transformer: a convolution that cannot see ahead,
# attention that knows distances, and from both a model of *one slice* of a clip's codes. Notebook 07 makes a
# model of whole clips of it, and lets it write video.
#
# **Why it matters.** Attention is the one idea that all five systems of this course share, and most of what
# has happened in machine learning since 2017 is built from it. You will write it yourself, in two lines.

# %% jupyter={"source_hidden": true}
import math
import os
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from matplotlib import pyplot as plt
from torch import Tensor, nn

from lvlib.course import check, progress
from lvlib.course.experiments import fit, small_codes
from lvlib.data import MovingDigits, to_video
from lvlib.evaluation.baselines import count_codes
from lvlib.runs import load_checkpoint
from lvlib.viz import curves, maps, set_style, show, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% [markdown]
# Two test clips: the last given frame (0), the next as a trained model (`lvt-layers`) has written it, uncovered in the
# order of writing, a quarter at a time (1 to 4), and the true one (5). This frame is *one slice*.

# %% jupyter={"source_hidden": true}
torch.manual_seed(0)
prior, layered = load_checkpoint("lvt-layers"), load_checkpoint("lvt-layers/autoencoder")
digits = MovingDigits(2, size=48, digit_size=16, speeds=(4,), grid=4, layers=True, split="test")
first = to_video(torch.tensor(digits.batch(slice(0, 2))["video"]))
made = layered.decode(prior.sample(2, given=layered.encode(first[:, :, :8])))[:, :, 8]
number = F.interpolate(torch.arange(144.0).view(1, 1, 12, 12), scale_factor=4)  # in its order
steps = [made.where(number < count, torch.tensor(0.0)) for count in (36, 72, 108, 144)]
show(strip(torch.stack([first[:, :, 7], *steps, first[:, :, 8]], 2)),
     alt="Two clips of two digits: a given frame; the next one, written by the model, uncovered "
         "from the top, grey elsewhere; and the true one, with the digits at the same places.")

# %% [markdown]
# **What it costs.** About a minute on two CPU cores. **What it needs.** Notebooks 04 (codes) and 05 (the
# order in which they are generated).
#
# ## 1. The plan
#
# A clip's codes have the shape `(t, h, w, k)`: k codes, one from each codebook, at every position. Notebook
# 05 cut this volume into slices. The model writes slice after slice, in a slice position after position, at a
# position code after code:
#
# $$p(Z) = \prod_i \prod_k p\left(Z^k_{\pi(i)} \mid Z_{\pi(<i)},\ Z^{<k}_{\pi(i)}\right)$$
#
# Each part of the condition has a part of the model (LVT, Fig. 2):
#
# | what is known | which part reads it |
# |---|---|
# | earlier slices and the given frames | an **encoder**: nothing to hide, everything sees everything |
# | earlier positions of this slice | a **decoder**: masked convolution, masked attention |
# | earlier codes of this position | a small network for each **codebook** |
#
# The transformer, too, has an encoder and a decoder. They have nothing to do with the autoencoder's: both
# work on codes. We build all this from the bottom up.

# %% [markdown]
# ## 2. A convolution that cannot see ahead
#
# The decoder works on all positions of a slice at once while it trains. It must not peek: what it says at one
# position may depend on earlier positions only. Its first layer is a 3x3x3 convolution. We forbid all taps (weights)
# at the position itself and after it, in raster order (frames, then rows, then columns), by multiplying the
# weights with a mask.
#
# ### Exercise 6.1 · the taps that may look (about 5 min)
# Give the mask for a kernel of any odd size.
#
# <details><summary>Hint</summary>Number the taps in raster order. The centre is in the middle:
# of 27 taps it is number 13.</details>
# <details><summary>The call</summary><code>math.prod(kernel)</code> counts the taps,
# <code>torch.arange</code> numbers them, a comparison gives bool, <code>reshape(kernel)</code> the shape.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.lvt.layers"]
"""Layers of LVT's prior: a convolution that cannot see ahead, codes and places as vectors, vectors
as codes.

LVT, section 3.2. Codes are int64 (..., k), one of each codebook.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.volume import Triple

# %% jupyter={"source_hidden": true} tags=["export:models.lvt.prior"]
"""The Latent Video Transformer: a prior over the codes of a clip, slice by slice, position by
position, code by code.

LVT, section 3.2. Codes are int64 (b, t, h, w, k), or (b, t, h, w) with one codebook.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.volume import Triple
from lvlib.models.lvt.layers import CodeEmbedding, MaskedConv3d, sinusoid
from lvlib.models.lvt.prior import LatentVideoTransformer  # notebook 07
from lvlib.models.lvt.relative_attention import Block, Kind
from lvlib.models.lvt.sampling import LVTSampling
from lvlib.models.lvt.subscale import UNKNOWN, context, slice_shape, window_reach
from lvlib.stages import ConditionSpec, GivenFrames, LatentSpec, VideoShape


# %% tags=["exercise", "ex-6.1", "export:models.lvt.layers"]
def earlier_taps(kernel: Triple) -> Tensor:
    """bool, the kernel's shape (odd sizes): True at taps that come before the centre in raster
    order."""
    ### BEGIN SOLUTION
    taps = math.prod(kernel)
    return (torch.arange(taps) < taps // 2).reshape(kernel)
    ### END SOLUTION

# %% tags=["check", "ex-6.1"]
earlier_taps = check("6.1", earlier_taps)

# %% tags=["export:models.lvt.layers"]
class MaskedConv3d(nn.Conv3d):
    """A 3x3x3 convolution that sees only positions before its own. (b, channels, t, h, w), size
    unchanged."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__(channels, out_channels, 3, padding=1)
        self.register_buffer("mask", earlier_taps(self.kernel_size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(x, self.weight * self.mask, self.bias, padding=1)

# %% [markdown]
# Do not believe a mask, poke it. We change one position, and look where the result changes.

# %%
torch.manual_seed(0)
poked = MaskedConv3d(1, 1)
quiet, loud = torch.zeros(2, 1, 1, 3, 5, 5)
loud[:, :, 1, 2, 2] = 1
changed = (poked(quiet) - poked(loud)).abs()[0, 0] > 0
show(maps({f"frame {t}": changed[t] for t in range(3)}, cross={"frame 1": (2, 2)}),
     alt="Three frames of 5 by 5 positions. The changed position, marked with a cross in the "
         "middle of frame 1, is not touched itself. The position to its right, three below it, and "
         "nine in frame 2 are.")

# %% [markdown]
# The cross is the position that we changed. Only later positions notice: the next one, the row below, and the
# next frame. The position itself does not: its own code is what it must guess.
#
# These are frames of a *slice*. In single-frame order a slice has but one, so of the 13 taps only the four in
# the same frame ever meet a code. Earlier frames come in by another way: the context, section 5.
#
# > **In the official code** rows below are hidden in *past* frames too, though they are known by then. Ours looks
# > at all nine neighbours in the frame before.
#
# ## 3. Attention
#
# **Attention** lets each position fetch what it needs from others. From its vector each makes three: a
# *query* (what do I look for?), a *key* (what have I got?) and a *value* (what do I pass on?). A position
# compares its query with all keys by a scalar product, its *scores*. Softmax turns these numbers into weights
# that add up to 1, and what it gets is the weighted mean of the values:
#
# $$\mathrm{softmax}\left(\frac{q k^\top}{\sqrt d} + b\right) v$$
#
# A scalar product of two random vectors of d numbers is about $\sqrt d$ in size, so it is divided by that:
# otherwise the weights of wide heads would be all or nothing. The *bias* $b$ is a number for each pair of
# query and key. If it is minus infinity the weight is 0: this is how later positions are hidden, in *masked*
# or *causal* attention. Several such lookups side by side are *heads*.
#
# ### Exercise 6.2 · attention (about 10 min)
# Write it, for any number of queries and keys.
#
# <details><summary>Hint</summary>The scores of all pairs are one matrix product, with a row for each
# query. Softmax goes along a row: each query has weights of its own.</details>
# <details><summary>The call</summary><code>key.mT</code> exchanges the last two axes, and
# <code>.softmax(-1)</code> goes over the keys.</details>

# %% tags=["exercise", "ex-6.2"]
def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """query (b, heads, q, d), key (b, heads, k, d), value (b, heads, k, m), bias (heads, q, k) with
    -inf where a query may not look -> the values averaged by their weights, (b, heads, q, m)."""
    ### BEGIN SOLUTION
    weights = (query @ key.mT / math.sqrt(query.shape[-1]) + bias).softmax(-1)
    return weights @ value
    ### END SOLUTION

# %% tags=["check", "ex-6.2"]
attention = check("6.2", attention)

# %% [markdown]
# PyTorch has the same in one call, which never writes the weights down. It is faster, and from here on the
# models use it. Is yours equal?

# %%
torch.manual_seed(0)
query, key, value = torch.randn(3, 2, 4, 10, 16)  # 2 clips, 4 heads, 10 positions, 16 numbers
later = torch.ones(10, 10, dtype=torch.bool).triu(1)
hides_later = torch.zeros(4, 10, 10).masked_fill(later, float("-inf"))
yours = attention(query, key, value, hides_later)
theirs = F.scaled_dot_product_attention(query, key, value, attn_mask=hides_later[None])
print(f"yours and PyTorch's differ by {(yours - theirs).abs().max():.1e} at most")
assert torch.allclose(yours, theirs, atol=1e-5)

# %% [markdown]
# ## 4. Attention that knows distances
#
# In LVT the bias is learned, and depends only on how far apart two positions are (section 4.4):
#
# $$A(x_q, x_k) \propto \exp\left(x_q^\top Q^\top K x_k + b_{kq}\right)$$
#
# (The division by the square root of d is ours and the official code's.) The distance has three axes. One
# table for all distances would be large; LVT takes a small table for each axis and adds what the three say.
#
# ### Exercise 6.3 · a bias for every distance (about 15 min)
# `by_distance` turns one table into a small square: `(heads, size, size)` for the queries and keys along one
# axis. Put the three squares together in `forward`. (`__init__` is done. It lets each head begin with a
# liking for one neighbour; training changes that.)
#
# <details><summary>Hint</summary>You want an array with axes <code>(m, t, h, w, t2, h2, w2)</code>.
# Each square knows two of the six, and must be stretched along the others before you add.</details>
# <details><summary>The call</summary>Index with <code>None</code> to give a square size 1 on the axes
# that it does not know, add the three, and let <code>rearrange</code> flatten both triples.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.lvt.relative_attention"]
"""Attention over a small volume whose weights know how far apart two positions are. LVT, sections
3.2 and 4.4."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Kind = Literal["query-key", "key", "relative"]

# %% tags=["exercise", "ex-6.3", "export:models.lvt.relative_attention"]
class RelativeBias(nn.Module):
    """One learned number for each head, axis and distance, summed over the axes. LVT, section 4.4
    (b_kq).

    shape is (t, h, w) of the volume, n = t*h*w in raster order. Each head begins by preferring one
    neighbour in the frame (ours: the official code begins without any preference).
    """

    def __init__(self, shape: tuple[int, int, int], heads: int):
        super().__init__()
        # How far the query stands behind the key; keys that come before it first, a masked layer
        # sees no others.
        neighbours = torch.tensor([(0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1),
                                   (0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1)])
        preferred = neighbours[torch.arange(heads) % len(neighbours)]
        distances = (torch.arange(1 - size, size) for size in shape)
        self.tables = nn.ParameterList(
            nn.Parameter(-2.0 * (distance - preferred[:, axis, None]).abs().clamp(max=4))
            for axis, distance in enumerate(distances))

    def forward(self) -> Tensor:
        """(heads, n, n): the bias of query (row) and key (column)."""
        ### BEGIN SOLUTION
        t, h, w = (self.by_distance(table) for table in self.tables)
        bias = (t[:, :, None, None, :, None, None] + h[:, None, :, None, None, :, None]
                + w[:, None, None, :, None, None])
        return rearrange(bias, "m t h w t2 h2 w2 -> m (t h w) (t2 h2 w2)")
        ### END SOLUTION

    def by_distance(self, table: Tensor) -> Tensor:
        """(heads, 2 * size - 1) -> (heads, size, size): entry (q, k) is that at distance q - k."""
        position = torch.arange((table.shape[1] + 1) // 2, device=table.device)
        return table[:, position[:, None] - position + len(position) - 1]

# %% tags=["check", "ex-6.3"]
RelativeBias = check("6.3", RelativeBias)

# %%
relative = RelativeBias((2, 6, 6), heads=1)
for table, strength in zip(relative.tables, (0.5, 1.0, 1.0), strict=True):
    distance = torch.arange(table.shape[1]) - table.shape[1] // 2
    table.data[0] = -strength * (distance - 1).abs()  # likes what stands one step before
bias = relative()[0].detach()
of_one = bias[1 * 36 + 3 * 6 + 3].reshape(2, 6, 6)
of_one = {f"keys in frame {t}": of_one[t].exp() for t in range(2)}
show(maps({"all pairs": bias.exp(), **of_one}, cross={"keys in frame 1": (3, 3)}),
     alt="Left: a matrix of 72 by 72 pairs with a regular blocked pattern. Right: the row of one "
         "query, marked with a cross in frame 1, as a map over the keys of frames 0 and 1; the "
         "brightest key in each is one step up and left.")

# %% [markdown]
# (The pictures show the exponential of the biases, each to its own scale.) We set the tables
# so that a query prefers what stands one step before it on every axis. On the right you see one query (the
# cross) and what it prefers: up and left of it, one frame earlier. A table that is learned can say "look two
# positions to the left in the frame before": where a digit came from.
#
# LVT asks whether content matters at all, and compares three kinds of weights (section 4.4, Table 7):
#
# | kind | weights come from |
# |---|---|
# | `query-key` | the query, the key, the distance |
# | `key` | the key and the distance: one learned query $u_m$ for all positions |
# | `relative` | the distance alone |
#
# Here are all three.

# %% tags=["export:models.lvt.relative_attention"]
class Attention(nn.Module):
    """Multi-head attention over a volume, with one of the three kinds of weights of LVT, section
    4.4.

    kind: "query-key" compares contents and distances, "key" gives each key one weight for all
    queries besides the distance, "relative" looks at distances alone. causal: a position sees
    itself and those before it in raster order.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, shape: tuple[int, int, int],
                 kind: Kind, causal: bool):
        super().__init__()
        self.heads, self.kind, self.causal = heads, kind, causal
        self.parts = {"query-key": 3, "key": 2, "relative": 1}[kind]
        # Values, then keys, then queries.
        self.in_proj = nn.Linear(dim, self.parts * heads * head_dim, bias=False)
        if kind == "key":  # u_m: one query for all positions
            self.query = nn.Parameter(torch.randn(heads, head_dim))
        self.relative = RelativeBias(shape, heads)
        self.out_proj = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, dim)."""
        value, key, query = self.heads_of(x)
        return self.join_heads(self.attend(query, key, value, self.bias()))

    def bias(self) -> Tensor:
        """(heads, n, n), -inf where a position may not look."""
        bias = self.relative()
        if self.causal:
            n = bias.shape[-1]
            later = torch.ones(n, n, dtype=torch.bool, device=bias.device).triu(1)
            bias = bias.masked_fill(later, float("-inf"))
        return bias

    def heads_of(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(b, n, dim) -> value, key, query, each (b, heads, n, d), None for what is not needed."""
        # "b n (p m d) -> p b m n d". Sampling comes here often, and a view beats `rearrange`.
        parts = self.in_proj(x).unflatten(-1, (self.parts, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.kind == "relative":
            return parts[0], None, None
        query = self.query[:, None].expand_as(parts[1]) if self.kind == "key" else parts[2]
        return parts[0], parts[1], query

    def attend(self, query: Tensor | None, key: Tensor | None, value: Tensor,
               bias: Tensor) -> Tensor:
        """Values averaged by the attention weights: query (b, heads, q, d), others (..., k, d),
        bias (heads, q, k)."""
        if key is None:
            return bias.softmax(-1) @ value
        bias = bias[None].to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def join_heads(self, attended: Tensor) -> Tensor:
        """(b, heads, n, d) -> (b, n, dim)."""
        return self.out_proj(attended.transpose(1, 2).flatten(2))

# %% [markdown]
# A layer is attention and two linear layers. They are not widened by four as in most transformers: LVT's
# official code keeps the width.

# %% tags=["export:models.lvt.relative_attention"]
class Block(nn.Module):
    """One layer of the transformer: attention, then two linear layers, each added to its input.
    (b, n, dim) -> (b, n, dim)."""

    def __init__(self, dim: int, heads: int, head_dim: int, shape: tuple[int, int, int], kind: Kind,
                 causal: bool):
        super().__init__()
        self.attention_norm, self.hidden_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, head_dim, shape, kind, causal)
        self.hidden = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.hidden(self.hidden_norm(x))

# %% [markdown]
# ### Where a trained model looks
# `lvt-course` is LVT on clips of two moving digits, trained for an hour and a half; notebook 07 lets it write.
# We take its first decoder layer and one frame of a clip that it has never seen, 12x12 codes. Its weights
# come from *your* function: with a value for each key that is 1 at its own place and 0 elsewhere, what comes
# out of attention are the weights themselves.

# %%
trained = load_checkpoint("lvt-course")
data = MovingDigits(1, size=48, digit_size=16, speeds=(4,), grid=4, split="test")
example = to_video(torch.tensor(data.batch(slice(0, 1))["video"]))
example_codes = load_checkpoint("lvt-course/autoencoder").encode(example)
frame = torch.tensor([8])  # in single-frame order a slice is a frame
with torch.no_grad():
    known = trained.encoder(example_codes[..., None], frame, 1)
    embedded = trained.decoder.embedding(example_codes[:, 8:9, ..., None])
    layer = trained.decoder.layers[0]
    x = layer.attention_norm(trained.decoder.enter(embedded, known))
    value, key, query = layer.attention.heads_of(x)
    places = torch.eye(144).expand(1, 8, 144, 144)
    weights = attention(query, key, places, layer.attention.bias())[0]  # (heads, query, key)
print("weights", tuple(weights.shape), f"| each row adds up to {weights.sum(-1).mean():.3f}")
assert torch.allclose(weights.sum(-1), torch.ones(8, 144), atol=1e-4)
assert weights.triu(1).max() == 0, "nothing ahead"

# %%
moved = (example_codes[0, 8] != example_codes[0, 7]).nonzero()
row, column = moved[len(moved) // 2].tolist()  # a place where something happens
of_one = weights[:, 12 * row + column].reshape(8, 12, 12).sqrt()
ink = F.avg_pool2d(example[0, :, 8], 4)[0]
show(maps({"frame 8": ink, **{f"head {m}": of_one[m] for m in range(8)}}, (row, column), columns=5),
     alt="A frame with two digits, as 12 by 12 squares, and for eight heads the attention weights "
         "of one query, marked with a cross beside a digit, as maps of 12 by 12 keys. All is dark "
         "behind the cross in raster order. Some heads look at one neighbour, others at a wide "
         "patch above.")

# %% [markdown]
# (The maps show the square root of the weights, so that small ones can be seen.) Nothing after the cross has
# any weight. Heads 0 and 1 have kept the one neighbour with which they began; 2, 3 and 4 look at a patch above,
# 5 and 7 two places to the left.
#
# ## 5. What is known already
#
# Codes become vectors first: a table for each codebook, and the sum of what they say.

# %% tags=["export:models.lvt.layers"]
class CodeEmbedding(nn.Module):
    """The sum of the k codes' vectors at each position: int64 (..., k) -> (..., dim)."""

    def __init__(self, num_codes: int, codebooks: int, dim: int):
        super().__init__()
        # one table after the other
        self.table = nn.Parameter(torch.randn(codebooks * num_codes, dim))
        self.register_buffer("first_rows", num_codes * torch.arange(codebooks), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        rows = (codes + self.first_rows).flatten(0, -2)
        return F.embedding_bag(rows, self.table, mode="sum").unflatten(0, codes.shape[:-1])

# %% [markdown]
# The biases know distances, not places. So a fixed vector of waves is added that says *where* a position is:
# slow waves tell roughly, fast ones exactly. Each axis has a third of the channels.

# %% tags=["export:models.lvt.layers"]
def sinusoid(shape: Triple, dim: int) -> Tensor:
    """(t*h*w, dim): for each axis waves of falling frequency, a third of the channels each; the
    rest stays 0."""
    waves = dim // 6
    frequency = 10000 ** (-torch.arange(waves) / max(waves, 1))
    grid = torch.cartesian_prod(*(torch.arange(size).float() for size in shape))
    angle = (grid[..., None] * frequency).flatten(1)
    return F.pad(torch.cat([angle.sin(), angle.cos()], -1), (0, dim - 6 * waves))

# %% [markdown]
# All sizes of LVT's model stand in one dataclass, `LVTConfig` (folded). `config.blocks` makes layers of
# attention.

# %% jupyter={"source_hidden": true} tags=["export:models.lvt.prior"]
@dataclass(frozen=True)
class LVTConfig:
    """Sizes of a `LatentVideoTransformer`. The defaults are those of LVT's official code, with the
    50M parameters that section 4.1 tells and Table 7 counts.

    Raises ValueError for sizes that do not fit together.
    """

    renamed: ClassVar[dict[str, str]] = {"project": "in_proj", "join": "out_proj"}
    """What parts of the names of weights in older checkpoints are called now."""
    Sampling: ClassVar[type] = LVTSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = "exact"
    extends: ClassVar[bool] = False
    dim: int = 512
    """Width of the transformer."""
    embedding_dim: int = 128
    """Width of a code's vector in the decoder, and of what the context's convolution gives."""
    heads: int = 8
    head_dim: int = 128
    """Width of one head."""
    encoder_layers: int = 8
    decoder_layers: int = 8
    attention: Kind = "query-key"
    """What attention looks at besides distances (4.4): query and key, the key, or nothing."""
    subscale: Triple = (16, 1, 1)
    """(s_t, s_h, s_w): single-frame (T, 1, 1), spatial (1, 2, 2), spatiotemporal (4, 2, 2)."""
    prime_frames: int = 1
    """Frames that are given in training. The likelihood is that of all later frames."""

    def __post_init__(self):
        names = "dim", "embedding_dim", "heads", "head_dim", "prime_frames"
        check_numbers(self, *names, least=1)
        check_numbers(self, "encoder_layers", "decoder_layers", least=0)
        check_choice(self, "attention", get_args(Kind))

    def blocks(self, count: int, shape: Triple, causal: bool) -> list[Block]:
        """Layers for slices of this shape."""
        sizes = self.dim, self.heads, self.head_dim, shape, self.attention, causal
        return [Block(*sizes) for _ in range(count)]

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """None."""
        return ()

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Any number that leaves a frame to generate; by default that of the training."""
        frames = latents.frames_per_latent
        return GivenFrames(frames, (latents.shape[0] - 1) * frames, frames,
                           self.prime_frames * frames)

    def build(self, latents: LatentSpec, video_shape: VideoShape | None = None) -> nn.Module:
        """A new `LatentVideoTransformer` for these codes, whatever the video's shape. Raises
        ValueError if they do not fit."""
        check_fit(self, latents)
        return LatentVideoTransformer(self, latents)


# %% jupyter={"source_hidden": true} tags=["export:models.lvt.prior"]
def check_fit(config: LVTConfig, latents: LatentSpec) -> None:
    """Raises ValueError if the subscale factor does not divide the shape of the codes, no frame is
    left to predict, or the latents are not codes."""
    if latents.num_codes is None:
        raise ValueError(f"LVT's prior predicts codes, and these latents are {latents}")
    slice_shape(latents.shape[:3], config.subscale)
    if config.prime_frames >= latents.shape[0]:
        raise ValueError(f"prime_frames must be below the {latents.shape[0]} frames of a clip, "
                         f"not {config.prime_frames}")

# %% [markdown]
# The encoder gets the volume as a slice may see it (`context` of notebook 05) and brings it to the size of a
# slice: a convolution whose *stride is the subscale factor*. Codes that are not known yet are zero vectors.
# With the factor (16, 1, 1) its kernel is 16 frames long, and one vector sums up everything that has happened
# at a place. A learned vector for each slice (`slices`) says which one is written. Then attention spreads the
# news over the slice.

# %% tags=["export:models.lvt.prior"]
class ContextEncoder(nn.Module):
    """What is known besides the slice itself: earlier slices and priming frames, one vector for
    each of its positions.

    A convolution with the subscale factor as its stride brings the volume to the size of a slice
    (LVT, Fig. 2).
    """

    def __init__(self, config: LVTConfig, shape: Triple, num_codes: int, codebooks: int):
        super().__init__()
        self.factor, slice_ = config.subscale, slice_shape(shape, config.subscale)
        window = tuple(before + 1 + after for before, after in window_reach(shape, self.factor))
        self.embedding = CodeEmbedding(num_codes, codebooks, config.dim)
        self.windows = nn.Conv3d(config.dim, config.embedding_dim, window, stride=self.factor)
        self.slices = nn.Embedding(math.prod(self.factor), config.embedding_dim)
        self.widen = nn.Linear(config.embedding_dim, config.dim, bias=False)
        self.register_buffer("position", sinusoid(slice_, config.dim), persistent=False)
        self.layers = nn.Sequential(*config.blocks(config.encoder_layers, slice_, causal=False))

    def forward(self, volume: Tensor, numbers: Tensor, prime_frames: int) -> Tensor:
        """Codes (b, t, h, w, k) for the slices numbers (b,) -> (b, n, dim), n positions a slice."""
        codes = context(volume, numbers, self.factor, prime_frames)
        x = self.embedding(codes.clamp(min=0)) * (codes[..., :1] != UNKNOWN)
        x = self.windows(rearrange(x, "b t h w d -> b d t h w"))
        x = rearrange(x, "b d t h w -> b (t h w) d") + self.slices(numbers)[:, None]
        return self.layers(self.widen(x) + self.position)

# %% [markdown]
# > **In the official code** the encoder computes a positional encoding and never adds it: it knows places by the
# > relative biases alone. Ours adds it.
#
# ## 6. One slice
#
# The decoder adds up the masked convolution, the position, and the context, and lets masked attention work on
# it.

# %% tags=["export:models.lvt.prior"]
class SliceDecoder(nn.Module):
    """One slice: a vector for each position that knows the context, and of the slice only what
    comes before."""

    def __init__(self, config: LVTConfig, shape: Triple, num_codes: int, codebooks: int):
        super().__init__()
        slice_ = slice_shape(shape, config.subscale)
        self.embedding = CodeEmbedding(num_codes, codebooks, config.embedding_dim)
        self.before = MaskedConv3d(config.embedding_dim, config.dim)
        self.register_buffer("position", sinusoid(slice_, config.dim), persistent=False)
        self.layers = nn.ModuleList(config.blocks(config.decoder_layers, slice_, causal=True))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, codes: Tensor, known: Tensor) -> Tensor:
        """Codes of a slice (b, t, h, w, k) and its context (b, n, dim) -> (b, n, dim)."""
        x = self.enter(self.embedding(codes), known)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def enter(self, embedded: Tensor, known: Tensor) -> Tensor:
        """What the first layer sees: embedded codes (b, t, h, w, d) and context (b, n, dim) ->
        (b, n, dim)."""
        x = self.before(rearrange(embedded, "b t h w d -> b d t h w"))
        return rearrange(x, "b d t h w -> b (t h w) d") + self.position + known

# %% [markdown]
# ## 7. Code by code
#
# With n_c codebooks a position has n_c codes, and they are not independent: a stroke's shape fixes much of
# its colour. LVT predicts them one after another. Codebook k has its own small network. It reads the
# decoder's vector, and the codes 0 to k-1 that were just chosen.
#
# ### Exercise 6.4 · each code may see those before it (about 10 min)
# `one(k, x, earlier)` gives the logits of code k (a score for each of the K codes; softmax makes them
# probabilities). While training, all true codes are there: give the logits of all of them at once, each from
# the codes *before* it.
#
# <details><summary>Hint</summary>For each k: how many codes may code k see? Those before it,
# and not itself.</details>
# <details><summary>The call</summary>A list of <code>self.one(k, x, codes[..., :...])</code> over k,
# then <code>torch.stack</code> on the axis before the last.</details>

# %% tags=["exercise", "ex-6.4", "export:models.lvt.layers"]
class CodeHeads(nn.Module):
    """Predicts the k codes of a position one by one, each from the position's vector and the codes
    before it."""

    def __init__(self, num_codes: int, codebooks: int, dim: int):
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(dim, dim) for _ in range(codebooks))
        self.earlier = nn.ModuleList(CodeEmbedding(num_codes, k, dim) for k in range(1, codebooks))
        self.out = nn.ModuleList(nn.Linear(dim, num_codes) for _ in range(codebooks))

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """Vectors (..., dim) and the codes (..., k) there -> logits (..., k, num_codes)."""
        ### BEGIN SOLUTION
        return torch.stack([self.one(k, x, codes[..., :k]) for k in range(len(self.out))], -2)
        ### END SOLUTION

    def one(self, k: int, x: Tensor, earlier: Tensor) -> Tensor:
        """Logits (..., num_codes) of code k, given the k codes before it: earlier (..., k)."""
        hidden = self.hidden[k](x)
        if k:
            hidden = hidden + self.earlier[k - 1](earlier)
        return self.out[k](hidden.relu())

# %% tags=["check", "ex-6.4"]
CodeHeads = check("6.4", CodeHeads)

# %% [markdown]
# ## 8. One slice, trained
#
# Encoder, decoder, code heads: together they predict a slice. Does it work? For a first trial we take one
# slice only: in single-frame order (notebook 05) the last one is the last frame, and its context are all frames
# before it. We need codes that are cheap: one small digit in 16x16 pixels, 4x4 positions a frame, from the
# autoencoder of notebook 04, trained here in a few seconds.

# %%
trained_for = {"smoke": 3, "course": 250}[profile]
train_codes, test_codes, quality = small_codes(codebooks=1, num_codes=128, seed=0,
                                               steps=trained_for)
print("codes of the training clips", tuple(train_codes.shape),
      f"| the autoencoder rebuilds at {quality:.1f} dB PSNR")


# %%
class OneFrame(nn.Module):
    """Predicts the codes of one frame of a clip, the slice `number`, from all frames before it."""

    def __init__(self, config: LVTConfig, shape: Triple, num_codes: int, number: int):
        super().__init__()
        self.number = number
        self.encoder = ContextEncoder(config, shape, num_codes, 1)
        self.decoder = SliceDecoder(config, shape, num_codes, 1)
        self.code_heads = CodeHeads(num_codes, 1, config.dim)

    def nll(self, codes: Tensor) -> Tensor:
        """Nats of each code of the frame: clips (b, t, h, w) -> (b, h * w)."""
        volume = codes[..., None]
        frame = volume[:, self.number:self.number + 1]
        numbers = torch.full((len(codes),), self.number)
        y = self.decoder(frame, self.encoder(volume, numbers, 1))
        frame = frame.flatten(1, 3)
        logits = self.code_heads(y, frame)
        return F.cross_entropy(logits.movedim(-1, 1), frame, reduction="none")[..., 0]


small = LVTConfig(dim=64, embedding_dim=64, heads=4, head_dim=16, encoder_layers=2,
                  decoder_layers=2)
shape = tuple(train_codes.shape[1:])
torch.manual_seed(0)
new = OneFrame(small, shape, 128, number=15)
print(f"loss of a new model {new.nll(test_codes).mean():.2f} nats, ln 128 = {math.log(128):.2f}")

# %% [markdown]
# A new model knows nothing, so its loss is near ln K, that of guessing among K codes. Can it see ahead? We
# change one code of the last frame after the other, and look which vectors of the decoder change.

# %%
clip = test_codes[:1]
poked = clip.repeat(16, 1, 1, 1)
for j in range(16):  # copy j differs in code j of its last frame
    poked[j, -1].view(-1)[j] = (poked[j, -1].view(-1)[j] + 1) % 128
with torch.no_grad():
    known = new.encoder(clip[..., None], torch.tensor([15]), 1)
    vectors = [new.decoder(codes[:, -1:, ..., None], known.expand(len(codes), -1, -1))
               for codes in (clip, poked)]
sees = (vectors[1] - vectors[0]).abs().amax(-1).T > 1e-6  # (vector, changed code)
show(maps({"who sees what": sees}, xlabel="changed code", ylabel="vector of code"),
     alt="A 16 by 16 map: below its diagonal the vector of each code changes with codes before it, "
         "and with none at or after it.")
assert not sees.triu().any() and sees.tril(-1).any()

# %% [markdown]
# Below the diagonal only: what it says at a place, it says without the code there and those after it.
#
# Now train it. A loss alone says little. What should we compare it with? Two guesses need no network:
#
# - **the marginal**: each code as often as it occurs in the training clips;
# - **copy**: with probability p the code is the one that stood there a frame ago, otherwise the marginal.
#   This is LVT's baseline "repeat the last frame" as a probability. p is fitted on the training clips.

# %%
def trained_model(config: LVTConfig, number: int, name: str,
                  seed: int = 0) -> tuple[OneFrame, list[float]]:
    """A model trained on one frame of the clips, and the loss of each step in nats a code."""
    torch.manual_seed(seed)
    model = OneFrame(config, shape, 128, number)

    def loss() -> Tensor:
        return model.nll(train_codes[torch.randint(len(train_codes), (16,))]).mean()

    return model, fit(model, loss, steps={"smoke": 3, "course": 300}[profile], name=name)


@torch.no_grad()
def bits_per_code(model: OneFrame) -> float:
    """Mean bits a code of the frame, test clips."""
    return model.nll(test_codes).mean().item() / math.log(2)


model, losses = trained_model(small, 15, "frame 15")
score = bits_per_code(model)
guesses = count_codes(train_codes, 128).bits_per_dim(test_codes, given_latents=15)
guesses = {name: value.mean().item() for name, value in guesses.items()}

# %% jupyter={"source_hidden": true}
bits = torch.tensor(losses) / math.log(2)
smooth = bits.unfold(0, min(10, len(bits)), 1).mean(-1).tolist()
fig = curves({"model, in training": smooth}, xlabel="step", ylabel="bits a code")
lines = {"marginal": guesses["marginal"], "copy": guesses["copy_baseline"],
         "model, on test clips": score}
for (name, height), style in zip(lines.items(), (":", "--", "-"), strict=True):
    fig.axes[0].axhline(height, color="black", ls=style, lw=1.2, label=f"{name}: {height:.2f}")
fig.axes[0].legend()
show(fig, alt="The training loss falls from 7 bits a code through the lines of the marginal and of "
              f"copying. On test clips the model ends at {score:.2f} bits.")
if profile != "smoke":
    assert score < guesses["copy_baseline"] - 1

# %%
print(f"the model beats copying by {guesses['copy_baseline'] - score:.1f} bits a code")

# %% [markdown]
# **What to read in this curve.** It has found out that digits move: a bit a code is a factor of two for each
# of the 16 codes of the frame. But nearly no bits at all? Nobody can know the codes of a frame so well from
# the frame before. Be suspicious of what is too good.
#
# ### How far back does it look?
# We poke the codes of one earlier frame and see how much the prediction of the last frame changes.

# %%
@torch.no_grad()
def influence(model: OneFrame, codes: Tensor) -> list[float]:
    """Mean change (nats) of the frame's log-probabilities when an earlier one is another clip's."""
    before, changes = model.nll(codes), []
    for j in range(model.number):
        poked = codes.clone()
        poked[:, j] = codes.roll(1, 0)[:, j]
        changes.append((model.nll(poked) - before).abs().mean().item())
    return changes


effect = influence(model, test_codes)
print("frames whose change matters most:", sorted(range(15), key=lambda j: -effect[j])[:4])
assert min(effect) > 0

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots()
ax.bar(range(15), effect, color=["C0"] * 12 + ["C1"] * 3)
ax.set(xlabel="frame that we changed", ylabel="change (nats)", yscale="log",
       title="prediction of frame 15")
ax.bar(0, 0, color="C1", label="all that the official model sees")
ax.legend()
show(fig, alt="Bars for frames 0 to 14 on a log scale. Frame 3 is a thousand times as high as all "
              "others. The last three are marked as those that the official code sees.")
if profile != "smoke":
    assert effect.index(max(effect)) == 3, "frame 15 is frame 3 again"

# %% [markdown]
# One frame counts, and it is not the one before. Our digit has 6 pixels of room. With 1 pixel a frame its path
# repeats after 12 frames, with 2 pixels after 6: *frame 15 is frame 3 again*. The model found that out by
# itself, and copies. It is right, but it has not learned to move a digit. (The official code's model, which
# sees three frames back, cannot do this.) Two lessons: find out what a model uses before you praise it, and
# choose data whose answer is not in the question.
#
# ## 9. The experiment: does content matter? (Table 7)
#
# Section 4 has three kinds of attention. Two of them never compare a query with a key. What do they lose? We ask
# at frame 5, after five given frames, as LVT continues clips. Nothing repeats so early: the digit must be
# moved.

# %%
by_kind = {}
for kind in ("query-key", "key", "relative"):
    other, _ = trained_model(replace(small, attention=kind), 5, kind)
    by_kind[kind] = bits_per_code(other)
    effect = influence(other, test_codes)
    size = sum(weight.numel() for weight in other.parameters())
    print(f"{kind:<10} {by_kind[kind]:.2f} bits a code, {size:,} parameters, "
          f"looks most at frame {effect.index(max(effect))}")
guess = count_codes(train_codes, 128).bits_per_dim(test_codes[:, :6], given_latents=5)
print(f"copying    {guess['copy_baseline'].mean():.2f} bits a code")
if profile != "smoke":
    assert max(by_kind.values()) - min(by_kind.values()) < 0.5
    assert max(by_kind.values()) < guess["copy_baseline"].mean() - 1

# %% [markdown]
# | attention (Table 7, BAIR, n_c = 4) | bits a code | parameters | sampling |
# |---|---|---|---|
# | query-key | 1.53 | 49.87 M | 35 s |
# | key | 1.57 | 41.50 M | 32 s |
# | relative | 1.58 | 33.09 M | 30 s |
#
# Here the kinds hardly differ, and the paper's differ little: comparing contents "does not play a crucial role"
# (section 4.4), though its FVD rises from 126 to 142. What they differ in is size: each kind has one matrix less
# than the one before.
#
# **What this scale does not show.** Our slice has 16 positions and one digit, and a masked convolution besides
# attention: there is little to look for. All three look most at the frame before, where the digit is. The paper
# also measures faster sampling; at our size seconds are too short to tell.
#
# ## 10. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `earlier_taps`, `MaskedConv3d` | a convolution that cannot see ahead | `lvlib.models.lvt.layers` |
# | `RelativeBias`, `Attention`, `Block` | attention of three kinds | `lvlib.models.lvt.relative_attention` |
# | `CodeEmbedding`, `CodeHeads` | codes as vectors, and code by code | `lvlib.models.lvt.layers` |
# | `LVTConfig` | all sizes | `lvlib.models.lvt.prior` |
# | `ContextEncoder`, `SliceDecoder` | what is known, one slice | `lvlib.models.lvt.prior` |
#
# ### Scale it up
# One slice is no model of video yet: notebook 07 has the commands. How large these parts are at the paper's
# size says `lvlib describe lvt-bair`, with each kind of attention:
#
# ```
# lvlib describe lvt-bair --prior.attention relative
# ```
#
# ### Questions to think about
# 1. Why do `key` and `relative` need no query, and still attend to different places at different positions?
#    <details><summary>Answer</summary>Their bias depends on the distance, and a position's distance to a given
#    key is its own: each row of the bias matrix is shifted.</details>
# 2. Attention over a slice costs the square of its positions. What does a slice of half as many positions
#    save, and what does it cost elsewhere?
#    <details><summary>Answer</summary>A quarter of the scores each, but twice as many slices: half in all. Each
#    slice then asks the encoder anew for its context, so that part is done twice as often.</details>
# 3. A layer adds what attention finds to its input. What would a stack without this addition have to learn?
#    <details><summary>Answer</summary>To pass everything on that later layers need, a position's own code among
#    it, through averages over positions. With the addition it is there from the start, and a layer only
#    learns a correction.</details>
# 4. Softmax with scores that are not divided by the square root of d: what goes wrong for wide heads?
#    <details><summary>Answer</summary>The scores of a new model are then of the size of that root. Softmax gives
#    nearly all weight to one key, and where the weights are all or nothing the gradient is nearly zero.</details>

# %%
progress()
