"""What stands behind the question mark, checked."""

from typing import TypeVar

import flask
from pydantic import ValidationError

from service.images.json_body import problem_of
from service.problems import BadInput
from service.schemas import Request

AnyQuery = TypeVar("AnyQuery", bound=Request)


def read_query(request: flask.Request, schema: type[AnyQuery]) -> AnyQuery:
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
