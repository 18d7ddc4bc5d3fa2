"""Whether a Matroska or WebM file ends within one of its parts, also where it states neither a duration nor a size.

Source: RFC 8794 (EBML) and RFC 9559 (Matroska). A file that is written while it is sent (a browser's recording,
`ffmpeg -live 1`) states no duration, and its segment, often its clusters too, have no size; blocks of frames have.
"""

import os
from pathlib import Path
from typing import BinaryIO

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
MAX_ELEMENTS = 2**22  # that are walked through: as many frames are 19 hours of 60 a second
LONGEST_HEADER = 12  # bytes of an element's id and size


def ends_within_an_element(path: Path) -> bool:
    """Whether the last part of a file is longer than what is there of it; False for what is no Matroska file.

    A file that ends between two parts, as one does where it was cut there, is whole for all that can be told, and so is one
    of more than MAX_ELEMENTS: a few bytes are an empty part.
    """
    with path.open("rb") as file:
        length, place, end = os.fstat(file.fileno()).st_size, 0, 0
        for _ in range(MAX_ELEMENTS):
            if place >= length:
                return end > length
            header = _header(file, place)
            if header is None:
                return False
            element, begin, size = header
            if size is None and element not in (SEGMENT, CLUSTER):
                return False  # no other element may be without a size: this is no longer Matroska
            end = max(end, begin + (size or 0))
            place = begin if size is None else end
        return False


def _header(file: BinaryIO, place: int) -> tuple[int, int, int | None] | None:
    """An element's id, the place of its content and its size (None where it states none); None for what is no element."""
    file.seek(place)
    content = file.read(LONGEST_HEADER)
    id_length = _length(content[0], 4)
    if id_length is None:
        return None
    if id_length >= len(content):
        return int.from_bytes(content[:id_length]), place + id_length + 1, 0  # the file ends within the header
    size_length = _length(content[id_length], 8)
    if size_length is None:
        return None
    begin = id_length + size_length
    marked = int.from_bytes(content[id_length:begin])
    largest = (1 << 7 * size_length) - 1  # all bits: the size is unknown
    size = marked & largest
    return int.from_bytes(content[:id_length]), place + begin, None if size == largest else size


def _length(first: int, longest: int) -> int | None:
    """The length of a number of variable size by its first byte, None for one that is longer than may be."""
    length = 9 - first.bit_length()
    return length if length <= longest else None
