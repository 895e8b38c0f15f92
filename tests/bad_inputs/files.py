"""Bad files: videos, images, arrays and meta.json, damaged or replaced by something else."""

import json
from pathlib import Path
from random import Random

import numpy as np

from bad_inputs.case import Case, Place
from bad_inputs.damage import damage_bytes, damage_json, stand_in
from bad_inputs.place import VIDEOS

NAMES = ["a:b.mp4", "\U0001f600.mp4", "a b.mp4", "-x.mp4", "line\nline.mp4", "\x1b[31m.mp4", "%04d.mp4", "\udcff.mp4",
         "file:x.mp4", "concat:a.mp4|b.mp4", "x.MP4", "a'b\".mp4", "x" * 200 + ".mp4"]
HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 4, 32, 32, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-6, 4, 32, 32, 3), }",
    "{'descr': '|u1', 'fortran_order': True, 'shape': (6, 4, 32, 32, 3), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (6,), }",
    "{'descr': '<U4', 'fortran_order': False, 'shape': (4, 2), }",
    "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (4, 2), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, '2'), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 2), }",
    "{'descr': '<q9', 'fortran_order': 3, 'shape': None, }",
    "__import__('os').mkdir('precious/ran')", "(" * 500, "{'shape': " + "9" * 5000 + "}", "\x00", "",
]
NEW = ["--device", "cpu", "--training.steps", "1"]


def prepare(place: Place) -> Case:
    return place.random.choice((_video, _video, _video, _set, _set, _array, _sound))(place)


def _video(place: Place) -> Case:
    root, random = place
    name = random.choice((*VIDEOS, *(f"images/{path.name}" for path in sorted((root / "videos/images").iterdir()))))
    path = root / "videos" / name
    done = _damage_video(path, random)
    shown = f"videos/{name}" if path.parent.name == "videos" else "videos/images"
    if "renamed" in done and path.parent.name == "videos":
        shown = f"videos/{done.removeprefix('renamed ')}"
    call = random.choice((
        ["data", "video_folder", "videos", "--out", "new", "--frames", "4", "--size", "32"],
        ["train", "planes-gan", "--out", "new", "--data.root", "videos", *NEW],
        ["evaluate", "runs/planes-gan", "--data.root", "videos", "--split", "train"],
        ["reconstruct", "runs/masked-vqvae", shown, "videos/c.gif", "--out", "new.gif"],
        ["reconstruct", "old/frames-whole", shown, "--out", "new.npy"],
        ["sample", "runs/masked", "--given", shown, "--n", "1", "--out", "new.npy"],
    ))
    return Case(call, f"videos/{name!r:.40}: {done!r:.60}")


def _damage_video(path: Path, random: Random) -> str:
    kind = random.choice(("bytes", "bytes", "bytes", "bytes", "stand-in", "name", "other"))
    if kind == "bytes":
        data, done = damage_bytes(path.read_bytes(), random)
        path.write_bytes(data)
        return done
    if kind == "stand-in":
        return stand_in(path, random)
    if kind == "other":  # of another format than its name says
        source = random.choice(("a.mp4", "c.gif", "images/0.png", "images/1.jpg", "../actions.npy"))
        content = (path.parents[1 if path.parent.name == "images" else 0] / source).read_bytes()
        path.write_bytes(content)
        return f"the content of {source}"
    name = Path(random.choice(NAMES)).with_suffix(path.suffix).name
    try:
        new = path.rename(path.with_name(name))
    except OSError:  # not every file system takes every name
        new = path
    return f"renamed {new.name}"


def _set(place: Place) -> Case:
    root, random = place
    split = random.choice(("train", "val", "test"))
    name = random.choice(("meta.json", "meta.json", "meta.json", f"{split}/video.npy", f"{split}/label.npy",
                          f"{split}/actions.npy", f"{split}/text.npy", f"{split}/audio.npy", f"{split}"))
    path = root / "clips" / name
    if name == split or random.random() < 0.2:
        done = stand_in(path, random)
    elif name == "meta.json" and random.random() < 0.8:
        text, done = damage_json(path.read_text(), random)
        path.write_text(text, encoding="utf-8")
    elif name != "meta.json" and random.random() < 0.5:
        done = _crafted(path, random)
    else:
        data, done = damage_bytes(path.read_bytes(), random)
        path.write_bytes(data)
    if done.startswith(("flipped", "header", "zeroed")) and name != "meta.json" and random.random() < 0.5:
        _agree(root / "clips", name)
        done += ", and meta.json agrees"
    call = random.choice((
        ["train", "planes-gan", "--out", "new", "--data.root", "clips", *NEW],
        ["train", "masked", "--out", "new", "--data.root", "clips", "--autoencoder", "runs/masked-vqvae", *NEW],
        ["evaluate", "runs/masked", "--data.root", "clips", "--split", split],
        ["evaluate", "runs/acted", "--data.root", "clips", "--given-frames", "1"],
        ["sample", "runs/masked", "--given", "clips", "--n", "2", "--out", "new.npy"],
        ["sample", "runs/acted", "--given", "clips", "--n", "2", "--out", "new.gif"],
        ["train", "told", "--out", "new", "--data.root", "clips", "--autoencoder", "runs/masked-vqvae", *NEW],
        ["sample", "runs/told", "--given", "clips", "--n", "1", "--out", "new.mp4"],
    ))
    return Case(call, f"clips/{name}: {done:.60}")


def _array(place: Place) -> Case:
    root, random = place
    path = root / "actions.npy"
    kind = random.choice(("bytes", "crafted", "values", "stand-in"))
    if kind == "bytes":
        data, done = damage_bytes(path.read_bytes(), random)
        path.write_bytes(data)
    elif kind == "crafted":
        done = _crafted(path, random)
    elif kind == "stand-in":
        done = stand_in(path, random)
    else:
        array = random.choice((np.full((4, 2), np.nan), np.full((4, 2), 1e300), np.zeros((4, 3)), np.zeros(()),
                               np.zeros((0, 2)), np.zeros((4, 2), bool), np.zeros((4, 2), complex),
                               np.zeros((4, 2), "M8[s]"), np.array([[2**63, 2]] * 4, np.uint64),
                               np.zeros((4, 2), "f2")))
        np.save(path, array)
        done = f"{array.dtype} {array.shape}"
    return Case(["sample", "runs/acted", "--n", "1", "--condition.actions", "actions.npy", "--out", "new.npy"],
                f"actions.npy: {done:.60}")


def _sound(place: Place) -> Case:
    root, random = place
    path = root / "loop.wav"
    if random.random() < 0.2:
        done = stand_in(path, random)
    else:
        source = random.choice((path, path, root / "videos/a.mp4", root / "actions.npy"))
        data, done = damage_bytes(source.read_bytes(), random)
        path.write_bytes(data)
        done = f"{source.name} {done}"
    return Case(["sample", "runs/told", "--n", "1", "--condition.text", "the one waits", "--condition.audio",
                 "loop.wav", "--out", random.choice(("new.mp4", "new.npy"))], f"loop.wav: {done:.60}")


def _crafted(path: Path, random: Random) -> str:
    header = random.choice(HEADERS).encode()
    length = random.choice((len(header), len(header), 60_000))
    path.write_bytes(b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + header + bytes(100))
    return f"header {header.decode():.50}"


def _agree(root: Path, name: str) -> None:
    from lvlib.data.clips import sha256

    meta = json.loads((root / "meta.json").read_text())
    meta["sha256"][name] = sha256(root / name)
    (root / "meta.json").write_text(json.dumps(meta))
