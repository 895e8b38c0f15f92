# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Long videos: a window that slides
#
# **What you will build.** TATS's prior, and the few lines that let a model which has only ever seen clips of 16
# frames write a video of 1,024.
#
# **Why it matters.** VideoGPT's prior has a place for each code of a clip, and after the last one it stops. A video
# is longer than a clip. The way out is an old one: keep the last codes that you wrote, forget the first, and write on.
# It needs codes that mean the same wherever in a video they stand. That is what notebook 14 was for, and here you see
# what it buys.

# %% jupyter={"source_hidden": true}
import math
import os

import torch
from einops import rearrange
from matplotlib import pyplot as plt
from torch import Tensor

from lvlib.course import check, progress
from lvlib.course.experiments import fit
from lvlib.data import MovingDigits, to_video
from lvlib.evaluation.networks.course import course_classifier
from lvlib.metrics.coherence import class_coherence
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import moments_of
from lvlib.metrics.windows import windows
from lvlib.models.tats.prior import TATSConfig
from lvlib.pretrained import perceptual_network
from lvlib.runs import load_pipeline
from lvlib.stages import LatentSpec
from lvlib.viz import curves, set_style, show, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% [markdown]
# Three models that ship, with three autoencoders: one pads its clips with zeros in time, one repeats the first and the
# last frame. Of the third each code sees its own block of 4 x 4 x 4 pixels alone (notebook 09), so that no padding
# comes into it. All priors learned from 16 frames at a time. All write 96.

# %%
tats = {name: load_pipeline(shipped) for name, shipped in {
    "zero": "tats-course-zero", "replicate": "tats-course", "own block": "tats-digits"}.items()}
frames = {"smoke": 32, "course": 96}[profile]
count = {"smoke": 2, "course": 16}[profile]
label = {"label": torch.arange(count) % 10}
codes, made = {}, {}
for name, pipeline in tats.items():
    torch.manual_seed(0)
    codes[name] = pipeline.prior.sample(count, label, latent_frames=frames // 4)
    made[name] = pipeline.autoencoder.decode(codes[name])
show(strip([made[name][i] for name in made for i in range(2)], frames=12,
           titles=[f"{name}, class {i}" for name in made for i in range(2)]), limit=40_000,
     alt="Six rows of 12 frames from videos of 96. In the two rows made with zero padding the "
         "0 becomes bars across the picture and the 1 a small tangle within 30 frames. In the two "
         "with replicate padding the 0 stays a ring to frame 60 and then is none, the 1 a stroke. "
         "With codes of their own block a ring and a stroke stay, and move, for all 96 frames.")

# %% [markdown]
# Zeros break a digit within 30 frames, replicas within 70, and the third holds. (The first two samples of each. The
# third also had more to learn from: 12,000 clips and 3,000 steps, in place of 3,000 and 2,000, and 512 codes in place
# of 256.)
#
# **What it costs.** About three minutes on one CPU core. **What it needs.** Notebooks 09 and 10 (a prior over codes,
# sampling with a cache) and 14 (why padding leaks time).
#
# ## 1. The prior: one row, one vocabulary
#
# TATS writes the codes of a clip in one row, frame by frame, row by row, as VideoGPT does, and learns by the same
# loss. What is different is small, and makes long videos easy:
#
# - **A condition is a token.** In notebook 11 a class steered the norms of every layer. Here it is one more word in
#   front of the row, and its vector comes from the same table as the codes'. Text and sound will come in as words, too
#   (notebook 17). Without a condition a start token stands there.
# - **Positions** are one learned vector for each place of the row (section 2.1 says no more; this is GPT's way).
# - **No dropout**, no attention in the autoencoder, and 24 layers of width 1,024 with 16 heads (B.2).
#
# Attention, block and cache are those that you built in notebooks 09 and 10.

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7, 1.5))
row = ["class 3", *(f"code {i}" for i in range(6)), "...", "code 254"]
for i, word in enumerate(row):
    colour = "#E69F00" if i == 0 else "#DDE6F0"
    ax.add_patch(plt.Rectangle((i, 1), 0.94, 0.6, fc=colour, ec="none"))
    ax.text(i + 0.47, 1.3, word, ha="center", va="center", fontsize=8)
    guess = "..." if word == "..." else f"code {i}" if i < 7 else "code 255"
    ax.annotate(guess, (i + 0.47, 1), (i + 0.47, 0.4), ha="center", va="top", fontsize=8,
                arrowprops={"arrowstyle": "<-", "color": "#888888"})
ax.set(xlim=(0, len(row)), ylim=(0, 1.7))
ax.axis("off")
show(fig, alt="A row of words: the class, then code 0, code 1 and so on to code 254. An arrow "
              "under each leads to what is predicted: code 0 under the class, code 255 at the end.")

# %% [markdown]
# How does one draw? As in notebook 10, with the paper's numbers for defaults (B.2): temperature 1, of the 2,048
# likeliest codes, of these the fewest that have a probability of 0.8 together.

# %% jupyter={"source_hidden": true} tags=["export:models.tats.sampling"]
"""Drawing the codes of a clip, and of a video far longer than the clips of training: a window
slides. TATS, sections 2.1 and 2.3."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import check_numbers, check_temperature
from lvlib.models.common.kv_cache import KVCache
from lvlib.models.videogpt.sampling import row_cache
from lvlib.stages import Condition


# %% tags=["export:models.tats.sampling"]
@dataclass(frozen=True)
class CodeSampling:
    """How to draw a code; the defaults are those of B.2. Raises ValueError for values that are not
    allowed."""

    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""
    top_k: int = 2048
    """Draw from that many of the likeliest codes alone."""
    top_p: float = 0.8
    """Then from the fewest likeliest codes that together have this probability."""

    def __post_init__(self):
        check_temperature(self.temperature)
        check_numbers(self, "top_k", least=1)
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")


@dataclass(frozen=True)
class TATSSampling(CodeSampling):
    """And how a window slides."""

    context: int | None = None
    """Latent frames that the window keeps when it slides; None: all but one (section 2.1)."""

    def __post_init__(self):
        super().__post_init__()
        if self.context is not None:
            check_numbers(self, "context", least=1)


def draw(logits: Tensor, sampling: CodeSampling) -> Tensor:
    """A code for each row of logits: (b, num_codes) -> int64 (b,).

    As `keep_likely` of notebook 10 has it, but only the likeliest are sorted.
    """
    likely, codes = (logits.float() / sampling.temperature).topk(
        min(sampling.top_k, logits.shape[-1]))
    probs = likely.softmax(-1)
    before = probs.cumsum(-1) - probs  # of the likelier ones: who has top_p before it goes
    chosen = torch.multinomial(probs * (before < sampling.top_p), 1)
    return codes.gather(-1, chosen)[:, 0]

# %% [markdown]
# A window that slides begins with codes that are there already. They go through the transformer *at once*, not one
# after another: the **prefill**. Then come single codes, with the cache of notebook 10. `Decoding` does both: it reads
# some places of a row and gives the vectors there that the logits are made of, given all that it has read before.

# %% tags=["export:models.tats.sampling"]
def attend_cached(attention: nn.Module, x: Tensor, filled: int, cache: KVCache,
                  causal: bool = True) -> Tensor:
    """What a `CausalAttention` gives at further places, x (b, m, dim), after `filled` of them went
    through the cache: (b, m, dim).

    Several at once only while the cache is empty. causal: each sees those before it; else all.
    """
    query, key, value = attention.heads_of(x)
    end = filled + x.shape[1]
    cache.keys[:, :, filled:end], cache.values[:, :, filled:end] = key, value
    attended = F.scaled_dot_product_attention(query, cache.keys[:, :, :end],
                                              cache.values[:, :, :end],
                                              is_causal=causal and x.shape[1] > 1)
    return attention.join_heads(attended)


class Decoding:
    """A transformer that reads a row piece by piece, and remembers its keys and values.

    model: has `blocks`, `norm` and `out`. places: that the row can have.
    """

    def __init__(self, model: nn.Module, batch: int, places: int):
        self.model, self.filled = model, 0
        self.caches = [row_cache(block.attention, batch, places) for block in model.blocks]

    def read(self, x: Tensor, causal: bool = True) -> Tensor:
        """x (b, m, dim), with positions -> what `out` makes logits of, (b, m, dim)."""
        for block, cache in zip(self.model.blocks, self.caches, strict=True):
            x = block(x, attention=partial(attend_cached, block.attention, filled=self.filled,
                                           cache=cache, causal=causal))
        self.filled += x.shape[1]
        return self.model.norm(x)

# %% tags=["export:models.tats.sampling"]
@torch.inference_mode()
def fill_window(model: nn.Module, codes: Tensor, known: int, prefix: Tensor,
                sampling: TATSSampling) -> None:
    """Draws codes (b, n) from place `known` on, in place. model: a `TATS`. prefix (b, m, dim): what
    stands before the codes."""
    decoding = Decoding(model, len(codes), prefix.shape[1] + codes.shape[1])
    x = torch.cat([prefix, model.code_vectors(codes[:, :known])], 1)
    for i in range(known, codes.shape[1]):
        last = decoding.read(x + model.positions[decoding.filled:][:x.shape[1]])[:, -1]
        codes[:, i] = draw(model.out(last), sampling)
        x = model.code_vectors(codes[:, i:i + 1])

# %% [markdown]
# ## 2. A sliding window
#
# A latent frame here stands for four frames, so a clip of 16 frames is a window of four latent frames. To write the
# fifth, TATS keeps the last three and lets the model believe that they are the first three of a clip:
#
# > p(z4 | z1, z2, z3), with z1 at the place of z0.
#
# For this to work, codes z1 to z3 must look like the beginning of a clip. With zero padding they do not: no training
# clip begins with codes that have a past (notebook 14).
#
# ### Exercise 15.1 · where the window stands (about 15 min)
# Give the list of places that the window takes, one after the other. To each belong its first latent frame, and how
# many latent frames are there already when it arrives; it then fills the rest. While what is there fits into the window
# with room to spare, the window stands at 0. Else it keeps the last `context` frames.
#
# An example: nothing is known, 7 frames are asked for, a window of 4, a context of 3. First the window stands at 0 with
# 0 there; then at 1 with 3; then at 2, and at 3.
#
# <details><summary>Hint</summary>Keep count of how many frames are known. After each place all are known up to where
# the window ends.</details>
# <details><summary>The call</summary><code>start = 0 if known < window else known - context</code>, and then
# <code>known = start + window</code>, while <code>known < frames</code>.</details>

# %% tags=["exercise", "ex-15.1", "export:models.tats.sampling"]
def window_places(known: int, frames: int, window: int, context: int) -> list[tuple[int, int]]:
    """(first frame, frames that are there already) of each place that a window of so many latent
    frames takes until all `frames` are there, when the first `known` are to begin with.

    It stands at 0 while the known ones do not fill it, and then keeps the last `context` of them, 1
    to window - 1. Where all are known it takes no place.
    """
    ### BEGIN SOLUTION
    places = []
    while known < frames:
        start = 0 if known < window else known - context
        places.append((start, known - start))
        known = start + window
    return places
    ### END SOLUTION

# %% tags=["check", "ex-15.1"]
window_places = check("15.1", window_places)

# %% [markdown]
# How large should the context be? Section 2.1 keeps all frames but one, so that each new one sees as much past as
# possible. The official script keeps **one** by default. Then the window moves three frames at a time, and fewer
# tokens go through the transformer. What does a video of 1,024 frames cost?

# %%
for context in (3, 1):
    places = window_places(0, 256, 4, context)
    read = sum(there for _, there in places) * 64
    print(f"context {context}: the window takes {len(places):3} places; 16,384 codes are drawn, "
          f"and {read:,} read again")

# %% [markdown]
# The codes that are read again are the price of positions that are learned for places in the window: after each move
# every code stands at another place, and what was in the cache is of no use. Prefill makes it bearable, since a
# hundred codes at once take little longer than two. (With positions that only know distances, as rotary ones do, the
# cache could stay.)

# %% tags=["export:models.tats.sampling"]
def slide(model: nn.Module, codes: Tensor, known: int, condition: Condition,
          sampling: TATSSampling) -> None:
    """Draws latent frames of codes (b, frames, codes of one) from frame `known` on, in place: in a
    window that is as long as the clips of training, and keeps `sampling.context` frames when it
    slides. Section 2.1."""
    window, frames = model.frames, codes.shape[1]
    context = window - 1 if sampling.context is None else sampling.context
    for start, there in window_places(known, frames, window, context):
        part = codes[:, start:start + window].flatten(1).clone()  # of a single clip a view
        prefix = model.prefix(condition, len(codes), start)
        fill_window(model, part, there * codes.shape[2], prefix, sampling)
        codes[:, start:start + window] = part.view(len(codes), -1, codes.shape[2])

# %% jupyter={"source_hidden": true} tags=["export:models.tats.conditions"]
"""What a clip is conditioned on, as words before its codes. TATS, section 2.3."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lvlib.models.common.conditioning import check_labels
from lvlib.stages import Condition

# %% [markdown]
# **What stands before the codes.** For each thing that a clip is told there is an object which says how many words it
# adds to the vocabulary, how many places it takes in the row, and which words stand there. A window that slides asks
# anew at each place: a label stays, a sound moves along (notebook 17).

# %% tags=["export:models.tats.conditions"]
class ConditionWords(nn.Module):
    """One thing that a clip is told, as words.

    name: its key in a condition. words: how many it adds to the vocabulary. length: places that it
    takes in the row.
    """

    def __init__(self, name: str, words: int, length: int):
        super().__init__()
        self.name, self.words, self.length = name, words, length

    def at(self, value: Tensor, start: int) -> Tensor:
        """What stands before a window whose first latent frame is `start`: int64 (b, length), 0 to
        words - 1. value: of the condition, (b, ...). Raises ValueError for one that does not
        fit."""
        raise NotImplementedError

    def loss(self, value: Tensor) -> Tensor:
        """What the words themselves have to learn, (): nothing, if they are what they are."""
        return torch.zeros((), device=value.device)


class LabelWord(ConditionWords):
    """A class is one word, the same for all windows."""

    def __init__(self, classes: int):
        super().__init__("label", classes, 1)

    def at(self, value: Tensor, start: int) -> Tensor:
        check_labels(value, self.words)
        return value[:, None]

# %% tags=["export:models.tats.conditions"]
def words_before(told: Iterable[ConditionWords], condition: Condition | None, clips: int,
                 start: int, device: torch.device) -> Tensor:
    """The words before a window from latent frame `start` on: int64 (clips, length). The
    vocabularies follow one another. Told nothing, there is a start token, 0, on this device.

    Raises ValueError for a missing or a needless condition, and one of another number of clips.
    """
    names, condition = [one.name for one in told], condition or {}
    if set(names) != set(condition):
        raise ValueError(f"this model is conditioned on {', '.join(names) or 'nothing'}; it got "
                         f"{', '.join(condition) or 'nothing'}")
    if not names:
        return torch.zeros(clips, 1, dtype=torch.int64, device=device)
    parts, offset = [], 0
    for one in told:
        words = one.at(condition[one.name], start)
        if len(words) not in (1, clips):
            raise ValueError(f"give the {one.name} of one clip, or of each of the {clips}, not of "
                             f"{len(words)}")
        parts.append(words.expand(clips, -1) + offset)
        offset += one.words
    return torch.cat(parts, 1)

# %% jupyter={"source_hidden": true} tags=["export:models.tats.prior"]
"""TATS's prior: a causal transformer over the codes of a clip, and of every fourth latent frame of
a longer one. TATS, sections 2.1 and 2.3."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.attention import GPTBlock
from lvlib.models.common.checks import (
    check_codes,
    check_given,
    check_given_latents,
    check_numbers,
    check_shape,
)
from lvlib.models.tats.conditions import ConditionWords, words_before
from lvlib.models.tats.sampling import TATSSampling, slide
from lvlib.stages import Condition, LatentSpec


# %% tags=["export:models.tats.prior"]
class TATSTransformer(nn.Module):
    """A causal transformer over codes in raster order, after the words that tell it of the clip.

    Section 2.1. config.every: 1 for all latent frames (TATS-base), 4 for every fourth (the first
    half of TATS-hierarchical, 2.3). Positions are learned, one for each place of the row.
    """

    def __init__(self, config: "TATSConfig", latents: LatentSpec,
                 told: Iterable[ConditionWords] = ()):
        super().__init__()
        self.config, self.spec, dim = config, latents, config.dim
        self.told = nn.ModuleList(told)
        self.frames = -(-latents.shape[0] // config.every)
        self.n = self.frames * math.prod(latents.shape[1:])
        # One vocabulary: the words of what it is told, or a token for the start; then the codes.
        self.words = sum(one.words for one in self.told) or 1
        self.before = sum(one.length for one in self.told) or 1
        self.embedding = nn.Embedding(self.words + latents.num_codes, dim)
        self.positions = nn.Parameter(torch.zeros(self.before + self.n - 1, dim))
        self.blocks = nn.ModuleList(GPTBlock(dim, config.heads, config.hidden, config.dropout)
                                    for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, latents.num_codes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def code_vectors(self, codes: Tensor) -> Tensor:
        """Codes int64 (...) -> (..., dim)."""
        return self.embedding(codes + self.words)

    def prefix(self, condition: Condition, clips: int, start: int) -> Tensor:
        """What stands before the codes of a window from latent frame `start` on: (clips, before,
        dim). Raises ValueError for a condition that does not fit."""
        return self.embedding(words_before(self.told, condition, clips, start,
                                           self.positions.device))

    def keys(self, latents: Tensor) -> Tensor:
        """The latent frames that the model is of: (b, t, h, w) -> (b, frames, h, w)."""
        return latents[:, ::self.config.every]

    def logits(self, latents: Tensor, condition: Condition) -> Tensor:
        """Of each code of the clips' key frames, given those before it: (b, t, h, w) -> (b, n,
        num_codes)."""
        codes = self.keys(latents).flatten(1)
        prefix = self.prefix(condition, len(codes), 0)
        x = torch.cat([prefix, self.code_vectors(codes[:, :-1])], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x[:, self.before - 1:]))

# %% tags=["export:models.tats.prior"]
class TATS(TATSTransformer):
    """A prior over the codes of clips, which writes videos of any length. Section 2."""

    def nll(self, latents: Tensor, condition: Condition) -> Tensor:
        """Nats of each code: (b, t, h, w) -> (b, n). Raises ValueError for another shape, or
        condition."""
        check_shape(latents, self.spec)
        logits = self.logits(latents, condition).flatten(0, 1).float()
        targets = self.keys(latents).flatten()
        return F.cross_entropy(logits, targets, reduction="none").view(len(latents), -1)

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code, and what the words of the condition have to learn: int64 (b, t, h, w) -> (),
        {"bits_per_dim": ()}, which is of the codes alone."""
        nats = self.nll(latents, condition).mean()
        learned = sum(one.loss(condition[one.name]) for one in self.told)
        return nats + learned, {"bits_per_dim": nats / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition,
               given_latents: int) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: exact bits a code of each clip's key frames, without those of the
        first `given_latents` frames.

        Raises ValueError for what does not fit the model, and if no key frame is left.
        """
        check_given_latents(given_latents, 0, self.spec)
        check_codes(latents, self.spec)
        first = -(-given_latents // self.config.every)
        if first >= self.frames:
            raise ValueError(f"after {given_latents} latent frames there is no key frame left")
        nats = self.nll(latents, condition)[:, first * self.n // self.frames:]
        return {"bits_per_dim": nats.mean(1) / math.log(2)}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None = None,
               sampling: TATSSampling | None = None, latent_frames: int | None = None) -> Tensor:
        """n videos of codes, int64 (n, latent_frames, h, w), however long: a window slides.

        Of a model of key frames, each stands until the next one. condition: of one clip for all, or
        of each. given: codes that they begin with, (1 or n, t0, h, w). latent_frames: None for as
        many as clips of training have. Raises ValueError for what does not fit.
        """
        return sample_video(self, n, condition, given, sampling or TATSSampling(), latent_frames)

# %% tags=["export:models.tats.prior"]
def sample_video(model: TATS, n: int, condition: Condition, given: Tensor | None,
                 sampling: TATSSampling, latent_frames: int | None) -> Tensor:
    """`TATS.sample`: all codes of a video, without dropout."""
    (t, h, w), every = model.spec.shape, model.config.every
    frames = t if latent_frames is None else latent_frames
    check_window(model, sampling, frames)
    codes = model.positions.new_zeros(n, -(-frames // every), h * w, dtype=torch.int64)
    known = 0
    if given is not None:
        check_given(given, n, replace(model.spec, shape=(frames, h, w)))
        shown = model.keys(given).flatten(2)
        known = shown.shape[1]
        codes[:, :known] = shown
    training = model.training
    model.eval()
    try:
        slide(model, codes, known, condition, sampling)
    finally:
        model.train(training)
    return codes.view(n, -1, h, w).repeat_interleave(every, 1)[:, :frames]


def check_window(model: TATS, sampling: TATSSampling, latent_frames: int) -> None:
    """Raises ValueError for a context that leaves nothing to draw, and for videos shorter than the
    window."""
    t = model.spec.shape[0]
    if latent_frames < t:
        raise ValueError(f"this model makes {t} latent frames or more, not {latent_frames}")
    if sampling.context is not None and sampling.context >= model.frames:
        raise ValueError(f"context must be 1 to {model.frames - 1}, less than the window, "
                         f"not {sampling.context}")

# %% [markdown]
# A check that the cache and the sliding are right: the distribution that `Decoding` gives after a prefill is that of
# the whole row at once.

# %%
prior = tats["replicate"].prior
some = {"label": torch.tensor([1])}
clip = codes["replicate"][1:2, :4]
at_once = prior.logits(clip, some)
with torch.no_grad():
    prefix = prior.prefix(some, 1, 0)
    row = torch.cat([prefix, prior.code_vectors(clip.flatten(1)[:, :-1])], 1) + prior.positions
    decoding = Decoding(prior, 1, prior.n)
    piecewise = [decoding.read(row[:, :193])] + [decoding.read(row[:, i:i + 1])
                                                for i in range(193, 256)]
    assert torch.allclose(prior.out(torch.cat(piecewise, 1)), at_once, atol=1e-4)

# %% [markdown]
# ## 3. The experiment: 96 frames, three autoencoders
#
# Look first: the same videos as above, below two real ones. Press play.

# %%
def digits(clips: int, frames: int, split: str = "test", seed: int = 1) -> tuple[Tensor, Tensor]:
    """Clips of one grey digit, as the models learned from, (clips, 1, frames, 32, 32) in [-1, 1];
    and their labels."""
    data = MovingDigits(clips, frames=frames, size=32, digits=1, digit_size=20, speeds=(1,),
                        grid=4, split=split, seed=seed).batch(slice(0, clips))
    return to_video(torch.tensor(data["video"])), torch.tensor(data["label"])


real, _ = digits(4 * count, frames)
show_video([video[i] for video in ({"real": real} | made).values() for i in range(2)],
           ["real"] * 2 + [f"{name}: {i}" for name in made for i in range(2)], fps=12,
           alt="Eight videos of 96 frames: two real digits that bounce; with zero padding strokes "
               "that spread; with replicate padding a blot that was a 0 and a stroke; with "
               "codes of their own block a 0 and a 1 that bounce.")

# %% [markdown]
# Now in numbers, for each stretch of 16 frames on its own, as in Fig. 5. The paper plots the **change** of the FVD
# against that of the first stretch. Ours is a Frechet distance in the features of the course's video network
# (notebook 12), and no FVD.

# %%
network = course_classifier()


def look(video: Tensor) -> tuple[Tensor, Tensor]:
    """Of windows of 16 frames: features (n windows, b, 64), class probabilities (b, n, 16)."""
    seen = [network.look(window) for window in windows(video).unbind(1)]
    return torch.stack([one.features for one in seen]), torch.stack([one.probs for one in seen], 1)


pool = moments_of(look(real[count:])[0].flatten(0, 1))
by_window, bright, coherent = {}, {}, {}
for name, video in {"real": real[:count], **made}.items():
    features, probs = look(video)
    by_window[name] = [float(frechet_distance(pool, moments_of(window))) for window in features]
    bright[name] = ((video + 1) / 2).mean((0, 1, 3, 4)).tolist()
    coherent[name] = class_coherence(probs).mean(0).tolist()
    print(f"{name:<9} Frechet distance (course network) by window: "
          + " ".join(f"{value:6.1f}" for value in by_window[name]))

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.6))
for name, style in zip(by_window, ("k:", "C3-", "C0-", "C2-"), strict=True):
    starts = range(0, 16 * len(by_window[name]), 16)
    axes[0].plot(starts, [value - by_window[name][0] for value in by_window[name]], style,
                 label=name)
    axes[1].plot(bright[name], style)
    axes[2].plot(starts, coherent[name], style)
    print(f"{name:<9} brightness {bright[name][0]:.3f}, at the end "
          f"{sum(bright[name][-16:]) / 16:.3f}; CCS at the end {coherent[name][-1]:.2f}")
axes[0].set(title="change of the Frechet distance", xlabel="first frame of the window",
            ylabel="course network")
axes[1].set(title="mean brightness", xlabel="frame", ylim=(0, None))
axes[2].set(title="class coherence (CCS)", xlabel="first frame of the window", ylim=(0, 1.05))
axes[0].legend(fontsize=8)
show(fig, alt="Three panels over 96 frames. Left: the Frechet distance rises with zeros, half as "
              "much with replicate padding, hardly with codes of their own block. Middle: with "
              "zeros the picture grows brighter, with replicate padding a little dimmer. Right: "
              "class coherence falls nearly to 0 with zeros, less with the others; of real ones 1.")
if profile != "smoke":
    assert by_window["zero"][-1] > 1.3 * by_window["replicate"][-1]
    grown = {name: sum(bright[name][-16:]) / sum(bright[name][:16]) for name in made}
    assert grown["zero"] > 1.5 and 0.5 < grown["replicate"] < 1.2
    assert by_window["own block"][-1] < 1.5 * by_window["own block"][0]

# %% [markdown]
# The first window of both paddings is about equally good. After it the zeros' videos are no digits any more: strokes
# spread over the picture, and it grows brighter. With replicate padding there is still one shape of a digit's size,
# which grows a little dimmer and turns into other shapes. The distances above are of 16 videos, and so few make all of
# them too large, those of real videos, too. With 40, over three seeds of sampling, the last window has 42, 45 and 48
# with zeros, 22, 23 and 25 with replicate padding, and real videos 3.
#
# Codes of their own block hardly drift: none of them can tell where in a video it is. (That is not all of it: their
# prior has learned from more.)
#
# *How* zeros fail is not fixed: in an earlier training of ours, on ten digits alone, they faded to specks, and the
# distance in the third window was eleven times that of replicate padding. In Fig. 5 the FVD mostly rises with the
# frames, that of TATS-base less than that of the vanilla VQGAN, of MoCoGAN-HD and of CCVS, and that of
# TATS-hierarchical still less. (On Sky Time-lapse it falls for DIGAN and TATS-hierarchical, which the authors put
# down to the network behind FVD.) Our priors have trained for 30 and 47 minutes on one core, the paper's for ten days
# on eight V100.
#
# **Class coherence** falls in all three, as shapes turn into others, and most with zeros. Alone it can mislead: a video
# that has collapsed into a pattern that stays would have 1 (notebook 12, section 8).
#
# ## 4. A thousand frames
#
# Section 3.4 looks at videos of 1,024 frames. So do we: two of the models, 64 times as long as their training clips.

# %%
long_frames, few = {"smoke": (48, 2), "course": (1024, 3)}[profile]
some = {"label": torch.arange(few)}
long_codes, long = {}, {}
for name in ("replicate", "own block"):
    torch.manual_seed(1)
    long_codes[name] = tats[name].prior.sample(few, some, latent_frames=long_frames // 4)
    long[name] = tats[name].autoencoder.decode(long_codes[name])
show(strip([video[i] for video in long.values() for i in range(few)], frames=16,
           titles=[f"{name}, class {i}" for name in long for i in range(few)]), limit=40_000,
     alt="Six rows of 16 frames from videos of 1,024. With replicate padding the 0 turns into a "
         "speck and a grid of strokes; the 1 swells into a thick white blot and shrinks; the 2 "
         "fades until hardly anything is seen. With codes of their own block the 1 stays a stroke, "
         "the 0's bow becomes a bent stroke, the 2's hook a bow with bars.")

# %% [markdown]
# With replicate padding these are no good videos, and it is worth seeing why. For a hundred frames or two a shape
# moves. Then the 0 shrinks to a speck, at the end a grid; the 1 has swollen to a thick blot; the 2 nearly goes out. No
# clip of training has shown any of them, and what comes after a mistake was never learned. Section C.2 has the same of
# UCF-101, from frame 300 on. With codes of their own block the 1 stays one; the two others begin as no good digits,
# and change. A prior that has trained longer makes fewer mistakes; notebook 16 makes fewer *steps*, each of which can
# be one.
#
# A model that writes for so long can fall into three kinds of fault that no score of a single window shows.
#
# **It freezes.** After a mistake a model often repeats itself (C.2, Fig. 20): the same codes again and again.
#
# ### Exercise 15.2 · how much stays as it was (about 10 min)
# The **repetition rate**: which share of the codes of a latent frame are those of the one before, at the same place?
# A frozen video has 1.
#
# <details><summary>Hint</summary>Compare the codes from the second latent frame on with those up to the last but one.
# </details>
# <details><summary>The call</summary><code>(codes[:, 1:] == codes[:, :-1])</code>, as floats, and then the mean over
# the axes of one latent frame.</details>

# %% jupyter={"source_hidden": true} tags=["export:metrics.repetition"]
"""Does a long video repeat itself: code by code, and frame by frame?"""

from torch import Tensor


# %% tags=["exercise", "ex-15.2", "export:metrics.repetition"]
def repetition_rate(codes: Tensor) -> Tensor:
    """Share of the codes of each latent frame that are those of the one before, at the same place.

    int64 (b, t, h, w), or (b, t, h, w, k) for k codebooks -> float32 (b, t - 1). TATS, C.2.
    """
    ### BEGIN SOLUTION
    return (codes[:, 1:] == codes[:, :-1]).float().flatten(2).mean(2)
    ### END SOLUTION

# %% tags=["check", "ex-15.2"]
repetition_rate = check("15.2", repetition_rate)

# %% [markdown]
# **It turns in a circle.** All frames are good, and come again. The paper compares frames 1,000 and 1,024 of another
# model's videos, and sees a pattern that repeats (C.3, Fig. 17), which FVD had not noticed. More general: how far is
# each frame from the one so many frames before?
#
# ### Exercise 15.3 · a frame and its past (about 10 min)
# The root mean squared difference of all frames that are `lag` apart, for a whole video. A loop of that length has 0.
#
# <details><summary>Hint</summary>Two slices along the time axis again, now of the frames, `lag` apart.</details>
# <details><summary>The call</summary><code>video[:, :, lag:] - video[:, :, :-lag]</code>, squared, the mean over all
# axes but the clips', and the root.</details>

# %% tags=["exercise", "ex-15.3", "export:metrics.repetition"]
def lag_distance(video: Tensor, lag: int) -> Tensor:
    """Root mean squared difference of the frames of each video that are `lag` frames apart.

    (b, c, t, h, w), 1 <= lag < t -> (b,). 0 for a loop of that length, or of one that divides it.
    """
    ### BEGIN SOLUTION
    return (video[:, :, lag:] - video[:, :, :-lag]).square().mean((1, 2, 3, 4)).sqrt()
    ### END SOLUTION

# %% tags=["check", "ex-15.3"]
lag_distance = check("15.3", lag_distance)

# %%
true, _ = digits(few, long_frames, seed=2)
lags = range(1, min(100, long_frames))
apart = {name: {lag: lag_distance(video[:, :, :400], lag).mean().item() for lag in lags}
         for name, video in {"real": true, **long}.items()}
show(curves(apart, xlabel="frames apart", ylabel="distance"),
     alt="The distance of frames against how far apart they are, to 100. That of real videos falls "
         "to exactly 0 every 24 frames. With replicate padding it rises slowly, and has no dips. "
         "With codes of their own block it has dips every 24 frames, to half and less deep later.")
for name, some_codes in long_codes.items():
    true_codes = tats[name].autoencoder.encode(true[:, :, :400])
    for kind, of in {"written": some_codes, "real": true_codes}.items():
        parts = repetition_rate(of).chunk(8, 1)
        print(f"codes that stay, {name}, {kind}:", " ".join(f"{part.mean():.0%}" for part in parts))
if profile != "smoke":
    assert min(apart["real"].values()) < 1e-6 < 0.02 < min(apart["replicate"].values())

# %% [markdown]
# A true digit comes back to its place every 24 frames: 12 pixels to the wall and 12 back, a pixel a frame. Codes of
# their own block do that, too, with a shape that has changed a little: no loop. With replicate padding there is no dip
# of up to 99 frames in the first 400 (the mean of three videos). The paper says of its own that all 1,024 frames are
# unique. But with replicate padding three quarters of the codes stay from one latent frame to the next, of a real
# video a third: our videos hardly move. With codes of their own block it is 69 to 78%, real 62%: black stays black,
# too.
#
# **It changes the subject.** Table 2 of the paper compares the first frame of a sky video with the last, by LPIPS (and
# by the correlation of their colours: `color_correlation` of notebook 12; our digits are grey). Real videos stay what
# they are; written ones drift, smoothly, from one sky to another. To leave out where the digit is, we take the smallest
# distance between any of the first 24 frames and any of the last 24: a true digit comes back to each of its places.

# %%
lpips = perceptual_network("efficientnet-lite0")


def drift(video: Tensor, period: int = 24) -> float:
    """Perceptual distance (EfficientNet-Lite0) of the end of a video to its beginning: the smallest
    of any two frames of the first and of the last `period`; mean over the videos."""
    first, last = (rearrange(part, "b c t h w -> b t c h w")
                   for part in (video[:, :, :period], video[:, :, -period:]))
    apart = [min(lpips(a.expand_as(others), others).min().item() for a in frames[:, None])
             for frames, others in zip(first, last, strict=True)]
    return sum(apart) / len(apart)


others = torch.cat([true, true.roll(1, 0)], 2)  # begin with one digit, end with another
drifts = {name: drift(video) for name, video in {"real": true, **long}.items()}
print(", ".join(f"{name} {value:.2f}" for name, value in drifts.items())
      + f", from one real digit to another {drift(others):.2f}")
print("Table 2, LPIPS of first and last frame: real 0.18, written 0.35")
if profile != "smoke":
    assert drifts["real"] < 1e-6 < 0.5 < drifts["replicate"]

# %%
for name, video in long.items():
    long_windows, probs = look(video)
    half = len(long_windows) // 2
    stretches = [float(frechet_distance(pool, moments_of(part.flatten(0, 1))))
                 for part in long_windows.split(max(len(long_windows) // 8, 1))]
    print(f"{name}: Frechet distance (course network), in eight stretches of 128 frames:",
          " ".join(f"{value:.1f}" for value in stretches))
    print(f"{name}: class coherence over the second half: "
          f"{class_coherence(probs)[:, half:].mean():.2f}")
    if profile != "smoke":
        assert max(stretches) < 3 * stretches[0], stretches

# %% [markdown]
# The end of a written video is farther from its beginning than one digit from another, 1.6 and 1.2 times (three videos
# each). The distance of a stretch comes to 1.6 times that of the first with replicate padding, bad from early on, and
# to 1.7 times with codes of their own block.
#
# ## 5. Told a class, or nothing
#
# On UCF-101 the same model scores an inception score of 57.6 without labels and 79.3 with them (section 3.2, Table 1;
# labels drawn as often as they occur). A class makes the task easier: the model need not find out from the codes which
# of many kinds of video this is. Two small priors on the codes of our clips, one told the digit, one nothing.

# %%
def digit_codes(split: str, clips: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Codes of clips of 16 frames, (clips, 4, 8, 8), and their labels."""
    video, labels = digits(clips, 16, split, seed=3)
    found = [tats["replicate"].autoencoder.encode(part) for part in video.split(50)]
    return torch.cat(found), {"label": labels}


spec = LatentSpec((4, 8, 8), 256, 4)
steps, clips = {"smoke": (3, 32), "course": (150, 600)}[profile]
train, test = digit_codes("train", clips), digit_codes("test", clips // 6)
nats = {}

# %%
for name, classes in {"nothing": 0, "the class": 10}.items():
    torch.manual_seed(0)
    small = TATSConfig(dim=96, heads=4, layers=2, hidden=384, classes=classes).build(
        spec, (1, 16, 32, 32))

    def told(labels: Tensor, classes: int = classes) -> dict[str, Tensor]:
        return {"label": labels} if classes else {}

    def loss(model=small, told=told) -> Tensor:
        which = torch.randint(len(train[0]), (8,))
        return model.loss(train[0][which], told(train[1]["label"][which]))[0]

    fit(small, loss, steps, f"told {name}")
    with torch.no_grad():
        nats[name] = small.nll(test[0], told(test[1]["label"])).mean().item()
    print(f"told {name}: {nats[name]:.3f} nats a code on unseen clips")
if profile != "smoke":
    assert nats["the class"] < nats["nothing"]

# %% [markdown]
# The label is worth more than it says. Which of ten digits it is are 2.3 nats a clip; told it, the model saves some
# 27 (0.1 a code, 256 codes; 100 clips, one seed). A small model that has trained briefly does not find out by itself.
# This is what the paper means by a class that *eases the task* (section 3.2).
#
# ## 6. How careful should it be?
#
# Nucleus sampling with p = 0.8 leaves out what is unlikely, and with it some of the mistakes that would be read as
# truth later on. That could matter more over a long video than in a clip. Does it?

# %%
tried = {"p = 0.8": by_window["replicate"][:3]}
for top_p in (0.5, 1.0):
    torch.manual_seed(0)
    sampled = prior.sample(count, label, sampling=TATSSampling(top_p=top_p), latent_frames=12)
    video = tats["replicate"].autoencoder.decode(sampled)
    tried[f"p = {top_p}"] = [float(frechet_distance(pool, moments_of(window)))
                             for window in look(video)[0]]
for name, values in sorted(tried.items()):
    print(f"{name}: Frechet distance (course network) by window",
          " ".join(f"{value:.1f}" for value in values))

# %% [markdown]
# With p = 0.5 the distance is large at once: strokes that are not the likeliest go, and digits lose parts. And p = 1
# is best here, the more so the later: to leave out the unlikely has not helped the replicate model (16 videos, one
# seed). The paper takes 0.8, of 16,384 codes, and less for interpolation.
#
# ## 7. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `window_places`, `slide` | where the window stands; a video of any length | `lvlib.models.tats.sampling` |
# | `Decoding` | prefill, then code by code | `lvlib.models.tats.sampling` |
# | `TATS`, `TATSConfig`, `TATSSampling` | the prior, its sizes, how to draw | `lvlib.models.tats.prior`, `.sampling` |
# | `repetition_rate`, `lag_distance` | frozen? in a circle? | `lvlib.metrics.repetition` |
#
# ### Scale it up
# The paper's model for UCF-101, told the class; Sky Time-lapse and Taichi-HD are `tats-sky` and `tats-taichi`.
#
# ```
# lvlib train tats-vqgan --out runs/vqgan --data.root UCF101 --devices 8 --precision bf16-mixed
# lvlib train tats-ucf101-class --autoencoder runs/vqgan --out runs/tats --data.root UCF101 --devices 8
# lvlib sample runs/tats --condition.label Surfing --frames 1024 --out surfing.mp4
# lvlib evaluate runs/tats --protocol tats-long --i3d FILE
# ```
# `lvlib describe tats-ucf101-class` says 337M parameters and about 44 GB for a batch of 24 in fp32: under 6 GB on each
# of 8 GPUs. The paper trained for about ten days on eight V100, and wrote 1,024 frames in 30 minutes on one P6000
# (Table 3). Notebook 16 makes that four times faster.
#
# ### Questions to think about
# 1. Only videos of at least so many frames can give a long clip. Figure 15 counts them. Why does Taichi-HD take every
#    fourth frame for TATS-base, and every frame for the hierarchical model?
#    <details><summary>Answer</summary>64 frames, every fourth of a video, are 256 frames of it. 60% of Taichi-HD's
#    videos are shorter (B.1). `lvlib data --stats` counts it for your own videos.</details>
# 2. TATS-base is said to be coherent although its FVD rises (section 3.3). How can both be?
#    <details><summary>Answer</summary>A few broken videos dominate a Frechet distance: it compares means and
#    covariances. Coherence is counted video by video, and most are fine. And a video that freezes into a wrong
#    pattern can be very coherent.</details>
# 3. The window keeps three latent frames, twelve frames. What can such a model never do?
#    <details><summary>Answer</summary>Remember anything that was out of sight for longer: what is behind a door, which
#    of two digits came first. A model of key frames sees four times as far (notebook 16).</details>

# %%
progress()
