"""Bad run folders: settings, weights, states and logs that are damaged, exchanged, linked or left over."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from random import Random

import numpy as np

from bad_inputs.case import Case, Place, resume
from bad_inputs.damage import damage_bytes, damage_json, remove, stand_in
from bad_inputs.place import BEFORE, BESIDE, RUNS

CLASSES = ("FrameVQVAEConfig", "VideoVQVAEConfig", "LVTConfig", "VideoGPTConfig", "MaskedConfig", "PlanesConfig",
           "ToldConfig", "DenoiserConfig", "DataConfig", "TrainingConfig", "object")
LEFTOVERS = ("lock", "latents.lock", "config.tmp", "metrics.tmp", "checkpoints/tmp-00000003", "checkpoints/00000003",
             "checkpoints/99999999", "checkpoints/\u00b2", "checkpoints/0", "checkpoints/7.old", "latents/meta.json",
             "latents/train.npy", "latents", "tensorboard", "codes", "autoencoder", "prior", "other")


class _Program:
    """Runs when it is unpickled without care."""

    def __reduce__(self):
        return Path.mkdir, (Path("precious/ran"),)


def prepare(place: Place) -> Case:
    root, random = place
    name = random.choice((*RUNS, *RUNS, *BESIDE, *BEFORE))
    run = root / ("old" if name in BEFORE else "runs") / name
    call = _call(run, name, root, random)
    folders = [path.parent for path in sorted(run.rglob("config.json"))]  # also the run that it stands on
    damages = (_settings, _settings, _settings, _classes, _bytes, _bytes, _exchange, _weights, _manifest, _garbage,
               _link, _below, _leftover)
    target = random.choice(folders)
    done = random.choice(damages)(target, root, random)
    return Case(call, f"{target.relative_to(root)}: {done:.80}")


def _call(run: Path, name: str, root: Path, random: Random) -> list[str]:
    short = run.relative_to(root).as_posix()
    choices = [
        ["reconstruct", short, "videos/c.gif", "--out", "new.npy"],
        ["evaluate", short, "--data.root", "old/data" if name in BEFORE else "clips", "--device", "cpu"],
        ["sample", short, "--n", "1", "--out", "new.npy", *(["--given", "old/data"] if name.startswith("lvt") else [])],
        ["train", *_as_started(run)],
    ]
    if name in ("masked-vqvae", "planes-gan"):
        prior = "masked" if name == "masked-vqvae" else "planes"
        choices.append(["train", prior, "--autoencoder", short, "--out", "new", "--data.root", "clips", "--device",
                        "cpu", "--training.steps", "1"])
    if name.startswith("frames"):
        choices.append(["merge_codes", short, "--codes", "4", "--out", "new"])
    if name in RUNS:
        choices.append(resume(name))
    return random.choice(choices)


def _as_started(run: Path) -> list[str]:
    """Goes on with a run, each field as config.json has it."""
    settings = json.loads((run / "config.json").read_text())
    fields = []
    for part, values in settings.items():
        if part in ("data", "autoencoder", "prior", "refiner", "training") and values:
            for field, value in values.items():
                words = map(str, value) if isinstance(value, list) else [str(value)]
                fields += [f"--{part}.{field}", *words] if field != "class" else []
    if run.parent.name == "old":
        fields += ["--data.root", "old/data"]
    return [settings["name"], "--out", f"{run.parent.name}/{run.name}", "--device", "cpu", *fields]


def _checkpoint(run: Path) -> Path:
    return max((run / "checkpoints").iterdir())


def _settings(run: Path, root: Path, random: Random) -> str:
    path = run / "config.json"
    text, done = damage_json(path.read_text(), random)
    path.write_text(text, encoding="utf-8")
    return f"config.json {done}"


def _classes(run: Path, root: Path, random: Random) -> str:
    path = run / "config.json"
    settings = json.loads(path.read_text())
    part = random.choice([name for name in ("autoencoder", "prior", "refiner", "data") if settings.get(name)])
    settings[part]["class"] = random.choice(CLASSES)
    path.write_text(json.dumps(settings))
    return f"class of {part} {settings[part]['class']}"


def _file(run: Path, random: Random) -> Path:
    files = [*_checkpoint(run).iterdir(), run / "config.json", run / "metrics.jsonl"]
    files += [path for path in (run / "latents").glob("*")]
    return random.choice(sorted(file for file in files if file.exists()))


def _bytes(run: Path, root: Path, random: Random) -> str:
    path = _file(run, random)
    data, done = damage_bytes(path.read_bytes(), random)
    path.write_bytes(data)
    return f"{path.name} {done}"


def _exchange(run: Path, root: Path, random: Random) -> str:
    """With the same file, or the same folder, of another run."""
    other = root / "runs" / random.choice(RUNS)
    what = random.choice(("config.json", "metrics.jsonl", "checkpoints", "latents", "checkpoint", "model.safetensors",
                          "state.pt", "manifest.json"))
    if what in ("config.json", "metrics.jsonl", "checkpoints", "latents"):
        source, target = other / what, run / what
    else:
        name = "" if what == "checkpoint" else what
        source, target = _checkpoint(other) / name, _checkpoint(run) / name
    if source.exists() and source != target:
        remove(target)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return f"{what} of {other.name}"


def _weights(run: Path, root: Path, random: Random) -> str:
    """Numbers that no training leaves there, with a manifest that agrees."""
    from safetensors.numpy import load_file, save_file

    checkpoint, kind = _checkpoint(run), random.choice(("remove", "another name", *FILLED))
    for file in sorted(checkpoint.glob("*.safetensors")):
        tensors = load_file(file)
        name = random.choice(sorted(tensors))
        value = tensors.pop(name)
        if kind in FILLED:
            tensors[name] = np.asarray(FILLED[kind](value))
        elif kind == "another name":
            tensors["extra.weight"] = value
        save_file(tensors, file)
    _agree(checkpoint)
    return f"weights {name} {kind}"


FILLED = {
    "nan": lambda value: np.full_like(value, np.nan if value.dtype.kind == "f" else -1),
    "infinite": lambda value: np.full_like(value, np.inf if value.dtype.kind == "f" else 2**31),
    "huge": lambda value: np.full_like(value, 1e30 if value.dtype.kind == "f" else 2**62),
    "zero": np.zeros_like,
    "another shape": lambda value: np.zeros((3, *value.shape), value.dtype),
    "integers": lambda value: np.ones(value.shape, np.int16),
}


def _manifest(run: Path, root: Path, random: Random) -> str:
    path = _checkpoint(run) / "manifest.json"
    text, done = damage_json(path.read_text(), random)
    path.write_text(text, encoding="utf-8")
    return f"manifest.json {done}"


def _garbage(run: Path, root: Path, random: Random) -> str:
    """Contents that are none, with a manifest that agrees."""
    checkpoint = _checkpoint(run)
    path = random.choice(sorted(file for file in checkpoint.iterdir() if file.name != "manifest.json"))
    data, done = damage_bytes(path.read_bytes(), random)
    kind = random.choice(("damaged", "damaged", "program", "empty table", "other"))
    data = {"program": pickle.dumps(_Program()), "empty table": b"\x02\0\0\0\0\0\0\0{}", "damaged": data,
            "other": random.randbytes(300)}[kind]
    path.write_bytes(data)
    _agree(checkpoint)
    return f"{path.name} {kind} {done}, and the manifest agrees"


def _agree(checkpoint: Path) -> None:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for path in (checkpoint / name for name in manifest["files"]):
        if path.exists():
            data = path.read_bytes()
            manifest["files"][path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def _link(run: Path, root: Path, random: Random) -> str:
    """Something else under the name of a file of the run."""
    path = random.choice((_file(run, random), run / "config.json", _checkpoint(run), run / "checkpoints",
                          run / "metrics.jsonl"))
    return f"{path.name} is {stand_in(path, random)}"


def _below(run: Path, root: Path, random: Random) -> str:
    """What the run stands on: other weights, another run, nothing, or a link."""
    stage = next((name for name in ("prior", "autoencoder") if (run / name).exists()), "autoencoder")
    path = run / stage
    if random.random() < 0.5:
        return f"{stage} is {stand_in(path, random)}"
    other = root / "runs" / random.choice(RUNS)
    shutil.copytree(other, root / "copy")  # the run may stand in the other
    remove(path)
    (root / "copy").rename(path)
    return f"{stage} is a copy of {other.name}"


def _leftover(run: Path, root: Path, random: Random) -> str:
    path = run / random.choice(LEFTOVERS)
    return f"{path.relative_to(run)} is {stand_in(path, random)}"
