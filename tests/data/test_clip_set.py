import json
import pickle

import numpy as np
import pytest
from small_videos import numbered, save_video
from torch.utils.data import DataLoader

from lvlib.data import ClipSet, VideoFolder, data_home, is_finished, new_folder, open_data, write_clip_set
from lvlib.errors import UserError

random = np.random.default_rng(0)
VIDEO = random.integers(0, 256, (7, 12, 8, 6, 3), np.uint8)
FIELDS = {
    "video": VIDEO,
    "label": random.integers(0, 10, 7),
    "actions": random.normal(size=(7, 12, 2)).astype(np.float32),
    "text": np.array([f"clip {i}" for i in range(7)]),
}


@pytest.fixture
def root(tmp_path):
    """A set of 7 clips for train, written in batches of 4 and 3, and 2 for val."""
    batches = [{name: field[part] for name, field in FIELDS.items()} for part in (slice(0, 4), slice(4, 7))]
    val = [{name: field[:2] for name, field in FIELDS.items()}]
    splits = {"train": batches, "val": val}
    write_clip_set(tmp_path / "set", "mine", {"seed": 1}, splits, 10, ("video", "actions"), "abc")
    return tmp_path / "set"


def test_what_was_written_is_read(root):
    clips = ClipSet(root)
    assert len(clips) == 7 and clips.fps == 10 and clips.frames == 12 and clips.shape == (8, 6, 3)
    assert clips.classes == ["a", "b", "c"] and len(ClipSet(root, "val")) == 2
    for i, clip in enumerate(clips):
        assert set(clip) == set(FIELDS)
        assert all((clip[name] == FIELDS[name][i]).all() for name in ("video", "actions"))
        assert (clip["label"], clip["text"]) == (FIELDS["label"][i], FIELDS["text"][i])
        assert type(clip["label"]) is int and type(clip["text"]) is str
    assert (np.load(root / "train" / "video.npy") == VIDEO).all()  # a plain file, for other programs too


@pytest.mark.parametrize("frames, stride", [(5, 1), (12, 1), (4, 3), (2, 3), (None, 2), (1, 20)])
def test_sub_clips_follow_each_other(root, frames, stride):
    clips, length = ClipSet(root, frames=frames, stride=stride), frames or 6
    starts = range(0, 12 - (length - 1) * stride, length * stride)
    expected = [(i, slice(s, s + (length - 1) * stride + 1, stride)) for i in range(7) for s in starts]
    assert len(clips) == len(expected) and clips.fps == 10 / stride and clips.frames == length
    for clip, (i, part) in zip(clips, expected, strict=True):
        assert (clip["video"] == VIDEO[i, part]).all() and len(clip["video"]) == length
        assert (clip["actions"] == FIELDS["actions"][i, part]).all()
        assert clip["label"] == FIELDS["label"][i]


def test_items_can_be_changed_without_harm(root):
    ClipSet(root)[0]["video"][:] = 0
    assert (ClipSet(root)[0]["video"] == VIDEO[0]).all()


def test_workers_map_the_files_themselves(root):
    clips = ClipSet(root)
    clips[0]
    sent = pickle.dumps(clips)
    assert len(sent) < 5000 and (pickle.loads(sent)[3]["video"] == VIDEO[3]).all()
    loaded = np.concatenate([batch["video"] for batch in DataLoader(clips, batch_size=3, num_workers=2)])
    assert (loaded == VIDEO).all()


def test_open_data_tells_a_set_from_a_folder_of_videos(root, tmp_path):
    assert isinstance(open_data(root, "val"), ClipSet)
    assert len(open_data(root, frames=6, size=None)) == 14
    assert isinstance(open_data(root, size=(8, 6)), ClipSet)
    with pytest.raises(UserError, match="are 8 x 6, not 64"):
        open_data(root, size=64)
    save_video(tmp_path / "videos" / "a.mp4", 40)
    folder = open_data(tmp_path / "videos", "all")
    assert isinstance(folder, VideoFolder) and folder[0]["video"].shape == (16, 64, 64, 3) and len(folder) == 2
    assert open_data(tmp_path / "videos", "all", 3, 2, 32)[0]["video"].shape == (3, 32, 32, 3)


def test_data_home(monkeypatch):
    monkeypatch.delenv("LVLIB_DATA", raising=False)
    assert data_home().name == "data" and (data_home().parent / "lvlib" / "data").is_dir()
    monkeypatch.setenv("LVLIB_DATA", "/elsewhere")
    assert str(data_home()) == "/elsewhere"


def damage(path, change):
    content = path.read_bytes()
    path.write_bytes(change(content))


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda r: (r / "meta.json").unlink(), "there is no data set in"),
        (lambda r: damage(r / "meta.json", lambda c: c[:50]), "meta.json is damaged"),
        (lambda r: (r / "meta.json").write_text("{}"), "not of a data set of lvlib"),
        (lambda r: damage(r / "meta.json", lambda c: c.replace(b'"format": 1', b'"format": 2')), "has format 2"),
        (lambda r: (r / "train" / "label.npy").unlink(), "label.npy is missing or damaged"),
        (lambda r: damage(r / "train" / "video.npy", lambda c: c[:-1]), "video.npy is missing or damaged"),
        (lambda r: np.save(r / "train" / "label.npy", np.zeros(3)), "label.npy does not fit meta.json"),
        (lambda r: np.save(r / "train" / "label.npy", np.zeros(7)), "label.npy does not fit meta.json"),
        (lambda r: (r / "train" / "label.npy").write_bytes(b""), "label.npy is missing or damaged"),
        (lambda r: (r / "meta.json").write_text("[" * 100_000), "meta.json is damaged"),
        (lambda r: (r / "meta.json").write_text("null"), "not of a data set of lvlib"),
    ],
)
def test_a_damaged_set_is_refused_at_once(root, break_it, message):
    break_it(root)
    with pytest.raises(UserError, match=message):
        ClipSet(root)


@pytest.mark.parametrize("names, value", [
    (["fps"], "8"), (["fps"], -1), (["fps"], float("nan")), (["fps"], True), (["classes"], "abc"), (["classes"], [1]),
    (["splits"], []), (["splits", "train"], 0), (["splits", "train"], "7"), (["splits", "train"], None),
    (["fields"], {}), (["fields"], "video"), (["fields", "label"], 10**12), (["fields", "label", "per_frame"], 1),
    (["fields", "label", "dtype"], None), (["fields", "video", "shape"], [12, 8, 6]), (["sha256"], None),
    (["fields", "actions", "shape"], [3, 2]), (["fields", "video", "dtype"], "float32"), (["name"], 1),
    (["fields", "video", "per_frame"], False), (["sha256", "train/label.npy"], 0), (["format"], {}),
])
def test_a_meta_json_that_somebody_changed_is_refused(root, names, value):
    meta = json.loads((root / "meta.json").read_text())
    *path, last = names
    part = meta
    for name in path:
        part = part[name]
    part[last] = value
    (root / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=f"meta.json is damaged: its {names[0]} cannot be read"):
        ClipSet(root)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"split": "test"}, "'test'; .*there are: train, val"),
        ({"frames": 13}, "have 12 frames, too few for 13"),
        ({"frames": 5, "stride": 3}, "too few for 5 with stride 3"),
        ({"frames": 0}, "1 or more"),
        ({"stride": 0}, "1 or more"),
    ],
)
def test_a_wrong_value_gets_a_line_that_says_what_is_allowed(root, wrong, message):
    with pytest.raises(UserError, match=message):
        ClipSet(root, **wrong)


def test_is_finished_knows_this_set_from_another(root, tmp_path):
    assert is_finished(root, "mine", {"seed": 1})
    assert not is_finished(tmp_path / "new", "mine", {"seed": 1})
    for name, arguments in (("mine", {"seed": 2}), ("yours", {"seed": 1})):
        with pytest.raises(UserError, match="holds something else already"):
            is_finished(root, name, arguments)
    damage(root / "val" / "video.npy", lambda content: content[:-1] + b"x")
    with pytest.raises(UserError, match="val/video.npy is missing or damaged"):
        is_finished(root, "mine", {"seed": 1})


def test_a_set_that_fails_leaves_nothing(tmp_path):
    def batches():
        yield {"video": VIDEO}
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="cannot write .*new: No space left on device"):
        write_clip_set(tmp_path / "new", "mine", {}, {"train": batches()}, 10)
    with pytest.raises(UserError, match="no clip for val"):
        write_clip_set(tmp_path / "new", "mine", {}, {"train": [{"video": VIDEO}], "val": []}, 10)
    with pytest.raises(UserError, match="clips of one set differ"):
        write_clip_set(tmp_path / "new", "mine", {}, {"train": [{"video": VIDEO}, {"video": VIDEO[:, :3]}]}, 10)
    with pytest.raises(UserError, match="shape of the other splits"):
        splits = {"train": [{"video": VIDEO}], "val": [{"video": VIDEO[:, :3]}]}
        write_clip_set(tmp_path / "new", "mine", {}, splits, 10)
    assert not any(tmp_path.iterdir())


def test_a_folder_in_use_is_never_written_to(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError, match="holds something already"), new_folder(tmp_path):
        raise AssertionError("the body must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UserError, match="holds something already"):
        write_clip_set(tmp_path / "mine", "mine", {}, {"train": [{"video": VIDEO}]}, 10)
    assert (tmp_path / "mine").read_text() == "precious"


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "new").mkdir()
    write_clip_set(tmp_path / "new", "mine", {}, {"train": [{"video": numbered(4)[None]}]}, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert json.loads((tmp_path / "new" / "meta.json").read_text())["splits"] == {"train": 1}
