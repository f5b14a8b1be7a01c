"""JPEG: a list of segments, then scans of the pixels. libjpeg goes through the whole picture for each scan, so they are
counted first. A second picture behind the first one (MPO, as some cameras and phones write it) is left out."""

import re

from service.decoders.picture_kinds.kind import Header, PictureKind, orientation_of
from service.http.problems import BadInput, Location

MOST_SEGMENTS = 1000
"""Before the first scan."""

MOST_SCANS = 500
MOST_SCANNED_PIXELS = 500_000_000
"""In all scans: ten of 50 megapixels."""

FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
NEEDED_SEGMENTS = (0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE)
"""Tables of codes and quantities, restart intervals, and the two that tell colours apart: JFIF and Adobe."""

WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Between the bytes of a scan, where 0xFF is followed by 0."""


def header(data: bytes, location: Location) -> Header:
    at, orientation, size = 2, None, None
    kept: list[bytes | memoryview] = [data[:at]]
    view = memoryview(data)
    for _ in range(MOST_SEGMENTS):
        at = data.index(b"\xff", at)
        marker = data[at + 1]
        if marker in (0x00, 0xFF, *WITHOUT_LENGTH):
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if not at + 4 <= end <= len(data):
            raise ValueError
        if marker in FRAMES and size is None:
            size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
            kept.append(view[at:end])
        elif marker in NEEDED_SEGMENTS:
            kept.append(view[at:end])
        elif marker == 0xE1 and orientation is None and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = orientation_of(data[at + 10 : end])
        at = end
    else:
        raise BadInput(location, f"the picture has more than {MOST_SEGMENTS:,} segments before its pixels")
    if size is None:
        raise ValueError
    end = end_of_scans(data, at)
    kept.append(view[at:end])
    scans = data.count(b"\xff\xda", at, end)
    if scans > MOST_SCANS or scans * size[0] * size[1] > MOST_SCANNED_PIXELS:
        raise BadInput(location, f"the picture has {scans} scans of {size[0]} × {size[1]} pixels: save it with fewer")
    return Header(b"".join(kept), *size, orientation or 1, scans)


def end_of_scans(data: bytes, at: int) -> int:
    """Where the picture ends whose first scan begins at `at`."""
    for _ in range(3 * MOST_SCANS):
        found = MARKER.search(data, at)
        if found is None:
            break
        if data[found.end() - 1] == 0xD9:
            return found.end()
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return len(data)


JPEG = PictureKind(
    "JPEG", ("image/jpeg", "image/jpg"), (".jpg", ".jpeg", ".mpo"), "JPEG", re.compile(rb"\xff\xd8"), header
)
