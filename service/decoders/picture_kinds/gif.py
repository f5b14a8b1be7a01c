"""GIF: its first frame. Pillow reads the extensions before a frame in Python, so all but the one that names the
transparent colour are left out."""

import re

from service.decoders.picture_kinds.kind import Header, PictureKind
from service.http.problems import BadInput, Location

MOST_BLOCKS = 20_000
"""Before the first frame, in all extensions."""

TRANSPARENCY = 0xF9


def header(data: bytes, location: Location) -> Header:
    width, height = number(data, 6), number(data, 8)
    at = 13 + palette_size(data[10])
    kept = [data[:at]]
    blocks = 0
    while data[at] == 0x21:  # an extension
        began, label = at, data[at + 1]
        at += 2
        more = True
        while more:
            more = data[at] != 0
            at += 1 + data[at]
            blocks += 1
            if blocks > MOST_BLOCKS:
                raise BadInput(location, f"the picture has more than {MOST_BLOCKS:,} blocks before its first frame")
        if label == TRANSPARENCY:
            kept[1:] = [data[began:at]]
    if data[at] != 0x2C:
        raise ValueError
    left, top, across, down = (number(data, at + place) for place in (1, 3, 5, 7))
    return Header(b"".join([*kept, data[at:]]), max(width, left + across), max(height, top + down))


def number(data: bytes, at: int) -> int:
    return data[at] | data[at + 1] << 8


def palette_size(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


GIF = PictureKind("GIF", ("image/gif",), (".gif",), "GIF", re.compile(rb"GIF8[79]a"), header)
