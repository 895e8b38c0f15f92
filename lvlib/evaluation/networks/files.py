"""The networks of published scores, from files that the user gives: I3D, C3D and LPIPS-VGG.

They are others' work and not ours to ship. Each is called as the code that made it known calls it, and is tried on a
fixed clip when it is loaded. `checksum` (sha256 of the file) and `origin` (which known file that is) stand beside a
score. A TorchScript file is a program, and runs with the rights of whoever loads it.
"""

from pathlib import Path

import torch
from torch import Tensor

from lvlib.errors import UserError
from lvlib.evaluation.networks.network import Seen
from lvlib.evaluation.networks.pixels import as_bytes, check_length
from lvlib.pretrained.lpips import LpipsDistance
from lvlib.pretrained.torchscript import probe_clips, read_script

I3D_FILE = "the I3D of FVD as TorchScript, i3d_torchscript.pt of StyleGAN-V"
C3D_FILE = "the C3D of video inception scores as TorchScript, c3d_ucf101.pt of StyleGAN-V"


class I3D:
    """The network of FVD and KVD (Unterthiner et al. 2018): Inception-v1 inflated to 3D, trained on Kinetics.

    The width of its output tells which: 400 classes (LVT and TATS) or 600 (MeBT). Scores of the two do not compare.
    Its features are the values before the softmax, averaged over time; the program scales and resizes frames (to
    224 x 224) itself. Time is made eight times shorter before a pooling over two steps: eight frames are too few, and
    the scripts in use start at ten.

    Raises UserError for a file that is no such network.
    """

    least_frames = 10

    def __init__(self, path: Path, device: torch.device | str = "cpu"):
        self._script = read_script(path, I3D_FILE, device)
        takes = "clips as I3D does, (video, rescale, resize, return_features)"
        self.dim = self._script.try_on(probe_clips().to(device), takes, **self._how).shape[1]
        if self.dim not in (400, 600):
            raise UserError(f"{path} gives {self.dim} features a clip; I3D has 400 (of Kinetics-400) or 600 "
                            f"(of Kinetics-600)")
        self.name = f"i3d-kinetics{self.dim}"
        self.checksum, self.origin = self._script.checksum, self._script.origin

    _how = {"rescale": True, "resize": True, "return_features": True}

    @torch.no_grad()
    def look(self, video: Tensor) -> Seen:
        """features: (b, 400 or 600). probs: their softmax. See `VideoNetwork.look`."""
        check_length(video, self.name, self.least_frames)
        features = self._script.module(as_bytes(video), **self._how).float()
        return Seen(features, features.softmax(1))


class C3D:
    """The network of video inception scores, CCS and ICS: C3D, trained on Sports-1M and then on UCF-101's 101 classes.

    The TorchScript version of TGAN2's (Saito et al. 2020), whose program scales and resizes frames (to 112 x 112)
    itself, takes away the mean of 16 frames, and ends in a softmax. So it looks at 16 frames, no more and no fewer.

    Raises UserError for a file that is no such network.
    """

    name, dim, least_frames = "c3d-ucf101", 101, 16

    def __init__(self, path: Path, device: torch.device | str = "cpu"):
        self._script = read_script(path, C3D_FILE, device)
        probs = self._script.try_on(probe_clips(self.least_frames).to(device), "clips of 16 frames as C3D does")
        if probs.shape[1] != self.dim:
            raise UserError(f"{path} gives {probs.shape[1]} numbers a clip; C3D gives probabilities of "
                            f"{self.dim} classes")
        if (probs < 0).any() or (probs.sum(1) - 1).abs().max() > 1e-3:
            raise UserError(f"{path} gives {self.dim} numbers a clip that are no probabilities: they do not sum to one")
        self.checksum, self.origin = self._script.checksum, self._script.origin

    @torch.no_grad()
    def look(self, video: Tensor) -> Seen:
        """probs: (b, 101). features: the same, for the program gives nothing else. See `VideoNetwork.look`.

        Raises UserError for more than 16 frames, too: take windows."""
        check_length(video, self.name, self.least_frames)
        if video.shape[2] > self.least_frames:
            raise UserError(f"{self.name} looks at {self.least_frames} frames, not {video.shape[2]}: take windows")
        probs = self._script.module(as_bytes(video)).float()
        return Seen(probs, probs)


class LpipsVgg:
    """LPIPS on VGG16, from a file: see `LpipsDistance`. Raises UserError for a file that is no such network."""

    name = LpipsDistance.name

    def __init__(self, path: Path, device: torch.device | str = "cpu"):
        self._network = LpipsDistance(path).to(device)
        self.checksum, self.origin = self._network.checksum, self._network.origin

    @torch.no_grad()
    def distance(self, frames: Tensor, others: Tensor) -> Tensor:
        """See `FrameNetwork.distance`. Raises UserError for frames of less than 16 x 16."""
        return self._network(frames, others)
