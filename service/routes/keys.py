"""Idempotency-Key and If-Match: headers of requests that make a new version."""

import hashlib
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field
from werkzeug.exceptions import RequestEntityTooLarge

from service.http.incoming import request
from service.http.problems import BadInput
from service.live.learner import IdempotencyKey
from service.schemas import LONGEST_KEY

CHANGE = {
    "Idempotency-Key": Annotated[
        str,
        Field(
            min_length=1,
            max_length=LONGEST_KEY,
            description="Of your own making: a repeat with the same body gets the first answer, and changes nothing.",
        ),
    ],
    "If-Match": Annotated[
        str, Field(description="The ETag of GET /weights: 412 where the newest version has another.")
    ],
}


def idempotency_key() -> IdempotencyKey | None:
    """The request's Idempotency-Key. Raises BadInput for an empty one and for one that is too long."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    key = key.strip()
    if not 0 < len(key) <= LONGEST_KEY:
        raise BadInput(("Idempotency-Key",), f"expected 1 to {LONGEST_KEY} characters")
    parts = [request.method.encode(), request.path.encode(), request.query_string, request.mimetype.encode()]
    return IdempotencyKey(key, digest(*parts, *body_parts()))


def if_match() -> set[str] | None:
    """The ETags one of which the newest version has to have, None where any will do. A weak one matches nothing."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return set(request.if_match.as_set())


def body_parts() -> Iterator[bytes]:
    """The body, or what it consists of where it is divided by a boundary, which many clients make anew for each try."""
    if request.mimetype != "multipart/form-data":
        yield request.body
        return
    try:
        fields, files = request.form.items(multi=True), request.files.items(multi=True)
    except (ValueError, RequestEntityTooLarge):  # no multipart, or too much of it; whoever reads it says so
        yield request.body
        return
    for name, value in fields:
        yield from (b"field", name.encode(), value.encode())
    for name, file in files:
        yield from (b"file", name.encode(), (file.content_type or "").encode(), file.stream.read())
        file.stream.seek(0)


def digest(*parts: bytes) -> bytes:
    """Another one for any other parts, wherever they are divided."""
    hash_ = hashlib.sha256()
    for part in parts:
        hash_.update(len(part).to_bytes(8, "big"))
        hash_.update(part)
    return hash_.digest()
