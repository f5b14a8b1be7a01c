"""What the endpoints share that make a new version: Idempotency-Key, If-Match, their answer and its links."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, TypeVar

from flask import Response
from pydantic import Field
from werkzeug.exceptions import RequestEntityTooLarge

from model.weights_file import Weights
from service.http.endpoint import Endpoint, Link
from service.http.json_response import fields_of, json_answer, time_text
from service.http.problems import BadInput
from service.http.request import IncomingRequest, request, this_request
from service.live.learner import IdempotencyKey
from service.live.service import Service
from service.schemas.answers import VersionAnswer
from service.schemas.fields import LONGEST_KEY
from service.store.records import Version

T = TypeVar("T")

HEADERS = {
    "Idempotency-Key": Annotated[
        str,
        Field(
            min_length=1,
            max_length=LONGEST_KEY,
            description="Any text of your own: a repeat with the same body gets the first answer and changes nothing.",
        ),
    ],
    "If-Match": Annotated[
        str, Field(description="The ETag of GET /weights: 412 if the newest version has another one.")
    ],
}
MODEL_VERSION = "$response.body#/model_version"
LINKS = (
    Link("learning.rollback", body={"model_version": MODEL_VERSION}),
    Link("weights.get_weights", {"query.model_version": MODEL_VERSION}),
    Link("versions.versions", {"query.before": MODEL_VERSION}),
    Link("inference.model_metadata_at_model_version", {"path.model_version": MODEL_VERSION}),
)
NewVersionEndpoint = partial(Endpoint, headers=HEADERS, links=LINKS)


def once(service: Service, change: Callable[..., Version]) -> Version:
    """The version that the change makes, with `key` and `if_match`, or that an earlier request with this key made."""
    key = idempotency_key(this_request())
    if key is not None and (done := service.learner.answered(key)) is not None:
        return done
    return change(key=key, if_match=if_match())


def read_with_its_classes(service: Service, read: Callable[[Weights], T]) -> T:
    """What `read` makes of a request with labels, by the newest version. On PostgreSQL, another worker may have added a
    class that this one has not heard of: so nothing is refused before the log was read. Raises as `read`, StoreError.
    """
    weights = service.replica.newest().weights
    try:
        return read(weights)
    except BadInput:
        newest = service.replica.catch_up().weights
        if newest.output_size == weights.output_size:
            raise
        return read(newest)


def idempotency_key(request: IncomingRequest) -> IdempotencyKey | None:
    """Raises BadInput for an empty or a too long one."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    key = text.strip()
    if not 0 < len(key) <= LONGEST_KEY:
        raise BadInput(("Idempotency-Key",), f"expected 1 to {LONGEST_KEY} characters")
    parts = [request.method.encode(), request.path.encode(), request.query_string, request.mimetype.encode()]
    return IdempotencyKey(key, digest(*parts, *body_parts(request)))


def if_match() -> set[str] | None:
    """The ETags of which the newest version must have one; None for any. A weak ETag matches nothing."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return set(request.if_match.as_set())


def body_parts(request: IncomingRequest) -> Iterator[bytes]:
    """The body, or the parts of a form: many clients choose a new boundary for each try."""
    if request.mimetype != "multipart/form-data":
        yield request.body
        return
    try:
        fields, files = request.form.items(multi=True), request.files.items(multi=True)
    except (ValueError, RequestEntityTooLarge):  # the decoder reports it
        yield request.body
        return
    for name, value in fields:
        yield from (b"field", name.encode(), value.encode())
    for name, file in files:
        yield from (b"file", name.encode(), (file.content_type or "").encode(), file.stream.read())
        file.stream.seek(0)


def digest(*parts: bytes) -> bytes:
    """Depends on where the parts are divided."""
    hash_ = hashlib.sha256()
    for part in parts:
        hash_.update(len(part).to_bytes(8, "big"))
        hash_.update(part)
    return hash_.digest()


def version_answer(version: Version) -> Response:
    return json_answer(VersionAnswer, **version_fields(version))


def version_fields(version: Version) -> dict[str, Any]:
    return fields_of(VersionAnswer, version) | {"created_at": time_text(version.created_at)}
