"""The commands that README.md shows exist, with those options, configurations, data sets and fields."""

import re
import shlex
from pathlib import Path

import pytest

from lvlib.cli import COMMANDS
from lvlib.cli.arguments import override, split_overrides, with_fields
from lvlib.cli.condition import condition_options
from lvlib.cli.data import SCRIPTS
from lvlib.cli.sample import fields_by_part
from lvlib.configs import named_config
from lvlib.runs import load_config
from lvlib.runs.shipped import run_folder, shipped

README = Path(__file__).parents[2] / "README.md"


def commands() -> list[str]:
    if not README.exists():
        return []
    blocks = re.findall(r"^```\w*\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^((?: {4}.*\n)+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if re.match(r"\s*(\$ )?lvlib ", line)]


def test_readme_shows_commands():
    if not README.exists():
        pytest.skip("there is no README.md yet")
    assert commands()


@pytest.mark.parametrize("line", commands())
def test_command_in_readme_exists(line, lvlib):
    _, command, *arguments = shlex.split(line, comments=True)
    assert command in COMMANDS
    arguments, overrides = split_overrides(arguments)
    words = [command]
    if command in ("describe", "train", "bench"):
        override(named_config(arguments[0]), overrides)
    if command == "sample" and arguments[0] in shipped():
        config, fields = load_config(run_folder(arguments[0])), fields_by_part(overrides)
        with_fields(config.prior.Sampling(), "sampling", fields["sampling"])
        condition_options(config, fields["condition"])
    if command == "data" and arguments[0] not in ("--list", "--stats"):
        assert (SCRIPTS / f"{arguments[0]}.py").exists()
        words.append(arguments[0])
    _, usage, _ = lvlib(*words, "--help")
    for option in arguments:
        if option.startswith("-"):
            assert re.search(rf"(?<!\S){option.partition('=')[0]}\b", usage), f"{command} has no {option}"
