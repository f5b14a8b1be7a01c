"""The decorator of views: what an endpoint reads, returns and requires is declared once, where it is defined.

The declaration is attached to the view. The OpenAPI document and the check of keys read it there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Literal

from flask import Flask
from pydantic import BaseModel

from service.http.parsing import read_json, read_query
from service.http.problems import MEDIA_TYPE
from service.http.request import this_request
from service.schemas.answers import ProblemAnswer
from service.schemas.fields import Request

Types = Mapping[str, Any]
"""Types by name, each annotated with its bounds and a description, as a field of a model is."""

View = Callable[..., Any]
Access = Literal["open", "predict", "closed", "service"]
"""Who may use it: everyone; those with the key for predictions, if one is set; those with the full key; of several
models, those with the service's full key, while the others are open to the model's own key as well."""

JSON = "application/json"
HTML = "text/html"
FORM = "multipart/form-data"
NEXT_BEFORE = "$response.body#/next_before"


@dataclass(frozen=True)
class Errors:
    """The form of errors. bad_input: the status for invalid input."""

    name: str
    media_type: str
    model: type[BaseModel]
    bad_input: int


PROBLEMS = Errors("Problem", MEDIA_TYPE, ProblemAnswer, 422)


@dataclass(frozen=True)
class Content:
    """A body of one content type. models: alternatives for JSON, or the fields of a form; none: bytes.

    files: the form's part that holds files; file_types: their content types. examples: bodies to try, by name.
    """

    models: tuple[type[BaseModel], ...] = ()
    files: str | None = None
    file_types: tuple[str, ...] = ()
    examples: Types = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """Another operation that an answer is good for: its parameters or body, as OpenAPI's runtime expressions."""

    operation: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True)
class Endpoint:
    """Decorates a view. Its parameter `query` is read from the query as the model in its annotation; `body` likewise
    from a JSON body. A view without `query` accepts no query.

    Without a summary, the endpoint is not in the OpenAPI document. answer: a model of JSON; media_types: of answers
    that are text or bytes. body: other bodies, by content type; examples: of a JSON `body`. errors: statuses other
    than those that every such endpoint has. headers: those it reads; given: those it always sends; sometimes: those it
    may send; path: the variable parts of the path. has_page: whether a browser that opens the path gets a page, which
    is open; `asks_for_page` says so of a request.
    """

    summary: str = ""
    answer: type[BaseModel] | None = None
    query: type[Request] = Request
    body: Mapping[str, Content] = field(default_factory=dict)
    examples: Types = field(default_factory=dict)
    media_types: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    headers: Types = field(default_factory=dict)
    given: Types = field(default_factory=dict)
    sometimes: Types = field(default_factory=dict)
    path: Types = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    access: Access = "closed"
    has_page: bool = False
    form: Errors = PROBLEMS

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

    def statuses(self) -> set[int]:
        """The errors that a client with the right key may get."""
        of_body = {400, 413} if self.body else set()
        return {403, self.form.bad_input, *self.errors, *of_body, *({415} if JSON in self.body else ())}


ATTRIBUTE = "endpoint"
UNDECLARED = Endpoint()


def attach(endpoint: Endpoint, view: View) -> View:
    setattr(view, ATTRIBUTE, endpoint)
    return view


def asks_for_page() -> bool:
    """Whether the client prefers HTML to JSON. A browser that opens an address does; a client that accepts anything
    does not."""
    return this_request().accept_mimetypes.best_match((JSON, HTML), JSON) == HTML


def page(view: View) -> View:
    """Decorates the view of a page or of one of its files: it is open, and is not in the OpenAPI document."""
    return attach(Endpoint(access="open"), view)


def endpoint_at(app: Flask, name: str) -> Endpoint:
    """The declaration of a view. A view without one is closed."""
    endpoint: Endpoint = getattr(app.view_functions[name], ATTRIBUTE, UNDECLARED)
    return endpoint
