"""The kinds of picture files that are read, in one list. What else has to know them (content types, file names, the
OpenAPI document, messages) reads them from here.

Each kind has a file of its own, which reads the picture's size from the header and leaves out what is not needed for
the pixels: a few bytes can make a decoder allocate gigabytes, or read for minutes.
"""

import struct

from service.decoders.picture_kinds import heic
from service.decoders.picture_kinds.avif import AVIF
from service.decoders.picture_kinds.bmp import BMP
from service.decoders.picture_kinds.gif import GIF
from service.decoders.picture_kinds.heic import HEIC
from service.decoders.picture_kinds.jpeg import JPEG
from service.decoders.picture_kinds.kind import Header, PictureKind
from service.decoders.picture_kinds.png import PNG
from service.decoders.picture_kinds.tiff import TIFF
from service.decoders.picture_kinds.webp import WEBP
from service.http.problems import BadInput, Location

__all__ = ["JPEG", "KINDS", "NAMES", "SUFFIXES", "TYPES", "UNREADABLE", "Header", "PictureKind", "read_header"]

KINDS = (PNG, JPEG, WEBP, GIF, BMP, TIFF, AVIF, HEIC)
TYPES = tuple(name for kind in KINDS for name in kind.types)
SUFFIXES = tuple(suffix for kind in KINDS for suffix in kind.suffixes)

_NAMES = [kind.name for kind in KINDS if kind is not HEIC or heic.INSTALLED]
NAMES = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
UNREADABLE = f"not a picture that can be read: expected {NAMES}"
MOST_SIDE = 20_000


def read_header(data: bytes, location: Location) -> tuple[PictureKind, Header]:
    """Raises BadInput."""
    kind = next((kind for kind in KINDS if kind.begins.match(data)), None)
    if kind is None:
        raise BadInput(location, UNREADABLE)
    try:
        header = kind.header(data, location)
        if min(header.width, header.height) < 1:
            raise ValueError
    except (ValueError, LookupError, struct.error):
        raise BadInput(location, f"the {kind.name} file is damaged: its header can't be read") from None
    if max(header.width, header.height) > MOST_SIDE:
        raise BadInput(location, f"{header.width} × {header.height} pixels: at most {MOST_SIDE:,} are read on a side")
    return kind, header
