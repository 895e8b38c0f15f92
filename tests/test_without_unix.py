"""The commands work where the system lacks what Windows lacks: modules, `os.fork`, signals, fsync of folders.

They are taken away in a process of its own, before lvlib is loaded. Other packages are loaded first: they look at
`sys.platform`, which stays.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from lvlib.data import write_video

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests/runs/files/before_contracts"

SCRIPT = """
import os, signal, sys
import av, lightning.fabric, psutil, torch.utils.data, torch.utils.tensorboard, tqdm, tyro
sys.modules.update(dict.fromkeys(["fcntl", "grp", "pwd", "resource", "termios"]))
for module, name in ((os, "fork"), (os, "O_DIRECTORY"), (os, "O_NOFOLLOW"), (signal, "SIGALRM"), (signal, "SIGKILL"),
                     (signal, "setitimer"), (signal, "pthread_kill")):
    delattr(module, name)
opened = os.open
def no_folders(path, flags, *rest, **options):
    if isinstance(path, (str, bytes, os.PathLike)) and os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))  # as Windows says for a folder
    return opened(path, flags, *rest, **options)
os.open = no_folders
from lvlib.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(place: Path, *arguments: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], cwd=place, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_train_sample_and_reconstruct(tmp_path):
    small = ["--data.root", FILES / "data", "--data.size", "32", "--data.frames", "4", "--training.batch", "2",
             "--training.steps", "3", "--training.checkpoint_every", "1"]
    run(tmp_path, "train", "videogpt-course", "--autoencoder", FILES / "vqvae-whole", "--out", "run", *small,
        "--autoencoder.downsample", "2", "8", "8", "--autoencoder.hidden", "8", "--autoencoder.residual_hidden", "4",
        "--autoencoder.codes", "8", "--autoencoder.code_dim", "4", "--autoencoder.residual_blocks", "1",
        "--prior.dim", "16", "--prior.heads", "2", "--prior.layers", "1", "--prior.hidden", "16")
    assert sorted(int(path.name) for path in (tmp_path / "run/checkpoints").iterdir()) == [1, 2, 3]
    run(tmp_path, "sample", "run", "--n", "2", "--condition.label", "3", "--out", "samples.gif")
    write_video(tmp_path / "clip.mp4", np.zeros((5, 32, 32, 3), np.uint8))
    assert "PSNR" in run(tmp_path, "reconstruct", "run", "clip.mp4", "--out", "pair.mp4")
    assert (tmp_path / "samples.gif").exists() and (tmp_path / "pair.mp4").exists()
