"""The container of AVIF and HEIC, ISO/IEC 14496-12 and 23008-12: boxes, and the items that one of them lists."""

from collections.abc import Iterator
from dataclasses import dataclass

MOST_BOXES = 1000
MOST_ITEMS = 1000
MOST_LINK_BYTES = 20_000
"""Of the lists that link items to properties and to each other: a decoder searches all items for each link."""


@dataclass(frozen=True)
class Item:
    """kind: four letters, at kind_at in the file. extent: where its bytes begin and end."""

    kind: bytes
    kind_at: int
    extent: tuple[int, int]


def boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each, and where its content begins and ends. Raises ValueError."""
    for _ in range(MOST_BOXES):
        if at + 8 > end:
            return
        size, name, start = number(data, at, 4), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = number(data, at + 8, 8), at + 16
        stop = at + size if size else end
        if not start <= stop <= end:
            raise ValueError
        yield name, start, stop
        at = stop
    raise ValueError


def number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError
    return int.from_bytes(data[at : at + size], "big")


def items_of(data: bytes) -> list[Item]:
    """Raises ValueError, for what a still picture does not have, too: items in pieces, or in several lists."""
    found = [(start + 4, end) for name, start, end in boxes(data, 0, len(data)) if name == b"meta"]
    if len(found) != 1:
        raise ValueError
    inner: dict[bytes, tuple[int, int]] = {}
    for name, start, end in boxes(data, *found[0]):
        if name in inner:
            raise ValueError
        inner[name] = start, end
    check_links(data, inner)
    kinds = kinds_of(data, *inner[b"iinf"]) if b"iinf" in inner else {}
    base = inner.get(b"idat", (0, 0))[0]
    extents = extents_of(data, inner[b"iloc"][0], base) if b"iloc" in inner else {}
    return [Item(*kind, extents.get(item, (0, 0))) for item, kind in kinds.items()]


def check_links(data: bytes, inner: dict[bytes, tuple[int, int]]) -> None:
    """Raises ValueError for more properties and links than a still picture has."""
    start, end = inner.get(b"iref", (0, 0))
    links = end - start
    for name, begin, stop in boxes(data, *inner.get(b"iprp", (0, 0))):
        links += stop - begin if name == b"ipma" else 0
        if name == b"ipco":
            sum(1 for _ in boxes(data, begin, stop))
    if links > MOST_LINK_BYTES:
        raise ValueError


def kinds_of(data: bytes, at: int, end: int) -> dict[int, tuple[bytes, int]]:
    kinds = {}
    for name, start, _ in boxes(data, at + (6 if data[at] == 0 else 8), end):
        wide = 4 if data[start] == 3 else 2
        if name != b"infe" or data[start] < 2 or (item := number(data, start + 4, wide)) in kinds:
            raise ValueError
        kind_at = start + 6 + wide
        kinds[item] = data[kind_at : kind_at + 4], kind_at
    return kinds


def extents_of(data: bytes, at: int, base: int) -> dict[int, tuple[int, int]]:
    """base: where the bytes begin that are in the list itself."""
    version = data[at]
    offset_size, length_size = data[at + 4] >> 4, data[at + 4] & 15
    base_size, index_size = data[at + 5] >> 4, data[at + 5] & 15 if version else 0
    wide = 2 if version < 2 else 4
    count, at = number(data, at + 6, wide), at + 6 + wide
    if count > MOST_ITEMS:
        raise ValueError
    extents: dict[int, tuple[int, int]] = {}
    for _ in range(count):
        item, at = number(data, at, wide), at + wide
        method = number(data, at, 2) & 15 if version else 0
        at += 4 if version else 2
        begins, at = number(data, at, base_size) + (base if method == 1 else 0), at + base_size
        pieces, at = number(data, at, 2), at + 2
        if pieces != 1 or item in extents or method > 1:
            raise ValueError
        at += index_size
        begins, at = begins + number(data, at, offset_size), at + offset_size
        length, at = number(data, at, length_size), at + length_size
        if begins + length > len(data):
            raise ValueError
        extents[item] = begins, begins + length if length else len(data)
    return extents
