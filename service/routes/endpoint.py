"""The decorator of views: what an endpoint takes, gives and requires is declared once, where it is defined."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

from model.weights import Weights
from service.http.incoming import this_request
from service.http.operation import FORM, JSON, Content, Operation, View, attach
from service.http.queries import read_json, read_query
from service.images import Takes
from service.images.picture_body import TYPES
from service.schemas import Request

NEXT_BEFORE = "$response.body#/next_before"

A_SEVEN = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAATklEQVR42tWOwQoAIAhDdfT/v2yXiJyZ0Km8BHu8NpEfzsarHKwxtupQGgf8"
    "BzdOinRN0qkpXBtxEAN0U3HajSDqnelEglaYKfRzCvO568PaCx8IDhMmAAAAAElFTkSuQmCC"
)
"""28 × 28 pixels."""


@dataclass(frozen=True)
class Endpoint(Operation):
    """Decorates a view. Its parameter `query` is read from the query as the model that annotates it; `body` likewise
    from a JSON body. A view without `query` accepts none. examples: of `body`, by their names."""

    examples: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, view: View) -> View:
        query, json = (view.__annotations__.get(name) for name in ("query", "body"))

        @wraps(view)
        def read_and_answer(**given: Any) -> Any:
            request = this_request()
            if query is None:
                read_query(request, Request)
            else:
                given["query"] = read_query(request, query)
            if json is not None:
                given["body"] = read_json(request, json)
            return view(**given)

        body = self.body if json is None else {JSON: Content((json,), examples=self.examples)}
        return attach(replace(self, query=query or Request, body=body), read_and_answer)


def page(view: View) -> View:
    """Decorates the view of a page or of a file that one loads: it is open, and is not in the OpenAPI document."""
    return attach(Operation(access="open"), view)


def of_images(
    types: Iterable[str], takes: Takes, example: Mapping[str, Any], *others: type[Request]
) -> dict[str, Content]:
    """A body of images, of each content type that has a decoder. others: what else JSON may be."""
    return {
        **{name: Content() for name in types},
        JSON: Content((takes.whole, *others), examples={"picture": example}),
        FORM: Content((takes.form,), files="image", file_types=TYPES),
    }


def an_image(served: Weights) -> dict[str, Any]:
    """An example that fits the network."""
    return {"image": [0] * served.input_size if served.image_shape is None else A_SEVEN}


def a_labelled_image(served: Weights) -> dict[str, Any]:
    return {**an_image(served), "labels": [7 if served.output_size > 7 else 0]}
