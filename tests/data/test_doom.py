"""ViZDoom: the policies, and the episodes that the script records."""

import itertools
import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lvlib
from lvlib.data import open_data, to_video
from lvlib.data.recorders.doom import BUTTONS, Doom, TrainedPolicy, Walker, record_episode
from lvlib.errors import UserError
from lvlib.evaluation.flow import turn_agreement

SCRIPT = Path(lvlib.__file__).parents[1] / "data_scripts" / "vizdoom.py"
SMALL = ["--episodes", "10", "--frames", "40"]
FRAME = np.zeros((64, 64, 3), np.uint8)


def run(*arguments, **replaced):
    main = runpy.run_path(str(SCRIPT))["main"]
    main.__globals__.update(replaced)
    main([str(argument) for argument in arguments])


def files(folder: Path) -> dict:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    pytest.importorskip("vizdoom")
    root = tmp_path_factory.mktemp("doom") / "set"
    run("--out", root, *SMALL)
    return root


# --- policies; no game needed ---


def walk(walls):
    walker = Walker(3)
    walker.start(0)
    return np.stack([walker(FRAME, wall) for wall in walls])


def test_the_walker_turns_both_ways_and_walks_most_of_the_time():
    held = walk([False] * 4000)
    assert (held == walk([False] * 4000)).all() and held.dtype == np.float32
    left, right, forward = held.mean(0)
    assert abs(left - 0.3) < 0.05 and abs(right - 0.3) < 0.05 and abs(forward - 0.9) < 0.05
    assert not (held[:, 0] * held[:, 1]).any()
    changes = np.flatnonzero((held[1:] != held[:-1]).any(1))
    assert np.diff(changes).min() >= 3  # a turn lasts long enough to be seen


def test_near_a_wall_the_walker_turns_one_way_until_it_is_free():
    walls = ([False] * 7 + [True] * 9) * 50
    near = walk(walls)[np.array(walls)].reshape(50, 9, 3)
    assert (near[..., :2].sum(-1) == 1).all() and not near[..., 2].any()
    assert (near == near[:, :1]).all() and 0.2 < near[..., 0].mean() < 0.8


def test_other_buttons_are_held_now_and_then():
    walker = Walker(6)
    walker.start(1)
    held = np.stack([walker(FRAME, False) for _ in range(4000)])
    assert np.allclose(held[:, 3:].mean(0), 0.25, atol=0.05)


class BrightnessPolicy(nn.Module):
    """Right in the dark, forward in the light; nothing now and then."""

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        light = frame.mean()
        return torch.stack([torch.zeros_like(light), torch.full_like(light, -50.0), -3 * light, 3 * light])[None]


def saved(module, path) -> Path:
    torch.jit.trace(module, torch.zeros(1, 3, 64, 64)).save(path)
    return path


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_trained_policy_draws_a_button_by_its_probability(tmp_path):
    policy = TrainedPolicy(saved(BrightnessPolicy(), tmp_path / "policy.pt"), 3)
    policy.start(0)
    dark, light = (np.stack([policy(np.full_like(FRAME, value), False) for _ in range(600)]) for value in (0, 255))
    often = 1 / (1 + np.exp(-3) + np.exp(-6))
    assert np.allclose(dark.mean(0), [0, often, often * np.exp(-6)], atol=0.03)
    assert np.allclose(light.mean(0), [0, often * np.exp(-6), often], atol=0.03)
    policy.start(0)
    assert (dark == np.stack([policy(FRAME, False) for _ in range(600)])).all()


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_file_that_is_no_policy_is_refused(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="is not a TorchScript module"):
        TrainedPolicy(tmp_path / "text.pt", 3)
    with pytest.raises(UserError, match=r"gives logits \(1, 4\), not \(1, 7\)"):
        TrainedPolicy(saved(BrightnessPolicy(), tmp_path / "policy.pt"), 6)
    for forward in (lambda frame: (frame.mean().expand(1, 4), frame), lambda frame: frame.mean().expand(1, 4).log()):
        torch.jit.trace(forward, -torch.ones(1, 3, 64, 64), check_trace=False).save(str(tmp_path / "others.pt"))
        with pytest.raises(UserError, match="must give logits, one tensor of finite numbers"):
            TrainedPolicy(tmp_path / "others.pt", 3)
    module = torch.jit.trace(nn.Linear(8, 4), torch.zeros(1, 8))
    module.save(tmp_path / "vectors.pt")
    with pytest.raises(UserError, match=r"does not take a frame \(1, 3, 64, 64\): .*shapes"):
        TrainedPolicy(tmp_path / "vectors.pt", 3)


class Mortal:
    """A game whose player dies after so many frames, another number in each episode."""

    def __init__(self, lives):
        self.lives, self.seeds = iter(lives), []

    def start(self, seed):
        self.seeds.append(seed)
        self.left = next(self.lives)

    @property
    def is_over(self):
        return self.left == 0

    def frame(self):
        return np.full_like(FRAME, self.left)

    def is_wall_near(self):
        return False

    def hold(self, buttons):
        self.left -= 1


def test_an_episode_that_ends_early_is_dropped_and_counted():
    game = Mortal([7, 3, 9, 50])
    video, actions, dropped = record_episode(game, Walker(3), 8, (0, 5))
    assert dropped == 2 and len(set(game.seeds)) == 3
    assert video[:, 0, 0, 0].tolist() == [9, 8, 7, 6, 5, 4, 3, 2] and actions.shape == (8, 3)
    again, other = Mortal([8]), Mortal([8])
    record_episode(again, Walker(3), 8, (0, 5))
    record_episode(other, Walker(3), 8, (0, 6))
    assert again.seeds == game.seeds[:1] != other.seeds
    with pytest.raises(UserError, match="died 100 times before frame 8"):
        record_episode(Mortal([7] * 100), Walker(3), 8, (0, 5))


# --- the game ---


def test_what_is_held_from_a_frame_on_shows_in_the_next():
    pytest.importorskip("vizdoom")
    forward, left = np.array([0, 0, 1]), np.array([1, 0, 0])

    def play(game, actions):
        game.start(5)
        frames = []
        for action in actions:
            frames.append(game.frame())
            game.hold(action)
        return np.stack([*frames, game.frame()])

    with Doom() as game:
        straight, turned = play(game, [forward] * 6), play(game, [forward] * 3 + [left] + [forward] * 2)
        game.start(9)
        game.hold(left)  # what went on before leaves no trace
        assert (play(game, [forward] * 6) == straight).all()
        different = [(a != b).any() for a, b in zip(straight, turned, strict=True)]
        assert different == [False] * 4 + [True] * 3
        game.start(6)
        assert (game.frame() != straight[0]).any()


def test_the_set_and_its_windows(root):
    train, val, test = (open_data(root, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (8, 1, 1) and train.fps == 35 / 4
    assert train.meta["arguments"]["buttons"] == list(BUTTONS)
    videos = np.stack([clip["video"] for clip in (*train, *val, *test)])
    assert videos.shape == (10, 40, 64, 64, 3) and videos.dtype == np.uint8
    assert len({video.tobytes() for video in videos}) == 10
    windows = open_data(root, frames=16)
    assert len(windows) == 16  # two of each episode
    for i, window in enumerate(windows):
        part = slice(16 * (i % 2), 16 * (i % 2) + 16)
        assert (window["video"] == train[i // 2]["video"][part]).all()
        assert (window["actions"] == train[i // 2]["actions"][part]).all()
        assert window["actions"].shape == (16, 3) and window["actions"].dtype == np.float32
    assert not list(root.parent.glob(".*"))  # no draft is left


def blurred(video):
    frames = nn.functional.avg_pool2d(video.transpose(1, 2).flatten(0, 1), 4, stride=1)
    return frames.unflatten(0, (len(video), -1)).transpose(1, 2)


def test_turning_left_moves_the_picture_to_the_right(root):
    clips = list(open_data(root))
    video = to_video(np.stack([clip["video"] for clip in clips]))
    actions = torch.tensor(np.stack([clip["actions"] for clip in clips]))
    assert (actions[..., 0] != actions[..., 1]).sum() > 200
    assert turn_agreement(video, actions) > 0.95 and turn_agreement(blurred(video), actions) > 0.95
    assert turn_agreement(video.flip(-1), actions) < 0.05
    assert turn_agreement(video, actions.roll(1, 0)) < 0.65  # of another episode


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(root, tmp_path, capsys):
    number, played = itertools.count(), []

    def counting(*arguments):
        played.append(arguments[-1])
        return record_episode(*arguments)

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    def stopping(*arguments):
        return counting(*arguments) if next(number) < 5 else interrupt()

    with pytest.raises(KeyboardInterrupt):
        run("--out", tmp_path / "set", *SMALL, record_episode=stopping)
    assert len(list((tmp_path / ".set.episodes").glob("*.npz"))) == 5 and not (tmp_path / "set").exists()
    with pytest.raises(KeyboardInterrupt):
        run("--out", tmp_path / "set", *SMALL, record_episode=counting, write_clip_set=interrupt)
    run("--out", tmp_path / "set", *SMALL, record_episode=counting)
    assert sorted(played) == [*((0, 0, split) for split in range(3)), *((0, i, 0) for i in range(1, 8))]  # each once
    assert files(tmp_path / "set") == files(root) and [path.name for path in tmp_path.iterdir()] == ["set"]
    run("--out", tmp_path / "set", *SMALL, Doom=None)
    assert "is there already, whole, and the same" in capsys.readouterr().out


def test_a_small_set_shares_no_episode_with_other_splits_of_a_larger_one(root, tmp_path):
    run("--out", tmp_path / "set", "--episodes", 3, "--frames", 40)
    for split in ("train", "val", "test"):
        episode, others = open_data(tmp_path / "set", split)[0]["video"], []
        assert (episode == open_data(root, split)[0]["video"]).all()
        for other in {"train", "val", "test"} - {split}:
            others += [clip["video"].tobytes() for clip in open_data(root, other)]
        assert episode.tobytes() not in others


def test_drafts_of_other_options_are_not_taken(tmp_path):
    pytest.importorskip("vizdoom")
    (tmp_path / ".set.episodes").mkdir()
    (tmp_path / ".set.episodes" / "arguments.json").write_text(json.dumps({"seed": 7}))
    (tmp_path / ".set.episodes" / "train_000000.npz").write_text("of another seed")
    run("--out", tmp_path / "set", "--episodes", 3, "--frames", 2)
    assert open_data(tmp_path / "set", "train")[0]["video"].shape == (2, 64, 64, 3)


@pytest.mark.posix
@pytest.mark.parametrize("kind", ["a user's file", "a user's folder", "a link"])
def test_what_only_has_the_name_of_drafts_is_neither_deleted_nor_followed(tmp_path, kind):
    pytest.importorskip("vizdoom")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "arguments.json").write_text("{}")
    place = tmp_path / ".set.episodes"
    if kind == "a user's file":
        place.write_text("precious")
    elif kind == "a user's folder":
        place.mkdir()
        (place / "arguments.json").write_text("{}")
        (place / "train_notes.txt").write_text("precious")
    else:
        place.symlink_to(tmp_path / "mine", target_is_directory=True)
    before = {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")}
    with pytest.raises(UserError, match=".set.episodes is not what this script left: move it away"):
        run("--out", tmp_path / "set", "--episodes", 3, "--frames", 2)
    assert {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")} == before


def test_a_policy_is_a_program_and_that_is_said_before_it_runs(tmp_path, capsys):
    pytest.importorskip("vizdoom")
    path = saved(BrightnessPolicy(), tmp_path / "policy.pt")
    said = []

    def load(*arguments):
        said.append(capsys.readouterr().err)
        return TrainedPolicy(*arguments)

    run("--out", tmp_path / "set", "--episodes", 3, "--frames", 2, "--policy", path, TrainedPolicy=load)
    assert said[0] == f"{path} is a program, and runs with your rights\n"
    with pytest.raises(SystemExit):
        run("--help")
    assert "It is a program, and runs with your rights" in " ".join(capsys.readouterr().out.split())


def test_another_map_has_more_buttons_and_nothing_is_left_lying_about(tmp_path, monkeypatch):
    vizdoom = pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    wad = f"{vizdoom.scenarios_path}/my_way_home.wad"
    run("--out", "set", "--episodes", 3, "--frames", 4, "--skip", 2, "--wad", wad)
    clips = open_data("set")
    assert clips[0]["actions"].shape == (4, 6) and clips.fps == 17.5
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.posix
def test_stopped_by_hand_it_closes_its_games(tmp_path):
    pytest.importorskip("vizdoom")
    psutil = pytest.importorskip("psutil")
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "set")]
    script = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(SCRIPT.parents[1])})
    while script.poll() is None and not list(tmp_path.glob(".set.episodes/*.npz")):
        time.sleep(0.1)
    games = psutil.Process(script.pid).children(recursive=True)
    script.send_signal(signal.SIGTERM)
    assert script.communicate()[1].endswith("lvlib: stopped\n") and script.returncode == 130
    assert len(games) >= 4 and not any(game.is_running() for game in games)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--episodes", 2], "--episodes must be 3 or more, not 2"),
        (["--skip", 0], "--skip must be 1 or more, not 0"),
        (["--skip", 10**12], "--skip must be up to 2100 tics, a minute"),
        (["--episodes", 10**12], "recording 1000000000000 episodes: over 1,000 PB of disk are needed"),
        (["--frames", 10**15], "playing 4 episodes of 1000000000000000 frames at once: .* of memory are needed"),
        (["--seed", -1], "--seed must be 0 or more, not -1"),
        (["--policy", "nowhere.pt"], "--policy: there is no file nowhere.pt"),
        (["--wad", SCRIPT], "vizdoom.py is not a .wad file"),
    ],
)
def test_a_wrong_option_leaves_nothing(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        run("--out", tmp_path / "set", *options)
    assert not list(tmp_path.iterdir())


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(UserError, match=r'ViZDoom is not installed: pip install "lvlib\[doom\]"'):
        run("--out", tmp_path / "set")
    assert not list(tmp_path.iterdir())
