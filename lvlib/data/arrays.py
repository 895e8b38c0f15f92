""".npy files of others: nothing is believed before it was compared with the file, and no program in one ever runs."""

import math
import stat
from pathlib import Path

import numpy as np

from lvlib.errors import UserError

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_array(path: Path) -> np.ndarray:
    """The array in a .npy file, memory-mapped and read-only.

    Raises UserError if there is none, it holds Python objects, columns come first in it (Fortran's order), or the file
    has not exactly the bytes that its header says.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for without end
            raise UserError(f"{path} is no file")
        with open(path, "rb") as file:
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
            start = file.tell()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except UserError:
        raise
    except Exception:  # a header is Python source, and may be wrong in as many ways
        raise UserError(f"{path} is not a .npy file, or it is damaged") from None
    if dtype.hasobject:
        raise UserError(f"{path} holds Python objects, not numbers")
    if fortran and len(shape) > 1:
        raise UserError(f"{path} has its columns first (Fortran's order): save it with np.ascontiguousarray")
    size = dtype.itemsize * math.prod(shape)
    if min(shape, default=0) < 0 or size != state.st_size - start:
        raise UserError(f"{path} is damaged: its header says {dtype} of shape {_short(shape)}, and the file has "
                        f"{state.st_size - start} bytes after it")
    if not size:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape)


def _short(shape: tuple) -> str:
    text = str(shape)
    return text if len(text) <= 60 else text[:57] + "..."
