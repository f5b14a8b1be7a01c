"""WebP: a RIFF file of chunks. Pillow's decoder allocates two canvases of the size that the first chunk claims, so the
file is written anew around the pixels of its first frame, with the size that these have."""

import re
from collections.abc import Iterator

from service.decoders.picture_kinds.kind import Header, PictureKind, orientation_of
from service.http.problems import BadInput, Location

MOST_CHUNKS = 10_000
ALPHA = 0x10
"""The flag of a file whose pixels are transparent."""

GROUP_PIXELS, GROUP_BYTES = 16, 2
MOST_GROUPS = 16_000
"""Of a lossless picture. Each 4 × 4 pixels may have Huffman codes of their own, of two bytes and more in the file,
for which the decoder allocates 5.6 kB."""

FRAME_HEADER = 16
"""Bytes at the beginning of an animation's frame."""


def header(data: bytes, location: Location) -> Header:
    kept: dict[bytes, bytes] = {}
    exif: bytes | None = None
    for name, body in chunks(data, 12):
        if name == b"ANMF" and not kept:
            kept = pixels_in(chunks(body, FRAME_HEADER))
        elif name == b"EXIF" and exif is None:
            exif = body.removeprefix(b"Exif\0\0")
        elif name in (b"ALPH", b"VP8 ", b"VP8L"):
            kept.setdefault(name, body)
    name = b"VP8 " if b"VP8 " in kept else b"VP8L"
    pixels = kept.get(name, b"")
    width, height = size_of(name, pixels)
    if name == b"VP8L" and min(width * height // GROUP_PIXELS, len(pixels) // GROUP_BYTES) > MOST_GROUPS:
        raise BadInput(location, "a lossless WebP of this size: save it with fewer pixels, or as PNG")
    parts = [chunk(name, pixels)]
    if name == b"VP8 " and b"ALPH" in kept:
        canvas = bytes([ALPHA, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        parts = [chunk(b"VP8X", canvas), chunk(b"ALPH", kept[b"ALPH"]), *parts]
    whole = b"WEBP" + b"".join(parts)
    return Header(b"RIFF" + len(whole).to_bytes(4, "little") + whole, width, height, orientation_of(exif or b""))


def pixels_in(parts: Iterator[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return {name: body for name, body in parts if name in (b"ALPH", b"VP8 ", b"VP8L")}


def chunks(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise ValueError


def chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def size_of(name: bytes, pixels: bytes) -> tuple[int, int]:
    """Of a frame, lossy (VP8) or lossless (VP8L)."""
    if name == b"VP8 " and pixels[3:6] == b"\x9d\x01\x2a":
        return tuple(int.from_bytes(pixels[at : at + 2], "little") & 0x3FFF for at in (6, 8))  # type: ignore[return-value]
    if name == b"VP8L" and pixels[:1] == b"\x2f":
        bits = int.from_bytes(pixels[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError


WEBP = PictureKind(
    "WebP",
    ("image/webp",),
    (".webp",),
    "WEBP",
    re.compile(rb"RIFF....WEBP", re.DOTALL),
    header,
    pixel_cost=7,
    byte_cost=5,
)
