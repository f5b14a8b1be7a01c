"""An OpenAPI 3.1 document, made from pydantic models and from the paths that an application answers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from service.http import access
from service.http.problems import MEDIA_TYPE
from service.schemas import LONGEST_KEY, ProblemAnswer, Request
from service.settings import Settings

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/"
JSON = "application/json"
FORM = "multipart/form-data"
BEARER = "key"
KEYWORDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
"""pydantic leaves a bound under its own name where a validator stands before it."""

LENGTHS = {"Idempotency-Key": {"minLength": 1, "maxLength": LONGEST_KEY}}


@dataclass(frozen=True)
class Content:
    """models: what JSON or a form looks like, any of them; none: bytes. files: the field of a form that holds them.

    examples: by their names, what a client may send as it stands.
    """

    models: tuple[type[BaseModel], ...] = ()
    files: str | None = None
    examples: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """What one endpoint takes and gives.

    body: by content type. errors: statuses beside those that follow from the rest. headers: those that it reads, given:
    those that it answers with, path: what stands in the path, each with a description.
    """

    summary: str
    answer: type[BaseModel] | str | None
    """A model of JSON, the content type of bytes, or None for an answer without a body."""

    query: type[Request] = Request
    body: Mapping[str, Content] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)

    def statuses(self) -> set[int]:
        """The errors that may come."""
        found = {422, *self.errors}
        if self.body:
            found |= {400, 408, 413, 415} if JSON in self.body else {400, 408, 413}
        return found


def document(app: Flask, operations: Mapping[str, Operation], described: str, settings: Settings) -> Json:
    """operations: by Flask's name of the endpoint. described: what the service is, in a sentence or two."""
    paths: dict[str, Json] = {}
    models: set[type[BaseModel]] = {ProblemAnswer}
    for rule in app.url_map.iter_rules():
        if (operation := operations.get(rule.endpoint)) is None:
            continue
        for method in methods_of(rule):
            found = as_openapi(rule.endpoint, operation)
            paths.setdefault(path_of(rule), {})[method.lower()] = with_key(found, rule.endpoint, settings)
        models |= set(models_of(operation))
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=SCHEMAS + "{model}")
    problem = {
        "description": "What is wrong, and where.",
        "content": {MEDIA_TYPE: {"schema": reference(ProblemAnswer)}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "TwoLayerNet Service", "version": version("twolayernet-service"), "description": described},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": in_json_schemas_words(schemas["$defs"]),
            "responses": {"Problem": problem},
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer"}},
        },
    }


def methods_of(rule: Rule) -> list[str]:
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def path_of(rule: Rule) -> str:
    """As OpenAPI writes it, {name} for what varies."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def models_of(operation: Operation) -> Iterator[type[BaseModel]]:
    """Those that are referred to. Queries and forms stand where they are used."""
    if isinstance(operation.answer, type):
        yield operation.answer
    for content in operation.body.values():
        if content.files is None:
            yield from content.models


def as_openapi(endpoint: str, operation: Operation) -> Json:
    found: Json = {
        "operationId": endpoint.rpartition(".")[2],
        "tags": [endpoint.partition(".")[0]],
        "summary": operation.summary,
        "parameters": [*parameters(operation)],
        "responses": {**success(operation), **{str(status): error(status) for status in sorted(operation.statuses())}},
    }
    if "If-None-Match" in operation.headers:
        found["responses"]["304"] = {"description": "What the client has is what there is."}
    found["responses"]["default"] = {"$ref": "#/components/responses/Problem"}
    if operation.body:
        found["requestBody"] = {
            "required": True,
            "content": {name: media_type(content) for name, content in operation.body.items()},
        }
    return found


def with_key(operation: Json, endpoint: str, settings: Settings) -> Json:
    """An operation, and whether it wants a key."""
    if endpoint in access.OPEN:
        return operation
    wanted = settings.keys("api_key_predict" if endpoint in access.PREDICT else "api_key")
    operation["responses"]["401"] = error(401)
    return {**operation, "security": [{BEARER: []}] if wanted else [{}, {BEARER: []}]}


def parameters(operation: Operation) -> Iterator[Json]:
    for name, description in operation.path.items():
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": description,
            "schema": {"type": "string"},
        }
    schema = in_json_schemas_words(operation.query.model_json_schema())
    for name, its in schema.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": False, "schema": never_null(its)}
    for name, description in operation.headers.items():
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string", **LENGTHS.get(name, {})},
        }


def success(operation: Operation) -> Json:
    answer: Json = {"description": operation.summary}
    if operation.given:
        answer["headers"] = {
            name: {"description": said, "schema": {"type": "string"}} for name, said in operation.given.items()
        }
    if operation.answer is None:
        return {"204": answer}
    if isinstance(operation.answer, str):
        answer["content"] = {operation.answer: {"schema": binary()}}
    else:
        answer["content"] = {JSON: {"schema": reference(operation.answer)}}
    return {"200": answer}


def error(status: int) -> Json:
    found: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": reference(ProblemAnswer)}},
    }
    if status == 503:
        found["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
    if status == 401:
        found["headers"] = {"WWW-Authenticate": {"description": "Bearer.", "schema": {"type": "string"}}}
    return found


def media_type(content: Content) -> Json:
    if not content.models:
        return {"schema": binary()}
    if content.files is not None:
        return {"schema": form_of(content.models, content.files)}
    schemas = [reference(model) for model in content.models]
    found: Json = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    if content.examples:
        found["examples"] = {name: {"value": value} for name, value in content.examples.items()}
    return found


def form_of(models: Iterable[type[BaseModel]], files: str) -> Json:
    """A form's fields, and the files beside them."""
    (model,) = models
    schema = in_json_schemas_words(model.model_json_schema())
    properties = {name: never_null(its) for name, its in schema.get("properties", {}).items()}
    return {
        **schema,
        "properties": {files: {"type": "array", "minItems": 1, "items": binary()}, **properties},
        "required": [files],
    }


def reference(model: type[BaseModel]) -> Json:
    return {"$ref": SCHEMAS + model.__name__}


def binary() -> Json:
    return {"type": "string", "format": "binary"}


def never_null(schema: Json) -> Json:
    """A parameter that may be left out: no text means null."""
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or value is not None}
    if "anyOf" in kept:
        (its,) = (one for one in kept.pop("anyOf") if one != {"type": "null"})
        kept = {**kept, **its}
    return kept


def in_json_schemas_words(schema: Any) -> Any:
    if isinstance(schema, list):
        return [in_json_schemas_words(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        (KEYWORDS.get(name, name) if isinstance(value, int | float) else name): in_json_schemas_words(value)
        for name, value in schema.items()
    }
