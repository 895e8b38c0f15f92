# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 17 · Text and sound: a story that steers a video

# %% jupyter={"source_hidden": true}
import os

from lvlib.course import progress

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

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

# %% tags=["export:models.tats.sound"]
def spectrogram(audio: Tensor, hop: int) -> Tensor:
    """How loud each band of frequencies is at each time, on a logarithmic scale: (b, samples) ->
    (b, 64, samples / hop). Of the samples around each hop-th one; the highest frequency is left
    out."""
    waves = torch.stft(audio, FRAME, hop, window=torch.hann_window(FRAME, device=audio.device),
                       pad_mode="constant", return_complex=True)
    loud = waves.abs()[:, :-1, :audio.shape[1] // hop]
    return torch.log1p(rearrange(loud, "b (f four) n -> b f four n", f=BINS).mean(2))

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

# %% jupyter={"source_hidden": true} tags=["export:models.tats.conditions"]
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lvlib.models.tats.conditions import ConditionWords
from lvlib.models.tats.sound import TOKENS, SoundVQVAE

Tokenizer = Literal["clip", "stories"]
WORDS = {"clip": 49_408, "stories": 360}  # in the vocabulary of each


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
        return value[:, min((start + self.window - 1) // self.window, value.shape[1] - 1)]

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

# %%
progress()
