"""The place where every case begins: data, videos, runs and configurations, all small and all in order."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "systems")]

from made_up import CONFIGS  # noqa: E402, F401

# In runs/, two steps of four taken.
RUNS = ("masked-vqvae", "masked", "planes-gan", "planes", "planes-refiner", "told")
BEFORE = ("frames-half", "frames-whole", "lvt-half", "lvt-whole", "videogpt-whole")  # in old/, see tests/runs
_SMALL = ["--data.size", "32", "--training.batch", "2"]
_VQGAN = ["--data.frames", "4", "--autoencoder.channels", "3", "--autoencoder.hidden", "2", "--autoencoder.downsample",
          "1", "8", "8", "--autoencoder.codes", "16", "--autoencoder.code_dim", "4", *_SMALL]
_TRIPLANE = ["--data.frames", "2", "--autoencoder.frames", "2", "--autoencoder.channels", "3", "--autoencoder.patch",
             "16", "--autoencoder.width", "16", "--autoencoder.layers", "1", "--autoencoder.heads", "2", *_SMALL]
BESIDE = {  # in runs/, too: systems of the course, in small
    "acted": ["videogpt-doom-course", "--data.frames", "4", "--autoencoder.codes", "1024", "--prior.dim", "16",
              "--prior.heads", "2", "--prior.layers", "1", "--prior.hidden", "16", "--prior.actions", "2", *_SMALL],
    "vqgan": ["tats-vqgan-course", *_VQGAN],
    "filled": ["mebt-course", *_VQGAN, "--prior.dim", "16", "--prior.heads", "2", "--prior.hidden", "16",
               "--prior.encoder_layers", "1", "--prior.decoder_layers", "1", "--prior.bottleneck", "4",
               "--prior.classes", "5"],
    "triplane": ["pvdm-autoencoder-course", *_TRIPLANE],
    "diffused": ["pvdm-course", *_TRIPLANE, "--prior.width", "8", "--prior.heads", "2"],
}
VIDEOS = ("a.mp4", "b.avi", "c.gif", "d.mkv", "e.webm", "f.mov")  # in videos/, beside the folder "images"
_CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4"}


def make_place(root: Path) -> None:
    """
        runs/NAME    runs of the systems that tests/systems makes up, and of the course's in small
        old/NAME     runs that an older lvlib wrote, and old/data, which they learned from
        clips        a data set with labels, for runs/
        videos       a video of each container, and a folder of images
        actions.npy  an array of numbers
        samples.npy  clips
        loop.wav     a sound
        precious     a file and a run that nothing may touch
    """
    from lvlib.cli import main
    from lvlib.data import write_clip_set
    from lvlib.data.audio import wav_bytes

    random = np.random.default_rng(0)

    def clips(n: int) -> dict[str, np.ndarray]:
        return {"video": random.integers(256, size=(n, 4, 32, 32, 3), dtype=np.uint8), "label": np.arange(n) % 5,
                "actions": random.integers(2, size=(n, 4, 2), dtype=np.uint8),
                "text": np.resize(np.array(["the seven falls", "the two rises"], "U70"), n),
                "audio": random.uniform(-0.5, 0.5, (n, 4, 400)).astype(np.float32)}

    write_clip_set(root / "clips", "clips", {}, {"train": [clips(6)], "val": [clips(2)], "test": [clips(3)]}, fps=10,
                   per_frame=("video", "actions", "audio"), classes=["run", "jump", "sit", "lie", "fall"])
    _make_videos(root / "videos", random)
    np.save(root / "actions.npy", np.zeros((4, 2), np.float32))
    np.save(root / "samples.npy", random.integers(256, size=(6, 4, 32, 32, 3), dtype=np.uint8))
    (root / "loop.wav").write_bytes(wav_bytes(random.uniform(-0.5, 0.5, 3000), 8000))
    for name in (*BEFORE, "data"):
        shutil.copytree(TESTS / "runs/files/before_contracts" / name, root / "old" / name)
    stands_on = {"masked": ("--autoencoder", "masked-vqvae"), "planes": ("--autoencoder", "planes-gan"),
                 "planes-refiner": ("--prior", "planes"), "told": ("--autoencoder", "masked-vqvae"),
                 "acted": ("--autoencoder", "masked-vqvae"), "filled": ("--autoencoder", "vqgan"),
                 "diffused": ("--autoencoder", "triplane")}
    for name in (*RUNS, *BESIDE):
        option, below = stands_on.get(name, (None, None))
        given = [option, f"{root}/runs/{below}"] if option else []
        assert main(["train", *BESIDE.get(name, [name]), "--out", f"{root}/runs/{name}", "--data.root",
                     f"{root}/clips", "--device", "cpu", "--training.steps", "2", "--training.checkpoint_every", "1",
                     "--training.log_every", "1", *given]) == 0
    for config in (root / "runs").rglob("config.json"):  # each copy of the place has its own clips
        values = json.loads(config.read_text())
        values["data"]["root"] = "clips"
        config.write_text(json.dumps(values, indent=1))
    (root / "precious").mkdir()
    (root / "precious/file").write_bytes(b"precious" * 100)
    shutil.copytree(root / "runs/masked-vqvae", root / "precious/run")


def _make_videos(folder: Path, random: np.random.Generator) -> None:
    import av
    from PIL import Image

    from lvlib.data import write_video

    folder.mkdir()
    frames = random.integers(256, size=(9, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    for name in VIDEOS:
        if name.endswith(".gif"):
            write_video(folder / name, frames, fps=10)
            continue
        with av.open(str(folder / name), "w") as file:
            stream = file.add_stream(_CODECS[name[-4:] if name[-4] == "." else name[-5:]], rate=10)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            file.mux(stream.encode())
    (folder / "images").mkdir()
    for i, (frame, suffix) in enumerate(zip(frames, ("png", "jpg", "bmp", "webp") * 3, strict=False)):
        Image.fromarray(frame).save(folder / "images" / f"{i}.{suffix}")
