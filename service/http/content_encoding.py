"""Content-Encoding: compressed bodies, decompressed up to a limit."""

import zlib

from service.http.problems import BadInput, Problem

GZIP, DEFLATE = ("gzip", "x-gzip"), ("deflate",)
PIECE_BYTES = 2**20
PACKED_PIECE_BYTES = 2**16
MOST_MEMBERS = 10_000
"""Each gzip member costs time of its own. A body that several cores compressed has one for every 64 kB or more."""

NEVER_PACKED = ("image/", "multipart/")
"""Pictures are compressed already."""


class TooLargeError(ValueError):
    """The body decompresses to more than the limit."""


def unpacked(body: bytes, coding: str, mimetype: str, most_bytes: int) -> bytes:
    """The body, decompressed. coding: the Content-Encoding header, "" for none.

    Never decompresses more than one byte over the limit. Raises TooLargeError, and Problem: 415 for an unknown coding,
    422 for a body that does not match its coding.
    """
    name = coding.strip().lower()
    if name in ("", "identity") or not body:
        return body
    if mimetype.startswith(NEVER_PACKED):
        raise Problem(
            415,
            f"Content-Encoding is for JSON and arrays: send {mimetype[:60]} without it",
            headers={"Accept-Encoding": "identity"},
        )
    if name not in GZIP + DEFLATE:
        raise Problem(
            415,
            f"unknown content encoding {coding[:40]!r}: expected gzip, deflate or none",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    try:
        return inflated(body, 31 if name in GZIP else deflate_format(body), most_bytes)
    except zlib.error:
        raise BadInput((), f"the Content-Encoding is {name}, but the body is not valid {name} data") from None


def deflate_format(body: bytes) -> int:
    """zlib's number for it: with a header of two bytes, as the standard has it, or without, as many clients send it."""
    has_header = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return 15 if has_header else -15


def inflated(data: bytes, format_: int, most_bytes: int) -> bytes:
    """All members of gzip, one after the other. Python's gzip module reads long headers byte by byte.

    Raises TooLargeError, zlib.error, Problem.
    """
    pieces: list[bytes] = []
    left = most_bytes + 1
    at = members = 0  # zlib copies what follows a member: so it never gets all that follows
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
            raise zlib.error("more after the end")
        if members > MOST_MEMBERS:
            raise BadInput((), f"the body has more than {MOST_MEMBERS:,} gzip members")
    return b"".join(pieces)
