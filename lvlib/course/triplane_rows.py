"""The experiment of notebook 20: the five rows of PVDM's Table 7 in small. Autoencoders of clips that have as many
latent numbers each, in frames, in a cube or in three planes, with a codebook or a tanh.

`python -m lvlib.course.triplane_rows --seeds 0 1 2` prints the figures of each.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.configs import named_config
from lvlib.course.experiments import fit
from lvlib.course.triplane_swaps import bouncing, video_of
from lvlib.metrics.pixels import psnr
from lvlib.models.common.quantize import EMACodebook
from lvlib.models.lvt.frame_vqvae import Decoder, Encoder

COURSE: Any = named_config("pvdm-autoencoder-course").autoencoder
CODES = 256  # of a codebook
ROWS = ("frames 4x VQ", "frames VQ", "cube VQ", "planes VQ", "planes tanh")  # Table 7's, in its order
OTHERS = ("frames tanh", "planes tanh 1/4", "frames tanh 1/4")  # what it leaves out, and a quarter of the numbers


class FrameAutoencoder(nn.Module):
    """Convolutions on each frame alone, with five numbers at each place of a grid, `halvings` of 32 x 32 pixels.

    codes: of a codebook; 0: tanh.
    """

    def __init__(self, halvings: int, codes: int):
        super().__init__()
        dim, width = 5, {2: 80, 3: 64, 4: 56}[halvings]  # about as many weights as the planes'
        size = 1, width, width, 1
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for _ in range(halvings - 2):  # two are LVT's
            down += [nn.ReLU(), nn.Conv2d(width, width, 4, 2, 1)]
            up += [nn.ConvTranspose2d(width, width, 4, 2, 1), nn.ReLU()]
        # Without norms it stays at the mean of all frames for hundreds of steps.
        self.encoder = nn.Sequential(Encoder(*size), *down, nn.GroupNorm(8, width), nn.Conv2d(width, dim, 1))
        self.decoder = nn.Sequential(nn.Conv2d(dim, width, 1), nn.GroupNorm(8, width), *up, Decoder(*size))
        self.quantizer: EMACodebook | None = EMACodebook(codes, dim, 0.25) if codes else None

    def losses(self, video: Tensor, *, step: int) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        rebuilt, loss = self.rebuild(video)
        yield "autoencoder", loss + F.mse_loss(rebuilt, video), {}

    def rebuild(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Video -> the same through the latents, and the loss of the codebook."""
        z = self.encoder(rearrange(video, "b c t h w -> (b t) c h w"))
        if self.quantizer is None:
            z, loss = z.tanh(), z.new_zeros(())
        else:
            q, _, loss, _ = self.quantizer(z.movedim(1, -1))
            z = q.movedim(-1, 1)
        return rearrange(self.decoder(z), "(b t) c h w -> b c t h w", b=len(video)), loss


def build(row: str) -> Any:
    """The autoencoder of a row, with new weights: 1,280 latent numbers a clip, four times as many or a quarter."""
    kind, codes = row.split()[0], CODES if "VQ" in row else 0
    if kind == "frames":
        return FrameAutoencoder({"4x": 2, "1/4": 4}.get(row.split()[1 if "4x" in row else -1], 3), codes)
    if kind == "cube":
        return replace(COURSE, projection="none", patch=8, latent_dim=5, codes=codes).build()
    return replace(COURSE, latent_dim=1 if "1/4" in row else COURSE.latent_dim, codes=codes).build()


@torch.no_grad()
def rebuilt(model: Any, video: Tensor) -> Tensor:
    """Clips through the latents and back, in [-1, 1]; in evaluation mode."""
    if isinstance(model, FrameAutoencoder):
        return model.rebuild(video)[0].clamp(-1, 1)
    return torch.cat([model.decode(model.encode(part)) for part in video.split(50)])


@dataclass
class Figures:
    """What is measured for one row and one seed."""

    row: str
    seed: int
    parameters: int
    train_db: float
    """PSNR on clips of the training, and on others of other digits."""
    test_db: float


def experiment(row: str, seed: int, steps: int = 400, batch: int = 8, bf16: bool = False) -> Figures:
    """Trains the autoencoder of a row, without discriminators, and measures it on 200 clips of each split."""
    train, test = video_of(bouncing(2000, "train", seed)), video_of(bouncing(200, "test"))
    torch.manual_seed(seed)
    model = build(row)

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return next(model.losses(train[torch.randint(len(train), (batch,))], step=1))[1]

    fit(model, loss, steps, row)
    found = [psnr(rebuilt(model, video), video).mean().item() for video in (train[:200], test)]
    return Figures(row, seed, sum(p.numel() for p in model.parameters()), *found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS + OTHERS, default=ROWS + OTHERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--bf16", action="store_true", help="faster where the processor has it")
    options = parser.parse_args()
    for seed in options.seeds:
        for row in options.rows:
            print(asdict(experiment(row, seed, options.steps, options.batch, options.bf16)), flush=True)


if __name__ == "__main__":
    main()
