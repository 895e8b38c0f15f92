"""Networks by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from lvlib.errors import UserError, unknown
from lvlib.evaluation.networks.efficientnet import EfficientNetFrames, EfficientNetVideo
from lvlib.evaluation.networks.files import C3D, C3D_FILE, I3D, I3D_FILE, LpipsVgg
from lvlib.evaluation.networks.network import FrameNetwork, VideoNetwork
from lvlib.evaluation.networks.transnet import TransNet
from lvlib.pretrained.lpips import VGG_FILE

Device = torch.device | str


def _course(device: Device) -> VideoNetwork:
    from lvlib.evaluation.networks.course import course_classifier

    return course_classifier(device)


# Those that come with lvlib or a package; those that are read from a file: from which option, which file is meant.
_VIDEO: dict[str, Callable[[Device], VideoNetwork]] = {
    "course": _course, "efficientnet-lite0": EfficientNetVideo, "transnetv2": TransNet}
_VIDEO_FILES = {"i3d": (I3D, "i3d", I3D_FILE), "c3d": (C3D, "c3d", C3D_FILE)}
_FRAME: dict[str, Callable[[Device], FrameNetwork]] = {"efficientnet-lite0": EfficientNetFrames}
_FRAME_FILES = {"lpips-vgg": (LpipsVgg, "vgg", VGG_FILE)}

VIDEO_NETWORKS = (*_VIDEO, *_VIDEO_FILES)
FRAME_NETWORKS = (*_FRAME, *_FRAME_FILES)


def video_network(name: str, files: Mapping[str, Path], device: Device = "cpu") -> VideoNetwork:
    """The network of this name, one of `VIDEO_NETWORKS`, on a device.

    files: what the user gives, by "i3d" and "c3d". Raises UserError for another name, a file or a package that is
    missing, and a file that is something else.
    """
    return _load("network", name, _VIDEO, _VIDEO_FILES, files, device)


def frame_network(name: str, files: Mapping[str, Path], device: Device = "cpu") -> FrameNetwork:
    """The network of this name, one of `FRAME_NETWORKS`; files by "vgg". See `video_network`."""
    return _load("perceptual network", name, _FRAME, _FRAME_FILES, files, device)


def _load(kind, name, built_in, from_files, files, device):
    if name in built_in:
        return built_in[name](device)
    if name not in from_files:
        raise unknown(kind, name, (*built_in, *from_files))
    network, option, meant = from_files[name]
    if option not in files:
        raise UserError(f"{name} is read from a file that is not ours to ship: give --{option} FILE ({meant})")
    return network(files[option], device)
