"""What the experiments of several notebooks share: a training loop, and codes of one small digit."""

import torch
from einops import rearrange
from torch import Tensor, nn
from tqdm import tqdm

from lvlib.data import MovingDigits, to_video
from lvlib.metrics.pixels import psnr
from lvlib.models.lvt.frame_vqvae import FrameVQVAE, FrameVQVAEConfig


def fit(model: nn.Module, loss, steps: int, name: str, rate: float = 2e-3, beta: float = 0.98) -> list[float]:
    """Trains a model with AdamW, one cycle of the learning rate, and gradients of norm 1 at most.

    loss: a function that draws a batch and gives the model's loss on it, (). A bar with the name shows progress.
    Returns the loss of each step, and leaves the model in evaluation mode.
    """
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, beta))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    losses = []
    model.train()
    for _ in tqdm(range(steps), desc=name):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    model.eval()
    return losses


def train_frames(config: FrameVQVAEConfig, videos: Tensor, steps: int, seed: int = 0,
                 name: str = "autoencoder") -> FrameVQVAE:
    """A frame autoencoder trained on frames of the videos (b, c, t, h, w), 64 a step, in evaluation mode."""
    torch.manual_seed(seed)
    model = config.build()
    frames = rearrange(videos, "b c t h w -> (b t) c 1 h w")
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in tqdm(range(steps), desc=name):
        optimizer.zero_grad()
        model.loss(frames[torch.randint(len(frames), (64,))])[0].backward()
        optimizer.step()
    return model.eval()


def small_codes(codebooks: int, num_codes: int, seed: int, steps: int,
                clips: int = 2000) -> tuple[Tensor, Tensor, float]:
    """Codes of training clips and of 200 test clips, (n, 16, 4, 4) or (n, 16, 4, 4, k), of one digit in 16x16 pixels,
    by the autoencoder of notebook 04, trained for so many steps; and its PSNR (dB) on the test clips."""
    config = FrameVQVAEConfig(channels=1, hidden=32, residual_hidden=16, residual_blocks=1, codes=num_codes,
                              codebooks=codebooks, decay=0.95)
    train, test = (_small_digits(split, n, seed) for split, n in (("train", clips), ("test", 200)))
    model = train_frames(config, train, steps, seed)
    quality = psnr(model.decode(model.encode(test)), test).mean().item()
    return model.encode(train), model.encode(test), quality


def _small_digits(split: str, n: int, seed: int) -> Tensor:
    data = MovingDigits(n, size=16, digit_size=10, digits=1, speeds=(1, 2), seed=seed, split=split)
    return to_video(torch.tensor(data.batch(slice(0, n))["video"]))
