"""lvlib reconstruct: videos through the latents of a trained run and back."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lvlib.cli.arguments import Parser, add_device

if TYPE_CHECKING:
    from torch import nn

    from lvlib.configs import Config
    from lvlib.data.video_files import Video

CHUNK = 64  # frames that go through a frame autoencoder together


def main(arguments: list[str]) -> None:
    parser = Parser("lvlib reconstruct", description="Encode videos with a trained run, decode their latents, and "
                    "write the originals and the reconstructions side by side. Prints the PSNR of each video.")
    parser.add_argument("run", metavar="RUN", help="folder that `lvlib train` wrote, or the name of a shipped model")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="video files, or folders of images")
    add_device(parser)
    parser.add_argument("--out", type=Path, required=True, help="file to write: .mp4 .gif .png (a strip) .npy")
    options = parser.parse_args(arguments)
    from lvlib.data import write_video
    from lvlib.data.video_files import probe
    from lvlib.data.video_writer import writer_of
    from lvlib.runs.load import load_autoencoder, load_config
    from lvlib.runs.shipped import run_folder

    writer_of(options.out)  # a name that nothing can write is better known now
    videos = [probe(path) for path in options.videos]  # all of them, before the work on the first begins
    rates = np.repeat([video.fps for video in videos], [video.frames for video in videos])  # each keeps its own
    writer_of(options.out, rates)
    run = run_folder(options.run)
    config, model = load_config(run), load_autoencoder(run, options.device)[1]
    shape = sum(video.frames for video in videos), config.data.size, 2 * config.data.size, config.autoencoder.channels
    with tempfile.TemporaryFile() as file:  # hours of video need not fit in memory
        for video in videos:
            for frames in side_by_side(model, config, video):
                file.write(frames.tobytes())
        file.flush()
        write_video(options.out, np.memmap(file, np.uint8, "r", shape=shape), rates)
    bits, original = bits_per_pixel(config), 8 * config.autoencoder.channels
    print(f"{options.out}: {bits:.2f} bits a pixel in latents, {original} in the original")


def bits_per_pixel(config: "Config") -> float:
    """What latents take: log2 of their number for each code, 32 for each float."""
    latents = config.latents
    bits = math.log2(latents.num_codes) if latents.num_codes else 32
    return math.prod(latents.shape) * bits / (config.data.frames * config.data.size**2)


def side_by_side(model: "nn.Module", config: "Config", video: "Video") -> Iterator[np.ndarray]:
    """uint8 frames (t, h, 2w, c): the original on the left. At the end, prints the PSNR of the whole video."""
    import torch

    from lvlib.data import from_video, to_video
    from lvlib.data.tensors import as_channels
    from lvlib.data.video_files import decode
    from lvlib.evaluation.generate import finite
    from lvlib.metrics.pixels import mse

    device = next(model.parameters()).device
    squared_error = 0.0
    whole_clips = not config.autoencoder.frame_by_frame
    chunk = config.data.frames if whole_clips else CHUNK
    for start in range(0, video.frames, chunk):
        frames = decode(video, range(start, min(start + chunk, video.frames)), config.data.size)
        original = to_video(as_channels(frames, config.autoencoder.channels)).to(device)[None]
        clip = original
        if whole_clips:  # the last one is filled up with its last frame
            clip = torch.cat([original, original[:, :, -1:].expand(-1, -1, chunk - len(frames), -1, -1)], 2)
        reconstruction = finite(model.decode(model.encode(clip)))[:, :, :len(frames)]
        squared_error += mse(reconstruction, original).item() * len(frames)
        yield from_video(torch.cat([original, reconstruction], -1))[0].cpu().numpy()
    decibels = 10 * math.log10(4 * video.frames / squared_error) if squared_error else math.inf
    print(f"{video.path}: PSNR {decibels:.2f} dB, {video.frames} frames")
