import pickle
from collections import Counter

import numpy as np
import pytest
from small_videos import cut, numbers, save_images, save_video
from torch.utils.data import DataLoader

from lvlib.data import VideoFolder, read_video
from lvlib.errors import UserError


def test_clips_are_cut_by_frames_stride_and_hop(tmp_path):
    save_video(tmp_path / "a.mp4", 25)
    save_video(tmp_path / "b.avi", 14)

    def starts(**options):
        folder = VideoFolder(tmp_path, split="all", size=(24, 32), **options)
        for i, clip in enumerate(folder):
            path, start = folder.source(i)
            span = range(start, start + folder.frames * folder.stride, folder.stride)
            assert numbers(clip["video"]) == list(span)
            assert (clip["video"] == read_video(path, folder.frames, start, folder.stride, (24, 32))[0]).all()
        return [(folder.source(i)[0].name, folder.source(i)[1]) for i in range(len(folder))]

    assert starts(frames=6) == [("a.mp4", s) for s in (0, 6, 12, 18)] + [("b.avi", s) for s in (0, 6)]
    assert starts(frames=5, stride=3) == [("a.mp4", 0), ("b.avi", 0)]
    assert starts(frames=4, stride=3) == [("a.mp4", 0), ("a.mp4", 12), ("b.avi", 0)]
    assert starts(frames=14, hop=5) == [("a.mp4", 0), ("a.mp4", 5), ("a.mp4", 10), ("b.avi", 0)]


def test_unusable_videos_are_named_and_counted_and_the_others_used(tmp_path, caplog):
    save_video(tmp_path / "good.mp4")
    save_video(tmp_path / "short.mp4", 15)
    save_images(tmp_path / "good images")
    save_images(tmp_path / "few images", 3)
    cut(save_video(tmp_path / "cut.mp4"))
    cut(save_video(tmp_path / "cut in front.mp4", container={"movflags": "faststart"}))
    cut(save_video(tmp_path / "cut.webm"))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "README.txt").write_text("not even a candidate")
    (tmp_path / ".hidden.mp4").write_text("")

    folder = VideoFolder(tmp_path, 16, split="all")
    assert [folder.source(i)[0].name for i in range(len(folder))] == ["good images", "good.mp4"]
    reasons = {
        "short.mp4": "too short: 15 frames, and a clip needs 16",
        "few images": "too short: 3 frames",
        "cut.mp4": "cut off",
        "cut in front.mp4": "cut off",
        "cut.webm": "cut off",
        "empty.mp4": "is empty",
        "text.mp4": "not a video",
    }
    assert {path.name for path in folder.skipped} == set(reasons)
    for path, said in folder.skipped.items():
        assert reasons[path.name] in said and str(path) in said
        assert f"skipped: {said}" in caplog.messages
    assert caplog.messages[-1] == f"skipped 7 of 9 videos in {tmp_path}"
    assert all(record.name.startswith("lvlib.data") for record in caplog.records)


def test_nothing_is_said_when_all_is_well(tmp_path, caplog):
    save_video(tmp_path / "good.mp4")
    assert VideoFolder(tmp_path).skipped == {} and not caplog.messages


def test_damage_inside_a_video_does_not_stop_the_epoch(tmp_path, caplog):
    damaged = save_images(tmp_path / "a", 16)
    cut(damaged / "frame7.png", 0.5)
    save_images(tmp_path / "b", 12)
    folder = VideoFolder(tmp_path, 4, split="all")
    assert not folder.skipped
    shown = [numbers(clip["video"])[0] for clip in folder]
    assert shown == [0, 4, 8, 12, 0, 4, 8]  # the second is that of b
    assert (folder[1]["video"] == folder[5]["video"]).all()
    assert [path.name for path in folder.skipped] == ["a"]
    assert caplog.messages == [f"skipped: {damaged} is damaged: frame 6 cannot be decoded"]
    with pytest.raises(UserError, match="frame 6 cannot be decoded"):
        folder.clip(1)


def test_overwritten_bytes_inside_a_file_do_not_stop_the_epoch(tmp_path):
    random = np.random.default_rng(0)
    save_video(tmp_path / "good.mp4", 24)
    for i in range(8):
        path = save_video(tmp_path / f"{i}.mp4", 24, options={"g": "8"}, container={"movflags": "faststart"})
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :] = random.bytes(len(content) - len(content) // 2)
        path.write_bytes(content)
    folder = VideoFolder(tmp_path, 8, split="all")
    assert all(clip["video"].shape == (8, 64, 64, 3) for clip in folder)


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "it holds no file"),
        ({"a.txt": b"x", "b.txt": b"x", "c": b"x"}, "it holds 2 .txt, 1 without a suffix; videos are .avi"),
        ({"a.mp4": b"", "b.gif": b"x"}, "no usable video among the 2 for all in .*a.mp4 is empty; .*b.gif is not"),
    ],
)
def test_a_folder_without_a_usable_video_says_what_was_found(tmp_path, content, message):
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        VideoFolder(tmp_path, split="all")


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="there is no folder"):
        VideoFolder(tmp_path / "nothing")
    with pytest.raises(UserError, match="is not a folder"):
        VideoFolder(tmp_path / "file")


def test_every_tenth_video_is_held_out_whatever_the_length_of_a_clip(tmp_path):
    for i in range(21):
        save_images(tmp_path / f"{i:02}", 2 + i % 2)

    def names(split, frames=2):
        return {path.name for path in (video.path for video in VideoFolder(tmp_path, frames, split=split).videos)}

    assert names("val") == {"09", "19"}
    assert names("train") == {f"{i:02}" for i in range(21)} - {"09", "19"}
    assert names("all") == names("train") | names("val")
    assert names("val", 3) == {"09", "19"} and not names("train", 3) & names("val")
    with pytest.raises(UserError, match="unknown split .*'test'; there are: train, val, all"):
        VideoFolder(tmp_path, split="test")


def test_of_few_videos_the_last_is_held_out_and_a_single_one_cannot_be(tmp_path):
    save_video(tmp_path / "a.mp4")
    assert len(VideoFolder(tmp_path, split="train")) == 1
    with pytest.raises(UserError, match="a.mp4 is the only video, none is left for val"):
        VideoFolder(tmp_path, split="val")
    save_video(tmp_path / "b.mp4")
    assert VideoFolder(tmp_path, split="val").source(0)[0].name == "b.mp4"
    assert VideoFolder(tmp_path, split="train").source(0)[0].name == "a.mp4"


def test_folders_of_classes_and_splits(tmp_path):
    save_video(tmp_path / "train" / "walk" / "1.mp4")
    save_images(tmp_path / "train" / "run" / "2")
    save_video(tmp_path / "val" / "swim" / "3.mp4")
    train, val = VideoFolder(tmp_path), VideoFolder(tmp_path, split="val")
    assert train.classes == val.classes == ["run", "swim", "walk"]
    assert [clip["label"] for clip in train] == [0, 2] and [clip["label"] for clip in val] == [1]
    assert len(VideoFolder(tmp_path, split="all")) == 3
    with pytest.raises(UserError, match="unknown split .*'test'; .*there are: train, val, all"):
        VideoFolder(tmp_path, split="test")
    save_video(tmp_path / "train" / "4.mp4")  # of no class
    assert VideoFolder(tmp_path).classes == [] and "label" not in VideoFolder(tmp_path)[0]


def test_a_folder_of_images_itself_is_one_video(tmp_path):
    folder = VideoFolder(save_images(tmp_path / "walk"), 8)
    assert len(folder) == 2 and folder.source(1) == (tmp_path / "walk", 8)


def test_frames_rate_of_an_item(tmp_path):
    for i, fps in enumerate((10, 24, 50)):
        save_video(tmp_path / f"{i}.mp4", fps=fps)
    assert VideoFolder(tmp_path, 8, stride=2, split="all").fps == 12


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"stride": 0}, {"size": 0}, {"size": (8, 0)}, {"hop": 0}])
def test_impossible_numbers(tmp_path, wrong):
    with pytest.raises(UserError, match="must be 1 or more"):
        VideoFolder(tmp_path, **wrong)


def test_workers_read_what_one_process_reads(tmp_path):
    save_video(tmp_path / "a.mp4", 24, options={"g": "8"})
    save_video(tmp_path / "b.webm", 24)
    cut(save_video(tmp_path / "c.mp4"))
    folder = VideoFolder(tmp_path, 4, size=16, split="all")
    folder[0]
    loaded = [*DataLoader(folder, batch_size=3, num_workers=2)]
    assert (np.concatenate([batch["video"] for batch in loaded]) == np.stack([c["video"] for c in folder])).all()
    again = pickle.loads(pickle.dumps(folder))  # as a worker that is not forked gets it
    assert (again[7]["video"] == folder[7]["video"]).all()


def test_every_video_has_its_share(tmp_path):
    for i in range(4):
        save_images(tmp_path / str(i), 8 * (i + 1))
    folder = VideoFolder(tmp_path, 8, split="all")
    assert Counter(folder.source(i)[0].name for i in range(len(folder))) == {"0": 1, "1": 2, "2": 3, "3": 4}
    assert folder.source(-1) == (tmp_path / "3", 24)
    with pytest.raises(IndexError):
        folder[10]


def test_a_fingerprint_tells_files_apart_wherever_they_lie(tmp_path):
    def fingerprint(root, **options):
        return VideoFolder(tmp_path / root, 4, split="all", **options).fingerprint()

    for root in ("here", "there"):
        save_images(tmp_path / root / "images")
        save_video(tmp_path / root / "video.avi")
    before = fingerprint("here")
    assert fingerprint("there") == before
    assert len({before, fingerprint("here", stride=2), fingerprint("here", size=32), fingerprint("here", hop=1)}) == 4
    (tmp_path / "there" / "images" / "frame20.png").unlink()
    assert fingerprint("there") != before
    (tmp_path / "here" / "video.avi").rename(tmp_path / "here" / "other.avi")
    assert fingerprint("here") != before
