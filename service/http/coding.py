"""Content-Encoding: bodies that come packed, unpacked within a bound."""

import zlib

from service.http.problems import BadInput, Problem

FORMATS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's numbers for them."""

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
    if name not in FORMATS:
        raise Problem(
            415,
            f"the content encoding {coding[:40]!r} is not understood: expected gzip or deflate, or none",
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    raw_deflate = name == "deflate" and body[0] & 15 != 8  # many send it without the header that the standard has
    unpacker = zlib.decompressobj(-15 if raw_deflate else FORMATS[name])
    try:
        data = unpacker.decompress(body, most_bytes + 1)
    except zlib.error:
        data = b""
    if len(data) > most_bytes:
        raise TooLargeError
    if not unpacker.eof or unpacker.unused_data:
        raise BadInput((), f"the body is not {name}, which its Content-Encoding says that it is")
    return data
