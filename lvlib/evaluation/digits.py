"""Is a made clip of moving digits right? Where each digit is, whether it is still itself, and how it moves.

Moving digits have a known truth: the pictures of a clip's digits, `digits` (b, k, c, d, d) in [-1, 1] on black, and
their future. Positions are those of `MovingDigits`: the (y, x) of a picture's top left corner, in pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from lvlib.data.digit_clips import mnist_digits, resize_digits
from lvlib.data.moving_digits import COLORS, LIGHTS, MovingDigits


def digit_pictures(data: MovingDigits, indices: slice | Sequence[int]) -> Tensor:
    """The digits of some clips, each alone and whole: float (b, k, c, d, d) in [-1, 1].

    For clips on disk, `data` is a MovingDigits with the arguments that their meta.json names.
    """
    ink = torch.tensor(data.images[data.instance[indices]]).float() / 255
    if data.layers:
        hues = torch.tensor(255 * LIGHTS[:ink.shape[1]]).float().expand(*ink.shape[:2], 3)
    else:
        hues = torch.tensor(COLORS[data.hue[indices]] if data.color else np.full((*ink.shape[:2], 1), 255)).float()
    return einsum(ink, hues / 127.5, "b k h w, b k c -> b k c h w") - 1


def inks(video: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each digit's colour is where: in the clips (b, k, t, h, w), and in its own picture (b, k, d, d).

    Where digits meet, their colours mix linearly: least squares takes a pixel apart again, with one exact answer for
    two colours. Digits of one and the same colour share their ink equally.
    """
    hues = F.normalize((digits + 1).sum((-1, -2)), dim=-1)
    unmix = torch.linalg.pinv(hues)  # (b, c, k)
    found = einsum(video + 1, unmix, "b c t h w, b c k -> b k t h w").clamp(min=0)
    return found, einsum(digits + 1, unmix, "b k c h w, b c k -> b k h w")


def locate(video: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
    """Where each digit's picture fits its ink best: positions int64 (b, t, k, 2), quality (b, t, k) in [0, 1].

    The fit is the normalised cross-correlation, which asks for the shape and not for the brightness; but a window with
    less ink than the picture counts as if it had as much. So the quality is 1 for the very picture, falls with what
    is covered, pale or of another shape, and is 0 where the digit's colour is nowhere. Every frame is on its own.
    """
    found, pictures = inks(video, digits)
    b, k, d = pictures.shape[:3]
    found, pictures = rearrange(found, "b k t h w -> t (b k) h w"), rearrange(pictures, "b k h w -> (b k) 1 h w")
    agreement = F.conv2d(found, pictures, groups=b * k)
    energy = F.avg_pool2d(found.square(), d, stride=1, divisor_override=1)
    own = pictures.square().sum((-1, -2))[..., None]
    fit = agreement / (own * energy.maximum(own)).sqrt()
    quality, place = fit.flatten(2).max(-1)
    positions = torch.stack([place // fit.shape[-1], place % fit.shape[-1]], -1)
    return rearrange(positions, "t (b k) yx -> b t k yx", b=b), rearrange(quality, "t (b k) -> b t k", b=b)


class DigitClassifier(nn.Sequential):
    """Which digit is it: ink (n, size, size), of any brightness -> logits (n, 10). `size` in pixels, 4 or more."""

    def __init__(self, size: int):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (size // 4) ** 2, 10),
        )

    def forward(self, ink: Tensor) -> Tensor:
        return super().forward((ink / ink.amax((-1, -2), keepdim=True).clamp(min=1e-3))[:, None])


def train_digit_classifier(size: int, seed: int = 0, steps: int = 400) -> DigitClassifier:
    """A classifier of digits of the training split, `size` pixels high and wide: the same for the same arguments."""
    images, classes = mnist_digits("train")
    images, classes = torch.tensor(resize_digits(images, size)).float() / 255, torch.tensor(classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = DigitClassifier(size)
        optimizer = torch.optim.Adam(classifier.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
        for _ in range(steps):
            batch, others = torch.randint(len(images), (2, 128))
            loss = F.cross_entropy(classifier(spoiled(images[batch], images[others])), classes[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return classifier.eval()


def spoiled(images: Tensor, others: Tensor) -> Tensor:
    """Digits as models make them, (n, d, d) in [0, 1]: warped, up to 2 pixels off, blurred, met by another digit."""
    n, d, _ = images.shape
    ink = _moved(images, torch.rand(n, 2) * 4 - 2, warp=0.1)
    angle, far = 2 * torch.pi * torch.rand(n), d * (0.5 + 0.5 * torch.rand(n))
    corner = _moved(others, torch.stack([far * angle.cos(), far * angle.sin()], -1), warp=0)
    ink = ink + corner * torch.randint(-1, 2, (n, 1, 1))  # hides some ink, is not there, or adds some
    blur = torch.rand(n, 1, 1) * torch.randint(2, (n, 1, 1))
    return torch.lerp(ink.clamp(0, 1), F.avg_pool2d(ink.clamp(0, 1), 3, stride=1, padding=1), blur)


def _moved(images: Tensor, shift: Tensor, warp: float) -> Tensor:
    """(n, d, d) shifted by (n, 2) pixels, each turned, sheared and scaled a little: by about the share `warp`."""
    n, d, _ = images.shape
    linear = torch.eye(2) + warp * torch.randn(n, 2, 2)
    grid = F.affine_grid(torch.cat([linear, 2 / d * shift[..., None]], -1), (n, 1, d, d), align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


@torch.no_grad()
def identity(video: Tensor, digits: Tensor, positions: Tensor, classifier: DigitClassifier) -> Tensor:
    """The class that each digit's ink shows at its position: (b, t, k, 2) -> int64 (b, t, k).

    `classifier` is one for the size d of the pictures.
    """
    found = rearrange(inks(video, digits)[0], "b k t h w -> (b t k) h w")
    windows = found.unfold(1, digits.shape[-1], 1).unfold(2, digits.shape[-1], 1)
    y, x = positions.flatten(0, 2).unbind(-1)
    crops = windows[torch.arange(len(windows), device=y.device), y, x]
    return classifier(crops).argmax(-1).reshape(positions.shape[:3])


@torch.no_grad()
def lone_digit(video: Tensor, size: int) -> Tensor:
    """Ink of the one white digit of each frame, cut out around its centre of mass, where MNIST has the middle of every
    digit: (b, 1, t, h, w) in [-1, 1] -> (b, t, size, size) in [0, 1]. For samples, whose digit nobody knows before.
    """
    ink = (rearrange(video, "b 1 t h w -> b t h w") + 1) / 2
    weight = (ink - 0.2).clamp(min=0) + 1e-6  # without the faint haze of a decoder; no ink at all: the frame's middle
    total = weight.sum((-1, -2))
    y, x = ((weight.sum(axis) * torch.arange(weight.shape[other], device=ink.device)).sum(-1) / total
            for axis, other in ((-1, -2), (-2, -1)))
    top, left = ((centre - (size - 1) / 2).round().long() + size for centre in (y, x))
    windows = F.pad(ink, [size] * 4).unfold(2, size, 1).unfold(3, size, 1)
    clip, frame = torch.meshgrid(*(torch.arange(n, device=ink.device) for n in ink.shape[:2]), indexing="ij")
    return windows[clip, frame, top, left]


@torch.no_grad()
def recognise(video: Tensor, size: int, classifier: DigitClassifier) -> Tensor:
    """The class that the one white digit of each frame shows: (b, 1, t, h, w) -> int64 (b, t)."""
    crops = lone_digit(video, size)
    return classifier(crops.flatten(0, 1)).argmax(-1).view(crops.shape[:2])


def position_error(positions: Tensor, truth: Tensor) -> Tensor:
    """Mean distance of the digits from where they should be, in pixels: (b, t, k, 2) twice -> (b, t)."""
    return (positions - truth).float().norm(dim=-1).mean(-1)


def judge(video: Tensor, digits: Tensor, truth: Tensor, classes: Tensor,
          classifier: DigitClassifier) -> tuple[Tensor, Tensor]:
    """Of each clip and frame, (b, t): the position error in pixels, and the share of digits that are recognised.

    truth int64 (b, t, k, 2): where the digits should be. classes int64 (b, k): which they are.
    """
    places, _ = locate(video, digits)
    recognised = identity(video, digits, places, classifier) == classes[:, None]
    return position_error(places, truth), recognised.float().mean(-1)
