"""lvlib sample on VideoGPT with random weights: what it is told, from options or from clips, and what it refuses."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import make_prior_run, make_videogpt_run

from lvlib.data import ClipSet, from_video, read_video, to_video
from lvlib.runs.load import load_autoencoder, load_model

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


def expected(run, n: int, condition: dict, seed: int = 0, **options) -> np.ndarray:
    prior, autoencoder = load_model(run)[1], load_autoencoder(run)
    torch.manual_seed(seed)
    return from_video(autoencoder.decode(prior.sample(n, condition, **options))).numpy()


def save(path, array) -> str:
    np.save(path, array)
    return path


def test_without_a_condition_clips_are_made_from_nothing(runs, sample):
    clips, printed = sample(runs["nothing"], "--n", 3, "--seed", 5, "--temperature", 0.7, "--top-k", 4, "--top-p", 0.9)
    np.testing.assert_array_equal(clips, expected(runs["nothing"], 3, {}, 5, temperature=0.7, top_k=4, top_p=0.9))
    assert "3 samples of 4 frames, all generated" in printed and "dB" not in printed
    one, other = sample(runs["nothing"], "--n", 2, "--top-k", 1)[0]
    np.testing.assert_array_equal(one, other)
    one, other = sample(runs["nothing"], "--n", 2, "--top-p", 1e-6)[0]
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("given, number", [("sit", 2), ("2", 2), ("7", 4)])
def test_a_class_by_its_name_or_its_number(runs, sample, given, number):
    """A name comes first: here "7" is the fifth class."""
    clips, printed = sample(runs["label"], "--label", given, "--n", 2)
    np.testing.assert_array_equal(clips, expected(runs["label"], 2, {"label": torch.tensor([number, number])}))
    assert f"labels: {CLASSES[number]}, {CLASSES[number]}" in printed


def test_without_a_label_the_classes_take_turns(runs, sample):
    clips, printed = sample(runs["label"], "--n", 3)
    np.testing.assert_array_equal(clips, expected(runs["label"], 3, {"label": torch.tensor([0, 1, 3])}))
    assert "labels: run, jump, lie" in printed
    assert "labels: run, run, jump, jump, sit, sit, lie, lie, 7, 7" in sample(runs["label"], "--n", 10)[1]


def test_classes_that_the_data_did_not_name_go_by_their_number(sample, tmp_path):
    for name, classes, words in ("some", ["run", "jump"], "run, jump, 2, 3, 4"), ("none", [], "0, 1, 2, 3, 4"):
        run = make_videogpt_run(tmp_path / name, {"fps": 10, "classes": classes}, prior__classes="5")
        assert f"labels: {words}" in sample(run, "--n", 5)[1]
        assert "labels: 4" in sample(run, "--n", 1, "--label", 4)[1]


def test_actions_from_a_file(runs, sample, tmp_path):
    clips = []
    for name, actions in ("left", [[1, 0]] * 4), ("then right", [[1, 0]] * 2 + [[0, 1]] * 2):
        clips.append(sample(runs["actions"], "--actions", save(tmp_path / f"{name}.npy", actions), "--n", 2)[0])
        condition = {"actions": torch.tensor(actions).float().expand(2, 4, 2)}
        np.testing.assert_array_equal(clips[-1], expected(runs["actions"], 2, condition))
    assert (clips[0] != clips[1]).any()


def test_a_clip_is_gone_on_with(runs, sample, mp4):
    """Told its codes, or, where the prior is conditioned on frames, the frames themselves."""
    true = read_video(mp4, frames=4, size=32)[0]
    clips, printed = sample(runs["label"], "--prime", mp4, "--label", "run", "--n", 2)
    codes = load_autoencoder(runs["label"]).encode(to_video(true[:2])[None])
    going_on = expected(runs["label"], 2, {"label": torch.tensor([0, 0])}, given=codes)
    np.testing.assert_array_equal(clips[:, :2], np.stack([true[:2]] * 2))
    np.testing.assert_array_equal(clips[:, 2:], going_on[:, 2:])
    assert "0 to 1 given, 2 to 3 generated" in printed and "PSNR of frames 2 to 3" in printed

    clips, printed = sample(runs["frames"], "--prime", mp4, "--n", 2)
    told = expected(runs["frames"], 2, {"frames": to_video(true[:1])[None]})
    np.testing.assert_array_equal(clips[:, :1], np.stack([true[:1]] * 2))
    np.testing.assert_array_equal(clips[:, 1:], told[:, 1:])
    assert "0 given, 1 to 3 generated" in printed


def test_clips_of_a_data_set_come_with_what_the_prior_is_told(runs, sample, acted):
    clips, printed = sample(runs["both"], "--prime", acted, "--n", 3)
    items = [ClipSet(acted, "test")[i] for i in range(3)]
    condition = {"label": torch.tensor([0, 1, 2]),
                 "actions": torch.as_tensor(np.stack([item["actions"] for item in items])).float()}
    video = torch.stack([to_video(item["video"]) for item in items])
    codes = load_autoencoder(runs["both"]).encode(video[:, :, :2])
    np.testing.assert_array_equal(clips[:, 2:], expected(runs["both"], 3, condition, given=codes)[:, 2:])
    assert "labels: run, jump, sit" in printed and "clip 2 " in printed
    other, printed = sample(runs["both"], "--prime", acted, "--n", 3, "--label", "lie")
    assert "labels: lie, lie, lie" in printed and (other != clips).any()


def test_pictures_name_the_class(runs, lvlib, tmp_path):
    for suffix in (".png", ".mp4"):
        out = tmp_path / f"out{suffix}"
        assert lvlib("sample", runs["label"], "--n", 2, "--out", out)[0] == 0
    assert Image.open(tmp_path / "out.png").size[1] // 64 == 2
    video, fps = read_video(tmp_path / "out.mp4")
    assert len(video) == 4 and fps == 10  # the run's


def test_what_does_not_fit_the_prior_is_refused_before_any_work(runs, refused, mp4, acted, tmp_path, monkeypatch):
    monkeypatch.setattr("lvlib.runs.load.load_model", None)  # the work begins with it

    def message(run, *arguments) -> str:
        return refused("sample", runs[run], *arguments, "--out", tmp_path / "out.mp4")

    assert "not told a label: leave --label out" in message("nothing", "--label", "run")
    assert "not told actions: leave --actions out" in message("label", "--actions", "a.npy")
    unknown = message("label", "--label", "runs")
    assert "unknown class 'runs'; did you mean run? There are: run, jump, sit, lie, 7" in unknown
    assert "unknown class '5'" in message("label", "--label", 5)
    assert "unknown class '-1'" in message("label", "--label=-1")
    assert "give --actions FILE.npy, of 4 x 2 numbers" in message("actions")
    assert "goes on from given frames: add --prime CLIP" in message("frames")
    assert "conditioned on 1 frame: leave --prime-frames out, it cannot be 2" in message(
        "frames", "--prime", mp4, "--prime-frames", 2)
    for number in (1, 0, 4):
        assert (f"--prime-frames must be a multiple of 2 from 2 to 2, not {number}: the prior's clips have 4 frames, 2 "
                "for one latent frame") in message("nothing", "--prime", mp4, "--prime-frames", number)
    assert "--prime-frames is of a clip to begin with" in message("nothing", "--prime-frames", 2)
    assert "--stride is of a clip to begin with" in message("nothing", "--stride", 2)
    assert "--top-k must be at least 1, not 0" in message("nothing", "--top-k", 0)
    for share in (0, 1.5, "nan"):
        assert "--top-p must be above 0 and at most 1" in message("nothing", "--top-p", share)
    assert "learned from 10" in message("nothing", "--prime", mp4, "--stride", 2)
    whole = make_videogpt_run(tmp_path / "whole", {"fps": 10}, autoencoder__downsample="4 8 8")
    assert "are one latent frame: it cannot go on from a clip" in refused(
        "sample", whole, "--prime", mp4, "--out", tmp_path / "out.mp4")
    assert not list(tmp_path.glob("out*"))


def test_an_action_file_that_does_not_match_is_refused(runs, refused, tmp_path):
    def message(path) -> str:
        return refused("sample", runs["actions"], "--actions", path, "--out", tmp_path / "out.mp4")

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

    assert "goes on from given frames: add --prime CLIP" in message()
    assert "not told a label: leave --label out" in message("--prime", mp4, "--label", 3)
    assert "not told actions" in message("--prime", mp4, "--actions", "a.npy")
    assert "leave --top-k and --top-p out" in message("--prime", mp4, "--top-p", 0.9)
