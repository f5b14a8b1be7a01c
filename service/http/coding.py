"""Content-Encoding: bodies that come packed, unpacked within a bound."""

import zlib

from service.http.problems import BadInput, Problem

GZIP, DEFLATE = ("gzip", "x-gzip"), ("deflate",)
PIECE_BYTES = 2**20
PACKED_PIECE_BYTES = 2**16
MOST_MEMBERS = 10_000
"""Of a gzip body. One that is packed in blocks, for several cores, has one for every 64 kB or more."""


NEVER_PACKED = ("image/", "multipart/")
"""Beginnings of content types that gain nothing by it, for pictures are packed themselves."""


class TooLargeError(ValueError):
    """There is more in it than the bound."""


def unpacked(body: bytes, coding: str, mimetype: str, most_bytes: int) -> bytes:
    """The body as it was before it was packed; coding: what the header says, "" for a body that is not.

    Never unpacks more than a byte beyond the bound. Raises TooLargeError, and Problem: 415 for a coding that is not
    read, 422 for a body that isn't packed as it says.
    """
    name = coding.strip().lower()
    if name in ("", "identity") or not body:
        return body
    if mimetype.startswith(NEVER_PACKED):
        raise Problem(
            415,
            f"a Content-Encoding is for JSON and arrays: send {mimetype[:60]} without one",
            headers={"Accept-Encoding": "identity"},
        )
    if name not in GZIP + DEFLATE:
        raise Problem(
            415,
            f"the content encoding {coding[:40]!r} is not understood: expected gzip or deflate, or none",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    try:
        return inflated(body, 31 if name in GZIP else deflate_format(body), most_bytes)
    except zlib.error:
        raise BadInput((), f"the body is not {name}, which its Content-Encoding says that it is") from None


def deflate_format(body: bytes) -> int:
    """zlib's number for it: the standard's, with a header of two bytes, or, as many send it, none."""
    has_header = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return 15 if has_header else -15


def inflated(data: bytes, format_: int, most_bytes: int) -> bytes:
    """All that is packed, gzip's members one after the other. Raises TooLargeError, zlib.error, Problem."""
    pieces: list[bytes] = []
    left = most_bytes + 1
    at = members = 0  # what lies behind a member is copied with it: never all that follows
    while at < len(data):
        unpacker = zlib.decompressobj(format_)
        while not unpacker.eof:
            packed = data[at : at + PACKED_PIECE_BYTES]
            piece = unpacker.decompress(packed, min(left, PIECE_BYTES))
            at += len(packed) - len(unpacker.unconsumed_tail or unpacker.unused_data)
            left -= len(piece)
            pieces.append(piece)
            if left == 0:
                raise TooLargeError
            if not piece and not packed and not unpacker.eof:
                raise zlib.error("cut off")
        members += 1
        if at < len(data) and format_ != 31:
            raise zlib.error("more behind the end")
        if members > MOST_MEMBERS:
            raise BadInput((), f"the body has more than {MOST_MEMBERS:,} gzip members")
    return b"".join(pieces)
