# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · LVT writes video: what comes next, code by code
#
# **What you will build.** The Latent Video Transformer, whole: a prior that reads the codes of a clip's first
# frames and writes the codes of the frames that follow. With the frame autoencoder of notebook 04 it is a
# complete system that continues a video.
#
# **Why it matters.** A raw clip of 16 frames of 64x64 pixels has 196,608 numbers. Its codes are 16,384 small
# integers, four at each of 16 x 16 x 16 positions. With so many fewer, a model that goes through a clip one
# number after another becomes possible on one machine.
#
# Below is where we are going. The first row is a clip of digits that no model was trained on. Of the second
# row the model was given the five frames on the left, as codes. It wrote the rest. We chose a clip whose
# digits keep apart. Where they meet the model goes wrong: section 4 shows and measures both.

# %% jupyter={"source_hidden": true}
import math
import os
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from lvlib.course.experiments import fit, small_codes
from lvlib.data import MovingDigits, to_video
from lvlib.evaluation.baselines import count_codes, repeat_last_frame
from lvlib.evaluation.digits import (
    digit_pictures,
    identity,
    locate,
    position_error,
    spread,
    straightness,
    train_digit_classifier,
)
from lvlib.metrics.pixels import psnr
from lvlib.models.lvt.prior import LVTConfig
from lvlib.models.lvt.sampling import LVTSampling
from lvlib.runs import load_checkpoint
from lvlib.stages import LatentSpec
from lvlib.viz import bars, curves, set_style, show, show_codes, show_video, strip

set_style()

# %% tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %%
torch.manual_seed(0)
autoencoder, trained = load_checkpoint("lvt-course/autoencoder"), load_checkpoint("lvt-course")
digits = MovingDigits(200, size=48, digit_size=16, speeds=(4,), grid=4, split="test")
clips = digits.batch(slice(0, 32))
videos = to_video(torch.tensor(clips["video"]))
example = videos[7:8]
continued = autoencoder.decode(trained.sample(1, given=autoencoder.encode(example[:, :, :5])))
show(strip(torch.cat([example, continued]), frames=16, titles=["true", "5 given, 11 made"]),
     alt="Two rows of 16 frames with a white 3 and a white 4 that move. The last eleven frames of "
         "the second row were made by the model: the same digits on the same paths, turning at the "
         "walls.")

# %% [markdown]
# **What it costs.** About two minutes on two CPU cores. **What it needs.** Notebook 06 (the parts). The model
# above ships with the course; what you train below is smaller, on the codes of notebook 06: one small digit,
# 4x4 positions a frame. There is nothing to write here: this notebook is one long experiment.

# %%
trained_for = {"smoke": 3, "course": 250}[profile]
train_codes, test_codes, quality = small_codes(1, num_codes=128, seed=0, steps=trained_for)
print("codes of the training clips", tuple(train_codes.shape),
      f"| the autoencoder rebuilds at {quality:.1f} dB PSNR")

# %% [markdown]
# ## 1. The whole model
#
# Notebook 06 has predicted one slice, the last. All slices are predicted by the same weights; the encoder is
# told which one is meant. So this class has the three parts of notebook 06, and knows which slices of a clip
# there are, and which of their positions are to be written.

# %% jupyter={"source_hidden": true} tags=["export:models.lvt.prior"]
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import (
    check_codes,
    check_given,
    check_given_latents,
    check_latent_frames,
    check_no_condition,
    check_shape,
)
from lvlib.models.lvt.layers import CodeHeads
from lvlib.models.lvt.prior import ContextEncoder, LVTConfig, SliceDecoder
from lvlib.models.lvt.sampling import LVTSampling, complete
from lvlib.models.lvt.subscale import generation_order, slice_shape
from lvlib.stages import Condition, LatentSpec


# %% tags=["export:models.lvt.prior"]
class SliceTransformer(nn.Module):
    """Predicts the codes of one slice of a clip from all that is written before it. LVT, section
    3.2.

    latents: of the clips, int64 (t, h, w), or (t, h, w, k) for k codebooks.
    """

    def __init__(self, config: LVTConfig, latents: LatentSpec):
        super().__init__()
        self.config, self.spec, self.factor = config, latents, config.subscale
        self.shape, self.codebooks = latents.shape[:3], latents.codebooks
        self.encoder = ContextEncoder(config, self.shape, latents.num_codes, self.codebooks)
        self.decoder = SliceDecoder(config, self.shape, latents.num_codes, self.codebooks)
        self.code_heads = CodeHeads(latents.num_codes, self.codebooks, config.dim)
        order = generation_order(self.shape, self.factor).reshape(math.prod(self.factor), -1)
        self.register_buffer("order", order, persistent=False)  # (slices, n): raster indices

    def nll(self, latents: Tensor, numbers: Tensor, prime_frames: int) -> Tensor:
        """-ln p of the generated codes in slice numbers (b,) of each clip: (b, n, k) nats, 0 at
        priming frames."""
        volume = self.volume(latents)
        codes = volume.flatten(1, 3).take_along_dim(self.order[numbers][..., None], 1)
        slices = codes.unflatten(1, slice_shape(self.shape, self.factor))
        known = self.encoder(volume, numbers, prime_frames)
        logits = self.code_heads(self.decoder(slices, known), codes)
        nats = F.cross_entropy(logits.flatten(0, 2), codes.flatten(), reduction="none")
        return nats.view_as(codes) * self.generated(numbers, prime_frames)[..., None]

    def volume(self, latents: Tensor) -> Tensor:
        """(b, t, h, w) or (b, t, h, w, k) -> (b, t, h, w, k)."""
        return latents.reshape(*latents.shape[:4], self.codebooks)

    def slices_to_generate(self, prime_frames: int) -> Tensor:
        """Numbers of the slices with a position after the priming frames, int64."""
        t, (s_t, s_h, s_w) = self.shape[0], self.factor
        offsets = sorted({frame % s_t for frame in range(prime_frames, t)})
        numbers = [a * s_h * s_w + i for a in offsets for i in range(s_h * s_w)]
        return torch.tensor(numbers, device=self.order.device)

    def generated(self, numbers: Tensor, prime_frames: int) -> Tensor:
        """bool (b, n): which positions of slices numbers (b,) come after the priming frames."""
        _, h, w = self.shape
        return self.order[numbers] // (h * w) >= prime_frames

# %% [markdown]
# A *prior* is what makes a loss, scores and samples of it. `loss` draws *one* slice of each clip, as the
# official code does: a clip would be 15 times the work. Multiplied by the number of slices, it is right on
# average. `scores` adds up all the slices, and is exact.
#
# All priors of this course have these three methods, so that one command trains, samples and measures them.
# LVT takes no `condition`: it is for models that know more than codes (notebook 11). `check_...` refuse what
# does not fit.

# %% tags=["export:models.lvt.prior"]
class LatentVideoTransformer(SliceTransformer):
    """A prior over the codes of one clip, given its first frames. LVT, section 3.2."""

    def loss(self, latents: Tensor,
             condition: Condition | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a generated code, on one slice of each clip that is drawn at random; its mean is
        the exact value.

        Raises ValueError for codes of another shape, and for a condition.
        """
        check_no_condition(condition)
        check_shape(latents, self.spec)
        prime_frames = self.config.prime_frames
        choices = self.slices_to_generate(prime_frames)
        numbers = choices[torch.randint(len(choices), (len(latents),)).to(choices.device)]
        nats = self.nll(latents, numbers, prime_frames).flatten(1).sum(1)
        loss = nats.mean() * len(choices) / self.dims(prime_frames)
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition | None = None,
               given_latents: int = 1) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: exact bits a generated code of each clip, over all slices,
        without the first `given_latents` frames. LVT, footnote 3.

        Raises ValueError for codes that do not fit, if no frame is given or none is left, and for
        a condition.
        """
        check_no_condition(condition)
        check_shape(latents, self.spec)
        check_codes(latents, self.spec)
        check_given_latents(given_latents, 1, self.spec)
        nats = sum(self.nll(latents, number.expand(len(latents)), given_latents).flatten(1).sum(1)
                   for number in self.slices_to_generate(given_latents))
        return {"bits_per_dim": nats / (math.log(2) * self.dims(given_latents))}

    def sample(self, n: int, condition: Condition | None = None, given: Tensor | None = None,
               sampling: LVTSampling | None = None, latent_frames: int | None = None) -> Tensor:
        """n clips of codes, int64 (n, *shape of its latents), that begin with the given ones (the
        priming frames).

        given: codes of the first frames, one clip for all or one for each: (1 or n, t0, h, w) or
        (..., k). sampling: `LVTSampling()` if it is None. Raises ValueError for what does not fit.
        """
        check_no_condition(condition)
        check_latent_frames(latent_frames, self.spec)
        check_given(given, n, self.spec)
        volume = given.new_zeros(n, *self.shape, self.codebooks)
        volume[:, :given.shape[1]] = self.volume(given)
        complete(self, volume, given.shape[1], (sampling or LVTSampling()).temperature)
        return volume.reshape(n, *self.spec.shape)

    def dims(self, prime_frames: int) -> int:
        """Codes of a clip that come after the priming frames."""
        t, h, w = self.shape
        return (t - prime_frames) * h * w * self.codebooks


# %% [markdown]
# Two things must hold before any training. The first: a new model knows nothing, so its loss is near ln K,
# that of guessing among K codes. A little more, because its random weights prefer some codes, and not the
# right ones. The second: it is a *likelihood*. If we add up the probabilities of all possible continuations
# we must get 1. With 3 codes on a 2x1x2 volume and one frame given there are 9.

# %%
torch.manual_seed(0)
small = LVTConfig(dim=64, embedding_dim=64, heads=4, head_dim=16, encoder_layers=2,
                  decoder_layers=2)
model = LatentVideoTransformer(small, LatentSpec(tuple(train_codes.shape[1:]), num_codes=128))
loss, metrics = model.loss(train_codes[:16])
print(f"loss of a new model {loss:.4f} nats, ln 128 = {math.log(128):.4f}, "
      f"{metrics['bits_per_dim']:.2f} bits a code")

tiny = LVTConfig(dim=16, embedding_dim=8, heads=2, head_dim=8, encoder_layers=1, decoder_layers=1,
                 subscale=(2, 1, 1))
tiny = LatentVideoTransformer(tiny, LatentSpec((2, 1, 2), num_codes=3))
for parameter in tiny.parameters():
    nn.init.normal_(parameter, std=0.5)  # larger than at the start, so that the futures differ
given = torch.tensor([[[0, 2]]])
futures = torch.cartesian_prod(torch.arange(3), torch.arange(3)).reshape(9, 1, 1, 2)
volumes = torch.cat([given.expand(9, 1, 1, 2), futures], 1)
probs = 2 ** (-tiny.scores(volumes)["bits_per_dim"] * tiny.dims(prime_frames=1))
print("probabilities of all nine futures:", " ".join(f"{p:.3f}" for p in probs),
      f"| sum {probs.sum():.6f}")
assert abs(loss - math.log(128)) < 0.3 and abs(probs.sum() - 1) < 1e-4

# %% [markdown]
# ## 2. Training
#
# We compare with the two guesses of notebook 06, which need no network: *the marginal*, each code as often as
# it occurs, and *copy*, LVT's baseline "repeat the last frame" as a probability.

# %%
steps = {"smoke": 3, "course": 300}[profile]


def trained_on(codes: Tensor, num_codes: int, config: LVTConfig, name: str,
               clips: int = 16, change=lambda model: None) -> tuple[nn.Module, list[float]]:
    """A model trained on so many clips a step, after a change, and the loss of each step in nats a
    code."""
    torch.manual_seed(0)
    model = LatentVideoTransformer(config, LatentSpec(tuple(codes.shape[1:]), num_codes))
    change(model)
    losses = fit(model, lambda: model.loss(codes[torch.randint(len(codes), (clips,))])[0],
                 steps=steps, name=name)
    return model, losses


def bits_per_code(model: nn.Module, codes: Tensor) -> float:
    """Mean bits a code, the first frame given."""
    return model.scores(codes, given_latents=1)["bits_per_dim"].mean().item()


start = time.process_time()
model, losses = trained_on(train_codes, 128, small, "single-frame")
seconds = time.process_time() - start
guesses = count_codes(train_codes, 128).bits_per_dim(test_codes, given_latents=1)
guesses = {name: value.mean().item() for name, value in guesses.items()}
score = bits_per_code(model, test_codes)

# %% jupyter={"source_hidden": true}
bits = (torch.tensor(losses) / math.log(2)).unfold(0, min(10, steps), 1).mean(-1).tolist()
fig = curves({"model, in training": bits}, xlabel="step", ylabel="bits a code")
lines = {"marginal": guesses["marginal"], "copy": guesses["copy_baseline"],
         "model, on test clips": score}
for (name, height), style in zip(lines.items(), (":", "--", "-"), strict=True):
    fig.axes[0].axhline(height, color="black", ls=style, lw=1.2, label=f"{name}: {height:.2f}")
fig.axes[0].legend()
show(fig, alt="The training loss falls from 7 bits a code through the lines of the marginal and "
              f"of copying. On test clips the model ends at {score:.2f} bits.")
print(f"the model beats copying by {guesses['copy_baseline'] - score:.1f} bits a code")
if profile != "smoke":
    assert score < guesses["copy_baseline"] - 1, "three seeds: 3.6 to 4.5 bits below"

# %% [markdown]
# **What to read in this curve.** It has found out that digits move. A bit a code is a factor of two for each
# of the 240 codes of a clip. (Copying is a weak guess here: the chance of a copy that fits best is small,
# as nearly all codes change from frame to frame, so it is little better than the marginal.)
#
# > **In the official code** the single-frame model sees only three frames back (notebook 05, section 6): five
# > priming frames or three, it is the same to it. The paper conditions on all earlier slices, and so do we. Our
# > model has as many parameters only because two differences cancel: our context's kernel has 16 taps and reads
# > vectors where theirs reads one-hot codes (262,144 more), and theirs has a 1x1 convolution on the context in the
# > decoder, which ours has not (262,144 fewer). In the other orders the counts differ: 49.41M (spatial) against
# > 50.39M, and 52.95M (spatiotemporal) against 59.83M. So official weights do not fit into this model.
#
# ## 3. Sampling
#
# To continue a clip we draw the first code after the given frames from the model's distribution, write it
# down, and ask again. In its simplest form:

# %%
@torch.no_grad()
def sample_slowly(model: nn.Module, given: Tensor) -> Tensor:
    """Single-frame order: one whole pass of the model for each code. given (n, t0, h, w) -> (n, t,
    h, w)."""
    n, t0 = given.shape[:2]
    codes = given.new_zeros(n, *model.shape)
    codes[:, :t0] = given
    t, h, w = model.shape
    for frame in range(t0, t):
        for i in range(h * w):
            known = model.encoder(codes[..., None], torch.full((n,), frame), t0)
            y = model.decoder(codes[:, frame:frame + 1, ..., None], known)[:, i]
            logits = model.code_heads.one(0, y, codes.new_zeros(n, 0))
            codes[:, frame, i // w, i % w] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    return codes

# %% [markdown]
# Almost all of this work is done again and again. What changes when one code is added? Not the context: it
# stays for the whole slice. Not the keys and values of earlier positions: later ones are hidden from them.
# And the convolution needs only its 13 neighbours. All this can be kept: what is kept of keys and values is a
# **KV cache**.

# %% jupyter={"source_hidden": true} tags=["export:models.common.kv_cache"]
"""What attention keeps while codes are sampled one after another."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class KVCache:
    """Keys and values (b, heads, n, d) of the positions that went through one layer; nobody reads
    the others. Keys are None where the weights do not depend on them.
    """

    keys: Tensor | None
    values: Tensor


# %% jupyter={"source_hidden": true} tags=["export:models.lvt.sampling"]
"""Sampling of LVT's prior, slice by slice, where all that does not change is kept. LVT, section
3.2."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import check_temperature
from lvlib.models.common.kv_cache import KVCache
from lvlib.models.lvt.relative_attention import Attention, Block
from lvlib.models.lvt.subscale import take_slice


@dataclass(frozen=True)
class LVTSampling:
    """How to draw codes. Raises ValueError for a value that no distribution can be drawn with."""

    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""

    def __post_init__(self):
        check_temperature(self.temperature)


# %% [markdown]
# A layer takes new positions, puts their keys and values into its cache, and lets their queries look at all
# that is there.

# %% tags=["export:models.lvt.sampling"]
def slice_cache(attention: Attention, batch: int) -> KVCache:
    """An empty cache for a slice of each of `batch` clips."""
    n = math.prod((table.shape[1] + 1) // 2 for table in attention.relative.tables)
    d = attention.out_proj.in_features // attention.heads
    empty = attention.out_proj.weight.new_zeros(batch, attention.heads, n, d)
    return KVCache(None if attention.kind == "relative" else empty, empty.clone())


def attention_step(attention: Attention, x: Tensor, rows: slice, cache: KVCache,
                   bias: Tensor) -> Tensor:
    """Attention for the positions `rows` alone, x (b, rows, dim), after all before them went
    through the cache. bias: what `attention.bias()` gave, the same for all steps."""
    value, key, query = attention.heads_of(x)
    cache.values[:, :, rows] = value
    if key is not None:
        cache.keys[:, :, rows] = key
        key = cache.keys[:, :, :rows.stop]
    seen = cache.values[:, :, :rows.stop]
    return attention.join_heads(attention.attend(query, key, seen, bias[:, rows, :rows.stop]))


def block_step(block: Block, x: Tensor, rows: slice, cache: KVCache, bias: Tensor) -> Tensor:
    """The same for a whole layer."""
    x = x + attention_step(block.attention, block.attention_norm(x), rows, cache, bias)
    return x + block.hidden(block.hidden_norm(x))


# %% [markdown]
# The masked convolution, too, needs only what stands at its 13 taps. `decode_slice` goes through a slice
# position by position: it gives a position's vector, waits until its codes are chosen, and goes on.

# %% tags=["export:models.lvt.sampling"]
def decode_slice(decoder: nn.Module, codes: Tensor, known: Tensor,
                 start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Goes through a slice (b, t, h, w, k) from position `start` on, and expects to be answered.

    decoder: a `SliceDecoder`. known: its context (b, n, dim). Yields the decoder's vector of each
    position (b, dim), and the place (b, k) in `codes` where the caller writes the codes that it
    chooses.
    """
    batch, t, h, w, k = codes.shape
    kept = [(slice_cache(layer.attention, batch), layer.attention.bias())
            for layer in decoder.layers]
    embedded = decoder.embedding(codes)
    if start:
        x = decoder.enter(embedded, known)[:, :start]
        for layer, (cache, bias) in zip(decoder.layers, kept, strict=True):
            x = block_step(layer, x, slice(0, start), cache, bias)
    padded = F.pad(embedded, (0, 0, 1, 1, 1, 1, 1, 1)).flatten(1, 3)  # what the taps meet
    places = torch.arange((t + 2) * (h + 2) * (w + 2), device=codes.device)
    places = places.reshape(t + 2, h + 2, w + 2)
    taps = places[:3, :3, :3][decoder.before.mask] - places[1, 1, 1]
    weight = rearrange(decoder.before.weight[:, :, decoder.before.mask], "d c taps -> (taps c) d")
    entry = decoder.position + known + decoder.before.bias
    inner = places[1:-1, 1:-1, 1:-1].flatten()
    neighbours = inner[:, None] + taps
    for i, place in enumerate(inner.tolist()):
        if i < start:
            continue
        x = (padded[:, neighbours[i]].flatten(1) @ weight + entry[:, i])[:, None]
        for layer, (cache, bias) in zip(decoder.layers, kept, strict=True):
            x = block_step(layer, x, slice(i, i + 1), cache, bias)
        here = codes[:, i // (h * w), i // w % h, i % w]
        yield decoder.norm(x[:, 0]), here
        padded[:, place] = decoder.embedding(here)


# %% [markdown]
# And a clip is slice after slice, at each position code after code.

# %% tags=["export:models.lvt.sampling"]
@torch.inference_mode()
def complete(model: nn.Module, volume: Tensor, prime_frames: int, temperature: float) -> None:
    """Writes the codes after the priming frames into the volume (n, t, h, w, k).

    model: a `LatentVideoTransformer`.
    """
    for number in model.slices_to_generate(prime_frames):
        known = model.encoder(volume, number.expand(len(volume)), prime_frames)
        # Priming frames come first in a slice.
        start = int((~model.generated(number[None], prime_frames)).sum())
        codes = take_slice(volume, int(number), model.factor)
        for y, here in decode_slice(model.decoder, codes, known, start):
            for k in range(model.codebooks):
                logits = model.code_heads.one(k, y, here[:, :k]) / temperature
                here[:, k] = torch.multinomial(logits.softmax(-1), 1)[:, 0]


# %% [markdown]
# It must give the *same codes* as the simple form, if both throw the same dice.

# %%
given = test_codes[:4, :5]
made, seconds_taken = {}, {}
samplers = {"every code anew": lambda: sample_slowly(model, given),
            "cached": lambda: model.sample(4, given=given)}
for name, sampler in samplers.items():
    torch.manual_seed(1)
    start = time.process_time()
    made[name] = sampler()
    seconds_taken[name] = time.process_time() - start
    print(f"{name:<16} {seconds_taken[name]:5.2f} CPU seconds for 4 clips of 11 new frames")
print(f"the cache makes it {seconds_taken['every code anew'] / seconds_taken['cached']:.1f} times "
      "as fast")
assert torch.equal(made["every code anew"], made["cached"])

# %% [markdown]
# Equal, code for code. The gain grows with the slice: for the frames of 16x16 codes of the paper's size, and a
# model of width 128, the official sampler takes 50.6 CPU seconds for 11 frames. Ours takes about 3 (`lvlib
# bench bench-lvt`).
#
# ## 4. Continue a clip
#
# From here on we use the model that ships with the course. It is the same class, wider (192 in place of 64, 8
# heads in place of 4), on clips of two white digits, 48x48 pixels, and trained for longer: the commands are
# in `lvlib/checkpoints/README.md`. Its test digits were seen by no model. To make 93 minutes on one core
# count, three things are simpler than in the paper. There is one codebook. The digits move by 4 pixels a
# frame on a grid of 4 pixels, which is one position of the codes. And of the 128 codes many said the same:
# "black". Which of them a black patch got was next to chance, and the prior had to learn that chance. We
# merged them, to 64.
#
# ### Five given frames
# Five frames tell where the digits are *and* how they move. There is one true future, bounces included. So we
# can ask for it: is each digit where it should be, and is it still the same digit?

# %%
torch.manual_seed(0)
n, t0 = {"smoke": 2, "course": 32}[profile], 5
shown = {"smoke": (0, 1), "course": (13, 0)}[profile]  # digits that keep apart, digits that meet
codes = autoencoder.encode(videos[:n])
made_codes = trained.sample(n, given=codes[:, :t0])
made = autoencoder.decode(made_codes)
rebuilt = autoencoder.decode(codes)
rows = [video for i in shown for video in (videos[i], made[i])]
show_video(torch.stack(rows), titles=["true", "continued", "true", "continued"],
           alt="Two true clips, each beside its continuation by the model from five frames.")
show(strip(torch.stack(rows), frames=16, titles=["true", "made", "true", "made"]),
     alt="Four rows of 16 frames: a true clip and its continuation, twice. In the first clip the "
         "digits keep apart, and the continuation follows it to the end. In the second they meet "
         "after frame 5, and the model loses their shapes.")

# %% [markdown]
# Numbers need a measure that we can explain. `lvlib.evaluation.digits` looks for each digit's own picture and
# takes the place where it fits best. On true clips it is off by a fraction of a pixel on average: two white
# digits can hide each other. Then a small classifier, trained now in a few seconds, reads what stands there.
#
# Beside the model stands the paper's baseline (section 4.2): *repeat the last frame*. (The PSNR of a true clip
# against itself is infinite. We print 99.)

# %%
truth = torch.tensor(clips["position"])[:n]
pictures = digit_pictures(digits, slice(0, n))
classifier = train_digit_classifier(16, steps={"smoke": 3, "course": 400}[profile])
repeated = repeat_last_frame(videos[:n, :, :t0], 11)
candidates = {"true clips": videos[:n], "rebuilt": rebuilt, "continued": made,
              "last frame repeated": torch.cat([videos[:n, :, :t0], repeated], 2)}
errors, kept = {}, {}  # of each clip and frame
for name, video in candidates.items():
    places, _ = locate(video, pictures)
    errors[name] = position_error(places, truth)
    right = identity(video, pictures, places, classifier) == torch.tensor(clips["digit"])[:n, None]
    kept[name] = right.float().mean(-1)
    error, new = errors[name].mean(0), slice(t0, None)
    decibels = psnr(video[:, :, new], videos[:n, :, new]).clamp(max=99).mean()
    print(f"{name:<19} position error {error[new].mean():4.1f} px, last frame {error[-1]:4.1f} px "
          f"| digit recognised in {kept[name][:, new].mean():4.0%} of new frames | {decibels:.1f} "
          "dB")
if profile != "smoke":
    continued_error, repeated_error = (errors[name][:, t0:].mean()
                                       for name in ("continued", "last frame repeated"))
    assert continued_error < repeated_error / 2

# %% jupyter={"source_hidden": true}
fig = curves({name: error.mean(0).tolist() for name, error in errors.items()}, xlabel="frame",
             ylabel="position error (px)")
fig.axes[0].axvline(t0 - 0.5, color="grey", lw=1, ls=":")
show(fig, alt="Position error over 16 frames. True and rebuilt clips stay near zero. Repeating the "
              "last frame climbs steeply after frame 4, to 17 pixels. The model climbs slowly, to "
              "9 pixels in the last frame.")

# %% [markdown]
# The model's error begins at about one pixel and grows from frame to frame. A frame that is repeated keeps its
# digits but has them in the wrong place. So read the two figures together.
#
# And the mean hides something. Watch the strips: a digit that is alone walks on, turns at the wall, and stays
# itself. Where two digits *meet*, they come out as a tangle. So we divide the new frames: those before the
# true digits first touch, and those after.

# %%
apart = (truth[:, :, 0] - truth[:, :, 1]).abs().amax(-1) >= 16  # no pixel in common
alone = apart[:, t0 - 1:].cumprod(1)[:, 1:].bool()
summary = {}
for when, chosen in {"before the digits meet": alone,
                     "from their first meeting on": ~alone}.items():
    summary[when] = errors["continued"][:, t0:][chosen].mean().item()
    baseline = errors["last frame repeated"][:, t0:][chosen].mean()
    read = kept["continued"][:, t0:][chosen].mean()
    at_best = kept["rebuilt"][:, t0:][chosen].mean()
    print(f"{when:<27} {int(chosen.sum()):>4} frames | position error {summary[when]:4.1f} px "
          f"(repeating the last frame {baseline:4.1f} px) | digit recognised in {read:4.0%} "
          f"(rebuilt {at_best:4.0%})")
if profile != "smoke":
    assert summary["before the digits meet"] < 2 < summary["from their first meeting on"]

# %% [markdown]
# **What to read here.** As long as the digits are apart the model has the motion within a pixel on average,
# bounces included, and most digits stay themselves. That is what five frames can tell. A meeting is another
# matter. Each pair of digits, at each offset, has codes of its own, and the training clips show each of them
# rarely. Our autoencoder also looks beyond its patch, so a meeting changes the codes around it, too. Then the
# model reads what it has written itself. A wrong code is copied on, and the digits do not come out of the
# tangle as they went in. This is the *error accumulation* that the paper reports of its Kinetics clips
# (section 4.3).
#
# Training stopped at 93 minutes, not at a limit. The bits a code of validation clips were falling to the end:
# 0.33 after 4,000 steps, 0.26 after 8,000, 0.20 after 16,000, 0.19 after 24,000. Copying stands at 1.92. The
# paper takes 25 times as many steps with 18 times the parameters, each (in the official code) of 64 clips
# instead of 8.
#
# ### One given frame
# A single frame does not tell where a digit is going. Many futures are true now, and the model must *choose*
# one and stay with it. Comparing with the true future would punish every right answer but one. We ask
# instead: is the digit still recognised? Do samples differ? And is each path a straight line, bounces
# included? *Straightness* is the share of its frames that a digit spends on one such line: 1 for every true
# path, 0.2 to 0.3 for a random walk. We take the clips whose digits begin furthest apart, so that there is
# time before they meet, and draw at two temperatures: 1, the model's own distribution, and 0.7, which prefers
# likely codes.

# %%
many = {"smoke": 2, "course": 8}[profile]
far_apart = (truth[:, 0, 0] - truth[:, 0, 1]).float().norm(dim=-1).argsort(descending=True)[:3]
straight = {}
for temperature in (1.0, 0.7):
    torch.manual_seed(0)
    lines, named, ends = [], [], []
    for clip in far_apart:
        futures = autoencoder.decode(trained.sample(many, given=codes[clip:clip + 1, :1],
                                                    sampling=LVTSampling(temperature)))
        shapes = pictures[clip:clip + 1].expand(many, -1, -1, -1, -1)
        places, _ = locate(futures, shapes)
        read = identity(futures, shapes, places, classifier)
        named.append((read == torch.tensor(clips["digit"])[clip])[:, 1:].float().mean())
        lines.append(straightness(places, room=32, speeds=(4,)))
        ends.append(spread(places))
    straight[temperature] = torch.stack(lines).mean().item()
    print(f"temperature {temperature}: straightness {straight[temperature]:.2f} | digit recognised "
          f"in {torch.stack(named).mean():.0%} of frames | ends {torch.stack(ends).mean():.0f} px "
          "apart")
show(strip(futures[:4], frames=16, titles=[f"sample {i}" for i in range(1, 5)][:many]),
     alt="Four rows of 16 frames that begin with the same frame, an 8 in two corners. In the first "
         "row both move on to the end. In the other three they set out for each other, meet within "
         "five frames and become a tangle.")
if profile != "smoke":
    assert torch.stack(ends).min() > 3, "samples must differ"
    assert straight[0.7] > 0.6, "a random walk: 0.2 to 0.3"

# %% [markdown]
# The samples differ, as they should, and most digits leave in one direction and keep it, until they meet the
# other one. One frame gives the model no motion to copy: it must choose one with the first codes that it draws,
# and read it from them afterwards. A draw of unlikely codes spoils this start, and the lower temperature draws
# fewer of them. What neither cures is the meeting.
#
# ## 5. What the codes look like
#
# LVT's Figs. 6 and 7 show a continued clip with its codes below it, a row for each codebook, and in yellow
# where a code differs from the frame before. Here is ours.

# %%
show_codes(made[shown[0]], made_codes[shown[0]], n_codes=trained.spec.num_codes,
           alt="A continued clip in 8 frames, below it the codes as coloured squares, below those "
               "masks that are yellow where codes have changed: around the digits only.")
for name, volume in {"true clips": codes, "continued clips": made_codes}.items():
    print(f"{name}: {(volume[:, 1:] != volume[:, :-1]).float().mean():.0%} of the codes change "
          "from frame to frame")

# %% [markdown]
# Where nothing moves, codes stay. The one colour around the digits is the code of black. The paper notes the
# same for the still background of its robot clips. It also says that a code which stays is easy to predict
# (appendix C).
#
# ## 6. How far should a code see?
#
# (This is where the course's own experiment stands: an encoder that sees only its own patch, and what that does
# to a meeting of two digits.)
#
# ## 7. The experiment: what the order costs (Table 2)
#
# The order alone costs nothing (notebook 05): whatever comes first, the bits add up to the same. What it does
# change is how hard the parts are to *learn*. In the *spatial* order the first slice must tell every fourth
# position of all later frames while it knows only the given frame whole. In the *spatiotemporal* order it
# must jump four frames at a time.
#
# We compare at an equal budget: the same model, the same number of steps, and in each step the same number of
# codes to predict. One slice of a clip is 1/16 of it in the single-frame and the spatiotemporal order and 1/4
# in the spatial order, so the latter gets 4 clips a step and the others 16. The CPU seconds are about the
# same too.

# %%
by_order, seconds_of = {"single-frame": score}, {"single-frame": seconds}
orders = {"spatial": ((1, 2, 2), 4), "spatiotemporal": ((4, 2, 2), 16)}
for name, (factor, clips_a_step) in orders.items():
    start = time.process_time()
    other, _ = trained_on(train_codes, 128, replace(small, subscale=factor), name, clips_a_step)
    seconds_of[name] = time.process_time() - start
    by_order[name] = bits_per_code(other, test_codes)
for name, score_of in by_order.items():
    print(f"{name:<15} {score_of:.2f} bits a code after {steps} steps in {seconds_of[name]:.0f} "
          "CPU seconds")
show(bars(by_order, ylabel="bits a code, test clips", title="lower is better"),
     alt="Three bars: single-frame is lowest; spatial and spatiotemporal are about one bit higher.")
if profile != "smoke":
    assert by_order["spatial"] > by_order["single-frame"] + 0.4, "three seeds: 0.92 to 1.07"

# %% [markdown]
# | BAIR, n_c = 1 (Table 2) | bits a code | FVD |
# |---|---|---|
# | single-frame | 1.28 | 258.9 |
# | spatial | 1.79 | 524.4 |
# | spatiotemporal | 1.25 | 275.7 |
#
# (In the paper the bits are those with one given frame, and FVD is of continuations of five, ten runs each.)
#
# **What we can say.** At an equal number of codes the spatial order is worse than the single-frame order: by
# 0.92 to 1.07 bits over three seeds. The paper's gap is 0.51.
#
# **What this scale does not show.** Two things. If the spatial model gets 16 clips a step like the others, it
# learns from four times as many codes and takes twice the time; its gap shrinks to 0.48 to 0.58 bits over
# three seeds. And in the paper the spatiotemporal order is as good as single-frame; here it is 0.74 to 0.90
# bits behind over three seeds: our digit crosses its frame in a few frames, so a jump of four frames is a
# guess, and the paper trains 2,000 times longer. A short training ranks what is *quick to learn*, not what is
# best in the end.
#
# > **In the official code** the spatial rows compare unlike things. That model was trained on clips of 4 frames with
# > attention in blocks, and sampled block by block at 16 frames; the other two saw 16 frames at once. The paper says
# > that attention spans the whole input. An FVD of 524 against 259 may owe more to that than to the order. Ours are
# > trained and measured alike.
#
# ### How many codebooks
# One codebook of 128 has 7 bits for a position. Four of 32 have 20. More bits rebuild better, and give the
# prior more to say.

# %%
sliced_train, sliced_test, sliced_quality = small_codes(4, num_codes=32, seed=0, steps=trained_for)
sliced_model, _ = trained_on(sliced_train, 32, small, "four codebooks")
sliced_score = bits_per_code(sliced_model, sliced_test)
print(f"n_c = 1: rebuilds at {quality:.1f} dB, {score:.2f} bits a code, {score:.2f} bits a "
      "position")
print(f"n_c = 4: rebuilds at {sliced_quality:.1f} dB, {sliced_score:.2f} bits a code, "
      f"{4 * sliced_score:.2f} bits a position")
if profile != "smoke":
    assert sliced_quality > quality and 4 * sliced_score > score

# %% [markdown]
# Bits a code of two autoencoders cannot be compared: a code that says less is easier to guess. That holds for
# Table 2 as well, where n_c = 4 has *more* bits a code (1.53 against 1.28) and a far better picture (FVD 126
# against 259).
#
# ### Are all codes equally frequent? (Fig. 5, appendix A)
# In the paper 218 of 512 codes make up 80% of what occurs; here it is more than half of them. Frequencies that
# differ suggest the **adaptive softmax**: the frequent codes get a full output layer, the rare ones share a
# small one behind a "one of the others" output. It saves time in language models with 100,000 words. Could
# it help here? PyTorch has one. It wants codes sorted by frequency. Another economy of language models is to
# **tie** the output layer to the table of the codes' vectors: one table for both.

# %%
frequency = train_codes.flatten().bincount(minlength=128).sort(descending=True)
share = frequency.values / frequency.values.sum()
common = int((share.cumsum(0) < 0.8).sum()) + 1
fig = curves({"codes": share.tolist()}, xlabel="code, by frequency", ylabel="share", log=True)
fig.axes[0].axvline(common - 0.5, color="black", lw=1, ls="--", label=f"{common} codes make up 80%")
fig.axes[0].legend()
show(fig, alt="Sorted frequencies of the codes on a log scale, falling. A line marks that "
              f"{common} of 128 codes make up 80 percent.")


# %%
class AdaptiveOutput(nn.Module):
    """Vectors (..., dim) -> log-probabilities (..., num_codes), the rare codes through a narrow
    layer. They are logits, too: softmax leaves them as they are."""

    def __init__(self, dim: int, num_codes: int, frequent: int):
        super().__init__()
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(dim, num_codes, cutoffs=[frequent])

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax.log_prob(x.flatten(0, -2)).reshape(*x.shape[:-1], -1)


def make_adaptive(model: nn.Module) -> None:
    model.code_heads.out[0] = AdaptiveOutput(small.dim, 128, frequent=common)


def tie(model: nn.Module) -> None:
    model.decoder.embedding.table = model.code_heads.out[0].weight


by_output, rank = {"plain": score}, frequency.indices.argsort()  # the new name of each code
for name, change in {"adaptive": make_adaptive, "tied": tie}.items():
    other, _ = trained_on(rank[train_codes], 128, small, name, change=change)
    by_output[name] = bits_per_code(other, rank[test_codes])
for name, bits in by_output.items():
    print(f"{name:<9} {bits:.2f} bits a code")
if profile != "smoke":
    assert by_output["adaptive"] > by_output["plain"] - 0.05, "three seeds: 0.06 to 0.18 behind"

# %% [markdown]
# TIED-TEXT
#
# ## 8. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `SliceTransformer` | the codes of one slice, whichever | `lvlib.models.lvt.prior` |
# | `LatentVideoTransformer` | the prior: `loss`, `scores`, `sample` | `lvlib.models.lvt.prior` |
# | `decode_slice`, `complete` | sampling, with a cache | `lvlib.models.lvt.sampling` |
#
# ### Scale it up
# First the frames, then the prior on their codes. The codes are computed once, and kept on disk.
#
# ```
# lvlib train lvt-frames-bair-nc4 --out runs/frames --data.root BAIR --devices 8
# lvlib train lvt-bair --autoencoder runs/frames --out runs/lvt --data.root BAIR --devices 8 --precision bf16-mixed
# lvlib sample runs/lvt --given CLIP.mp4 --given-frames 5 --n 4 --out continued.mp4
# lvlib evaluate runs/lvt --data.root BAIR --metrics bits_per_dim,psnr
# ```
#
# `lvlib describe lvt-bair` says 49.87M parameters, as Table 7 does, and about 10 GB for a batch of 64 (62 GB
# in the spatial order, whose slices are four times as long). The paper trained 600,000 steps in two days on 8
# V100 GPUs. We have not run it at that size.
#
# `lvt-course` is the model of sections 4 and 5. On two CPU cores it trains in about an hour and a half:
#
# ```
# D=data/moving_digits_48
# lvlib data moving_digits --out $D --size 48 --digit-size 16 --speeds 4 --grid 4 --grey --train 10000
# lvlib train lvt-course --autoencoder lvt-course/autoencoder --out runs/lvt-course --data.root $D
# ```
#
# ### Questions to think about
# 1. The position error of section 4 grows from frame to frame. A model that is wrong once reads its own
#    mistake. Training never shows it one. What could?
#    <details><summary>Answer</summary>Spoil some of the codes that it reads: replace 5 or 10% of them at random,
#    and still ask for the true ones. Or train on its own samples, which costs a sampling for each
#    step.</details>
# 2. With five given frames, could the model still be unsure of anything? Where do its bits go?
#    <details><summary>Answer</summary>Of the digits' paths, hardly. But the encoder of this autoencoder looks
#    beyond its patch, and which of several codes that look alike it chooses hangs on its surroundings: the
#    model pays for that choice at each place, and most where digits meet.</details>
# 3. Attention over the whole slice costs the square of its positions. Which subscale factor is cheapest to
#    *train*, which to *sample*?
#    <details><summary>Answer</summary>A step on one slice is cheapest with the smallest slices, the largest
#    factor. A sample needs all slices whatever the factor: smaller ones have fewer scores in all, but each
#    calls the encoder once more. Single-frame order is a fair middle.</details>
# 4. Table 8 tries nine variants of the model. Adaptive *input* vectors reach 1.26 and tied ones 1.27 bits, the
#    plain model 1.28. The paper writes that neither brings an improvement. Do the figures say so?
#    <details><summary>Answer</summary>Not literally: both are lower. But nothing is said of the scatter over
#    seeds, and 0.01 or 0.02 bits is less than what our own seeds differ by. "No improvement that we could
#    rely on" would be true, and a second seed would show it.</details>
