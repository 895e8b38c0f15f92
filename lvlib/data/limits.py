"""Refusing work that cannot fit, before it begins."""

import shutil
from pathlib import Path

from lvlib.errors import UserError

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")


def free_memory() -> int:
    """Bytes that are free now."""
    import psutil  # here: its Linux form imports what Windows lacks

    return psutil.virtual_memory().available


def require_memory(needed: int, what: str) -> None:
    """Raises UserError if `what` (its bytes: `needed`) is more than the memory that is free now."""
    free = free_memory()
    if needed > free:
        raise UserError(f"{what}: {in_words(needed)} of memory are needed, and {in_words(free)} are free")


def require_disk(folder: Path, needed: int, what: str) -> None:
    """Raises UserError if `what` (its bytes: `needed`) is more than the space that is free at `folder`, or where it
    would be made."""
    there = next((parent for parent in (folder, *folder.absolute().parents) if parent.is_dir()), Path.cwd())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(f"{what}: {in_words(needed)} of disk are needed, and {in_words(free)} are free in {there}")


def in_words(count: int) -> str:
    """1_500_000 -> "1.5 MB"."""
    if count >= 10**18:
        return "over 1,000 PB"  # and too large for a float, it may be
    unit = max(0, (len(str(count)) - 1) // 3)
    return f"{count / 1000**unit:.3g} {_UNITS[unit]}"
