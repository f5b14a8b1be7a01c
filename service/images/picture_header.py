"""What a PNG or JPEG says of itself, and the file without what is not needed for its pixels.

Pillow reads texts, profiles and EXIF in Python, and libjpeg goes through the whole picture for each scan: some bytes
can cost either of them minutes. So a file's parts are counted and most of them left out before they see it.
"""

from dataclasses import dataclass

from service.http.problems import BadInput, Location

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
MOST_SIDE = 20_000
MOST_CHUNKS = 20_000
"""Of a PNG. The pixels come in chunks of 8 kB or more."""

MOST_SEGMENTS = 1000
"""Of a JPEG, before its first scan."""

MOST_SCANS = 500
MOST_SCANNED_PIXELS = 500_000_000
"""Of a JPEG, in all its scans: ten of 50 megapixels."""

MOST_EXIF_ENTRIES = 1000
ORIENTATION = 0x0112
NEEDED_CHUNKS = (b"PLTE", b"tRNS", b"IDAT", b"IEND")
FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
NEEDED_SEGMENTS = (0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE)
"""Tables of codes and quantities, restart intervals, and the two that tell colours apart: JFIF and Adobe."""

WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


@dataclass(frozen=True)
class Header:
    """data: the file, with nothing but what makes its pixels. orientation: 1 to 8, as EXIF has it."""

    data: bytes
    width: int
    height: int
    orientation: int
    scans: int = 1


def read_header(data: bytes, location: Location) -> Header:
    """Raises BadInput."""
    try:
        if data.startswith(PNG):
            header = of_png(data, location)
        elif data.startswith(JPEG):
            header = of_jpeg(data, location)
        else:
            raise ValueError
    except (ValueError, IndexError):
        raise BadInput(location, "not a PNG or JPEG picture that can be read") from None
    if max(header.width, header.height) > MOST_SIDE:
        raise BadInput(location, f"{header.width} × {header.height} pixels: at most {MOST_SIDE:,} are read on a side")
    return header


def of_png(data: bytes, location: Location) -> Header:
    at, orientation = len(PNG) + 25, 1
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
            orientation = orientation_of(bytes(body))
        elif kind == b"acTL" and int.from_bytes(body[:4], "big") > 1:
            raise BadInput(location, "an animated picture: expected a single image")
        if kind == b"IEND" or end >= len(data):
            break
        at = end
    else:
        raise BadInput(location, f"the picture has more than {MOST_CHUNKS:,} chunks")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return Header(b"".join(kept), width, height, orientation)


def of_jpeg(data: bytes, location: Location) -> Header:
    at, orientation, size = len(JPEG), None, None
    kept: list[bytes | memoryview] = [JPEG]
    view = memoryview(data)
    for _ in range(MOST_SEGMENTS):
        at = data.index(b"\xff", at)
        marker = data[at + 1]
        if marker in (0x00, 0xFF, *WITHOUT_LENGTH):
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            kept.append(view[at:])
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
    scans = data.count(b"\xff\xda", at)
    if scans > MOST_SCANS or scans * size[0] * size[1] > MOST_SCANNED_PIXELS:
        raise BadInput(location, f"the picture has {scans} scans of {size[0]} × {size[1]} pixels: save it with fewer")
    return Header(b"".join(kept), *size, orientation or 1, scans)


def orientation_of(exif: bytes) -> int:
    """What EXIF's first directory says of how the picture was held; 1, upright, where it says nothing."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], "little" if exif[:2] == b"II" else "big")

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * min(number(directory, 2), MOST_EXIF_ENTRIES), 12):
        if number(entry, 2) == ORIENTATION:
            return number(entry + 8, 2)
    return 1
