"""Latents on disk: what an autoencoder said, codes in as few bytes as hold them, and never half."""

import hashlib
import json
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from lvlib.data import ClipSet, to_video, write_clip_set
from lvlib.data.latents import LatentsDataset, open_latents, write_latents
from lvlib.errors import UserError
from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.stages import LatentSpec


class Clips(Dataset):
    """19 random clips, uint8 (3, 8, 12, 3)."""

    def __len__(self) -> int:
        return 19

    def __getitem__(self, index: int) -> dict:
        return {"video": np.random.default_rng(index).integers(256, size=(3, 8, 12, 3), dtype=np.uint8), "text": "a"}


class Scaled(torch.nn.Module):
    """An autoencoder whose codes are the mean red of each 4x4 block, as one of `codes` numbers."""

    def __init__(self, codes: int):
        super().__init__()
        self.top = torch.nn.Parameter(torch.tensor(codes - 1.0))

    def encode(self, video):
        red = torch.nn.functional.avg_pool3d(video[:, :1], (1, 4, 4))[:, 0]
        return ((red + 1) / 2 * self.top).round().long()


def spec_of(codes: int) -> LatentSpec:
    return LatentSpec((3, 2, 3), codes)


@pytest.mark.parametrize("codebooks, workers", [(1, 0), (2, 2)])
def test_they_are_what_the_autoencoder_says(tmp_path, codebooks, workers):
    model = FrameVQVAEConfig(hidden=8, residual_hidden=4, codes=16, codebooks=codebooks).build().eval()
    spec = model.config.latents((3, 3, 8, 12))
    write_latents(tmp_path / "latents", {"train": Clips()}, model, spec, {"by": "a test"}, workers)
    data = open_latents(tmp_path / "latents", {"by": "a test"})["train"]
    assert len(data) == 19
    for index in range(19):
        expected = model.encode(to_video(Clips()[index]["video"])[None])[0]
        codes = torch.as_tensor(data[index]["latents"])
        assert codes.dtype == torch.int64 and torch.equal(codes, expected)
    assert tuple(expected.shape) == (3, 2, 3) + ((2,) if codebooks == 2 else ())


def test_numbers_are_kept_as_they_are(tmp_path):
    """Continuous latents, in planes: float32 on disk and in the item."""
    class Means(Scaled):
        def encode(self, video):
            return video.mean((3, 4))

    write_latents(tmp_path / "latents", {"val": Clips()}, Means(2), LatentSpec((3, 3), planes=((1, 3),)), {})
    item = open_latents(tmp_path / "latents", {})["val"][11]
    assert np.load(tmp_path / "latents" / "val.npy").dtype == np.float32 and item["latents"].dtype == np.float32
    expected = Means(2).encode(to_video(Clips()[11]["video"])[None])[0]
    torch.testing.assert_close(torch.as_tensor(item["latents"]), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("codes, dtype", [(256, np.uint8), (257, np.uint16), (2048, np.uint16)])
def test_a_code_takes_as_few_bytes_as_hold_it(tmp_path, codes, dtype):
    write_latents(tmp_path / "latents", {"train": Clips(), "val": Clips()}, Scaled(codes), spec_of(codes), {})
    stored = np.load(tmp_path / "latents" / "val.npy", mmap_mode="r")
    assert stored.dtype == dtype and stored.shape == (19, 3, 2, 3)
    expected = Scaled(codes).encode(to_video(Clips()[7]["video"])[None])[0]
    assert torch.equal(torch.as_tensor(open_latents(tmp_path / "latents", {})["train"][7]["latents"]), expected)


def test_workers_are_not_sent_the_file(tmp_path):
    np.save(tmp_path / "latents.npy", np.zeros((1000, 4, 4, 4), np.uint8))
    data = LatentsDataset(tmp_path / "latents.npy")
    assert data[999]["latents"].shape == (4, 4, 4)
    assert len(pickle.dumps(data)) < 1000 and len(pickle.loads(pickle.dumps(data))) == 1000


def test_a_condition_lies_beside_the_latents(tmp_path):
    """Of the clip that it belongs to; in a type and shape of its own; and not sent to workers."""
    def condition(item):
        return {"label": np.asarray(item["number"]), "frames": item["video"][:2]}

    data = [{**Clips()[index], "number": 3 * index} for index in range(19)]
    write_latents(tmp_path / "latents", {"train": data, "val": data[5:7]}, Scaled(16), spec_of(16), {"a": 1},
                  condition=condition)
    splits = open_latents(tmp_path / "latents", {"a": 1})
    for split, items in ("train", data), ("val", data[5:7]):
        for kept, item in zip([splits[split][i] for i in range(len(items))], items, strict=True):
            assert set(kept) == {"latents", "condition"} and set(kept["condition"]) == {"label", "frames"}
            assert kept["condition"]["label"] == item["number"]
            np.testing.assert_array_equal(kept["condition"]["frames"], item["video"][:2])
            assert torch.equal(torch.as_tensor(kept["latents"]), Scaled(16).encode(to_video(item["video"])[None])[0])
    assert len(pickle.dumps(splits["train"])) < 1000
    assert pickle.loads(pickle.dumps(splits["train"]))[18]["condition"]["label"] == 54


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_whose_condition_is_refused_is_named(tmp_path, workers):
    def condition(item):
        if item["number"] == 11:
            raise UserError("no label")
        return {"label": np.asarray(item["number"])}

    data = [{**Clips()[index], "number": index} for index in range(12)]
    with pytest.raises(UserError, match="^clip 11 of val: no label$"):
        write_latents(tmp_path / "latents", {"val": data}, Scaled(16), spec_of(16), {}, workers, condition)
    assert not (tmp_path / "latents").exists()


def test_a_damaged_condition_is_seen_too(tmp_path):
    write_latents(tmp_path / "latents", {"train": Clips()}, Scaled(16), spec_of(16), {},
                  condition=lambda _: {"label": np.int64(1)})
    file = tmp_path / "latents" / "train.label.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(UserError, match="are damaged"):
        open_latents(tmp_path / "latents", {})


class Broken(Scaled):
    """Ends in the middle of the file, at the last batch: by an error, or by a kill."""

    killed = False

    def encode(self, video):
        if len(video) < 8:
            if self.killed:
                os._exit(9)  # nothing is flushed or cleared
            raise OSError(28, "No space left on device")
        return super().encode(video)


def write_and_be_killed(folder):
    Broken.killed = True
    write_latents(folder, {"train": Clips()}, Broken(16), spec_of(16), {})


def test_whatever_stops_it_leaves_nothing(tmp_path):
    folder = tmp_path / "latents"
    with pytest.raises(UserError, match="cannot write .*latents: No space left on device"):
        write_latents(folder, {"train": Clips()}, Broken(16), spec_of(16), {})
    assert list(tmp_path.iterdir()) == []
    child = multiprocessing.get_context("spawn").Process(target=write_and_be_killed, args=(folder,))
    child.start()
    child.join()
    assert child.exitcode in (-9, 9)  # 9 on Windows
    assert open_latents(folder, {}) is None and list(tmp_path.iterdir()) != []
    write_latents(folder, {"train": Clips()}, Scaled(16), spec_of(16), {})
    assert [path.name for path in tmp_path.iterdir()] == ["latents"] and len(open_latents(folder, {})["train"])


def test_latents_of_something_else_do_not_count(tmp_path):
    assert open_latents(tmp_path / "latents", {"clips": "a"}) is None
    write_latents(tmp_path / "latents", {"train": Clips()}, Scaled(16), spec_of(16), {"clips": "a"})
    assert open_latents(tmp_path / "latents", {"clips": "b"}) is None
    assert set(open_latents(tmp_path / "latents", {"clips": "a"})) == {"train"}


def test_damage_is_seen_before_training(tmp_path):
    write_latents(tmp_path / "latents", {"train": Clips()}, Scaled(16), spec_of(16), {})
    file, meta = tmp_path / "latents" / "train.npy", tmp_path / "latents" / "meta.json"
    whole, about = file.read_bytes(), meta.read_text()
    for damaged in whole[:-1] + b"\xff", whole[:200], b"":  # a code out of range; cut off; empty
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="latents in .* are damaged; delete that folder"):
            open_latents(tmp_path / "latents", {})
    file.write_bytes(whole)
    for damaged in "{", "[]", json.dumps({"made_from": {}}):
        meta.write_text(damaged)
        with pytest.raises(UserError, match="latents in .* are damaged; delete that folder"):
            open_latents(tmp_path / "latents", {})
    meta.write_text(about)
    assert open_latents(tmp_path / "latents", {})


def test_a_meta_file_that_agrees_with_bad_contents(tmp_path):
    """Of a run folder from elsewhere: the checksums are right, the files are none."""
    folder = tmp_path / "latents"
    write_latents(folder, {"train": Clips()}, Scaled(16), spec_of(16), {}, condition=lambda _: {"label": np.int64(1)})
    for name, content in ("train.npy", b"no array"), ("train.label.npy", b"\x93NUMPY\x01\x00"), ("train", b""):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        copy = shutil.copytree(folder, tmp_path / "copy")
        (copy / name).write_bytes(content)
        meta = json.loads((copy / "meta.json").read_text())
        meta["sha256"][name] = hashlib.sha256(content).hexdigest()
        (copy / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(UserError, match="are damaged; delete that folder"):
            open_latents(copy, {})
    for sha256 in {}, [], None, {"train.label.npy": meta["sha256"]["train.label.npy"]}:
        (folder / "meta.json").write_text(json.dumps({"made_from": {}, "sha256": sha256}))
        with pytest.raises(UserError, match="are damaged; delete that folder"):
            open_latents(folder, {})


def test_fingerprints_tell_clips_apart_wherever_they_lie(tmp_path):
    def clips(name, seed, **arguments):
        video = np.random.default_rng(seed).integers(256, size=(4, 8, 8, 8, 3), dtype=np.uint8)
        write_clip_set(tmp_path / name, "noise", {}, {"train": [{"video": video}], "val": [{"video": video}]}, fps=5)
        return ClipSet(tmp_path / name, **arguments).fingerprint()

    assert clips("a", 0) == clips("b", 0) != clips("c", 1)
    same = {ClipSet(tmp_path / "a", frames=frames, stride=stride).fingerprint()
            for frames, stride in ((8, 1), (4, 1), (4, 2), (2, 1))}
    assert len(same) == 4 and clips("d", 0, frames=8) in same


def test_a_fingerprint_is_of_the_fields_that_are_asked_for(tmp_path):
    def fingerprint(name, label, *fields):
        video = np.zeros((2, 4, 8, 8, 3), np.uint8)
        batch = {"video": video, "label": np.array([0, label])}
        write_clip_set(tmp_path / name, "black", {}, {"train": [batch]}, fps=5)
        return ClipSet(tmp_path / name).fingerprint(fields)

    assert fingerprint("a", 1) == fingerprint("b", 2)
    assert fingerprint("c", 1, "label") != fingerprint("d", 2, "label")
    assert fingerprint("e", 1, "label") == fingerprint("f", 1, "label")
