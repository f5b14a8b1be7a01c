"""BMP: rows of pixels behind a header. Pillow unpacks RLE in Python, byte by byte, so that is not read."""

import re

from service.decoders.picture_kinds.kind import Header, PictureKind
from service.http.problems import BadInput, Location

OLDEST_HEADER = 12
RAW, BITFIELDS = 0, 3


def header(data: bytes, location: Location) -> Header:
    size = int.from_bytes(data[14:18], "little")
    step = 2 if size == OLDEST_HEADER else 4
    width = int.from_bytes(data[18 : 18 + step], "little")
    height = int.from_bytes(data[18 + step : 18 + 2 * step], "little", signed=step == 4)
    bits = int.from_bytes(data[20 + 2 * step : 22 + 2 * step], "little")
    if size != OLDEST_HEADER and int.from_bytes(data[30:34], "little") not in (RAW, BITFIELDS):
        raise BadInput(location, "a BMP with packed pixels: save it without compression, or as PNG")
    if (width * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise ValueError  # there are fewer pixels than it claims
    return Header(data, width, abs(height))


BMP = PictureKind("BMP", ("image/bmp", "image/x-ms-bmp"), (".bmp",), "BMP", re.compile(rb"BM"), header)
