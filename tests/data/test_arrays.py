import os

import numpy as np
import pytest

from lvlib.data.arrays import open_array

HEADERS = ["", "\0", "(" * 500, "{'shape': " + "9" * 5000 + "}", "{'descr': '|u1', 'fortran_order': False",
           "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (-6,), }",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 4), }",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 4), }",
           "{'descr': '|u1', 'fortran_order': 3, 'shape': None, }"]


def test_an_array_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    array = open_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap) and (array == [[0, 1, 2], [3, 4, 5]]).all()


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_are_none_are_refused(header, tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(100))
    with pytest.raises(ValueError, match="is not a .npy file"):
        open_array(path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"PK\x03\x04", b"text"])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match="is not a .npy file"):
        open_array(tmp_path / "a.npy")


@pytest.mark.posix
def test_what_is_no_file_is_not_waited_for(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.npy")
        with pytest.raises(ValueError, match="is not a file"):
            open_array(tmp_path / "pipe.npy")
    with pytest.raises(ValueError, match="is not a file"):
        open_array(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_array(tmp_path / "missing.npy")
