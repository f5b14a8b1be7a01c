"""Queries and JSON, checked by pydantic, whose findings become answers."""

from typing import Any, TypeVar

from pydantic import ValidationError

from service.http.incoming import IncomingRequest
from service.http.problems import BadInput, Location, Problem
from service.mistakes import sentence
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


def mimetype_meant(mimetype: str) -> str:
    """A hint for whoever did not choose this content type, but has a client that did."""
    of_curl = mimetype == "application/x-www-form-urlencoded"
    return "; it is what curl -d says where no -H 'Content-Type: application/json' does" if of_curl else ""


def validated(
    fields: dict[str, Any], schema: type[AnyRequest], within: Location = (), context: Any = None
) -> AnyRequest:
    """The fields as the schema says, or 422; within: where in the request they stand; context: TEXT, where they are."""
    try:
        return schema.model_validate(fields, context=context)
    except ValidationError as error:
        raise problem_of(error, schema, within) from None


MOST_LISTS = 400_000
"""Lists and objects in a JSON body, each of which takes a hundred times its two characters once it is read. Images of
28 × 28 in rows, as many as the default limit of a body lets through, have half of that."""


class TooManyListsError(BadInput):
    """422 for a body that is not to be read."""

    def __init__(self) -> None:
        super().__init__((), f"more than {MOST_LISTS:,} lists: send an image as a flat list of pixels, or as bytes")


def check_lists(body: bytes) -> None:
    """Counted in its text, before anything is made of it. Raises TooManyListsError."""
    if body.count(b"[") + body.count(b"{") > MOST_LISTS:
        raise TooManyListsError


def parse(body: bytes, schema: type[AnyRequest]) -> AnyRequest:
    """The request, or 422 with where and what was expected."""
    if not body:
        raise BadInput((), "the request has no body: JSON is expected")
    check_lists(body)
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise problem_of(error, schema) from None


def known_fields(schema: type[Request]) -> set[str]:
    """Those of the schema, and where it is for what stands beside images, these too."""
    return {*schema.model_fields, *(("image", "images") if issubclass(schema, ImagesFields) else ())}


def problem_of(error: ValidationError, schema: type[Request], within: Location = ()) -> Problem:
    """The 422 for what pydantic found wrong; within: where in the request it looked."""
    known = known_fields(schema)
    mistakes = []
    for mistake in error.errors(include_url=False, include_input=False):
        location = within + tuple(part for part in mistake["loc"] if part not in FLAT_OR_ROWS)
        mistakes.append((location, sentence(mistake, known)))
    (location, message), *others = mistakes
    where = ".".join(str(part) for part in location)
    more = f" (and {len(others)} more)" if others else ""
    return Problem(422, f"{where}: {message}{more}" if where else f"{message}{more}", mistakes)
