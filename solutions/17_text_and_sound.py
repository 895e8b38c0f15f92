# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17 · Text and sound: a story that steers a video
#
# **What you will build.** What turns a sentence into tokens, and a drum loop into codes, so that both can stand in
# front of the codes of a video. Then two small priors: one reads a story and writes the clip that it tells, the other
# hears drums and lets a digit jump to them.
#
# **Why it matters.** A long video needs a plan. The model sees only a short window of the past (notebook 15). Where
# nobody tells it what comes next, it makes something up, again and again. A text or a sound can tell it at every
# time: "to improve the long period coherence ... provide the underlying storyline" (section 2.3). And you get a
# model that does what you ask.
#
# Below are the first clips of our two data sets. In the first, every clip has a sentence. In the second, every clip has
# the sound of three drums, and the digit jumps when the deepest of them, the kick, is hit.

# %% jupyter={"source_hidden": true}
import os
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from matplotlib import pyplot as plt
from torch import Tensor

from lvlib.course import check, progress
from lvlib.course.experiments import fit
from lvlib.data import to_video
from lvlib.data.drum_sounds import DRUMS
from lvlib.data.drums import Drums
from lvlib.data.grammar import MOTIONS, examples, sentence
from lvlib.data.stories import Stories
from lvlib.data.text import STORY_TOKENS, tokenizer
from lvlib.metrics.pixels import psnr
from lvlib.models.tats.vqgan import VQGANConfig
from lvlib.stages import LatentSpec
from lvlib.viz import set_style, show, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")
seed = 0

# %%
many, few = {"smoke": (24, 4), "course": (600, 60)}[profile]
small = {"size": 16, "digit_size": 10, "seed": seed}
data = {"stories": Stories(many, **small), "drums": Drums(many, **small),
        "unseen stories": Stories(few, split="test", events=(2,), **small),
        "unseen drums": Drums(few, split="test", **small)}
clips = {name: one.batch(slice(0, len(one))) for name, one in data.items()}
video = {name: to_video(torch.tensor(batch["video"])) for name, batch in clips.items()}
told = [str(text) for text in clips["unseen stories"]["text"][:, 0]]
show(strip([*video["unseen stories"][:3], *video["unseen drums"][:2]], frames=16,
           titles=[*told[:3], "drums", "drums"]),
     alt="Five rows of 16 frames. In three rows a digit moves or stays for 8 frames and then another "
         "digit does, as the sentence above the row says. In two rows a digit jumps now and then.")

# %% [markdown]
# **What it costs.** About a minute and a half on one CPU core. **What it needs.** Notebooks 13 and 15 (TATS's
# autoencoder and its prior), and 02 (a VQ-VAE).
#
# ## 1. A text becomes tokens
#
# A transformer reads whole numbers. The simplest way to turn text into numbers is a list of all words. It is never
# complete: the word that you type tomorrow is not in it. A list of all letters is complete, but makes long rows.
# **Byte pair encoding** (BPE) lies between. It begins with single letters, looks for the two neighbours that are most
# frequent, and makes one piece of them. Then again, and again. Frequent words end as one piece. A word that was never
# seen is several pieces, and nothing is lost.
#
# ### Exercise 17.1 · one merge (about 10 min)
# A word is a list of pieces. Join each `left` that stands directly before a `right`. Go from left to right; what is
# joined is not joined a second time.
#
# An example: the pieces l, o, l, o, with l and o to be joined, become lo, lo. And a, a, a becomes aa, a.
#
# <details><summary>Hint</summary>Build a new list. Look at the last piece in it, and at the next one of the word. But
# take care that you do not join a piece that was itself just joined.</details>
# <details><summary>The call</summary>A <code>while</code> loop with an index <code>i</code>: where
# <code>word[i:i + 2] == [left, right]</code> it moves by 2, else by 1.</details>

# %% tags=["exercise", "ex-17.1"]
def merge(word: list[str], left: str, right: str) -> list[str]:
    """The pieces of a word after one merge: each `left` directly before a `right` is joined with it,
    from the left on. A new list."""
    ### BEGIN SOLUTION
    pieces, i = [], 0
    while i < len(word):
        joined = word[i:i + 2] == [left, right]
        pieces.append(left + right if joined else word[i])
        i += 2 if joined else 1
    return pieces
    ### END SOLUTION

# %% tags=["check", "ex-17.1"]
merge = check("17.1", merge)

# %% [markdown]
# With it, learning a vocabulary is a loop of a few lines. We let it read sentences of our stories.

# %%
counts = Counter(word for text in examples() for word in text.replace(",", " ,").split())
words = {word: list(word) for word in counts}
merges = []
for _ in range(60):
    pairs = Counter()
    for word, pieces in words.items():
        for pair in zip(pieces, pieces[1:], strict=False):
            pairs[pair] += counts[word]
    best = max(pairs, key=pairs.get)
    merges.append("+".join(best))
    words = {word: merge(pieces, *best) for word, pieces in words.items()}
    if len(merges) in (5, 20, 60):
        print(f"{len(merges):2} merges:", ", ".join("·".join(words[word]) for word in
                                                   ("the", "seven", "moves", "bounces")))
print("the first merges:", " ".join(merges[:8]))

# %% [markdown]
# The library has two such vocabularies. The paper reads MUGEN's texts with that of CLIP, 49,408 pieces (section 3.1).
# Ours is learned from the grammar of the stories, in which every word becomes one piece. Both begin with all 256
# bytes, so that no text is lost. Whatever the sentence, the model gets a row of fixed length; what is left is padding.

# %%
stories = tokenizer("stories")
for text in (told[0], "the seventeen moonwalks"):
    print(stories.pieces(text), "\n   tokens:", stories.tokens(text, STORY_TOKENS).tolist())
for word, pieces in stories.unknown_words("the seventeen moonwalks").items():
    print(f"{word!r} is no word of the stories: it is read as", " + ".join(pieces))

# %% [markdown]
# "seventeen" is kept, as the seven and some bytes. The model will not have learned what it means. But it says so: the
# command `lvlib sample` prints which words it did not know.
#
# ## 2. A sound becomes codes
#
# One second of sound is thousands of numbers, and no single one says much. What we hear is which **pitches** sound, and
# when. The short-time Fourier transform (STFT) cuts the sound into short overlapping pieces and tells, for each, how
# loud each pitch is in it. The result is a picture: time to the right, pitch upwards. So TATS treats it as one: "we
# train another VQGAN to compress the STFT data into a discrete space" (section 3.1). The paper says no more about it;
# sizes are ours.

# %% jupyter={"source_hidden": true} tags=["export:models.tats.sound"]
"""Sound as codes: a VQ-VAE over frames of the short-time Fourier transform. TATS, section 3.1.

The paper trains another VQGAN for it and does not give its sizes; these are ours.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.quantize import EMACodebook

FRAME = 512  # samples of a frame of the transform
BINS = 64  # bands of frequencies in it, four of its 256 in each
COLUMNS = 16  # frames of the transform for each latent frame of video
TOKENS = 4  # codes for each of these

# %% [markdown]
# ### Exercise 17.2 · a spectrogram (about 15 min)
# `torch.stft` gives a complex number for each of 257 pitches and each piece. Its absolute value is how loud. Leave
# out the highest pitch, and keep as many columns as `hop` fits into the samples. Then take the mean of each four
# neighbouring pitches, which leaves 64 bands. Loudness spans a wide range, so take the logarithm of 1 plus it.
#
# <details><summary>Hint</summary>In this order: absolute value, cut, mean over fours, logarithm. The call of
# <code>torch.stft</code> is given.</details>
# <details><summary>The call</summary><code>rearrange(loud, "b (f four) n -&gt; b f four n", f=BINS).mean(2)</code>, and
# <code>torch.log1p</code>.</details>

# %% tags=["exercise", "ex-17.2", "export:models.tats.sound"]
def spectrogram(audio: Tensor, hop: int) -> Tensor:
    """How loud each band of frequencies is at each time, on a logarithmic scale: (b, samples) ->
    (b, 64, samples // hop). Of the samples around each hop-th one; the highest frequency is left
    out."""
    waves = torch.stft(audio, FRAME, hop, window=torch.hann_window(FRAME).to(audio),
                       pad_mode="constant", return_complex=True)
    ### BEGIN SOLUTION
    loud = waves.abs()[:, :-1, :audio.shape[1] // hop]
    return torch.log1p(rearrange(loud, "b (f four) n -> b f four n", f=BINS).mean(2))
    ### END SOLUTION

# %% tags=["check", "ex-17.2"]
spectrogram = check("17.2", spectrogram)

# %% jupyter={"source_hidden": true}
MARKS = {"kick": "#E69F00", "snare": "#56B4E9", "hat": "#009E73"}


def draw_sound(ax, picture: Tensor, onsets: np.ndarray | None = None, title: str = "") -> None:
    """A spectrogram (64, n), with a mark below for each hit: onsets (t, 3)."""
    ax.imshow(picture, origin="lower", aspect="auto", cmap="magma", extent=(0, 16, 0, 4000))
    ax.set(title=title, xlim=(0, 16), ylim=(-700 if onsets is not None else 0, 4000),
           ylabel="pitch (Hz)")
    if onsets is not None:
        for drum, name in enumerate(DRUMS):
            at = np.flatnonzero(onsets[:, drum]) + (0.5 if name == "hat" else 0)
            ax.plot(at, [-350] * len(at), "^", color=MARKS[name], label=name, ms=6)

# %%
audio = {name: torch.tensor(clips[name]["audio"]) for name in ("drums", "unseen drums")}
heard = audio["unseen drums"][0].flatten()
picture = spectrogram(heard[None], 250)[0]
fig, axes = plt.subplots(2, 1, figsize=(7.2, 3.6), sharex=True)
axes[0].plot(np.arange(len(heard)) / 1000, heard, lw=0.4)
axes[0].set(title=f"{len(heard):,} samples", ylabel="sample")
draw_sound(axes[1], picture, clips["unseen drums"]["onsets"][0], "its spectrogram, 64 x 64")
axes[1].set(xlabel="frame of the video (1/8 s)")
axes[1].legend(fontsize=8, ncols=3, loc="upper right")
show(fig, alt="Above the wave of two seconds of drums, below its spectrogram with the hits marked. At "
              "each kick the lowest pitches light up, at each snare all pitches do for a short "
              "while, and at each hat a thin faint line appears.")

# %% [markdown]
# One sees what one hears: a kick is a bright spot at the bottom, a snare a column that reaches to the top. That is
# enough to tell them apart. Codes should keep it. So a small VQ-VAE (notebook 02) reads the picture: 16 columns belong
# to a latent frame of video, and four columns become one code. The whole height goes into one code, since a
# sound has no place on the screen.

# %% tags=["export:models.tats.sound"]
class SoundVQVAE(nn.Module):
    """Sound (b, samples) to codes and, for its loss, to a spectrogram again.

    samples: that belong to a latent frame of video, a multiple of 16; ValueError for others.
    """

    def __init__(self, samples: int, codes: int, hidden: int = 32):
        super().__init__()
        if samples % COLUMNS:
            raise ValueError(f"a latent frame of video must have a multiple of {COLUMNS} samples "
                             f"of sound, not {samples}")
        self.hop = samples // COLUMNS
        self.encoder = nn.Sequential(
            nn.Conv2d(1, hidden, 4, (4, 2), (0, 1)), nn.SiLU(),
            nn.Conv2d(hidden, hidden, 4, (4, 2), (0, 1)), nn.SiLU(),
            nn.Conv2d(hidden, hidden, (4, 1)))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(hidden, hidden, (4, 1)), nn.SiLU(),
            nn.ConvTranspose2d(hidden, hidden, 4, (4, 2), (0, 1)), nn.SiLU(),
            nn.ConvTranspose2d(hidden, 1, 4, (4, 2), (0, 1)))
        self.quantizer = EMACodebook(codes, hidden, commitment=0.25, decay=0.95)

    def vectors(self, picture: Tensor) -> Tensor:
        """A spectrogram (b, 64, n) -> (b, n / 4, hidden)."""
        return rearrange(self.encoder(picture[:, None]), "b d 1 n -> b n d")

    def encode(self, audio: Tensor) -> Tensor:
        """(b, samples) -> codes int64 (b, 4 for each latent frame)."""
        return self.quantizer(self.vectors(spectrogram(audio, self.hop)))[1]

    def loss(self, audio: Tensor) -> Tensor:
        """Mean absolute error of the spectrogram, and the quantizer's own loss: ()."""
        picture = spectrogram(audio, self.hop)
        q, _, quantizer_loss, _ = self.quantizer(self.vectors(picture))
        rebuilt = self.decoder(rearrange(q, "b n d -> b d 1 n"))
        return F.l1_loss(rebuilt[:, 0], picture) + quantizer_loss

# %% [markdown]
# ## 3. Both stand before the codes, and slide along
#
# In notebook 15 a class was one word in front of the row. A text is 16 words, a sound is as many codes as belong to
# the window. "We ... prepend the obtained tokens to the video tokens and remove the start of the sequence token"
# (section 2.3). All are rows of one table of vectors: first the words of the text, then the codes of the video. For
# MUGEN that is 49,408 pieces and 16,384 codes, and a row of 77 tokens and 4,096 codes.

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7.2, 1.7))
row = [*stories.text(stories.tokens(told[0], STORY_TOKENS)).split()[:4], "...", "padding",
       "code 0", "code 1", "...", "code 63"]
numbers = [*map(str, stories.tokens(told[0], STORY_TOKENS)[:4]), "", "0",
           "360 + z0", "360 + z1", "", "360 + z63"]
for i, (word, number) in enumerate(zip(row, numbers, strict=True)):
    colour = "#E69F00" if i < 6 else "#DDE6F0"
    ax.add_patch(plt.Rectangle((i, 1), 0.94, 0.6, fc=colour, ec="none"))
    ax.text(i + 0.47, 1.3, word, ha="center", va="center", fontsize=8)
    ax.text(i + 0.47, 0.75, number, ha="center", va="center", fontsize=7, color="#555555")
ax.text(3, 0.25, "16 words of the text: 0 to 359 of the table", ha="center", fontsize=8)
ax.text(8, 0.25, "64 codes: from 360 on", ha="center", fontsize=8)
ax.set(xlim=(0, len(row)), ylim=(0, 1.7))
ax.axis("off")
show(fig, alt="A row: first the words of a sentence and padding, then code 0 to code 63. Below each is "
              "its number in the one table of vectors: words from 0 on, codes from 360 on.")

# %% [markdown]
# A long video has several texts, one for each stretch that is as long as a training clip. "At inference time, we extend
# the sliding window by simultaneously applying it to the conditioned tokens and video tokens" (section 2.3). For
# sound that is clear: a window has the sound that is heard while it is seen. But the window moves by one latent frame,
# and a text is of four. So we must decide, and take the text of the **newest** latent frame in the window: it is the
# one that is being written.

# %% jupyter={"source_hidden": true} tags=["export:models.tats.conditions"]
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lvlib.models.tats.conditions import ConditionWords
from lvlib.models.tats.sound import TOKENS, SoundVQVAE

Tokenizer = Literal["clip", "stories"]
WORDS = {"clip": 49_408, "stories": 360}  # in the vocabulary of each


# %% [markdown]
# ### Exercise 17.3 · which text? (about 10 min)
# A window of `window` latent frames begins at latent frame `start`. There are `texts` texts; text 0 is of the latent
# frames 0 to window - 1, text 1 of the next `window` ones, and so on. Which one is that of the newest latent frame in
# the window? Where there is no further text, the last one goes on.
#
# <details><summary>Hint</summary>Which number has the newest latent frame in the window? How many whole stretches lie
# before it?</details>
# <details><summary>The call</summary><code>(start + window - 1) // window</code>, and <code>min</code>.</details>

# %% tags=["exercise", "ex-17.3", "export:models.tats.conditions"]
def text_of(start: int, window: int, texts: int) -> int:
    """Which of the texts, 0 to texts - 1, a window from latent frame `start` on has: that of its
    newest latent frame, if each is of `window` latent frames; after the last one, the last."""
    ### BEGIN SOLUTION
    return min((start + window - 1) // window, texts - 1)
    ### END SOLUTION

# %% tags=["check", "ex-17.3"]
text_of = check("17.3", text_of)

# %%
print("a window of 4, three texts:")
for start in range(9):
    print(f"  latent frames {start} to {start + 3:2}: text {text_of(start, 4, 3)}")

# %% tags=["export:models.tats.conditions"]
class TextWords(ConditionWords):
    """The tokens of a text. Of several texts, one for each stretch of a long video, a window has
    that of its newest latent frame: the text slides along with the window.

    window: latent frames of a clip of training, which a text is of.
    """

    def __init__(self, words: int, length: int, window: int):
        super().__init__("text", words, length)
        self.window = window

    def at(self, value: Tensor, start: int) -> Tensor:
        if value.ndim not in (2, 3) or value.dtype != torch.int64 or value.shape[-1] != self.length:
            raise ValueError(f"text must be int64 (b, {self.length}), or (b, texts, {self.length}),"
                             f" not {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}")
        if value.min() < 0 or value.max() >= self.words:
            raise ValueError(f"tokens of a text must lie in 0..{self.words - 1}; got {value.min()} "
                             f"to {value.max()}")
        if value.ndim == 2:
            return value
        return value[:, text_of(start, self.window, value.shape[1])]

# %% [markdown]
# Sound is cut at the window's first frame and goes on for its length. The paper trains the VQGAN of sound first, and
# then leaves it as it is. Ours learns *beside* the transformer: `loss` is added to the prior's, and there is one run
# instead of two. The two do not touch each other: codes are whole numbers, through which no gradient goes.

# %% tags=["export:models.tats.conditions"]
class SoundWords(ConditionWords):
    """The codes of the sound that is to be heard while the window is seen: it slides along.

    frames: video frames of a latent frame. samples: of each video frame.
    """

    def __init__(self, codes: int, window: int, frames: int, samples: int):
        super().__init__("audio", codes, window * TOKENS)
        self.window, self.frames, self.samples = window, frames, samples
        self.sound = SoundVQVAE(frames * samples, codes)

    def at(self, value: Tensor, start: int) -> Tensor:
        """Where the sound ends before the window does, silence follows."""
        part = self.heard(value)[:, start * self.frames:(start + self.window) * self.frames]
        silence = self.window * self.frames - part.shape[1]
        part = F.pad(part, (0, 0, 0, silence))
        with torch.no_grad():
            return self.sound.encode(part.flatten(1))

    def loss(self, value: Tensor) -> Tensor:
        return self.sound.loss(self.heard(value).flatten(1))

    def heard(self, value: Tensor) -> Tensor:
        """The same. Raises ValueError unless it is float (b, video frames, samples of each)."""
        if value.ndim != 3 or not value.is_floating_point() or value.shape[2] != self.samples:
            raise ValueError(f"audio must be float (b, frames, {self.samples}), {self.samples} "
                             f"samples for each frame, not {tuple(value.shape)}")
        return value

# %% [markdown]
# The configuration of the prior says what it is told. `build` puts the words together, label first, then text, then
# sound.

# %% jupyter={"source_hidden": true} tags=["export:models.tats.prior"]
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.tats.conditions import (
    WORDS,
    ConditionWords,
    LabelWord,
    SoundWords,
    TextWords,
    Tokenizer,
)
from lvlib.models.tats.prior import TATS
from lvlib.models.tats.sampling import TATSSampling
from lvlib.stages import ConditionSpec, GivenFrames, LatentSpec, VideoShape


# %% tags=["export:models.tats.prior"]
@dataclass(frozen=True)
class TATSConfig:
    """Sizes of a `TATS`; the defaults are those of B.2. Raises ValueError for sizes that do not fit
    together."""

    Sampling: ClassVar[type] = TATSSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = "exact"
    extends: ClassVar[bool] = True
    dim: int = 1024
    """Width of the transformer."""
    heads: int = 16
    layers: int = 24
    hidden: int = 4096
    """Width between the two linear layers of a block."""
    dropout: float = 0.0
    every: int = 1
    """Of how many latent frames one is written: 1, or 4 where a second transformer writes those in
    between (2.3)."""
    classes: int = 0
    """Classes of the label that the model is conditioned on; 0 for none."""
    text: int = 0
    """Tokens of the text that it is told; 0 for none. CLIP's texts have 77, those of the stories
    16."""
    tokenizer: Tokenizer = "clip"
    """How a text is written: clip, or stories, the course's own."""
    audio: int = 0
    """Samples of the sound that it hears for each frame of video, a multiple of 4; 0 for none."""
    audio_codes: int = 1024
    """Codes of sound; the paper does not say how many."""

    def __post_init__(self):
        check_numbers(self, "dim", "heads", "layers", "hidden", "every", least=1)
        check_numbers(self, "classes", "text", "audio", least=0)
        check_numbers(self, "audio_codes", least=1)
        check_choice(self, "tokenizer", get_args(Tokenizer))
        check_numbers(self, "dropout", least=0, below=1)
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), not {self.dim}")

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """The label, the text and the sound: those that it is told."""
        specs = (ConditionSpec("label", "class", (), self.classes, option="classes"),
                 ConditionSpec("text", "tokens", (self.text,), WORDS[self.tokenizer], "text",
                               self.tokenizer),
                 ConditionSpec("audio", "signal", (video_shape[1], self.audio), option="audio"))
        return tuple(spec for spec in specs if getattr(self, spec.option))

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Whole latent frames, by default 1."""
        frames = latents.frames_per_latent
        most = (latents.shape[0] - 1) * frames
        return GivenFrames(0, most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> TATS:
        """The model, with new weights. Raises ValueError for latents with several codebooks, and
        for a number of samples that does not fit."""
        if latents.codebooks != 1:
            raise ValueError(f"TATS's prior takes codes of one codebook, not {latents}")
        window, frames = -(-latents.shape[0] // self.every), self.every * latents.frames_per_latent
        told: list[ConditionWords] = []
        if self.classes:
            told.append(LabelWord(self.classes))
        if self.text:
            told.append(TextWords(WORDS[self.tokenizer], self.text, window))
        if self.audio:
            told.append(SoundWords(self.audio_codes, window, frames, self.audio))
        return TATS(self, latents, told)

# %% [markdown]
# ## 4. The experiment: a story
#
# First an autoencoder, for both data sets: notebook 13's, without discriminators, so that it learns in seconds. 16
# frames of 16x16 pixels become 4x4x4 codes.

# %%
torch.manual_seed(seed)
autoencoder = VQGANConfig(
    channels=1, hidden=8, residual_blocks=(1, 0), downsample=(4, 4, 4), codes=128, code_dim=16,
    decay=0.95, restart=0.05, perceptual=None, gan_start=None).build()
both = torch.cat([video["stories"], video["drums"]])
steps = {"smoke": (2, 2, 2), "course": (250, 400, 250)}[profile]


def batch_loss() -> Tensor:
    (_, loss, _), = autoencoder.losses(both[torch.randint(len(both), (8,))], step=0)
    return loss


fit(autoencoder, batch_loss, steps[0], "autoencoder", rate=4e-3)
codes = {name: autoencoder.encode(one) for name, one in video.items()}
rebuilt = autoencoder.decode(codes["unseen stories"])
print(f"rebuilt: {psnr(rebuilt, video['unseen stories']).mean():.1f} dB")
show(strip([video["unseen stories"][0], rebuilt[0]], frames=16, titles=[told[0], "rebuilt"]),
     alt="Two rows of 16 frames: a clip of two digits, and the same clip rebuilt, blurred.")

# %% [markdown]
# Now the prior. It has two layers of width 96 (the paper's has 24 of width 1,024), and reads a few hundred stories.

# %%
spec, shape = LatentSpec((4, 4, 4), 128, 4), (1, 16, 16, 16)
sizes = {"dim": 96, "heads": 4, "layers": 2, "hidden": 384}


def tokens_of(sentences) -> dict[str, Tensor]:
    """A condition: each sentence as tokens, (n, 16)."""
    return {"text": torch.tensor(np.stack([stories.tokens(str(one), STORY_TOKENS)
                                           for one in sentences]))}


def train(name: str, condition: dict[str, Tensor], steps: int, **config):
    """A prior on the codes of the data set of that name, told the condition."""
    torch.manual_seed(seed)
    prior = TATSConfig(**sizes, **config).build(spec, shape)

    def loss() -> Tensor:
        some = torch.randint(many, (16,))
        return prior.loss(codes[name][some], {key: x[some] for key, x in condition.items()})[0]

    fit(prior, loss, steps, name, rate=3e-3)
    return prior


def extra_nats(prior, name: str, condition: dict[str, Tensor]) -> float:
    """Nats a code more, where each clip is told what the clip before it should be told."""
    with torch.no_grad():
        right = prior.nll(codes[name], condition)
        wrong = prior.nll(codes[name], {key: x.roll(1, 0) for key, x in condition.items()})
    print(f"told right {right.mean():.2f} nats a code, told another clip's {wrong.mean():.2f}")
    return (wrong - right).mean().item()


teller = train("stories", tokens_of(clips["stories"]["text"][:, 0]), steps[1],
               text=STORY_TOKENS, tokenizer="stories")
read = tokens_of(told)
lie = extra_nats(teller, "unseen stories", read)

# %% [markdown]
# BODY_TELLER
#
# What do its clips show? We ask for the unseen stories, and look at the first ones.

# %%
torch.manual_seed(seed)
made = autoencoder.decode(teller.sample(few, read))
show_video(list(made[:4]), told[:4], fps=8,
           alt="Four clips written for four sentences.")

# %% [markdown]
# To count, we need a reader that does not know the sentence. **Motion** is read from the path of the centre of the
# light. The **digit** is that of the nearest of the training digits, moved to the middle. It reads each half of a clip
# by itself, so that the order counts.

# %% jupyter={"source_hidden": true}
def centre(light: Tensor) -> tuple[Tensor, Tensor]:
    """Of pictures (..., h, w): row and column of the centre of the light."""
    mass, place = light.sum((-1, -2)) + 1e-6, torch.arange(light.shape[-1])
    return (light.sum(-1) * place).sum(-1) / mass, (light.sum(-2) * place).sum(-1) / mass


def motion_of(light: Tensor) -> Tensor:
    """Of videos (b, t, h, w): which of `MOTIONS`, from where the light is in the first half and in
    the second one; and where it stays on average, from how far it goes up and down."""
    y, x = centre(light)
    half = y.shape[1] // 2
    down, right = (place[:, half:].mean(1) - place[:, :half].mean(1) for place in (y, x))
    across = torch.where(right > 0, MOTIONS.index("right"), MOTIONS.index("left"))
    along = torch.where(down > 0, MOTIONS.index("down"), MOTIONS.index("up"))
    stays = torch.where(y.std(1) > 1, MOTIONS.index("bounce"), MOTIONS.index("still"))
    moves = torch.where(right.abs() > down.abs(), across, along)
    return torch.where(torch.maximum(right.abs(), down.abs()) > 0.8, moves, stays)


def centred(light: Tensor) -> Tensor:
    """Pictures (n, h, w), each with its light in the middle, as vectors of length 1."""
    middle = (light.shape[-1] - 1) / 2
    moves = torch.stack([(middle - place).round().long() for place in centre(light)], 1)
    return F.normalize(torch.stack([picture.roll(move.tolist(), (0, 1)) for picture, move
                                    in zip(light, moves, strict=True)]).flatten(1))


known = centred(F.pad(torch.tensor(data["stories"].images).float(), (3, 3, 3, 3)))


def digit_of(light: Tensor) -> Tensor:
    """Of videos (b, t, h, w): the digit of the training picture that all frames are nearest to."""
    alike = sum(centred(frames) @ known.T for frames in light.unbind(1))
    return alike.argmax(1) // data["stories"].drawings


def as_told(video: Tensor) -> dict[str, float]:
    """Shares of clips whose halves show what the unseen stories tell."""
    truth, light = clips["unseen stories"], ((video[:, 0] + 1) / 2).clamp(min=0)
    found = {"digit": [], "motion": []}
    for half, part in enumerate(light.chunk(2, 1)):
        found["digit"].append(digit_of(part) == torch.tensor(truth["digit"][:, 0, half]))
        found["motion"].append(motion_of(part) == torch.tensor(truth["motion"][:, 0, half]))
    return ({name: torch.stack(both).float().mean().item() for name, both in found.items()}
            | {"both motions in order": torch.stack(found["motion"]).all(0).float().mean().item()})

# %%
shuffled = made.roll(1, 0)
scores = {name: as_told(one) for name, one in {
    "real": video["unseen stories"], "rebuilt": rebuilt, "written": made,
    "written for another story": shuffled}.items()}
for name, score in scores.items():
    print(f"{name:<26}", ", ".join(f"{what} {share:.0%}" for what, share in score.items()))

# %% [markdown]
# BODY_SCORES
#
# ### Change one word
# Figure 9 of the paper takes a text of MUGEN, puts "kills" in the place of "killed by", and the ending changes. We do
# the same with the second motion of each sentence, and let the model draw with the same random numbers.

# %%
def plain(digit: np.ndarray, motion: np.ndarray) -> list[str]:
    """The sentences of two events, said in the first way: (n, 2), (n, 2)."""
    return [sentence(d, m, (0, 0), 0) for d, m in zip(digit, motion, strict=True)]


digit, motion = (clips["unseen stories"][name][:, 0] for name in ("digit", "motion"))
changed = np.stack([motion[:, 0], (motion[:, 1] + 1) % len(MOTIONS)], 1)
asked, written = [plain(digit, motion), plain(digit, changed)], []
for one in asked:
    torch.manual_seed(seed + 1)
    written.append(teller.sample(few, tokens_of(one)))
same = (written[0] == written[1]).float().mean((0, 2, 3))
print("codes that stay, by latent frame:", ", ".join(f"{share:.0%}" for share in same))
pairs = [autoencoder.decode(one) for one in written]
show(strip([pair[i] for i in range(3) for pair in pairs], frames=16,
           titles=[pair[i] for i in range(3) for pair in asked]), limit=40_000,
     alt="Three pairs of rows of 16 frames. The two rows of a pair were asked for by sentences that "
         "differ in the last motion.")

# %% [markdown]
# BODY_FIG9
#
# ### A story of two sentences
# And now the text slides. Two sentences, 32 frames: the window has the first text for four latent frames, and then the
# second one.

# %%
longer = torch.stack([tokens_of(asked[0])["text"], tokens_of(asked[0])["text"].roll(1, 0)], 1)
torch.manual_seed(seed)
episode = autoencoder.decode(teller.sample(few, {"text": longer}, latent_frames=8))
show(strip(list(episode[1:3]), frames=16,
           titles=[f"{asked[0][i]}; {asked[0][i - 1]}" for i in (1, 2)]),
     alt="Two rows of 16 frames from videos of 32 that were told two sentences each.")
for name, part in {"first": episode[:, :, :16], "second": episode[:, :, 16:].roll(-1, 0)}.items():
    print(f"{name} sentence:", ", ".join(f"{what} {share:.0%}"
                                         for what, share in as_told(part).items()))

# %% [markdown]
# BODY_LONG
#
# ## 5. The experiment: drums
#
# The same autoencoder, another prior, which hears. What it is told is float, the samples of each frame; its VQ-VAE
# turns them into 16 codes, and learns at the same time.

# %%
hears = {"audio": audio["unseen drums"]}
drummer = train("drums", {"audio": audio["drums"]}, steps[2], audio=1000, audio_codes=32)
deaf = extra_nats(drummer, "unseen drums", hears)

# %% [markdown]
# What do the codes of sound say? Below the spectrogram of an unseen clip, with its hits, are its codes, a colour
# each, and what the VQ-VAE rebuilds from them.

# %%
sound = drummer.told[0].sound
with torch.no_grad():
    picture = spectrogram(heard[None], sound.hop)
    q, heard_codes, _, _ = sound.quantizer(sound.vectors(picture))
    again = sound.decoder(rearrange(q, "b n d -> b d 1 n"))[0, 0]
fig, axes = plt.subplots(3, 1, figsize=(7.2, 4.2), sharex=True, height_ratios=(4, 0.8, 3))
draw_sound(axes[0], picture[0], clips["unseen drums"]["onsets"][0], "heard")
axes[0].legend(fontsize=8, ncols=3, loc="upper right")
axes[1].imshow(heard_codes, aspect="auto", cmap="tab20", extent=(0, 16, 0, 1), vmin=0, vmax=32)
for i, code in enumerate(heard_codes[0].tolist()):
    axes[1].text(i + 0.5, 0.5, code, ha="center", va="center", fontsize=8)
axes[1].set(title="its codes", yticks=[])
draw_sound(axes[2], again, title="rebuilt from them")
axes[2].set(xlabel="frame of the video (1/8 s)")
show(fig, alt="A spectrogram of two seconds with the hits of three drums marked, below it 16 codes, "
              "one for each frame, and the spectrogram rebuilt from these, which is coarser.")
all_codes = sound.encode(audio["unseen drums"].flatten(1))
kick = torch.tensor(clips["unseen drums"]["onsets"][..., 0]).bool()
kinds = {name: set(all_codes[where].tolist()) for name, where in
         {"with a kick": kick, "without": ~kick}.items()}
print({name: len(found) for name, found in kinds.items()}, "kinds of codes,",
      len(kinds["with a kick"] & kinds["without"]), "of them both with and without")

# %% [markdown]
# BODY_CODES
#
# Does the digit jump when the kick is hit? At the frame of the kick it is still on the ground; a frame later it is
# always in the air. So we take how high the light is, and how this goes together with the kicks one frame before.
#
# ### Exercise 17.4 · do they jump to the beat? (about 10 min)
# The correlation of the height of each frame with the kick one frame earlier, for each clip; then the mean over the
# clips. Where one of them never changes, there is none: such a clip counts as 0.
#
# <details><summary>Hint</summary>Cut the first frame from the heights and the last from the kicks. Take their means
# away. The correlation is the sum of the products over the product of the two lengths.</details>
# <details><summary>The call</summary><code>F.cosine_similarity(height, kick, dim=1)</code>, of both without their mean,
# is 0 where one of them is 0.</details>

# %% tags=["exercise", "ex-17.4"]
def beat(height: Tensor, kick: Tensor) -> Tensor:
    """Correlation of the height (b, t) in each frame with the kick (b, t), float 0 or 1, one frame
    earlier; 0 for a clip where one of them is constant. The mean over the clips, ()."""
    ### BEGIN SOLUTION
    height, kick = height[:, 1:], kick[:, :-1]
    height = height - height.mean(1, keepdim=True)
    kick = kick - kick.mean(1, keepdim=True)
    return F.cosine_similarity(height, kick, dim=1).mean()
    ### END SOLUTION

# %% tags=["check", "ex-17.4"]
beat = check("17.4", beat)

# %%
torch.manual_seed(seed)
jumps = autoencoder.decode(drummer.sample(few, hears))
steered = {}
for name, one in {"real": video["unseen drums"], "written": jumps}.items():
    height = -centre(((one[:, 0] + 1) / 2).clamp(min=0))[0]
    steered[name] = beat(height, kick.float()).item()
    steered[f"{name}, another sound"] = beat(height, kick.roll(1, 0).float()).item()
for name, value in steered.items():
    print(f"{name:<24} correlation of height and kick {value:5.2f}")

# %% [markdown]
# Look and listen: choose a sound in the player.

# %%
show_video([video["unseen drums"][0], jumps[0], jumps[1]],
           ["real", "written to its sound", "to another"], fps=8, frames=16,
           sounds=[None, heard.numpy(), audio["unseen drums"][1].flatten().numpy()], rate=8000,
           alt="Three clips of 16 frames: a real one whose digit jumps to the drums, one written to "
               "the same sound, and one written to another.")

# %% [markdown]
# BODY_DRUMS
#
# | AudioSet-Drum, frame 45 (Table 1) | SSIM | PSNR |
# |---|---|---|
# | SVG-LP | 0.510 | 13.5 dB |
# | Vougioukas et al. | 0.896 | 23.3 dB |
# | Sound2Sight | 0.947 | 27.0 dB |
# | CCVS | 0.945 | 27.3 dB |
# | **TATS-base** | **0.964** | **27.7 dB** |
#
# BODY_TABLE
#
# ## 6. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `merge` | a step of byte pair encoding | this notebook |
# | `spectrogram`, `SoundVQVAE` | sound as a picture, and as codes | `lvlib.models.tats.sound` |
# | `TextWords`, `SoundWords`, `text_of` | what stands before the codes of a window | `lvlib.models.tats.conditions` |
# | `TATSConfig` | what a prior is told, and its sizes | `lvlib.models.tats.prior` |
# | `beat` | does it jump to the drums? | this notebook |
#
# ### Scale it up
# BODY_SCALE
#
# ### Questions to think about
# 1. Why is the text in front of the codes, and not behind them?
#    <details><summary>Answer</summary>The transformer is causal: each place sees what stands before it alone. Behind
#    the codes the text would steer nothing.</details>
# 2. The words of the text are never predicted. Could one predict them, too, and what for?
#    <details><summary>Answer</summary>The row would then be a model of texts and videos together, as in DALL-E, which
#    gives the text a small weight in its loss. One could ask how likely a text is for a video. TATS's prior is of
#    videos given a text; all it can do goes into that.</details>
# 3. The window's text changes when its newest latent frame belongs to the next sentence. Then three of its four
#    latent frames were written for the old one. Why can that go wrong, and what would help?
#    <details><summary>Answer</summary>In training, text and clip always fit: the model never saw a text whose clip
#    begins in the middle of another. It may take the second half of the sentence for what must come now. Training on
#    windows of longer clips, each told the text of its newest latent frame, would show it such moments.</details>
# 4. What if the drums are silent?
#    <details><summary>Answer</summary>Silence is codes, too, but the model never heard two silent seconds. It still
#    writes something. `lvlib sample` says when a sound is silent, and when it was clipped or resampled.</details>

# %%
progress()
