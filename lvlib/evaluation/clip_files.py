"""Clips from files, for scores of videos that no run of ours made: folders of videos, prepared sets, .npy arrays."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lvlib.data import ClipSet, VideoFolder, to_video
from lvlib.data.arrays import open_array
from lvlib.data.clips import sha256
from lvlib.data.video_folder import SPLITS
from lvlib.errors import UserError, printable
from lvlib.evaluation.batch import SIZE, FileBatch
from lvlib.evaluation.choice import Clips
from lvlib.evaluation.protocols import Protocol

log = logging.getLogger(__name__)


class SampleFile:
    """The clips in a .npy file, uint8 (n, t, h, w, c), as `lvlib sample --out FILE.npy` writes them."""

    fps = None

    def __init__(self, path: Path, frames: int | None, stride: int = 1):
        self.path = path
        try:
            self.array = open_array(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as an array: {error}") from error
        shape, dtype = self.array.shape, self.array.dtype
        if len(shape) != 5 or dtype != np.uint8 or shape[-1] not in (1, 3) or 0 in shape:
            raise UserError(f"{path} must hold uint8 clips (n, t, h, w, c), c 1 or 3, not {dtype} {shape}")
        self.stride, self.frames = stride, frames or (shape[1] - 1) // stride + 1
        self.span = self.frames * stride
        self.parts = (shape[1] - (self.span - stride + 1)) // self.span + 1
        if self.parts < 1:
            raise UserError(f"clips in {path} have {shape[1]} frames, too few for {self.frames} with stride {stride}")

    def __len__(self) -> int:
        return len(self.array) * self.parts

    def __getitem__(self, index: int) -> dict:
        clip, part = divmod(index, self.parts)
        return {"video": np.array(self.array[clip][part * self.span:(part + 1) * self.span:self.stride])}

    def fingerprint(self) -> str:
        """Of the whole file: it is read once for it."""
        return f"{sha256(self.path)} {self.frames} {self.stride}"

    def clips_of_videos(self) -> list[range]:
        return [range(start, start + self.parts) for start in range(0, len(self), self.parts)]


def open_clips(path: Path, protocol: Protocol, frames: int | None, stride: int) -> Clips:
    """The clips at a path. Raises UserError for what cannot be read, or has another size than the protocol asks for."""
    if not path.exists():
        raise UserError(f"there is no {path}: give a folder of videos, a data set, or a .npy file of clips")
    if path.is_file():
        if path.suffix != ".npy":
            raise UserError(f"{path} is one file: give the folder that it lies in, or a .npy file of clips")
        return _of_size(SampleFile(path, frames, stride), path, protocol)
    if (path / "meta.json").exists():
        return _of_size(ClipSet(path, protocol.split, frames, stride), path, protocol)
    split = protocol.split if any((path / name).is_dir() for name in SPLITS) else "all"
    hop = 1 if protocol.choice == "video" else None
    return VideoFolder(path, frames or 16, stride, protocol.size, hop, split, protocol.resize)


def _of_size(clips: ClipSet | SampleFile, path: Path, protocol: Protocol) -> ClipSet | SampleFile:
    height, width = clips[0]["video"].shape[1:3]
    if protocol.size not in (None, height) or protocol.size and height != width:
        raise UserError(f"clips in {path} are {height} x {width}, the protocol's {protocol.size} x {protocol.size}: "
                        "only video files are resized")
    return clips


class FileSource:
    """Real and generated clips by number, in batches.

    counted: of how many the scores are, but for the inception score. paired: the clips of one place belong together.
    A clip that cannot be decoded is left out, and the log names it; of pairs, it is an error.
    """

    def __init__(self, real: Clips, real_numbers: list[int], generated: Clips, generated_numbers: list[int],
                 counted: int, paired: bool, device: str):
        self.sets = (real, real_numbers), (generated, generated_numbers)
        self.counted, self.paired, self.device = counted, paired, device

    def __len__(self) -> int:
        return -(-max(len(numbers) for _, numbers in self.sets) // SIZE)

    def batch(self, number: int) -> FileBatch:
        part = slice(number * SIZE, (number + 1) * SIZE)
        videos = [self._read(clips, numbers[part]) for clips, numbers in self.sets]
        return FileBatch(part.start, *videos, counted=max(0, min(self.counted - part.start, SIZE)))

    def _read(self, clips: Clips, numbers: list[int]) -> Tensor:
        videos = []
        for number in numbers:
            try:
                item = clips.clip(number) if isinstance(clips, VideoFolder) else clips[number]
                videos.append(to_video(item["video"]))
            except UserError as error:
                if self.paired:
                    raise
                log.warning("left out a clip: %s", printable(error))
        return torch.stack(videos).to(self.device) if videos else torch.empty(0, device=self.device)


def check_alike(real: Clips, generated: Clips, names: tuple[Path, Path]) -> None:
    """Raises UserError for sets of another size, colour or rate than each other."""
    shapes = [clips[0]["video"].shape[1:] for clips in (real, generated)]
    if shapes[0][:2] != shapes[1][:2]:
        sizes = [f"{height} x {width}" for height, width, _ in shapes]
        raise UserError(f"clips in {names[0]} are {sizes[0]}, in {names[1]} {sizes[1]}: give --protocol.size, and "
                        "video files are resized")
    if shapes[0][2] != shapes[1][2]:
        raise UserError(f"clips in {names[0]} have {shapes[0][2]} channels, in {names[1]} {shapes[1][2]}: grey and "
                        "colour cannot be compared")
    rates = [clips.fps for clips in (real, generated)]
    if all(rates) and abs(rates[0] / rates[1] - 1) > 0.02:
        raise UserError(f"clips in {names[0]} have {rates[0]:.4g} frames a second, in {names[1]} {rates[1]:.4g}: set "
                        "--protocol.stride to take every n-th real frame, or write the videos at the same rate")
