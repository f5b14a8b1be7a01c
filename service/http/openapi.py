"""An OpenAPI 3.1 document, made from pydantic models and from the paths that an application answers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Annotated, Any

from flask import Flask
from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from service.http.operation import JSON, Content, Errors, Json, Link, Operation, Types, operation_at
from service.http.problems import TITLES, path_of
from service.settings import Settings

SCHEMAS = "#/components/schemas/"
RESPONSES = "#/components/responses/"
HEADERS = "#/components/headers/"
BEARER = "key"
TEXT, BINARY = {"type": "string"}, {"type": "string", "format": "binary"}

REQUEST_ID = "X-Request-ID"
EVERY_ANSWER: Types = {REQUEST_ID: Annotated[str, Field(description="The request's own, where it can stand in a log.")]}
WITH_EVERY_ANSWER = {name: {"$ref": HEADERS + name} for name in EVERY_ANSWER}
WITH_ERRORS: Mapping[int, Types] = {
    401: {"WWW-Authenticate": Annotated[str, Field(description="Bearer.")]},
    503: {"Retry-After": Annotated[int, Field(description="Seconds.", ge=1)]},
}
MEANINGS = {
    401: "A key is required, or another one",
    403: "A page of another origin asks, which the settings do not name",
}
"""Of the statuses that stand at many an operation."""


def document(app: Flask, described: str, settings: Settings) -> Json:
    """Of all operations that have a summary. described: what the service is, in a sentence or two."""
    paths: dict[str, Json] = {}
    rules = [(rule, operation_at(app, rule.endpoint)) for rule in app.url_map.iter_rules()]
    rules = [(rule, operation) for rule, operation in rules if operation.summary]
    forms = {operation.form.name: operation.form for _, operation in rules}
    models: set[type[BaseModel]] = {form.model for form in forms.values()}
    paths_of = Counter(rule.endpoint for rule, _ in rules)
    for rule, operation in rules:
        suffix = "_at_" + "_".join(sorted(rule.arguments)) if paths_of[rule.endpoint] > 1 and rule.arguments else ""
        if operation.answer is not None:
            models.add(operation.answer)
        models.update(*(content.models for content in operation.body.values() if content.files is None))
        for method in methods_of(rule):
            found = {"operationId": name_of(rule.endpoint) + suffix, **as_openapi(rule, operation, settings)}
            paths.setdefault(path_of(rule.rule), {})[method.lower()] = found
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=SCHEMAS + "{model}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "TwoLayerNet Service", "version": version("twolayernet-service"), "description": described},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas["$defs"],
            "responses": dict(responses(forms)),
            "headers": headers(EVERY_ANSWER),
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer"}},
        },
    }


def name_of(endpoint: str) -> str:
    return endpoint.rpartition(".")[2]


def methods_of(rule: Rule) -> list[str]:
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def as_openapi(rule: Rule, operation: Operation, settings: Settings) -> Json:
    errors = {str(status): error(status, operation.form) for status in sorted(operation.statuses())}
    found: Json = {
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": operation.summary,
        "parameters": [*parameters(rule, operation)],
        "responses": {**success(operation), **errors, "default": {"$ref": RESPONSES + operation.form.name}},
    }
    if "If-None-Match" in operation.headers:
        found["responses"]["304"] = {"description": "What the client has is what there is."}
    if operation.access != "open":
        wanted = settings.keys("api_key_predict" if operation.access == "predict" else "api_key")
        found["responses"]["401"] = error(401, operation.form)
        found["security"] = [{BEARER: []}] if wanted else [{}, {BEARER: []}]
    if operation.body:
        found["requestBody"] = {
            "required": True,
            "content": {name: media_type(content) for name, content in operation.body.items()},
        }
    return found


def parameters(rule: Rule, operation: Operation) -> Iterator[Json]:
    for name, its in operation.path.items():
        if name in rule.arguments:
            yield {"name": name, "in": "path", "required": True, **described_schema(its)}
    schema = operation.query.model_json_schema()
    for name, its in schema.get("properties", {}).items():
        yield {"name": name, "in": "query", "required": False, "schema": never_null(its)}
    for name, its in operation.headers.items():
        yield {"name": name, "in": "header", "required": False, **described_schema(its)}


def described_schema(of: Any) -> Json:
    """The schema of a type, and the description beside it, where OpenAPI has it."""
    schema = TypeAdapter(of).json_schema()
    return {"description": schema.pop("description"), "schema": schema}


def headers(types: Types, required: bool = True) -> Json:
    return {name: {**described_schema(its), "required": required} for name, its in types.items()}


def success(operation: Operation) -> Json:
    content = {name: {"schema": TEXT if name.startswith("text/") else BINARY} for name in operation.media_types}
    if operation.answer is not None:
        content = {JSON: {"schema": reference(operation.answer)}, **content}
    answer: Json = {
        "description": operation.summary,
        "headers": {
            **WITH_EVERY_ANSWER,
            **headers(operation.given),
            **headers(operation.sometimes, required=False),
        },
    }
    if operation.links:
        answer["links"] = {f"{name_of(link.operation)}": as_link(link) for link in operation.links}
    return {"200": {**answer, "content": content}} if content else {"204": answer}


def as_link(link: Link) -> Json:
    found: Json = {"operationId": name_of(link.operation)}
    if link.parameters:
        found["parameters"] = dict(link.parameters)
    if link.body is not None:
        found["requestBody"] = link.body
    return found


def error(status: int, form: Errors) -> Json:
    return {"$ref": f"{RESPONSES}{form.name}{status}"}


def responses(forms: Mapping[str, Errors]) -> Iterator[tuple[str, Json]]:
    """Each error once, for all operations, and the one of which nothing but the form is known."""
    for name, form in forms.items():
        content = {form.media_type: {"schema": reference(form.model)}}
        yield name, {"description": "What is wrong, and where.", "headers": WITH_EVERY_ANSWER, "content": content}
        for status in (400, 401, 403, 404, 409, 412, 413, 415, 422, 503):
            yield (
                f"{name}{status}",
                {
                    "description": MEANINGS.get(status, TITLES[status]),
                    "headers": {**WITH_EVERY_ANSWER, **headers(WITH_ERRORS.get(status, {}))},
                    "content": content,
                },
            )


def media_type(content: Content) -> Json:
    if not content.models:
        return {"schema": BINARY}
    if content.files is not None:
        encoding = {content.files: {"contentType": ", ".join(content.file_types)}}
        return {"schema": form_of(content.models, content.files), "encoding": encoding}
    schemas = [reference(model) for model in content.models]
    examples = {name: {"value": value} for name, value in content.examples.items()}
    return {
        "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
        **({"examples": examples} if examples else {}),
    }


def form_of(models: Iterable[type[BaseModel]], files: str) -> Json:
    """A form's fields, and the files beside them."""
    (model,) = models
    schema = model.model_json_schema()
    properties = {name: never_null(its) for name, its in schema.get("properties", {}).items()}
    return {
        **schema,
        "properties": {files: {"type": "array", "minItems": 1, "items": BINARY}, **properties},
        "required": [files, *schema.get("required", ())],
    }


def reference(model: type[BaseModel]) -> Json:
    return {"$ref": SCHEMAS + model.__name__}


def never_null(schema: Json) -> Json:
    """A parameter that may be left out: no text means null."""
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or value is not None}
    if "anyOf" in kept:
        (its,) = (one for one in kept.pop("anyOf") if one != {"type": "null"})
        kept = {**kept, **its}
    return kept
