"""Queries and JSON, checked by pydantic, whose findings become answers."""

from codecs import BOM_UTF8
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from service.http.incoming import IncomingRequest
from service.http.problems import BadInput, Location, Problem, dotted
from service.mistakes import MOST_ERRORS, sentence
from service.schemas import FLAT_OR_ROWS, TEXT, ImagesFields, Request

AnyRequest = TypeVar("AnyRequest", bound=Request)


def read_query(request: IncomingRequest, schema: type[AnyRequest]) -> AnyRequest:
    """Raises Problem: 422 for a parameter that is not known, out of bounds or given twice."""
    if not request.query_string:
        return schema()
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadInput(("query", name), "given more than once")
    return validated(request.args.to_dict(), schema, ("query",), TEXT)


def read_json(request: IncomingRequest, schema: type[AnyRequest]) -> AnyRequest:
    """Raises Problem: 415 for another content type, 422."""
    if request.mimetype != "application/json" and request.body:
        raise Problem(
            415,
            f"the content type {request.mimetype or '(none)'} is not understood: expected application/json"
            + mimetype_meant(request.mimetype),
        )
    return parse(request.body, schema)


def digits(text: str) -> int | None:
    """A whole number as a person writes it, of at most 19 digits; None for anything else, which int() may take."""
    return int(text) if len(text) <= 19 and text.isascii() and text.isdecimal() else None


def mimetype_meant(mimetype: str) -> str:
    """A hint for whoever did not choose this content type, but has a client that did."""
    of_curl = mimetype == "application/x-www-form-urlencoded"
    return "; it is what curl -d says where no -H 'Content-Type: application/json' does" if of_curl else ""


MOST_OF_JSON = {
    b"[": (400_000, "lists: send an image as a flat list of pixels, or as bytes"),
    b"{": (10_000, "objects"),
    b":": (1000, "fields"),
    b'"': (10_000, "quotation marks"),
    b",": (4_000_000, "values: send images as application/x-npy, in an eighth of the bytes"),
}
"""How often a character may occur in a JSON body, and what it tells of. The objects that are made of a body take up to
a hundred times the room of its text, so the characters are counted in the text first."""

MOST_OBJECTS_OF_NUMBERS = 2_500_000
"""A Python object for each number takes 32 bytes."""

MOST_WIDE_BYTES = 2**20
"""Of JSON with characters that make a string take four bytes for each of its characters."""

SHORT_BYTES = 2**15
"""Of a text in which `bytes.count` is faster than numpy."""


def occurrences(body: bytes, character: bytes) -> int:
    if len(body) < SHORT_BYTES:
        return body.count(character)
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


def check_json(body: bytes) -> None:
    """Raises BadInput for a body that would take more memory than a request may."""
    if not body:
        raise BadInput((), "the request has no body: JSON is expected")
    if len(body) > MOST_WIDE_BYTES and (not body.isascii() or b"\\ud" in body or b"\\uD" in body):
        raise BadInput((), f"more than {MOST_WIDE_BYTES:,} bytes with characters outside of ASCII")
    for character, (most, what) in MOST_OF_JSON.items():
        if len(body) > most and occurrences(body, character) > most:
            raise BadInput((), f"more than {most:,} {what}")


def parse(body: bytes, schema: type[AnyRequest]) -> AnyRequest:
    """The request, or 422 with where and what was expected."""
    check_json(body)
    return validated(load(body), schema)


def load(body: bytes) -> Any:
    """What the JSON says, NaN and infinity included, for which a field has better words. Raises BadInput."""
    if len(body) > MOST_OBJECTS_OF_NUMBERS and occurrences(body, b",") > MOST_OBJECTS_OF_NUMBERS:
        raise BadInput(
            (),
            f"more than {MOST_OBJECTS_OF_NUMBERS:,} values that are not plain images: send fewer at once, or images as "
            "application/x-npy, in an eighth of the bytes",
        )
    try:
        return from_json(body.removeprefix(BOM_UTF8))
    except ValueError as error:
        _, at, where = str(error).rpartition(" at line ")
        raise BadInput((), "this is not JSON" + (f": look at line {where}" if at else "")) from None


def validated(fields: Any, schema: type[AnyRequest], within: Location = (), context: Any = None) -> AnyRequest:
    """The fields as the schema says, or 422; within: where in the request they stand; context: TEXT, where they are."""
    try:
        return schema.model_validate(fields, context=context)
    except ValidationError as error:
        raise problem_of(error, schema, within) from None


def known_fields(schema: type[Request]) -> set[str]:
    """Those of the schema, and where it is for what stands beside images, these too."""
    return {*schema.model_fields, *(("image", "images") if issubclass(schema, ImagesFields) else ())}


def problem_of(error: ValidationError, schema: type[Request], within: Location = ()) -> Problem:
    """The 422 for what pydantic found wrong; within: where in the request it looked."""
    known = known_fields(schema)
    mistakes = [
        (within + tuple(part for part in mistake["loc"] if part not in FLAT_OR_ROWS), sentence(mistake, known))
        for mistake in error.errors(include_url=False, include_input=False)[:MOST_ERRORS]
    ]
    (location, message), others = mistakes[0], error.error_count() - 1
    where = dotted(location)
    more = f" (and {others} more)" if others else ""
    return Problem(422, f"{where}: {message}{more}" if where else f"{message}{more}", mistakes)
