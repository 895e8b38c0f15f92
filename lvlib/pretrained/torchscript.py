"""TorchScript files that the user gives: read, named by their checksums, and tried before hours of work rest on them.

Such a file is a program, and runs with the rights of whoever loads it.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lvlib.errors import UserError, shortened

# sha256, as public repositories that fetch these files check it. Of C3D's file, c3d_ucf101.pt, none was found.
KNOWN_FILES = {
    "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2": "i3d_torchscript.pt of StyleGAN-V",
    "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3": "vgg16.pt of StyleGAN2-ADA",
}


def probe_clips(frames: int = 16, size: int = 32) -> Tensor:
    """Two clips that never change, uint8 (2, 3, t, h, w): a ramp that moves to the right, and one that moves down."""
    time, row, column = torch.meshgrid(torch.arange(frames), torch.arange(size), torch.arange(size), indexing="ij")
    across, down = (8 * (column - time)) % 256, (8 * (row - time)) % 256
    clips = torch.stack([torch.stack([across, down, 255 - across]), torch.stack([down, 255 - down, across])])
    return clips.to(torch.uint8)


class Script(NamedTuple):
    """A network read from a file. checksum: sha256 of the file, in hexadecimal."""

    path: Path
    module: torch.jit.ScriptModule
    checksum: str

    @property
    def origin(self) -> str:
        """Which file it is, to stand beside a score."""
        return f"{KNOWN_FILES.get(self.checksum, 'unknown file')}, sha256 {self.checksum}"

    def try_on(self, probe: Tensor, takes: str, **options: bool) -> Tensor:
        """Vectors (n, width) that the program makes of a probe (n, ...).

        takes: what the program should take, for the message. Raises UserError if it does not, or gives anything else
        than finite floats of that shape.
        """
        try:
            with torch.no_grad():
                made = self.module(probe, **options)
        except Exception as error:  # a program of somebody else raises what it likes
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UserError(f"{self.path} does not take {takes}: {shortened(reason, 200)}") from None
        if not isinstance(made, Tensor):
            raise UserError(f"{self.path} gives no tensor, but {type(made).__name__}")
        if made.ndim != 2 or len(made) != len(probe) or not made.is_floating_point():
            raise UserError(f"{self.path} gives {made.dtype} {tuple(made.shape)} for {len(probe)} inputs, "
                            f"not one vector of floats for each")
        if not made.isfinite().all():
            raise UserError(f"{self.path} gives numbers that are not finite: it is of no use")
        return made


def read_script(path: Path, meant: str, device: torch.device | str = "cpu") -> Script:
    """The network in a TorchScript file, in eval mode.

    meant: which file should be given, for the message. Raises UserError for anything that is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}; meant is {meant}")
    try:
        _refuse_others(path, meant)
        module = torch.jit.load(path, map_location=device).eval()
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged, or of a TorchScript that this PyTorch does not read: "
                        f"{shortened(str(error).strip().partition(chr(10))[0], 200)}") from None
    return Script(path, module, checksum)


def _refuse_others(path: Path, meant: str) -> None:
    with path.open("rb") as file:
        start = file.read(16)
    members = set()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2].partition("/")[0] for name in archive.namelist()}
    if {"constants.pkl", "code"} <= members:
        return
    # What torch.save writes, now and before PyTorch 1.6, and what safetensors writes.
    if "data.pkl" in members or start.startswith(b"\x80") or start[8:10] == b'{"':
        raise UserError(f"{path} holds weights without the program that they belong to; meant is {meant}")
    raise UserError(f"{path} is no TorchScript file; meant is {meant}")
