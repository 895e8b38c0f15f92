"""Arrays in .npy files, whoever wrote them."""

import stat
import warnings
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap


def open_array(path: Path) -> np.ndarray:
    """The array in a .npy file, memory-mapped: a header that promises more than the file holds takes no memory.

    Raises OSError if the file cannot be read, and ValueError if it holds no array, or one of Python's objects.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is not a file")  # a named pipe would be waited for without end
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers from Python 2
            return open_memmap(path, "r")
    except OSError:
        raise
    except Exception as error:  # a header is a text of Python, whose parser refuses in many ways
        raise ValueError(f"{path} is not a .npy file") from error
