"""Whether a video file ends before its end, by the sizes that its own parts state.

The lengths in a header do not tell: many are wrong in files that are whole. Only where a part of the file is missing
does it matter how long the video should have been.
"""

import os
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the object that states the file's size
_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot")  # what an MP4 begins with
_MOST_BOXES = 100_000  # a crafted file could have one every eight bytes


def missing_bytes(path: Path) -> int:
    """How many bytes are missing at the end of an MP4, MOV, AVI, Matroska, WebM or WMV; 1 where they are as many as
    they should be but zeros, or where an FLV or GIF breaks off. 0 if none, or if the container does not tell."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        tail = file.read()
        file.seek(0)
        head = file.read(8192)
        if head[:3] == b"GIF":
            file.seek(0)
            whole = _is_whole_gif(file.read())
        elif head[:3] == b"FLV":  # each part is followed by its size, its header of 11 bytes included
            last = int.from_bytes(tail[-4:])
            file.seek(max(0, size - 4 - last))
            whole = int.from_bytes(file.read(4)[1:]) == last - 11
        else:
            whole = any(tail)
        return max(_stated_end(file, head, size) - size, not whole, 0)


def _stated_end(file: BinaryIO, head: bytes, size: int) -> int:
    if head[:4] == b"RIFF":  # AVI
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:16] == _ASF_HEADER:
        at = head.find(_ASF_FILE) + 40
        return int.from_bytes(head[at:at + 8], "little") if at > 40 else 0
    if head[:4] == _EBML:  # Matroska: a header, then all else in one segment
        file.seek(4)
        file.seek(_ebml_size(file) or 0, os.SEEK_CUR)
        segment = _ebml_size(file) if file.read(4) == _SEGMENT else None
        return 0 if segment is None else file.tell() + segment
    end = 0
    if head[4:8] in _BOXES:  # MP4
        for _ in range(_MOST_BOXES):
            file.seek(end)
            box = file.read(16)
            length = int.from_bytes(box[8:16] if box[:4] == b"\0\0\0\1" else box[:4])
            if end >= size or length < 8:  # 0: up to the end, whatever that is
                break
            end += length
    return end


def _is_whole_gif(content: bytes) -> bool:
    """True up to its end mark, or, where a program forgot that, up to the end of a picture."""
    try:
        place = 13 + _palette_size(content[10])
        while place < len(content):
            match content[place]:
                case 0x3B:
                    return True
                case 0x2C:  # a picture: its place, its palette, the size of its codes
                    place += 11 + _palette_size(content[place + 9])
                case 0x21:  # an extension
                    place += 2
                case _:
                    return False
            while content[place]:  # blocks, each after its length
                place += 1 + content[place]
            place += 1
    except IndexError:
        return False
    return True


def _palette_size(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _ebml_size(file: BinaryIO) -> int | None:
    """A number of one to eight bytes, of which the leading zeros tell how many; None if it is not known."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    number = int.from_bytes(first + rest)
    mask = (1 << 7 * (more + 1)) - 1
    return None if number & mask == mask else number & mask
