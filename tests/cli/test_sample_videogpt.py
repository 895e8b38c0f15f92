"""lvlib sample on VideoGPT with random weights: its conditions, by options or from clips, and what it refuses."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import make_prior_run, make_videogpt_run

from lvlib.data import ClipSet, from_video, read_video, to_video
from lvlib.models.videogpt.prior import VideoGPTSampling
from lvlib.runs import load_model
from lvlib.runs.load import load_autoencoder

CLASSES = ["run", "jump", "sit", "lie", "7"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run for each kind of condition, by its name."""
    root, about = tmp_path_factory.mktemp("runs"), {"fps": 10, "classes": CLASSES}
    return {
        "nothing": make_videogpt_run(root / "nothing", about),
        "label": make_videogpt_run(root / "label", about, prior__classes="5"),
        "actions": make_videogpt_run(root / "actions", about, prior__actions="2"),
        "frames": make_videogpt_run(root / "frames", about, prior__frames="1"),
        "both": make_videogpt_run(root / "both", about, prior__classes="5", prior__actions="2"),
    }


@pytest.fixture
def sample(lvlib, tmp_path):
    """Samples into an .npy: (what was written, what was printed)."""

    def go(run, *arguments) -> tuple[np.ndarray, str]:
        status, printed, errors = lvlib("sample", run, *arguments, "--out", tmp_path / "out.npy")
        assert status == 0, errors
        return np.load(tmp_path / "out.npy"), printed

    return go


def expected(run, n: int, condition: dict, seed: int = 0, given=None, **sampling) -> np.ndarray:
    prior, autoencoder = load_model(run)[1], load_autoencoder(run)[1]
    torch.manual_seed(seed)
    return from_video(autoencoder.decode(prior.sample(n, condition, given, VideoGPTSampling(**sampling)))).numpy()


def save(path, array) -> str:
    np.save(path, array)
    return path


def test_without_a_condition_clips_are_made_from_nothing(runs, sample):
    options = ["--sampling.temperature", 0.7, "--sampling.top_k", 4, "--sampling.top-p=0.9"]
    clips, printed = sample(runs["nothing"], "--n", 3, "--seed", 5, *options)
    np.testing.assert_array_equal(clips, expected(runs["nothing"], 3, {}, 5, temperature=0.7, top_k=4, top_p=0.9))
    assert "3 samples of 4 frames, all generated" in printed and "dB" not in printed
    one, other = sample(runs["nothing"], "--n", 2, "--sampling.top_k", 1)[0]
    np.testing.assert_array_equal(one, other)
    one, other = sample(runs["nothing"], "--n", 2, "--sampling.top_p", 1e-6)[0]
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("given, number", [("sit", 2), ("2", 2), ("7", 4)])
def test_a_class_by_its_name_or_its_number(runs, sample, given, number):
    """A name comes first: here "7" is the fifth class."""
    clips, printed = sample(runs["label"], "--condition.label", given, "--n", 2)
    np.testing.assert_array_equal(clips, expected(runs["label"], 2, {"label": torch.tensor([number, number])}))
    assert f"label: {CLASSES[number]}, {CLASSES[number]}" in printed


def test_without_a_label_the_classes_take_turns(runs, sample):
    clips, printed = sample(runs["label"], "--n", 3)
    np.testing.assert_array_equal(clips, expected(runs["label"], 3, {"label": torch.tensor([0, 1, 3])}))
    assert "label: run, jump, lie" in printed
    assert "label: run, run, jump, jump, sit, sit, lie, lie, 7, 7" in sample(runs["label"], "--n", 10)[1]


def test_classes_that_the_data_did_not_name_go_by_their_number(sample, tmp_path):
    for name, classes, words in ("some", ["run", "jump"], "run, jump, 2, 3, 4"), ("none", [], "0, 1, 2, 3, 4"):
        run = make_videogpt_run(tmp_path / name, {"fps": 10, "classes": classes}, prior__classes="5")
        assert f"label: {words}" in sample(run, "--n", 5)[1]
        assert "label: 4" in sample(run, "--n", 1, "--condition.label", 4)[1]


def test_actions_from_a_file(runs, sample, tmp_path):
    clips = []
    for name, actions in ("left", [[1, 0]] * 4), ("then right", [[1, 0]] * 2 + [[0, 1]] * 2):
        file = save(tmp_path / f"{name}.npy", actions)
        clips.append(sample(runs["actions"], "--condition.actions", file, "--n", 2)[0])
        condition = {"actions": torch.tensor(actions).float().expand(2, 4, 2)}
        np.testing.assert_array_equal(clips[-1], expected(runs["actions"], 2, condition))
    assert (clips[0] != clips[1]).any()


def test_a_clip_is_gone_on_with(runs, sample, mp4):
    """By its codes, or, where the prior is conditioned on frames, by the frames themselves."""
    true = read_video(mp4, frames=4, size=32)[0]
    clips, printed = sample(runs["label"], "--given", mp4, "--condition.label", "run", "--n", 2)
    codes = load_autoencoder(runs["label"])[1].encode(to_video(true[:2])[None])
    going_on = expected(runs["label"], 2, {"label": torch.tensor([0, 0])}, given=codes)
    np.testing.assert_array_equal(clips[:, :2], np.stack([true[:2]] * 2))
    np.testing.assert_array_equal(clips[:, 2:], going_on[:, 2:])
    assert "0 to 1 given, 2 to 3 generated" in printed and "PSNR of frames 2 to 3" in printed

    clips, printed = sample(runs["frames"], "--given", mp4, "--n", 2)
    conditioned = expected(runs["frames"], 2, {"frames": to_video(true[:1])[None]})
    np.testing.assert_array_equal(clips[:, :1], np.stack([true[:1]] * 2))
    np.testing.assert_array_equal(clips[:, 1:], conditioned[:, 1:])
    assert "0 given, 1 to 3 generated" in printed


def test_clips_of_a_data_set_come_with_their_condition(runs, sample, acted):
    clips, printed = sample(runs["both"], "--given", acted, "--n", 3)
    items = [ClipSet(acted, "test")[i] for i in range(3)]
    condition = {"label": torch.tensor([0, 1, 2]),
                 "actions": torch.as_tensor(np.stack([item["actions"] for item in items])).float()}
    video = torch.stack([to_video(item["video"]) for item in items])
    codes = load_autoencoder(runs["both"])[1].encode(video[:, :, :2])
    np.testing.assert_array_equal(clips[:, 2:], expected(runs["both"], 3, condition, given=codes)[:, 2:])
    assert "label: run, jump, sit" in printed and "clip 2 " in printed
    other, printed = sample(runs["both"], "--given", acted, "--n", 3, "--condition.label", "lie")
    assert "label: lie, lie, lie" in printed and (other != clips).any()


def test_pictures_name_the_class(runs, lvlib, tmp_path):
    for suffix in (".png", ".mp4"):
        out = tmp_path / f"out{suffix}"
        assert lvlib("sample", runs["label"], "--n", 2, "--out", out)[0] == 0
    assert Image.open(tmp_path / "out.png").size[1] // 64 == 2
    video, fps = read_video(tmp_path / "out.mp4")
    assert len(video) == 4 and fps == 10  # the run's


def test_what_does_not_fit_the_prior_is_refused_before_any_work(runs, refused, mp4, acted, tmp_path, monkeypatch):
    monkeypatch.setattr("lvlib.runs.load_pipeline", None)  # the work begins with it

    def message(run, *arguments) -> str:
        return refused("sample", runs[run], *arguments, "--out", tmp_path / "out.mp4")

    assert "this prior is not conditioned on anything: leave --condition.label out" in message(
        "nothing", "--condition.label", "run")
    assert "unknown key --condition.actions: 'actions'; there are: label" in message(
        "label", "--condition.actions", "a.npy")
    assert "unknown key --condition.frames: 'frames'; there are: label" in message("label", "--condition.frames", 1)
    unknown = message("label", "--condition.label", "runs")
    assert "unknown class 'runs'; did you mean run? There are: run, jump, sit, lie, 7" in unknown
    for number in (5, "-1", "²", "1.0"):
        assert f"unknown class '{number}'" in message("label", f"--condition.label={number}")
    for digits in ("9" * 5000, "0" * 5000, "٣" * 5000):
        line = message("label", "--condition.label", digits)
        assert "unknown class '" in line and "There are: run" in line.replace("there", "There") and len(line) < 300
    assert "--condition.label takes a text or None (default: None), not nothing" in message(
        "label", "--condition.label")
    assert "give --condition.actions FILE.npy, of 4 x 2 numbers" in message("actions")
    assert "goes on from given frames: add --given CLIP" in message("frames")
    assert "conditioned on 1 frame: leave --given-frames out, it cannot be 2" in message(
        "frames", "--given", mp4, "--given-frames", 2)
    for number in (1, 0, 4):
        assert (f"--given-frames must be a multiple of 2 from 2 to 2, not {number}: the prior's clips have 4 frames, 2 "
                "for one latent frame") in message("nothing", "--given", mp4, "--given-frames", number)
    assert "--given-frames is of a clip to begin with" in message("nothing", "--given-frames", 2)
    assert "--stride is of a clip to begin with" in message("nothing", "--stride", 2)
    assert "--sampling: top_k must be at least 1, not 0" in message("nothing", "--sampling.top_k", 0)
    for share in (0, 1.5, "nan"):
        assert "--sampling: top_p must be above 0 and at most 1" in message("nothing", "--sampling.top_p", share)
    assert "--sampling.top_k takes an integer or None (default: None), not '1.5'" in message(
        "nothing", "--sampling.top_k", 1.5)
    assert "learned from 10" in message("nothing", "--given", mp4, "--stride", 2)
    whole = make_videogpt_run(tmp_path / "whole", {"fps": 10}, autoencoder__downsample="4 8 8")
    assert "this prior cannot go on from a clip: the 4 frames of its clips are one latent frame" in refused(
        "sample", whole, "--given", mp4, "--out", tmp_path / "out.mp4")
    assert not list(tmp_path.glob("out*"))


def test_an_action_file_that_does_not_match_is_refused(runs, refused, tmp_path):
    def message(path) -> str:
        return refused("sample", runs["actions"], "--condition.actions", path, "--out", tmp_path / "out.mp4")

    file = tmp_path / "actions.npy"
    row = "a row for each of the video's 4 frames, 2 numbers a row"
    for shape in (3, 2), (4, 3), (4,), (1, 4, 2):
        words = " x ".join(map(str, shape))
        assert message(save(file, np.zeros(shape))) == (
            f"{file}: the actions are {words} numbers, and must be 4 x 2: {row}")
    assert "not finite" in message(save(file, np.full((4, 2), np.inf)))
    for wrong in np.full((4, 2), "left"), np.array([{}], object):
        assert f"{file} is not a .npy file of numbers" in message(save(file, wrong))
    file.write_text("1 0\n")
    assert f"{file} is not a .npy file of numbers" in message(file)
    file.write_bytes(b"PK\x03\x04 cut off")
    assert f"{file} is not a .npy file of numbers" in message(file)
    file.write_bytes(b"")
    assert f"{file} is not a .npy file of numbers" in message(file)
    assert "cannot read" in message(tmp_path / "none.npy") and "No such file" in message(tmp_path / "none.npy")


def test_lvt_takes_none_of_it(refused, tmp_path, mp4):
    run = make_prior_run(tmp_path / "lvt")

    def message(*arguments) -> str:
        return refused("sample", run, *arguments, "--out", tmp_path / "out.mp4")

    assert "goes on from given frames: add --given CLIP" in message()
    for name, value in ("label", 3), ("actions", "a.npy"):
        assert f"not conditioned on anything: leave --condition.{name} out" in message(
            "--given", mp4, f"--condition.{name}", value)
    assert "unknown key --sampling.top_p: 'top_p'; there are: temperature" in message(
        "--given", mp4, "--sampling.top_p", 0.9)


def test_help_lists_the_fields_of_the_run_at_hand(lvlib, runs, tmp_path):
    status, out, _ = lvlib("sample", runs["both"], "--help")
    assert status == 0 and "--given CLIP" in out
    words = " ".join(out.split())
    assert "--sampling.temperature FLOAT" in words and "--sampling.top_k" in words and "(default: 1.0)" in words
    assert "--condition.label the name or the number of a class, of 5" in words
    assert "--condition.actions FILE.npy, of 4 x 2 numbers" in words
    status, out, _ = lvlib("sample", make_prior_run(tmp_path / "lvt"), "--help")
    assert status == 0 and "top_k" not in out and "condition: none" in " ".join(out.split())
