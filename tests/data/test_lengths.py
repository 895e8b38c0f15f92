"""How long videos are, against the very clips that can be cut from them."""

import numpy as np
import pytest
from small_videos import save_video

from lvlib.data import ClipSet, VideoFolder, write_clip_set
from lvlib.data.lengths import Lengths, lengths_of, span
from lvlib.errors import UserError

FRAMES = {"train/jump/a.mp4": 25, "train/sit/b.avi": 9, "train/sit/c.mp4": 14, "val/jump/d.mp4": 5}


@pytest.fixture
def folder(tmp_path):
    for name, frames in FRAMES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save_video(tmp_path / name, frames, fps=10 if frames == 9 else 25)
    return tmp_path


def write(root, labels, classes=("run", "jump", "sit"), **fields):
    def clips(labels):
        labels = np.asarray(labels)
        return {"video": np.zeros((len(labels), 7, 8, 8, 3), np.uint8), "label": labels}

    write_clip_set(root, "clips", {}, {split: [clips(some)] for split, some in labels.items()}, 10, classes=classes)
    return root


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 4, 6])
def test_a_video_is_too_short_where_no_clip_can_be_cut(folder, frames, stride, caplog):
    lengths = lengths_of(folder)
    assert not caplog.messages  # nothing of the rates of videos
    enough = VideoFolder(folder, frames, stride, split="all")
    assert lengths.at_least(span(frames, stride)) == len(enough.videos) > 0
    assert sorted(lengths.frames) == [5, 9, 14, 25]


def test_stored_clips_are_the_videos_of_a_prepared_set(tmp_path):
    root = write(tmp_path / "set", {"train": [2, 1, 2], "val": [1]})
    assert lengths_of(root) == Lengths([7] * 4, ["sit", "jump", "sit", "jump"])
    assert lengths_of(root, "val") == Lengths([7], ["jump"])
    for frames, stride in (7, 1), (3, 3), (4, 2):
        assert len(ClipSet(root, frames=frames, stride=stride)) and lengths_of(root).at_least(span(frames, stride)) == 4
    for frames, stride in (8, 1), (3, 4), (5, 2):
        assert lengths_of(root).at_least(span(frames, stride)) == 0
        with pytest.raises(UserError, match="too few"):
            ClipSet(root, frames=frames, stride=stride)


def test_means_of_classes(folder):
    assert lengths_of(folder).of_classes() == {"jump": (2, 15.0), "sit": (2, 11.5)}
    assert lengths_of(folder, "train").of_classes() == {"jump": (1, 25.0), "sit": (2, 11.5)}
    (folder / "train/jump/a.mp4").rename(folder / "train/a.mp4")  # one video without a class: no classes
    assert lengths_of(folder) == Lengths([25, 9, 14, 5], []) and lengths_of(folder).of_classes() == {}


def test_labels_without_names_are_no_classes_and_labels_that_have_none_are_refused(tmp_path):
    assert lengths_of(write(tmp_path / "unnamed", {"train": [0, 5]}, classes=())).classes == []
    assert lengths_of(write(tmp_path / "many", {"train": [[0, 1], [1, 2]]})).classes == []
    with pytest.raises(UserError, match="a label in .*train is -1, and the set has 3 classes"):
        lengths_of(write(tmp_path / "set", {"train": [0, -1, 3]}))


def test_splits_that_are_not_there(folder, tmp_path_factory):
    root = write(tmp_path_factory.mktemp("sets") / "set", {"train": [0]})
    for place, allowed in (root, "train, all"), (folder, "train, val, all"):
        with pytest.raises(UserError, match=f"unknown split in .*: 'test'; there are: {allowed}"):
            lengths_of(place, "test")
    with pytest.raises(UserError, match="no folder"):
        lengths_of(folder / "nowhere")
