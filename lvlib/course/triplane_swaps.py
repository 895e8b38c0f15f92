"""What notebook 20 asks of three planes: whose motion and whose shape is seen where some are of another clip?"""

import copy

import torch
from torch import Tensor

from lvlib.data import MovingDigits, to_video
from lvlib.evaluation.digits import DigitClassifier, digit_pictures, locate, recognise
from lvlib.models.pvdm.triplane import TriplaneAutoencoder

FRAMES = 16


def bouncing(count: int, split: str, seed: int = 0) -> MovingDigits:
    """Clips of one digit of 20 pixels that bounces, a pixel a frame: the world of `pvdm-course`."""
    return MovingDigits(count, FRAMES, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split=split, seed=seed)


def video_of(data: MovingDigits) -> Tensor:
    """All of its clips, (b, 1, 16, 32, 32) in [-1, 1]."""
    return to_video(torch.tensor(data.batch(slice(0, len(data)))["video"]))


def on_paths_of(paths: MovingDigits, shapes: MovingDigits) -> MovingDigits:
    """The digits of some clips on the paths of others."""
    data = copy.copy(paths)
    data.instance, data.digit, data.label = shapes.instance, shapes.digit, shapes.label
    return data


def planes_of(autoencoder: TriplaneAutoencoder, video: Tensor) -> list[Tensor]:
    """Video -> z_s, z_h, z_w, channels first."""
    return autoencoder.config.clip_latents.split_planes(autoencoder.encode(video))


def from_planes(autoencoder: TriplaneAutoencoder, z_s: Tensor, z_h: Tensor, z_w: Tensor) -> Tensor:
    """The reverse."""
    return autoencoder.decode(autoencoder.config.clip_latents.join_planes([z_s, z_h, z_w]))


def off_path(video: Tensor, data: MovingDigits) -> tuple[float, float]:
    """How far the digits of `data` are in these clips from where they are in its own: pixels by rows, by columns."""
    clips = slice(0, len(data))
    places, _ = locate(video, digit_pictures(data, clips))
    rows, columns = (places - torch.tensor(data.batch(clips)["position"])).abs().float().mean((0, 1, 2)).tolist()
    return rows, columns


def whose_motion(autoencoder: TriplaneAutoencoder, own: MovingDigits, other: MovingDigits) -> dict[str, list]:
    """For each choice of planes that are those of `other`, the same digits on other paths: how far the digit is from
    its own path, and from the other one."""
    (z_s, z_h, z_w), (_, h, w) = (planes_of(autoencoder, video_of(data)) for data in (own, other))
    mixes = {"z_h": (z_s, h, z_w), "z_w": (z_s, z_h, w), "z_h and z_w": (z_s, h, w)}
    return {name: [off_path(from_planes(autoencoder, *planes), data) for data in (own, other)]
            for name, planes in mixes.items()}


def whose_shape(autoencoder: TriplaneAutoencoder, own: MovingDigits, other: MovingDigits, classifier: DigitClassifier,
                every: int) -> tuple[float, float, Tensor]:
    """Digits on one path, that stay `every` frames at a place, with the z_s of other digits on the same path: the share
    of frames that show the digit of z_s, and that of z_h and z_w, where they are of different classes; and the clips:
    of the motion planes, of z_s, mixed."""
    frames = torch.arange(FRAMES) // every
    first, second = (video_of(data)[:, :, frames] for data in (own, other))
    mixed = from_planes(autoencoder, planes_of(autoencoder, second)[0], *planes_of(autoencoder, first)[1:])
    seen = recognise(mixed, 20, classifier)
    motion, content = (torch.tensor(data.label)[:, None] for data in (own, other))
    differ = (motion != content)[:, 0]
    from_s, from_motion = ((seen == label)[differ].float().mean().item() for label in (content, motion))
    return from_s, from_motion, torch.stack([first, second, mixed])
