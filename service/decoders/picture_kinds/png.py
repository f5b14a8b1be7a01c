"""PNG: a list of chunks. Pillow reads texts and profiles in Python, so they are left out before it sees
the file, and so is what makes it an animation."""

import re

from service.decoders.picture_kinds.kind import Header, PictureKind, orientation_of
from service.http.problems import BadInput, Location

MOST_CHUNKS = 20_000
"""The pixels come in chunks of 8 kB or more."""

NEEDED_CHUNKS = (b"PLTE", b"tRNS", b"IDAT", b"IEND")


def header(data: bytes, location: Location) -> Header:
    at, exif = 33, b""
    if data[8:16] != b"\x00\x00\x00\x0dIHDR":
        raise ValueError
    kept: list[bytes | memoryview] = [data[:at]]
    view = memoryview(data)
    for _ in range(MOST_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body, end = view[at + 8 : at + 8 + length], at + 12 + length
        if kind in NEEDED_CHUNKS:
            kept.append(view[at:end])
        elif kind == b"eXIf":
            exif = exif or bytes(body)
        if kind == b"IEND" or end >= len(data):
            break
        at = end
    else:
        raise BadInput(location, f"the picture has more than {MOST_CHUNKS:,} chunks")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return Header(b"".join(kept), width, height, orientation_of(exif))


PNG = PictureKind("PNG", ("image/png",), (".png",), "PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), header)
