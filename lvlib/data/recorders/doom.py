"""ViZDoom seen at 64 x 64 pixels, and the policies that walk through it. VideoGPT, section 4.4.

The player sees a frame, holds some buttons for `skip` tics of the game's clock (35 a second), and sees the next frame.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from lvlib.data.tensors import to_video
from lvlib.errors import UserError

SIZE = 64
TICS = 35  # a second
BUTTONS = ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD")  # of Health Gathering Supreme
FIGHT_BUTTONS = (*BUTTONS, "MOVE_LEFT", "MOVE_RIGHT", "ATTACK")  # of Battle2
WALL = 18  # depth in the middle of the picture at which a wall is near: three or four steps ahead
ATTEMPTS = 100

class Policy(Protocol):
    """What presses the buttons."""

    def start(self, seed: int) -> None:
        """A new episode: what the policy draws at random depends on the seed."""

    def __call__(self, frame: np.ndarray, is_wall_near: bool) -> np.ndarray:
        """What the player sees, uint8 (h, w, c) -> the buttons to hold, float32 (n,) of 0 and 1."""


class Doom:
    """One headless game of Health Gathering Supreme, or of the map in `wad` (Battle2). Close it, or use it in `with`.

    skip: tics from one frame to the next. `buttons` are their names, in the order of actions.

    Raises UserError without the package vizdoom, for a file that is no map, or if the game does not start.
    """

    def __init__(self, skip: int = 4, wad: Path | None = None):
        try:
            import vizdoom
        except ImportError:
            raise UserError('ViZDoom is not installed: pip install "lvlib[doom]"') from None
        if wad and wad.read_bytes()[:4] not in (b"PWAD", b"IWAD"):
            raise UserError(f"{wad} is not a .wad file")
        self.skip, self.buttons = skip, FIGHT_BUTTONS if wad else BUTTONS
        self._folder = tempfile.TemporaryDirectory()
        self._game = game = vizdoom.DoomGame()
        game.load_config(str(Path(vizdoom.scenarios_path) / "health_gathering_supreme.cfg"))
        if wad:
            game.set_doom_scenario_path(str(wad.absolute()))
            game.set_doom_map("map01")
            game.set_doom_skill(2)
            game.set_available_buttons([getattr(vizdoom.Button, name) for name in self.buttons])
        game.set_window_visible(False)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
        game.set_depth_buffer_enabled(True)
        game.set_episode_timeout(0)
        try:
            with contextlib.chdir(self._folder.name):  # the engine leaves files where it starts
                game.init()
        except vizdoom.ViZDoomErrorException as error:
            raise UserError(f"ViZDoom does not start: {error}") from None

    def start(self, seed: int) -> None:
        """A new episode. The same seed, and then the same buttons, give the same frames."""
        self._game.set_seed(seed)
        self._game.new_episode()

    @property
    def is_over(self) -> bool:
        """True once the player is dead: there is no frame then."""
        return self._game.is_episode_finished()

    def frame(self) -> np.ndarray:
        """What the player sees: uint8 (64, 64, 3), the mean over the pixels of a 160 x 120 picture."""
        screen = Image.fromarray(self._game.get_state().screen_buffer)
        return np.asarray(screen.resize((SIZE, SIZE), Image.Resampling.BOX))

    def is_wall_near(self) -> bool:
        horizon = self._game.get_state().depth_buffer[60]
        return bool(horizon[60:100].min() <= WALL)

    def hold(self, buttons: np.ndarray) -> None:
        """Holds buttons (n,) of 0 and 1 until the next frame."""
        self._game.make_action(buttons.tolist(), self.skip)

    def close(self) -> None:
        self._game.close()
        self._folder.cleanup()

    def __enter__(self) -> "Doom":
        return self

    def __exit__(self, *error) -> None:
        self.close()


class Walker(Policy):
    """The scripted policy: for 3 to 8 frames it holds left (30%), right (30%) or neither, and walks (90%) or stands.

    Near a wall it stops, and turns until the way is free. Of other buttons it holds each in every fourth span.
    """

    def __init__(self, buttons: int):
        self.buttons = buttons

    def start(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.left, self.held = 0, np.zeros(self.buttons, np.float32)

    def __call__(self, frame: np.ndarray, is_wall_near: bool) -> np.ndarray:
        if is_wall_near:
            if not self.held[:2].any():
                self.held[self.random.integers(2)] = 1
            return np.where(np.arange(self.buttons) == 2, 0, self.held)  # all but MOVE_FORWARD
        if self.left == 0:
            self.left = self.random.integers(3, 9)
            turn, walk = self.random.choice(3, p=[0.3, 0.3, 0.4]), self.random.random() < 0.9
            others = self.random.random(self.buttons - 3) < 0.25
            self.held = np.array([turn == 0, turn == 1, walk, *others], np.float32)
        self.left -= 1
        return self.held.copy()


class TrainedPolicy(Policy):
    """A policy like the paper's, from a TorchScript file: a frame in, one button drawn by its probability out.

    Such a file is a program, and runs with the rights of whoever loads it. The module takes a float frame
    (1, 3, 64, 64) in [-1, 1], and gives logits (1, 1 + n): of no button, then of each of the n buttons. Raises
    UserError if the file is no such module, or its logits are not finite.
    """

    def __init__(self, path: Path, buttons: int):
        self.path, self.buttons = path, buttons
        try:
            self.module = torch.jit.load(path, map_location="cpu").eval()
        except (RuntimeError, ValueError):
            raise UserError(f"{path} is not a TorchScript module") from None
        try:
            shape = tuple(self._logits(np.zeros((SIZE, SIZE, 3), np.uint8)).shape)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1]
            raise UserError(f"{path} does not take a frame (1, 3, {SIZE}, {SIZE}): {reason}") from None
        if shape != (1, 1 + buttons):
            raise UserError(f"{path} gives logits {shape}, not (1, {1 + buttons}): of no button, and of each")

    def start(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def __call__(self, frame: np.ndarray, is_wall_near: bool) -> np.ndarray:
        probabilities = self._logits(frame)[0].double().softmax(0).numpy()
        drawn = self.random.choice(1 + self.buttons, p=probabilities)
        return np.eye(1 + self.buttons, dtype=np.float32)[drawn, 1:]

    def _logits(self, frame: np.ndarray) -> Tensor:
        with torch.no_grad():
            logits = self.module(rearrange(to_video(frame[None]), "c 1 h w -> 1 c h w"))
        if not isinstance(logits, Tensor) or not logits.isfinite().all():
            raise UserError(f"{self.path} must give logits, one tensor of finite numbers")
        return logits


def record_episode(game: Doom, policy: Policy, frames: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Plays until an episode lasts `frames` frames. An episode that ends early, as the player dies, is dropped.

    Returns the video, uint8 (t, h, w, c); the actions, float32 (t, n), where actions[t] are the buttons held from frame
    t to frame t + 1; and the number of episodes dropped. Raises UserError if 100 were.
    """
    random = np.random.default_rng(seed)
    for dropped in range(ATTEMPTS):
        game.start(int(random.integers(2**31)))
        policy.start(int(random.integers(2**31)))
        video, actions = [], []
        while len(video) < frames and not game.is_over:
            video.append(game.frame())
            actions.append(policy(video[-1], game.is_wall_near()))
            game.hold(actions[-1])
        if len(video) == frames:
            return np.stack(video), np.stack(actions), dropped
    raise UserError(f"the player died {ATTEMPTS} times before frame {frames}: ask for fewer --frames, or less --skip")
