"""TIFF: its first picture. A directory of tags may name the whole file as the value of each, and point to further
directories without an end. So a new one is written behind the file, with only the tags that the pixels need."""

import re
import struct

from service.decoders.picture_kinds.kind import Header, PictureKind
from service.http.problems import BadInput, Location

WIDTH, HEIGHT, COMPRESSION, ORIENTATION = 256, 257, 259, 274
TILE_WIDTH, TILE_HEIGHT = 322, 323
NEEDED = (WIDTH, HEIGHT, 258, COMPRESSION, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320)
NEEDED_TILES = (TILE_WIDTH, TILE_HEIGHT, 324, 325, 338, 339)
FILL_ORDER, BYTE_COUNTS = 266, (279, 325)
SIZES, FORMATS = {1: 1, 3: 2, 4: 4}, {1: "B", 3: "H", 4: "I"}
"""Of the types that a needed tag has: 8, 16 and 32 bits."""

MOST_TAGS = 1000
MOST_STRIPS = 10_000
"""Strips or tiles of the pixels."""

COMPRESSIONS = (1, 2, 3, 4, 5, 8, 32773, 32946)
"""None, the three of fax, LZW, deflate, PackBits and deflate as Adobe had it first."""


def header(data: bytes, location: Location) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    if count > MOST_TAGS:
        raise BadInput(location, f"the picture has more than {MOST_TAGS:,} tags")
    tags: dict[int, bytes] = {}
    values: dict[int, int] = {}
    for at in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        if tag not in (*NEEDED, *NEEDED_TILES, ORIENTATION):
            continue
        if kind not in SIZES:
            raise ValueError
        if number > MOST_STRIPS:
            raise BadInput(location, f"the picture has more than {MOST_STRIPS:,} strips of pixels: save it with fewer")
        tags[tag] = data[at : at + 12]
        where = at + 8 if number * SIZES[kind] <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
        if tag in BYTE_COUNTS and sum(struct.unpack_from(f"{order}{number}{FORMATS[kind]}", data, where)) > len(data):
            raise ValueError  # strips that share their bytes
        (values[tag],) = struct.unpack_from(order + FORMATS[kind], data, where)
    width, height = values[WIDTH], values[HEIGHT]
    if values.get(COMPRESSION, 1) not in COMPRESSIONS or values.get(FILL_ORDER, 1) != 1:
        raise BadInput(location, "a TIFF with pixels packed in a way that is not read: save it with LZW, or as PNG")
    across, down = values.get(TILE_WIDTH, width), values.get(TILE_HEIGHT, height)
    if across * down == 0 or -(-width // across) * -(-height // down) > MOST_STRIPS:
        raise ValueError
    orientation = values.get(ORIENTATION, 1)
    tags.pop(ORIENTATION, None)  # Pillow would turn the whole picture
    kept = struct.pack(order + "H", len(tags)) + b"".join(tags[tag] for tag in sorted(tags)) + bytes(4)
    padded = data + bytes(len(data) % 2)
    whole = padded[:4] + struct.pack(order + "I", len(padded)) + padded[8:] + kept
    return Header(whole, width, height, orientation, largest=across * down)


TIFF = PictureKind(
    "TIFF",
    ("image/tiff",),
    (".tif", ".tiff"),
    "TIFF",
    re.compile(rb"II\*\0|MM\0\*"),
    header,
    pixel_cost=3.5,
)
