"""HEIC, as phones save photographs: read where pillow-heif is installed, which has a decoder of its own."""

import re
from importlib.util import find_spec

from service.decoders.picture_kinds.boxes import boxes, number
from service.decoders.picture_kinds.kind import Header, PictureKind
from service.http.problems import BadInput, Location

INSTALLED = find_spec("pillow_heif") is not None


def header(data: bytes, location: Location) -> Header:
    if not INSTALLED:
        raise BadInput(
            location,
            "HEIC pictures are read where pillow-heif is installed (pip install 'twolayernet-service[heic]'): install "
            "it, or save the picture as JPEG",
        )
    from pillow_heif import register_heif_opener

    register_heif_opener()
    ((_, meta, end),) = (box for box in boxes(data, 0, len(data)) if box[0] == b"meta")
    properties = within(data, within(data, (meta + 4, end), b"iprp"), b"ipco")
    sizes = [
        (number(data, start + 4, 4), number(data, start + 8, 4))
        for name, start, _ in boxes(data, *properties)
        if name == b"ispe"
    ]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header(data, width, height, None)


def within(data: bytes, outer: tuple[int, int], wanted: bytes) -> tuple[int, int]:
    """Where the content of the box of that name begins and ends."""
    ((start, end),) = ((start, end) for name, start, end in boxes(data, *outer) if name == wanted)
    return start, end


HEIC = PictureKind(
    "HEIC",
    ("image/heic", "image/heif"),
    (".heic", ".heif"),
    "HEIF",
    re.compile(rb"....ftyp(hei[cxms]|hev[cx]|(mif1|msf1)(?s:.{4,60})hei[cx])", re.DOTALL),
    header,
    pixel_cost=3,
)
