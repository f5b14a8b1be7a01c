"""What an endpoint says about itself: attached to its view, and read by the OpenAPI document and the check of keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Flask
from pydantic import BaseModel

from service.http.problems import MEDIA_TYPE
from service.schemas import ProblemAnswer, Request

Json = dict[str, Any]
Types = Mapping[str, Any]
"""What has a name and a type, annotated with bounds and a description as a field of a model is."""

View = Callable[..., Any]
Access = Literal["open", "predict", "closed"]
"""Open to all; closed by the key for predictions, where there is one; closed by the key."""

JSON = "application/json"
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Errors:
    """The form of errors. bad_input: the status of what can't be understood."""

    name: str
    media_type: str
    model: type[BaseModel]
    bad_input: int


PROBLEMS = Errors("Problem", MEDIA_TYPE, ProblemAnswer, 422)


@dataclass(frozen=True)
class Content:
    """models: what JSON or a form looks like, any of them; none: bytes. files: the field of a form that holds them;
    file_types: what they may be.

    examples: by their names, what a client may send as it stands.
    """

    models: tuple[type[BaseModel], ...] = ()
    files: str | None = None
    file_types: tuple[str, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """What an answer is good for: parameters, or the body, of another operation, in OpenAPI's runtime expressions."""

    operation: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True)
class Operation:
    """What one endpoint takes and gives. Without a summary it is in no document.

    answer: a model of JSON, or None; media_types: of answers that are text or bytes instead; with neither there is no
    body. body: by content type. errors: statuses beside those that follow from the rest. headers: those that it reads;
    given: those that it answers with, sometimes: only in some cases; path: what varies in it. access: who may use it.
    """

    summary: str = ""
    answer: type[BaseModel] | None = None
    query: type[Request] = Request
    body: Mapping[str, Content] = field(default_factory=dict)
    media_types: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    headers: Types = field(default_factory=dict)
    given: Types = field(default_factory=dict)
    sometimes: Types = field(default_factory=dict)
    path: Types = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    access: Access = "closed"
    form: Errors = PROBLEMS

    def statuses(self) -> set[int]:
        """The errors that may come to whoever has the right to ask."""
        found = {403, self.form.bad_input, *self.errors}
        if self.body:
            found |= {400, 413, 415} if JSON in self.body else {400, 413}
        return found


UNSAID = Operation()
ATTRIBUTE = "operation"


def operation_at(app: Flask, endpoint: str) -> Operation:
    """What the view of an endpoint says. One that says nothing is closed."""
    operation: Operation = getattr(app.view_functions[endpoint], ATTRIBUTE, UNSAID)
    return operation


def attach(operation: Operation, view: View) -> View:
    setattr(view, ATTRIBUTE, operation)
    return view
