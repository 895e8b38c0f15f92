"""ViZDoom: walks through a 3D maze, Health Gathering Supreme (or Battle2), with the buttons held in every frame.

By default what VideoGPT, section 4.4, trained on: 1,000 episodes of 100 frames, split 8:1:1 by episode. The paper does
not say how many tics lie between two frames. We take 4, the habit of trained policies and the default of Sample
Factory, whose action space of Battle2 has the size that Table 9 implies: 21 numbers a step, 315 in 15 steps.

"actions" are 0 or 1 for each button, held from a frame to the next: what actions[t] does shows in frame t + 1. Where
the player dies before the last frame, the episode is dropped and another one played.
"""

import contextlib
import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from tqdm import tqdm

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import is_finished, write_clip_set
from lvlib.data.clips import sha256
from lvlib.data.limits import require_disk, require_memory
from lvlib.data.recorders.doom import BUTTONS, FIGHT_BUTTONS, SIZE, TICS, Doom, TrainedPolicy, Walker, record_episode
from lvlib.errors import UserError

GAMES = 4  # played at once: a game mostly waits for its next message
LONGEST_SKIP = 60 * TICS
OWN = r"arguments\.(json|part)|(train|val|test)_\d{6,}\.(npz|part)"  # files of a run that was stopped


def main(argv: list[str] | None = None) -> None:
    parser = Parser("lvlib data vizdoom", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; a run that was killed goes on")
    parser.add_argument("--episodes", type=int, default=1000, help="split 8:1:1 (default 1000, as the paper)")
    parser.add_argument("--frames", type=int, default=100, help="frames an episode (default 100, as the paper)")
    parser.add_argument("--skip", type=int, default=4, help="tics of 1/35 s from frame to frame (default 4)")
    parser.add_argument("--wad", type=Path, help="battle2.wad, of the package sample-factory: Battle2 instead")
    parser.add_argument("--policy", type=Path, help="TorchScript module: frame (1, 3, 64, 64) in [-1, 1] -> logits of "
                        "no button and of each (default: a scripted walk). It is a program, and runs with your rights: "
                        "take it only from people whom you trust")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other episodes (default 0)")
    options = vars(parser.parse_args(argv))

    out = options.pop("out")
    _check(options)
    files = {name: options[name] and sha256(options[name]) for name in ("wad", "policy")}
    arguments = options | files | {"buttons": FIGHT_BUTTONS if options["wad"] else BUTTONS}
    if is_finished(out, "vizdoom", arguments):
        print(f"{out} is there already, whole, and the same")
        return
    if options["policy"]:
        print(f"{options['policy']} is a program, and runs with your rights", file=sys.stderr)
    drafts = out.absolute().with_name(f".{out.absolute().name}.episodes")
    episode = options["frames"] * SIZE * SIZE * 3
    require_memory(2 * episode * GAMES, f"playing {GAMES} episodes of {options['frames']} frames at once")
    require_disk(out, 2 * episode * options["episodes"], f"recording {options['episodes']} episodes")
    parts = _record(drafts, arguments, **options)
    splits = {split: _read(part) for split, part in parts.items()}
    write_clip_set(out, "vizdoom", arguments, splits, TICS / options["skip"], per_frame=("video", "actions"))
    dropped = 0
    for file in itertools.chain(*parts.values()):
        with np.load(file) as episode:
            dropped += int(episode["dropped"])
    shutil.rmtree(drafts)
    counts = ", ".join(f"{len(part)} for {split}" for split, part in parts.items())
    print(f"{out}: episodes of {options['frames']} frames: {counts}; {dropped} that ended early were dropped")


def _check(options: dict) -> None:
    for name, least in {"episodes": 3, "frames": 2, "skip": 1, "seed": 0}.items():
        if options[name] < least:
            raise UserError(f"--{name} must be {least} or more, not {options[name]}")
    if options["skip"] > LONGEST_SKIP:
        raise UserError(f"--skip must be up to {LONGEST_SKIP} tics, a minute, not {options['skip']}")
    for name in ("wad", "policy"):
        if options[name] and not options[name].is_file():
            raise UserError(f"--{name}: there is no file {options[name]}")


def _record(drafts: Path, arguments: dict, episodes: int, frames: int, skip: int, wad: Path | None,
            policy: Path | None, seed: int) -> dict[str, list[Path]]:
    """A file an episode, by split; those that are there already, of the same arguments, are kept.

    What is in an episode depends on the seed, its split and its number there alone. So a run that was killed and goes
    on ends the same, and no split of a small set holds what is in another split of a larger one.
    """
    with contextlib.ExitStack() as games:
        free = SimpleQueue()
        for _ in range(GAMES):
            game = games.enter_context(Doom(skip, wad))
            free.put((game, TrainedPolicy(policy, len(game.buttons)) if policy else Walker(len(game.buttons))))
        _prepare(drafts, json.dumps(arguments))
        tenth = max(1, round(episodes / 10))
        counts = {"train": episodes - 2 * tenth, "val": tenth, "test": tenth}
        files = {split: [drafts / f"{split}_{i:06}.npz" for i in range(n)] for split, n in counts.items()}
        missing = [(file, (seed, i, number)) for number, part in enumerate(files.values())
                   for i, file in enumerate(part) if not file.exists()]

        def play(episode: tuple[Path, tuple[int, int, int]]) -> None:
            file, seeds = episode
            game, player = free.get()
            try:
                video, actions, dropped = record_episode(game, player, frames, seeds)
            finally:
                free.put((game, player))
            draft = file.with_suffix(".part")
            with open(draft, "wb") as whole:
                np.savez(whole, video=video, actions=actions, dropped=dropped)
            draft.replace(file)

        with ThreadPoolExecutor(GAMES) as pool:
            done = pool.map(play, missing)
            for _ in tqdm(done, initial=episodes - len(missing), total=episodes, unit=" episodes"):
                pass
    return files


def _prepare(drafts: Path, arguments: str) -> None:
    """Makes the folder of drafts; those of other arguments are deleted. Raises UserError if it holds anything else."""
    strange = drafts.is_symlink() or (drafts.exists() and not drafts.is_dir())
    there = list(drafts.iterdir()) if drafts.is_dir() and not strange else []
    if strange or any(file.is_symlink() or not re.fullmatch(OWN, file.name) for file in there):
        raise UserError(f"{drafts} is not what this script left: move it away, or give another --out")
    same = drafts / "arguments.json"
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if json.loads(same.read_text(encoding="utf-8")) == json.loads(arguments):
            return
    for file in there:
        file.unlink()
    drafts.mkdir(parents=True, exist_ok=True)
    draft = same.with_suffix(".part")
    draft.write_text(arguments, encoding="utf-8")
    draft.replace(same)


def _read(files: list[Path]) -> Iterator[dict[str, np.ndarray]]:
    for file in files:
        with np.load(file) as episode:
            yield {"video": episode["video"][None], "actions": episode["actions"][None]}


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where `import vizdoom` would find this very file
    sys.exit(reported(main))
