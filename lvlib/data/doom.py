"""ViZDoom seen at 64 x 64 pixels, and the policies that walk through it. VideoGPT, section 4.4.

The player sees a frame, holds some buttons for `skip` tics of the game's clock (35 a second), and sees the next frame.
"""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lvlib.data.tensors import to_video
from lvlib.errors import UserError

SIZE = 64
TICS = 35  # a second
BUTTONS = ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD")  # of Health Gathering Supreme
FIGHT_BUTTONS = (*BUTTONS, "MOVE_LEFT", "MOVE_RIGHT", "ATTACK")  # of Battle2
WALL = 18  # depth in the middle of the picture at which a wall is near: three or four steps ahead
ATTEMPTS = 100

Policy = Callable[[np.ndarray, bool], np.ndarray]  # frame (h, w, c), is a wall near -> buttons (n,) of 0 and 1


class Doom:
    """One headless game of Health Gathering Supreme, or of the map in `wad` (Battle2). Close it, or use it in `with`.

    skip: tics from one frame to the next. `buttons` are their names, in the order of actions.

    Raises UserError without the package vizdoom, or if the game does not start.
    """

    def __init__(self, skip: int = 4, wad: Path | None = None):
        try:
            import vizdoom
        except ImportError:
            raise UserError('ViZDoom is not installed: pip install "lvlib[doom]"') from None
        self.skip, self.buttons = skip, FIGHT_BUTTONS if wad else BUTTONS
        self._folder = tempfile.TemporaryDirectory()  # the engine leaves files where it starts
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
            with contextlib.chdir(self._folder.name):
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
        depth = self._game.get_state().depth_buffer
        return bool(depth[60, 60:100].min() <= WALL)

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


class Walker:
    """The scripted policy: for 3 to 8 frames it holds left (30%), right (30%) or neither, and walks (90%) or stands.

    Near a wall it stops and turns until the way is free. Of other buttons it holds each in every fourth span.
    """

    def __init__(self, buttons: int, seed: int):
        self.random, self.left = np.random.default_rng(seed), 0
        self.held = np.zeros(buttons, np.float32)

    def __call__(self, frame: np.ndarray, is_wall_near: bool) -> np.ndarray:
        if is_wall_near:
            if not self.held[:2].any():
                self.held[self.random.integers(2)] = 1
            return np.where(np.arange(len(self.held)) == 2, 0, self.held)
        if self.left == 0:
            self.left = self.random.integers(3, 9)
            turn, walk = self.random.choice(3, p=[0.3, 0.3, 0.4]), self.random.random() < 0.9
            others = self.random.random(len(self.held) - 3) < 0.25
            self.held = np.array([turn == 0, turn == 1, walk, *others], np.float32)
        self.left -= 1
        return self.held


class TrainedPolicy:
    """A policy like the paper's, from a TorchScript file: a frame in, one button drawn by its probability out.

    The module takes a float frame (1, 3, 64, 64) in [-1, 1], and gives logits (1, 1 + n): of no button, then of each of
    the n buttons. Raises UserError if the file is no such module.
    """

    def __init__(self, path: Path, buttons: int, seed: int):
        self.path, self.buttons = path, buttons
        self.random = np.random.default_rng(seed)
        try:
            self.module = torch.jit.load(path, map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{path} is not a TorchScript module") from error

    def __call__(self, frame: np.ndarray, is_wall_near: bool) -> np.ndarray:
        with torch.no_grad():
            logits = self.module(to_video(frame[None]).transpose(0, 1))
        if logits.shape != (1, 1 + self.buttons):
            allowed = f"(1, {1 + self.buttons}), of no button and of each of {self.buttons}"
            raise UserError(f"{self.path} gives logits {tuple(logits.shape)}, not {allowed}")
        drawn = self.random.choice(1 + self.buttons, p=logits[0].double().softmax(0).numpy())
        return np.eye(1 + self.buttons, dtype=np.float32)[drawn, 1:]


def record_episode(game: Doom, policy: Callable[[int], Policy], frames: int, seed: tuple[int, ...]
                   ) -> tuple[np.ndarray, np.ndarray, int]:
    """Plays until an episode lasts `frames` frames: an episode that ends early, by death, is dropped.

    policy: a seed -> a policy for one episode.

    Returns the video, uint8 (t, h, w, c); the actions, float32 (t, n), where actions[t] are the buttons held from frame
    t to frame t + 1; and the number of episodes dropped. Raises UserError if 100 were.
    """
    random = np.random.default_rng(seed)
    for dropped in range(ATTEMPTS):
        game.start(int(random.integers(2**31)))
        policy_now = policy(int(random.integers(2**31)))
        video, actions = [], []
        while len(video) < frames and not game.is_over:
            video.append(game.frame())
            actions.append(policy_now(video[-1], game.is_wall_near()).copy())
            game.hold(actions[-1])
        if len(video) == frames:
            return np.stack(video), np.stack(actions), dropped
    raise UserError(f"the player died {ATTEMPTS} times before frame {frames}: ask for fewer --frames, or less --skip")
