# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Writing clips: one code after another
#
# **What you will build.** The way from a prior to clips: a cache that makes writing cheap, and three ways to
# draw only codes that are likely.
#
# **Why it matters.** Notebook 09 ended with a loss. A loss is no video. What a model writes depends as much
# on how codes are drawn as on what it has learned, and every language model that you have talked to draws its
# words in the ways of this notebook.
#
# Below, four clips that `videogpt-digits` has written: the class of notebook 09, twice as wide, after an hour and a
# half of training on moving digits. It was asked for a 2, a 3, a 5 and a 7. The clips are not chosen. They move
# well, and the 5 is none; section 5 counts.

# %% jupyter={"source_hidden": true}
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from lvlib.course import check, futures, progress
from lvlib.data import MovingDigits, to_video
from lvlib.evaluation.digits import (
    digit_pictures,
    locate,
    position_error,
    recognise,
    train_digit_classifier,
)
from lvlib.models.common.attention import CausalAttention
from lvlib.models.videogpt.prior import VideoGPT
from lvlib.models.videogpt.sampling import VideoGPTSampling
from lvlib.runs import load_checkpoint, load_pipeline
from lvlib.viz import bars, curves, set_style, show, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %%
torch.manual_seed(0)
prior = load_checkpoint("videogpt-digits")
autoencoder = load_checkpoint("videogpt-digits/autoencoder")
labels = torch.tensor([2, 3, 5, 7])
sampled = prior.sample(4, {"label": labels}, sampling=VideoGPTSampling(top_p=0.9))
show(strip(autoencoder.decode(sampled), frames=16, titles=[str(int(digit)) for digit in labels]),
     alt="Four rows of 16 frames, written by the model: a 2, a 3 and a 7 that move evenly on "
         "black, and in place of the 5 two strokes that stay apart.")

# %% [markdown]
# **What it costs.** About two minutes on one CPU core. **What it needs.** Notebook 09 (the prior). The model is
# told which digit to write; notebook 11 shows how. Here it is enough that it takes a label.
#
# ## 1. The plain way
#
# To write a clip we ask the model for the first code's probabilities, draw one, put it at the start of the
# row, ask for the second, and so on: 256 times. In its simplest form each question goes through the whole
# row:

# %%
@torch.no_grad()
def sample_plainly(model: VideoGPT, condition: dict[str, Tensor], length: int) -> Tensor:
    """The first `length` codes of a clip (length,), each from a pass through the whole row."""
    row = torch.zeros(1, model.n, dtype=torch.int64)
    for i in tqdm(range(length), desc="codes"):
        logits = model.logits(row.view(1, *model.spec.shape), condition)[:, i]
        row[:, i] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    return row[0, :length]


length = {"smoke": 4, "course": prior.n}[profile]
torch.manual_seed(0)
start = time.process_time()
plain = sample_plainly(prior, {"label": torch.tensor([3])}, length)
plain_seconds = time.process_time() - start
print(f"{length} codes in {plain_seconds:.1f} CPU seconds")

# %% [markdown]
# ## 2. What may be kept
#
# Most of this work is wasted, and the mask is the reason. Position 7 cannot see position 8. So when code 8
# arrives, nothing changes at position 7, in any layer. Later positions want two things of it only: its key
# and its value. Keep these, and a new code costs one position's work plus one look back. This is the **KV
# cache** of notebook 07, for one long row.
#
# ### Exercise 10.1 · one step with a cache (about 15 min)
# `CausalAttention` of notebook 09 does all positions at once. Write what one position gives: put its key and
# value into the cache, then attend to what is filled by now, *and only that*. (The official code attends to
# all slots at every step, filled or not.) If the layer has a `pattern`, `pattern.seen(position)` are the
# positions to look at.
#
# <details><summary>Hint</summary>Nothing that is filled lies ahead of the query, so no mask is
# needed: choose the slots instead.</details>
# <details><summary>The call</summary><code>attention.heads_of(x)</code> gives query, key and value with
# n = 1. The slots so far are <code>cache.keys[:, :, :position + 1]</code>. Then
# <code>F.scaled_dot_product_attention</code> without a mask, and
# <code>attention.join_heads</code>.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.sampling"]
"""Sampling of VideoGPT's prior: one code after another, with a cache, from the likely codes.
VideoGPT, section 3."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import check_given, check_numbers, check_temperature
from lvlib.models.common.conditioning import condition_tensors
from lvlib.models.common.kv_cache import KVCache
from lvlib.stages import Condition


def row_cache(attention: nn.Module, batch: int, n: int) -> KVCache:
    """An empty cache for n positions; attention: a `CausalAttention`."""
    weight = attention.qkv.weight
    shape = batch, attention.heads, n, weight.shape[1] // attention.heads
    return KVCache(weight.new_zeros(shape), weight.new_zeros(shape))

# %% tags=["exercise", "ex-10.1", "export:models.videogpt.sampling"]
def cached_attention(attention: nn.Module, x: Tensor, position: int, cache: KVCache) -> Tensor:
    """What a `CausalAttention` gives at one position, x (b, 1, dim), after all before it went
    through the cache: (b, 1, dim)."""
    ### BEGIN SOLUTION
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position] = key[:, :, 0]
    cache.values[:, :, position] = value[:, :, 0]
    pattern = attention.pattern
    seen = pattern.seen(position).to(x.device) if pattern else slice(position + 1)
    keys, values = cache.keys[:, :, seen], cache.values[:, :, seen]
    return attention.join_heads(F.scaled_dot_product_attention(query, keys, values))
    ### END SOLUTION

# %% tags=["check", "ex-10.1"]
cached_attention = check("10.1", cached_attention)

# %% [markdown]
# What does a code cost? We let PyTorch count the floating-point operations of one layer: for a step with the
# cache, and for going through the row up to that code anew.

# %%
@torch.no_grad()
def count_work(layer: CausalAttention, positions: list[int]) -> dict[str, dict[int, int]]:
    """Operations that the code at each position costs, with the cache and without."""
    cache, work = row_cache(layer, 1, 256), {"anew": {}, "with the cache": {}}
    row = torch.randn(1, 256, layer.out_proj.in_features)
    calls = {"anew": lambda i: layer(row[:, :i + 1]),
             "with the cache": lambda i: cached_attention(layer, row[:, i:i + 1], i, cache)}
    with sdpa_kernel(SDPBackend.MATH):  # plain matrix products, so that they are counted
        for i in positions:
            for name, call in calls.items():
                with FlopCounterMode(display=False) as counter:
                    call(i)
                work[name][i] = counter.get_total_flops()
    return work


work = count_work(CausalAttention(128, 4), list(range(0, 256, 15)))
millions = {name: {i: flops / 1e6 for i, flops in counts.items()} for name, counts in work.items()}
show(curves(millions, xlabel="codes before it", ylabel="million operations",
            title="what one more code costs", log=True),
     alt="Operations for one code against the codes before it, on a log scale. Anew, they rise to "
         "tens of millions. With the cache they stay near a tenth of a million and rise slowly.")
growth = set(np.diff(list(work["with the cache"].values())))
print(f"with the cache each code before it adds {growth.pop() / 15:.0f} operations")
assert not growth, "linear: always the same"

# %% [markdown]
# With the cache the cost grows *linearly* with what is there, and slowly. Each earlier position adds one
# product of query and key and one of weight and value. Both take 128 multiplications and 128 additions: 512
# operations, as counted. Without the cache the whole row is paid for again.
#
# The whole model, position by position, with a cache for each layer:

# %% tags=["export:models.videogpt.sampling"]
@torch.inference_mode()
def decode_row(model: nn.Module, codes: Tensor,
               condition: Condition | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yields each position with its logits (b, num_codes), given what stands in codes (b, n) before
    it by then. model: a `VideoGPT`. The logits have no gradients.
    """
    cond_vector, memory = condition_tensors(model.conditioner, condition, len(codes), model.n)
    positions = model.positions(model.spec.shape).flatten(0, -2)
    caches = [row_cache(block.attention, len(codes), model.n) for block in model.blocks]
    memory_kvs = [block.memory_kv(memory) for block in model.blocks]
    x = model.start.expand(len(codes), -1)
    for i in range(model.n):
        x = (x + positions[i])[:, None]
        here = None if cond_vector is None else cond_vector[:, i:i + 1]
        for block, cache, memory_kv in zip(model.blocks, caches, memory_kvs, strict=True):
            attention = partial(cached_attention, block.attention, position=i, cache=cache)
            x = block(x, here, memory_kv, attention)
        yield i, model.out(model.norm(x, here))[:, 0]
        x = model.embedding(codes[:, i])

# %% [markdown]
# It is a generator: it gives the logits of a position, waits until the code stands in `codes`, and goes on. So
# drawing is the affair of whoever calls it. Now the promise: drawn plainly and drawn with the cache, the codes
# must be *the same* if both throw the same dice.

# %%
def draw_cached(model: VideoGPT, condition: dict[str, Tensor], length: int) -> Tensor:
    """The first `length` codes of a clip (length,), with the cache."""
    row = torch.zeros(1, model.n, dtype=torch.int64)
    for i, logits in decode_row(model, row, condition):
        if i == length:
            break
        row[:, i] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    return row[0, :length]


torch.manual_seed(0)
start = time.process_time()
cached = draw_cached(prior, {"label": torch.tensor([3])}, length)
cached_seconds = time.process_time() - start
print(f"{length} codes in {cached_seconds:.2f} CPU seconds: the cache makes it "
      f"{plain_seconds / cached_seconds:.0f} times as fast")
assert torch.equal(plain, cached)

# %% [markdown]
# Equal, code for code. The longer the row, the more the cache is worth.
#
# Many clips at once are cheaper still. With a single clip most of the time goes into starting small
# operations and into reading the weights, and a batch shares both.

# %%
def seconds_a_clip(n: int) -> float:
    """CPU seconds to write a clip, n at a time."""
    start = time.process_time()
    prior.sample(n, {"label": torch.arange(n) % 10})
    return (time.process_time() - start) / n


batches = {"smoke": (1,), "course": (1, 4, 16, 64)}[profile]
each = {n: seconds_a_clip(n) for n in batches}
show(bars({f"{n} at once": seconds for n, seconds in each.items()}, ylabel="CPU seconds a clip"),
     alt="Bars of CPU seconds a clip: the more clips are written at once, the less each takes.")
print(f"of {batches[-1]} clips at once each takes {each[batches[-1]] / each[1]:.2f} of the time of "
      "one alone")

# %% [markdown]
# > **In the official code** the cache is right, too. But each step reads all slots, builds the table of positions
# > again, and computes a loss that nobody uses.
#
# ## 3. The tail
#
# At each position the model gives all 256 codes a probability, and most of them a very small one. Together
# these small ones are not so small, and a clip has 256 draws. One unlikely code is enough to break a
# digit, and the model has never seen a broken digit: it was trained on true rows only. Three common remedies:
#
# - **temperature** T: divide the logits by T. Below 1, likely codes become likelier still.
# - **top-k**: draw among the k likeliest codes.
# - **top-p**: draw among the fewest likeliest codes that together have the probability p. Where the model is
#   sure these are one or two, where it is not, many.
#
# The paper does not say how it draws; the official code uses none of them. They are off by default here, too.
#
# ### Exercise 10.2 · keep the likely (about 15 min)
# Write top-k and top-p. The logits of all codes that must not be drawn get the value minus infinity, which
# softmax makes 0. If both are asked for, top-k comes first, and top-p looks at what is left.
#
# <details><summary>Hint</summary>For top-p sort the probabilities. A code stays if the likelier ones
# <i>before</i> it have less than p together: then the likeliest always stays, and so does the one that reaches
# p.</details>
# <details><summary>The call</summary><code>logits.topk(k)</code>; <code>probs.sort(descending=True)</code>
# and <code>cumsum(-1)</code>. To get from the sorted order back, <code>order.argsort(-1)</code> says where
# each code went, and <code>gather</code> fetches it.</details>

# %% tags=["exercise", "ex-10.2", "export:models.videogpt.sampling"]
def keep_likely(logits: Tensor, top_k: int | None = None,
                top_p: float | None = None) -> Tensor:
    """Logits (..., num_codes), with -inf for all codes but the `top_k` likeliest (and those as
    likely as the last of them); then, of these, for all but the fewest likeliest that together have
    at least the probability `top_p`.

    The likeliest code always stays. None: no limit; a `top_p` of 1 is none either.
    """
    ### BEGIN SOLUTION
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p is not None and top_p < 1:
        probs, order = logits.softmax(-1).sort()
        # A code and all less likely ones have so little that the likelier have top_p without them.
        goes = probs.cumsum(-1) <= 1 - top_p
        goes[..., -1] = False
        logits = logits.masked_fill(goes.gather(-1, order.argsort(-1)), float("-inf"))
    return logits
    ### END SOLUTION

# %% tags=["check", "ex-10.2"]
keep_likely = check("10.2", keep_likely)

# %% [markdown]
# lvlib's own function adds up from the other end, the least likely code first: a code goes if it and all that
# are less likely have at most 1 - p together. On paper that is the same. But a float32 sum that is already
# near 1 has no digits left for what is small: with thousands of codes it reaches 1 too early.
#
# The three settings are a dataclass (folded), and `sample_row` puts all together. It is `VideoGPT.sample`.

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.sampling"]
@dataclass(frozen=True)
class VideoGPTSampling:
    """How to draw codes. Raises ValueError for a value that no distribution can be drawn with."""

    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""
    top_k: int | None = None
    """Draw from that many of the likeliest codes alone; None: from all."""
    top_p: float | None = None
    """Draw from the fewest likeliest codes that together have this probability; None: from all."""

    def __post_init__(self):
        check_temperature(self.temperature)
        if self.top_k is not None:
            check_numbers(self, "top_k", least=1)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")

# %% tags=["export:models.videogpt.sampling"]
def sample_row(model: nn.Module, n: int, condition: Condition | None, given: Tensor | None,
               sampling: VideoGPTSampling) -> Tensor:
    """n clips of codes, int64 (n, *shape of the model's latents): `VideoGPT.sample`."""
    codes = model.start.new_zeros(n, model.n, dtype=torch.int64)
    known = 0
    if given is not None:
        check_given(given, n, model.spec)
        known = given[0].numel()
        codes[:, :known] = given.flatten(1)
    training = model.training
    model.eval()
    try:
        for i, logits in decode_row(model, codes, condition):
            if i >= known:
                logits = logits.float() / sampling.temperature
                logits = keep_likely(logits, sampling.top_k, sampling.top_p)
                codes[:, i] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    finally:
        model.train(training)
    return codes.view(n, *model.spec.shape)

# %% [markdown]
# Here are the probabilities at two positions of a true clip, sorted, and what top-p leaves of them.

# %%
count = {"smoke": 4, "course": 64}[profile]
digits = MovingDigits(count, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split="test")
real = digits.batch(slice(0, count))
clips, real_labels = to_video(torch.tensor(real["video"])), torch.tensor(real["label"])
codes = autoencoder.encode(clips)
with torch.no_grad():
    logits = prior.logits(codes[:1], {"label": real_labels[:1]})[0]
    stay = (keep_likely(logits, top_p=0.9) > -math.inf).sum(-1)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.6))
for ax, i in zip(axes, (int(stay.argmin()), int(stay.argmax())), strict=True):
    sorted_logits = logits[i].sort(descending=True).values
    kept = keep_likely(sorted_logits, top_p=0.9) > -math.inf
    probs = sorted_logits.softmax(-1)
    ax.bar(range(60), probs[:60], color=["C0" if stays else "C1" for stays in kept[:60]], width=1)
    ax.set(title=f"position {i}: {kept.sum()} of {len(kept)} codes stay", xlabel="code, by rank",
           ylabel="probability", yscale="log", ylim=(1e-5, 1))
ax.bar(0, 0, color="C0", label="stays with top-p 0.9")
ax.bar(0, 0, color="C1", label="goes")
ax.legend()
show(fig, alt="Probabilities of the 60 likeliest codes at two positions, log scale. Where the "
              "model is sure one or a few codes make up 90 percent; where it is unsure dozens do.")

# %% [markdown]
# How large is the tail? We add up what goes, at all positions of all these clips.

# %%
with torch.no_grad():
    probs = prior.logits(codes, {"label": real_labels}).softmax(-1)
for top_p in (0.9, 0.95):
    stays = keep_likely(probs.log(), top_p=top_p) > -math.inf
    tail = probs.masked_fill(stays, 0).sum(-1)
    print(f"top-p {top_p}: {stays.sum(-1).float().mean():.1f} of {probs.shape[-1]} codes stay, "
          f"{tail.mean():.1%} of the probability goes; a clip draws from it "
          f"{tail.sum(1).mean():.0f} times")
    assert tail.max() <= 1 - top_p + 1e-4

# %% [markdown]
# ## 4. The experiment: how to draw
#
# Each way writes clips of all ten digits. A small classifier, trained now on other pictures, reads every
# frame. We ask three things:
#
# - **right**: in how many frames does it read the digit that was asked for?
# - **kept**: does it read the same digit in the first and in the last frame?
# - **differ**: in how many codes do two clips of the same digit differ? It says whether there is any variety.

# %%
classifier = train_digit_classifier(20, steps={"smoke": 3, "course": 400}[profile])
clips_each = {"smoke": 2, "course": 6}[profile]
wishes = torch.arange(10).repeat(clips_each)
ways = {"plain": VideoGPTSampling(), "temperature 0.8": VideoGPTSampling(temperature=0.8),
        "temperature 0.5": VideoGPTSampling(temperature=0.5), "top-k 8": VideoGPTSampling(top_k=8),
        "top-p 0.9": VideoGPTSampling(top_p=0.9), "top-p 0.5": VideoGPTSampling(top_p=0.5)}
measured, written = {}, {}


def report(name: str, video: Tensor, labels: Tensor, differ: float) -> None:
    """Prints and keeps the three measures of clips, whose codes differ by so much."""
    read = recognise(video, 20, classifier)
    right = (read == labels[:, None]).float().mean().item()
    kept = (read[:, 0] == read[:, -1]).float().mean().item()
    measured[name] = {"right": right, "kept": kept, "differ": differ}
    print(f"{name:<17} {right:>6.0%} {kept:>6.0%} " + (f"{differ:>7.0%}" if differ >= 0 else ""))


def variety(codes: Tensor) -> float:
    """The share of codes in which a clip and the next one of its label differ; rows of 10
    labels."""
    by_round = codes.unflatten(0, (-1, 10))
    return (by_round[1:] != by_round[:-1]).float().mean().item()


print(f"{'':<17} {'right':>6} {'kept':>6} {'differ':>7}")
report("real clips", clips, real_labels, math.nan)
report("rebuilt", autoencoder.decode(codes), real_labels, math.nan)
for name, way in ways.items():
    torch.manual_seed(0)
    sampled = prior.sample(len(wishes), {"label": wishes}, sampling=way)
    written[name] = autoencoder.decode(sampled)
    report(name, written[name], wishes, variety(sampled))

# %%
names = ["plain", "top-p 0.9", "top-p 0.5"]
show(strip(torch.stack([written[name][i] for i in (3, 5, 7) for name in names]), frames=16,
           titles=[f"{i}, {name}" for i in (3, 5, 7) for name in names]), limit=40_000,
     alt="Nine rows of 16 frames: a 3, a 5 and a 7, each drawn plainly, with top-p 0.9 and with "
         "top-p 0.5. The more is cut off, the cleaner the strokes and the less they change.")
if profile != "smoke":
    assert measured["top-p 0.9"]["right"] > 0.6, "guessing gives 0.1"
    assert measured["top-p 0.5"]["differ"] < measured["plain"]["differ"], "it pays with variety"

# %% [markdown]
# Look at the pictures before the numbers. Cutting the tail makes strokes cleaner. What the classifier reads rightly
# scatters by 5% with so few clips: here top-k 8 and top-p 0.5 are ahead, and a low temperature is behind. The more
# is cut, the more alike are two clips of a digit: the last column pays. So do not trust one number alone. A model that
# writes the same 3 over and over would win the first two columns.
#
# ## 5. All ten digits

# %%
show(strip(written["top-p 0.9"][:10], frames=16, titles=[str(digit) for digit in range(10)]),
     limit=40_000,
     alt="Ten rows of 16 frames, one for each digit from 0 to 9, all written by the model with "
         "top-p 0.9, not chosen. All move evenly, and can be read; the 3 is in pieces.")

# %% [markdown]
# The samples here are few, and their shares scatter. Over 600 samples (20 of each digit, three seeds) we measured 88%
# of frames right with top-p 0.9 and 91% with 0.8, every frame of a clip in 78% and 83%. Rebuilt clips have 94%, and
# 86%. (With notebook 08's encoder, 256 codes and a narrower prior it was 80%, and 57%.) Where a clip fails, look at
# the sheet: its strokes move well, and are not that digit.
#
# ## 6. Complete a clip
#
# A row can be begun by us. We give the codes of the first latent frame, which stands for four frames of
# video, and let the model write the rest. The first four frames tell which digit it is, where it is and which
# way it goes. So there is *one* true future, bounces included.

# %% [markdown]
# What is given must fit: codes of the right shape and range, and something left to write. All priors of this
# course refuse in the same words, which stand here, folded.

# %% jupyter={"source_hidden": true} tags=["export:models.common.checks"]
import math

from torch import Tensor

from lvlib.stages import Condition, LatentSpec


def check_shape(codes: Tensor, latents: LatentSpec) -> None:
    """Codes (b, ...) are of whole clips."""
    if codes.shape[1:] != latents.shape:
        raise ValueError(f"codes must be of shape (b, {', '.join(map(str, latents.shape))}), not "
                         f"{tuple(codes.shape)}")


def check_codes(codes: Tensor, latents: LatentSpec) -> None:
    """Codes (b, t0, ...) of the first latent frames, or of all of them, lie in the range of the
    latents."""
    low, high = codes.aminmax()
    if low < 0 or high >= latents.num_codes:
        raise ValueError(f"codes must lie in 0..{latents.num_codes - 1}; got {low} to {high}")


def check_given(given: Tensor | None, n: int, latents: LatentSpec) -> None:
    """Codes (1 or n, t0, ...) of the first latent frames can begin n clips, and leave something to
    generate."""
    t, *rest = latents.shape
    if given is None:
        raise ValueError(f"this model goes on from given codes, of 1 to {t - 1} latent frames")
    if list(given.shape[2:]) != rest or not 0 < given.shape[1] < t:
        raise ValueError(f"given codes must be of shape (b, 1 to {t - 1}, "
                         f"{', '.join(map(str, rest))}), not {tuple(given.shape)}")
    if len(given) not in (1, n):
        raise ValueError(f"give the codes of one clip, or of each of the {n}, not of {len(given)}")
    check_codes(given, latents)


def check_given_latents(given_latents: int, least: int, latents: LatentSpec) -> None:
    """So many latent frames can be given, and leave something to score."""
    t = latents.shape[0]
    if not least <= given_latents < t:
        raise ValueError(f"given latent frames must be {least} to {t - 1}, not {given_latents}")


def check_latent_frames(latent_frames: int | None, latents: LatentSpec) -> None:
    """A clip is as long as those that the model learned from."""
    if latent_frames not in (None, latents.shape[0]):
        raise ValueError(f"this model makes clips of {latents.shape[0]} latent frames, not of "
                         f"{latent_frames}")


def check_no_condition(condition: Condition | None) -> None:
    """For models that take none."""
    if condition:
        raise ValueError(f"this model takes no condition, not {', '.join(condition)}")


def check_temperature(temperature: float) -> None:
    """Logits can be divided by it."""
    if not 1e-6 <= temperature < math.inf:
        raise ValueError(f"temperature must be at least 1e-6 and finite, not {temperature}")

# %%
torch.manual_seed(0)
given = codes[:, :1]
completed_codes = prior.sample(count, {"label": real_labels}, given, VideoGPTSampling(top_p=0.9))
completed, rebuilt = autoencoder.decode(completed_codes), autoencoder.decode(codes)
pictures, truth = digit_pictures(digits, slice(0, count)), torch.tensor(real["position"])
errors = {}
for name, video in {"rebuilt": rebuilt, "completed": completed}.items():
    places, _ = locate(video, pictures)
    errors[name] = position_error(places, truth).mean(0)
    right = (recognise(video, 20, classifier) == real_labels[:, None]).float().mean(0)
    print(f"{name:<10} right digit in {right[4:8].mean():4.0%} of frames 4 to 7, "
          f"{right[12:].mean():4.0%} of 12 to 15 | last frame {errors[name][-1]:.1f} px off")
still = position_error(truth[:, 3:4].expand_as(truth), truth).mean(0)
errors["the digit stands still"] = torch.cat([errors["rebuilt"][:4], still[4:]])
fig = curves({name: error.tolist() for name, error in errors.items()}, xlabel="frame",
             ylabel="position error (px)")
fig.axes[0].axvline(3.5, color="grey", lw=1, ls=":")
show(fig, alt="Position error over 16 frames of rebuilt clips, of completed clips and of a digit "
              "that stands still, which is further off the later it is.")
if profile != "smoke":
    assert errors["completed"][8:].mean() < errors["the digit stands still"][8:].mean()

# %%
rows = [video for i in range(3) for video in (clips[i], completed[i])]
show_video(torch.stack(rows[:4]), titles=["true", "completed"] * 2,
           alt="Two true clips, each beside its completion.")
show(strip(torch.stack(rows), frames=16, titles=["true", "4 given, 12 made"] * 3),
     alt="Three pairs of rows of 16 frames: a true clip, and the same with the last twelve frames "
         "written by the model.")

# %% [markdown]
# Most completions follow their clip: the digit stays itself, and it is near its true place to the end. The given
# frames tell nearly all, and this model has learned to carry it on. (The small prior of notebook 09, after 200
# steps, loses the digit within a few frames.)
#
# The given codes are true. Still frames 2 and 3 hold something of what the model has written: the decoder looks at
# latent frames beside the one that it decodes.
#
# ## 7. One frame, many futures
#
# One *frame* tells the digit and its place, and not which way it goes: eight directions are as likely. (At a wall two
# may be one way, as who moves into it is reflected at once.) This is the paper's first result (Moving MNIST, section
# 4.2, Fig. 3). `videogpt-digits-one-frame` gets the frame itself, as pixels, and no label; notebook 11 shows how it
# reads them. Of each of the first four test clips we give it the first frame, four times:

# %%
starts, each = {"smoke": (2, 2), "course": (40, 8)}[profile]
pipeline = load_pipeline(futures.MODEL)
made = futures.draw(pipeline, starts, each, seed=0)
show_video([made[i * each + j] for i in range(min(starts, 4)) for j in range(min(each, 4))],
           titles=[f"frame {i}, {j}" for i in range(min(starts, 4)) for j in range(min(each, 4))],
           alt="Sixteen videos, four by four: the digits of each row begin at one place and go "
               "different ways.")

# %% [markdown]
# Are the futures true ones, and does the model know all of them? `bounce` gives the true ways. We look how far each
# future is from the nearest of them; which share of the directions any of the eight futures of a start takes, beside
# what eight true ones would; and how far the places in the last frame lie apart.

# %%
found = futures.measure(made, starts, 0, classifier)
print(f"{found.off:.2f} px from the nearest true way; {found.taken:.0%} of the directions taken, "
      f"of true futures {found.true_taken:.0%}")
print(f"last frame: places {found.scatter:.1f} px from the mean of their start, of true futures "
      f"{found.true_scatter:.1f}; the digit of the given frame in {found.kept:.0%}")
if profile != "smoke":
    assert found.off < 1.5 and found.taken > 0.75 * found.true_taken and found.kept > 0.7

# %% [markdown]
# They are true ways: hardly a tenth of a pixel off. Not all are known as well as they should be: top-p 0.9 cuts off
# what is rare, and some ways with it (of 320 futures, seeds 0, 1, 2: 68, 69, 66% of the directions; without top-p 73%,
# one seed; true futures 81%).
#
# ## 8. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `row_cache`, `cached_attention` | a layer's step, and what it keeps | `lvlib.models.videogpt.sampling` |
# | `decode_row`, `sample_row` | a clip code by code: `VideoGPT.sample` | `lvlib.models.videogpt.sampling` |
# | `keep_likely`, `VideoGPTSampling` | what to draw from | `lvlib.models.videogpt.sampling` |
#
# ### Scale it up
# First the autoencoder, then the prior on its codes. The codes are computed once, and kept on disk.
#
# ```
# lvlib train videogpt-vqvae-bair --out runs/vqvae --data.root BAIR --devices 8 --precision bf16-mixed
# lvlib train videogpt-bair --autoencoder runs/vqvae --out runs/videogpt --data.root BAIR --devices 8
# lvlib evaluate runs/videogpt --data.root BAIR --metrics bits_per_dim
# ```
#
# `lvlib describe videogpt-bair` says 132M parameters in the prior, half of them in the network that reads the
# given frame (notebook 11), and about 169 GB for a batch of 32 in fp32: 21 GB on each of 8 GPUs. The paper
# had up to 8 of 24 GB. A step is about 120 TFLOP, 150,000 of them 1.8 x 10^19: about 200 hours at 25 TFLOP/s,
# or 26 on eight such GPUs. (These are counts. We have not run it at that size.)
#
# The autoencoder's sizes are those of Table 8, in one dataclass: the same class in notebook 08 and here.

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.vqvae"]
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.volume import Triple, check_reach
from lvlib.models.videogpt.vqvae import BlockKind, VideoVQVAE, latent_grid
from lvlib.stages import LatentSpec, VideoShape


# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.vqvae"]
@dataclass(frozen=True)
class VideoVQVAEConfig:
    """Sizes of a `VideoVQVAE`; the defaults are those of Table 8 with attention, at 4x
    downsampling. Raises ValueError for sizes that do not fit together.
    """

    renamed: ClassVar[dict[str, str]] = {"out": "out_proj"}
    """What parts of the names of weights in older checkpoints are called now."""
    frame_by_frame: ClassVar[bool] = False
    channels: int = 3
    """Colour channels of the video: 1 or 3."""
    hidden: int = 240
    """Channels of the encoder and the decoder."""
    residual_hidden: int = 128
    """Channels inside a residual block."""
    residual_blocks: int = 4
    """Residual blocks in the encoder, and as many in the decoder."""
    downsample: Triple = (4, 4, 4)
    """How many times fewer latents than frames, rows and columns: 1, 2, 4, 8 or 16 each."""
    codes: int = 1024
    """Codes of each codebook."""
    code_dim: int = 256
    """Dimension of the quantized vectors, over all codebooks."""
    codebooks: int = 1
    """Number of codebooks; the paper tries up to 8 (Table 7)."""
    block: BlockKind = "attention"
    """attention: LayerNorm, axial attention, position embeddings (Fig. 4); official: BatchNorm,
    axial attention, no positions (official code); plain: neither (Moving MNIST in Table 8)."""
    positions: Triple = (16, 64, 64)
    """The largest latents that the position embeddings reach (block "attention" alone)."""
    variance: float = 0.24
    """Of the data's pixels in [-1, 1]; it divides the squared error (official: 0.06 in [-.5,
    .5])."""
    commitment: float = 0.25
    """Weight of the commitment loss."""
    decay: float = 0.99
    """Decay of the codebook's running means (official code)."""
    restart: float = 0.05
    """A code used less than this share of the mean is restarted; 0 for no restarts."""

    def __post_init__(self):
        check_sizes(self)

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w): codes (t', h', w'), or (t', h', w', k) for k codebooks.

        Raises ValueError for a clip that does not fit.
        """
        grid = grid_of(self, video_shape)
        shape = grid if self.codebooks == 1 else (*grid, self.codebooks)
        return LatentSpec(shape, self.codes, self.downsample[0])

    def build(self) -> VideoVQVAE:
        """The model, with new weights."""
        return VideoVQVAE(self)

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.vqvae"]
def hold_last(frames: Tensor, clip_frames: int, rate: int) -> Tensor:
    """The first frames (b, c, t0, h, w) made a clip of `clip_frames`. The encoder looks ahead: the
    last frame stands in for those to come, or else the codes would say that the clip ends here.

    Raises ValueError for frames that are no whole latent frames, of `rate` frames each.
    """
    given = frames.shape[2]
    if not 0 < given <= clip_frames or given % rate:
        raise ValueError(f"the first frames must be a multiple of {rate}, at most {clip_frames}, "
                         f"not {given}")
    still = frames[:, :, -1:].expand(-1, -1, clip_frames - given, -1, -1)
    return torch.cat([frames, still], 2)

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.vqvae"]
def check_sizes(config: VideoVQVAEConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    names = "channels", "hidden", "residual_hidden", "codes", "code_dim", "codebooks"
    check_numbers(config, *names, least=1)
    check_numbers(config, "residual_blocks", "commitment", least=0)
    check_numbers(config, "variance", above=0)
    check_numbers(config, "decay", above=0, below=1)
    check_numbers(config, "restart", least=0, below=1)
    check_choice(config, "block", get_args(BlockKind))
    factors = config.downsample
    if any(factor not in (1, 2, 4, 8, 16) for factor in factors) or max(factors) == 1:
        raise ValueError("downsample must be 1, 2, 4, 8 or 16 an axis and more than 1 on one of "
                         f"them, not {factors}")
    if config.block != "plain" and config.hidden % 2:
        raise ValueError(f"hidden must be even, for two attention heads, not {config.hidden}")
    if not all(size >= 1 for size in config.positions):
        raise ValueError(f"positions must be at least 1 an axis, not {config.positions}")
    if config.code_dim % config.codebooks:
        raise ValueError(f"code_dim must be a multiple of codebooks ({config.codebooks}), "
                         f"not {config.code_dim}")


def grid_of(config: VideoVQVAEConfig, video_shape: VideoShape) -> Triple:
    """(t', h', w') of a clip (c, t, h, w).

    Raises ValueError if the downsampling does not divide the clip, if the position embeddings do
    not reach that far, or for another number of channels.
    """
    channels, *size = video_shape
    if channels != config.channels:
        raise ValueError(f"the video must have {config.channels} channels, not {channels}")
    grid = latent_grid(tuple(size), config.downsample)
    if config.block == "attention":
        check_reach(grid, config.positions)
    return grid

# %% [markdown]
# And the same with the encoder of notebook 09, whose codes see their own block alone: what `videogpt-digits` has.

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.patch_vqvae"]
from dataclasses import dataclass

from lvlib.models.videogpt.patch_vqvae import VideoPatchEncoder
from lvlib.models.videogpt.vqvae import VideoVQVAE, VideoVQVAEConfig


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

# %% [markdown]
# At that size sparse attention (notebook 09) pays, on a GPU: *FlexAttention* skips the blocks of the mask that
# are empty, and saves the time that they would take. On a CPU we hand over the mask: the same numbers, no
# time saved. The tests hold the two against each other. The module is folded here.

# %% jupyter={"source_hidden": true} tags=["export:models.common.flex"]
"""Sparse attention on a GPU, which skips the blocks of the mask where nothing is allowed."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=8)
def block_mask(allows: Callable[[Tensor, Tensor], Tensor], n: int, device: torch.device):
    """Which blocks of the (n, n) pairs `allows(query, key)` leaves, for FlexAttention."""
    from torch.nn.attention.flex_attention import create_block_mask

    def rule(clip: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return allows(query, key)

    return create_block_mask(rule, None, None, n, n, device)


@lru_cache(maxsize=1)
def compiled():
    """FlexAttention, compiled: only then it is fast."""
    from torch.nn.attention import flex_attention as flex

    return torch.compile(flex.flex_attention)


def flex_attend(query: Tensor, key: Tensor, value: Tensor,
                allows: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Averages of the values that `allows(query position, key position)`. All (b, heads, n, d)."""
    blocks = block_mask(allows, query.shape[2], query.device)
    return compiled()(query, key, value, block_mask=blocks)

# %% [markdown]
# ### Questions to think about
# 1. A prior with a KV cache needs memory for keys and values. How much is it for the paper's BAIR model (16
#    layers, width 512, 8,192 codes), a clip, in 16-bit numbers?
#    <details><summary>Answer</summary>Two vectors of 512 numbers of two bytes a layer and code: 2 x 512 x 2 x
#    16 x 8,192 bytes = 268 MB. Of 64 clips at once it is 17 GB: on a GPU the cache, not the weights, says how
#    many clips fit.</details>
# 2. Top-p makes samples look better. What would it do to a measure that compares *distributions*, like FVD?
#    <details><summary>Answer</summary>Both ways. Broken clips, which no real set has, become fewer: the distance
#    falls. Variety is lost, too, and the rare kinds of clips go first: the distance rises. There is a best p
#    for FVD, and it need not be the one that looks best in a few clips.</details>
# 3. With top-k 1 the model always takes the likeliest code. Is the clip that it writes the likeliest clip?
#    <details><summary>Answer</summary>No. It takes the best step each time, and the best first step may lead to a
#    place where every second step is poor. The likeliest clip would need a search over all rows. And it might
#    be dull: the likeliest single clip can be one that hardly ever occurs, such as black.</details>
# 4. The model was trained on true rows and reads its own at sampling. Which of the three remedies addresses
#    that?
#    <details><summary>Answer</summary>None: they make mistakes rarer, but after a mistake the row is still one
#    that training has never shown. Spoiling some of the codes that the model reads in training does address
#    it.</details>

# %%
progress()
