"""Queries and JSON, checked by pydantic, whose errors become answers."""

from codecs import BOM_UTF8
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from service.http.problems import BadInput, Location, Problem, dotted
from service.http.request import IncomingRequest
from service.schemas.fields import FLAT_OR_ROWS, LARGEST_VERSION, TEXT, Request
from service.schemas.requests import ImagesFields
from service.validation import MOST_ERRORS, sentence

AnyRequest = TypeVar("AnyRequest", bound=Request)


def read_query(request: IncomingRequest, schema: type[AnyRequest]) -> AnyRequest:
    """Raises Problem: 422 for a parameter that is unknown, out of bounds or given twice."""
    if not request.environ.get("QUERY_STRING"):
        return schema()
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadInput(("query", name), "given more than once")
    return validated(request.args.to_dict(), schema, ("query",), TEXT)


def read_json(request: IncomingRequest, schema: type[AnyRequest]) -> AnyRequest:
    """Raises Problem: 415 for another content type, 422."""
    mimetype = request.mimetype
    if mimetype != "application/json" and request.body:
        named = mimetype or "(none)"
        raise Problem(415, f"unknown content type {named}: expected application/json{mimetype_meant(mimetype)}")
    return parse(request.body, schema)


def digits(text: str) -> int | None:
    """A whole number of at most 19 digits; None for anything else, some of which int() accepts."""
    return int(text) if len(text) <= 19 and text.isascii() and text.isdecimal() else None


def version_number(text: str) -> int | None:
    """None for anything else than a number that a version can have."""
    number = digits(text)
    return number if number is not None and 1 <= number <= LARGEST_VERSION else None


def mimetype_meant(mimetype: str) -> str:
    """A hint for a content type that the user did not choose."""
    of_curl = mimetype == "application/x-www-form-urlencoded"
    return "; curl -d sends it unless you add -H 'Content-Type: application/json'" if of_curl else ""


MOST_OF_JSON = {
    b"[": (400_000, "lists: send an image as a flat list of pixels, or as bytes"),
    b"{": (10_000, "objects"),
    b":": (1000, "fields"),
    b'"': (10_000, "quotation marks"),
    b",": (4_000_000, "values: send images as application/x-npy, in an eighth of the bytes"),
}
"""How often a character may occur in a JSON body. The objects made of a body take up to a hundred times the memory of
its text, so the text is checked first."""

MOST_OBJECTS_OF_NUMBERS = 2_500_000
"""A Python object for each number takes 32 bytes."""

MOST_WIDE_BYTES = 2**20
"""Limit for JSON with characters that make Python store a string with four bytes for each character."""

SHORT_BYTES = 2**15
"""Up to this length, `bytes.count` is faster than numpy."""


def occurrences(body: bytes, character: bytes) -> int:
    if len(body) < SHORT_BYTES:
        return body.count(character)
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


def check_json(body: bytes) -> None:
    """Raises BadInput for a body that would take more memory than a request may."""
    if not body:
        raise BadInput((), "the request has no body: expected JSON")
    if len(body) > MOST_WIDE_BYTES and (not body.isascii() or b"\\ud" in body or b"\\uD" in body):
        raise BadInput((), f"more than {MOST_WIDE_BYTES:,} bytes with characters outside ASCII")
    for character, (most, what) in MOST_OF_JSON.items():
        if len(body) > most and occurrences(body, character) > most:
            raise BadInput((), f"more than {most:,} {what}")


def parse(body: bytes, schema: type[AnyRequest]) -> AnyRequest:
    """Raises BadInput for a body that would take too much memory or is not JSON, Problem for one of another schema."""
    check_json(body)
    return validated(load(body), schema)


def load(body: bytes) -> Any:
    """The JSON document. NaN and infinity pass: the field that holds one has a better message. Raises BadInput."""
    if len(body) > MOST_OBJECTS_OF_NUMBERS and occurrences(body, b",") > MOST_OBJECTS_OF_NUMBERS:
        raise BadInput(
            (),
            f"more than {MOST_OBJECTS_OF_NUMBERS:,} values that are not plain images: send fewer at once, or images as "
            "application/x-npy, in an eighth of the bytes",
        )
    try:
        document = from_json(body.removeprefix(BOM_UTF8))
        return from_json(document) if isinstance(document, str) and document[:1] == "{" else document  # encoded twice
    except ValueError as error:
        _, at, where = str(error).rpartition(" at line ")
        raise BadInput((), "this is not JSON" + (f": look at line {where}" if at else "")) from None


def validated(fields: Any, schema: type[AnyRequest], within: Location = (), context: Any = None) -> AnyRequest:
    """within: where in the request the fields are; context: TEXT for a query or a form. Raises Problem: 422."""
    try:
        return schema.model_validate(fields, context=context)
    except ValidationError as error:
        raise problem_of(error, schema, within) from None


def problem_of(error: ValidationError, schema: type[Request], within: Location) -> Problem:
    known = {*schema.model_fields, *(("image", "images") if issubclass(schema, ImagesFields) else ())}
    mistakes = [
        (within + tuple(part for part in mistake["loc"] if part not in FLAT_OR_ROWS), sentence(mistake, known))
        for mistake in error.errors(include_url=False, include_input=False)[:MOST_ERRORS]
    ]
    (location, message), others = mistakes[0], error.error_count() - 1
    where = dotted(location)
    more = f" (and {others} more)" if others else ""
    return Problem(422, f"{where}: {message}{more}" if where else f"{message}{more}", mistakes)
