"""AVIF: frames of AV1 in a container of boxes. The decoder allocates the size that the frames claim, whatever the
container claims. So each sequence header of AV1 is read. Films and EXIF are hidden from Pillow."""

import re
from collections.abc import Iterator

from service.decoders.picture_kinds.boxes import boxes, items_of
from service.decoders.picture_kinds.kind import Header, PictureKind
from service.http.problems import BadInput, Location

SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6
MOST_UNITS = 1000
MOST_PICTURES = 8
"""With transparency, a thumbnail, a map of brightness: each is read in Python."""

MOST_FRAMES = 4
"""Of a still picture, which has one, in up to four layers."""


def header(data: bytes, location: Location) -> Header:
    changed = bytearray(data)
    sizes: list[tuple[int, int]] = []
    largest = 0
    for name, start, end in boxes(data, 0, len(data)):
        if name == b"ftyp":
            brands = (end - start) // 4
            changed[start:end] = b"avif" + bytes(4) + b"mif1" + b"avif" * (brands - 3) + data[start + 4 * brands : end]
        elif name == b"moov":
            changed[start - 4 : start] = b"free"
    items = items_of(data)
    if sum(item.kind == b"av01" for item in items) > MOST_PICTURES:
        raise ValueError
    for item in items:
        if item.kind == b"Exif":
            changed[item.kind_at : item.kind_at + 4] = b"none"
        elif item.kind == b"av01":
            for width, height, most in frame_sizes(data[slice(*item.extent)]):
                sizes.append((width, height))
                largest = max(largest, most)
        elif item.kind in (b"grid", b"iovl", b"iden", b"tmap", b"sato"):
            raise BadInput(location, "an AVIF made of several pictures: save it as one")
    width, height = max(sizes)
    return Header(bytes(changed), width, height, None, largest=largest)


def frame_sizes(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each sequence header: width, height, and the most pixels that its frames may have."""
    at = frames = 0
    for _ in range(MOST_UNITS):
        if at >= len(data):
            break
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + extended
        length = shift = 0
        while sized:
            length |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            sized = data[at - 1] >> 7 if shift < 56 else 0
        end = at + length if shift else len(data)
        if kind == SEQUENCE_HEADER:
            yield size_in(data[at : at + 64])
        elif kind in (FRAME_HEADER, FRAME):
            frames += 1
        at = end
    if at < len(data) or frames > MOST_FRAMES:
        raise ValueError


def size_in(unit: bytes) -> tuple[int, int, int]:
    """Of a sequence header, as section 5.5 of the AV1 specification has it."""
    bits = int.from_bytes(unit.ljust(64, b"\0"), "big")
    left = 512

    def read(count: int) -> int:
        nonlocal left
        left -= count
        return bits >> left & (1 << count) - 1

    read(4)  # profile, still_picture
    reduced = read(1)
    if reduced:
        read(5)
    else:
        if read(1):  # timing, which a picture does not have
            raise ValueError
        delays = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)
            if delays and read(1):
                read(4)
    across, down = read(4) + 1, read(4) + 1
    width, height = read(across) + 1, read(down) + 1
    return width, height, width * height if reduced else 1 << across + down


AVIF = PictureKind(
    "AVIF",
    ("image/avif",),
    (".avif",),
    "AVIF",
    re.compile(rb"....ftyp(avif|avis|(mif1|msf1|miaf)(?s:.{4,60})avif)", re.DOTALL),
    header,
    pixel_cost=5,
    byte_cost=5,
)
