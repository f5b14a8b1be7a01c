"""Queries, and JSON bodies without images, checked."""

from typing import TypeVar

from pydantic import ValidationError

from service.images.json_body import parse, problem_of
from service.incoming import IncomingRequest
from service.problems import BadInput, Problem
from service.schemas import Request

AnyQuery = TypeVar("AnyQuery", bound=Request)


def read_query(request: IncomingRequest, schema: type[AnyQuery]) -> AnyQuery:
    """Raises Problem: 422 for a parameter that is not known, out of bounds or given twice."""
    if not request.query_string:
        return schema()
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadInput(("query", name), "given more than once")
    try:
        return schema.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise problem_of(error, ("query",)) from None


def read_json(request: IncomingRequest, schema: type[AnyQuery]) -> AnyQuery:
    """Raises Problem: 415 for another content type, 422."""
    if request.mimetype != "application/json" and request.body:
        raise Problem(
            415, f"the content type {request.mimetype or '(none)'} is not understood: expected application/json"
        )
    return parse(request.body, schema)
