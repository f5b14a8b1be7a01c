"""A picture as text: a file in base64, or a data: URL of one, as people and their programs write it."""

import base64
import binascii
import re

from service.decoders.picture_kinds import TYPES
from service.http.problems import BadInput, Location

HEAD = re.compile(r"data:|image/", re.IGNORECASE)
"""How a data: URL begins, or one whose first five characters were left out."""

ESCAPES = {"%2B": "+", "%2F": "/", "%3D": "=", "%0A": "", "%0D": "", "%20": ""}
"""Of the characters of base64."""

URL_SAFE = bytes.maketrans(b"-_", b"+/")


def picture_of(text: str, location: Location) -> bytes:
    """The file. Raises BadInput."""
    data = text
    if text[:1] == "[":
        raise BadInput(location, "a list in quotation marks: send it without these")
    if HEAD.match(text):
        head, comma, data = text.partition(",")
        if not comma or not is_of_a_picture(head):
            raise BadInput(location, f"a data: URL of {head[:40]!r}: expected one of image/png;base64 or its like")
        for escape, character in ESCAPES.items() if "%" in data else ():
            data = data.replace(escape, character).replace(escape.lower(), character)
    try:
        characters = data.encode("ascii").translate(URL_SAFE, b" \t\r\n\f\v").rstrip(b"=")
        return base64.b64decode(characters + b"=" * (-len(characters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(
            location, f"the text {text[:20]!r} is no picture: expected one in base64, or a data: URL of one"
        ) from None


def is_of_a_picture(head: str) -> bool:
    """head: what is before the comma of a data: URL."""
    kind = head[:100].lower().removeprefix("data:")
    return kind.partition(";")[0] in TYPES and kind.endswith(";base64")
