"""What there is to know about a kind of picture file, and what its header says of the picture."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from service.http.problems import Location

MOST_EXIF_ENTRIES = 1000
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Header:
    """data: the file with only what its pixels need. orientation: 1 to 8, as in EXIF; None: ask Pillow.

    scans: of a JPEG. largest: the pixels that decoding may allocate, where that is more than the picture has.
    """

    data: bytes
    width: int
    height: int
    orientation: int | None = 1
    scans: int = 1
    largest: int = 0

    @property
    def pixels(self) -> int:
        return max(self.width * self.height, self.largest)


@dataclass(frozen=True)
class PictureKind:
    """pillow: Pillow's name for the format. begins: how such a file begins.

    header: reads the file without decoding it, so that its cost is known before Pillow sees it. It raises BadInput, or
    ValueError or IndexError for a file that is damaged. pixel_cost: how many times the memory of the decoded pixels
    Pillow needs to decode them. byte_cost: the pixels that cost as much CPU as one byte of the file.
    """

    name: str
    types: tuple[str, ...]
    suffixes: tuple[str, ...]
    pillow: str
    begins: re.Pattern[bytes]
    header: Callable[[bytes, Location], Header]
    pixel_cost: float = 1
    byte_cost: float = 0


def orientation_of(exif: bytes) -> int:
    """How the camera was held, as EXIF's first directory says; 1, upright, where it does not."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], "little" if exif[:2] == b"II" else "big")

    directory = number(4, 4)
    for entry in range(directory + 2, min(len(exif), directory + 2 + 12 * number(directory, 2)), 12)[
        :MOST_EXIF_ENTRIES
    ]:
        if number(entry, 2) == ORIENTATION:
            return number(entry + 8, 2)
    return 1
