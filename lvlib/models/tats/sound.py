# Never edit this file: `python -m lvlib.course build` makes it from solutions/17_text_and_sound.py.
"""Sound as codes: a VQ-VAE over frames of the short-time Fourier transform. TATS, section 3.1.

The paper trains another VQGAN for it and does not give its sizes; these are ours.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.quantize import EMACodebook, nearest_code

FRAME = 512  # samples of a frame of the transform
BINS = 64  # bands of frequencies in it, four of its 256 in each
COLUMNS = 16  # frames of the transform for each latent frame of video
TOKENS = 4  # codes for each of these


def spectrogram(audio: Tensor, hop: int) -> Tensor:
    """How loud each band of frequencies is at each time, on a logarithmic scale: (b, samples) ->
    (b, 64, samples // hop). Of the samples around each hop-th one; the highest frequency is left
    out."""
    waves = torch.stft(audio, FRAME, hop, window=torch.hann_window(FRAME).to(audio),
                       pad_mode="constant", return_complex=True)
    loud = waves.abs()[:, :-1, :audio.shape[1] // hop]
    return torch.log1p(rearrange(loud, "b (f four) n -> b f four n", f=BINS).mean(2))


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
        """(b, samples) -> codes int64 (b, 4 for each latent frame). Nothing learns from it."""
        with torch.autocast(audio.device.type, enabled=False):  # the same codes as in fp32
            vectors = self.vectors(spectrogram(audio.to(self.quantizer.embedding.dtype), self.hop))
            return nearest_code(vectors, self.quantizer.embedding)

    def loss(self, audio: Tensor) -> Tensor:
        """Mean absolute error of the spectrogram, and the quantizer's own loss: ()."""
        picture = spectrogram(audio, self.hop)
        q, _, quantizer_loss, _ = self.quantizer(self.vectors(picture))
        rebuilt = self.decoder(rearrange(q, "b n d -> b d 1 n"))
        return F.l1_loss(rebuilt[:, 0], picture) + quantizer_loss
