"""The OpenAPI 3.1 document, made from the declarations of an application's endpoints."""

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated, Any

from flask import Flask
from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from service.http.endpoint import JSON, Content, Endpoint, Errors, Link, Types, endpoint_at
from service.http.model_path import ROOT
from service.http.problems import TITLES, is_about_models, path_of, rules_of
from service.schemas.fields import DEFAULT_MODEL
from service.settings import Settings

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/"
RESPONSES = "#/components/responses/"
HEADERS = "#/components/headers/"
BEARER = "key"
TEXT, BINARY = {"type": "string"}, {"type": "string", "format": "binary"}

EVERY_ANSWER: Types = {
    "X-Request-ID": Annotated[str, Field(description="The request's own, if it is fit for a log; else a new one.")]
}
WITH_EVERY_ANSWER = {name: {"$ref": HEADERS + name} for name in EVERY_ANSWER}
WITH_ERRORS: dict[int, Types] = {
    401: {"WWW-Authenticate": Annotated[str, Field(description="Bearer.")]},
    503: {"Retry-After": Annotated[int, Field(description="Seconds.", ge=1)]},
}
MEANINGS = {401: "A valid key is required", 403: "The request comes from a page of an origin that is not allowed"}


def document(app: Flask, described: str, settings: Settings, root: str, of_a_model: bool) -> Json:
    """All endpoints that have a summary. described: the service, in a sentence or two; root: the path at which the
    client sees it; of_a_model: of the model there, or of the service with all its models."""
    rules = [(rule, endpoint_at(app, rule.endpoint)) for rule in rules_of(app, of_a_model)]
    rules = [(rule, endpoint) for rule, endpoint in rules if endpoint.summary]
    paths_of = Counter(rule.endpoint for rule, _ in rules)
    forms = list(dict.fromkeys(endpoint.form for _, endpoint in rules))
    models: set[type[BaseModel]] = {form.model for form in forms}
    paths: dict[str, Json] = {}
    for rule, endpoint in rules:
        suffix = "_at_" + "_".join(sorted(rule.arguments)) if paths_of[rule.endpoint] > 1 and rule.arguments else ""
        models.update(() if endpoint.answer is None else (endpoint.answer,))
        models.update(*(content.models for content in endpoint.body.values() if content.files is None))
        for method in methods_of(rule):
            operation = {"operationId": name_of(rule.endpoint) + suffix, **operation_of(rule, endpoint, settings)}
            if is_about_models(rule):
                operation["servers"] = [{"url": root or "/"}]
            paths.setdefault(path_of(rule.rule), {})[method.lower()] = operation
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=SCHEMAS + "{model}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "TwoLayerNet Service", "version": version("twolayernet-service"), "description": described},
        "servers": [{"url": root or "/"}] if of_a_model or settings.models is None else servers(root),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas["$defs"],
            "responses": {name: its for form in forms for name, its in error_responses(form)},
            "headers": headers(EVERY_ANSWER),
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer"}},
        },
    }


def servers(root: str) -> list[Json]:
    """Of the default model, and of each other one."""
    names = {"name": {"default": DEFAULT_MODEL, "description": "A name that GET /models lists."}}
    return [{"url": root or "/"}, {"url": f"{root}{ROOT}/{{name}}", "variables": names}]


def name_of(endpoint: str) -> str:
    return endpoint.rpartition(".")[2]


def methods_of(rule: Rule) -> list[str]:
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def operation_of(rule: Rule, endpoint: Endpoint, settings: Settings) -> Json:
    form = RESPONSES + endpoint.form.name
    responses: Json = {**success(endpoint), "default": {"$ref": form}}
    statuses = endpoint.statuses() if endpoint.access == "open" else {401, *endpoint.statuses()}
    responses |= {str(status): {"$ref": f"{form}{status}"} for status in sorted(statuses)}
    if "If-None-Match" in endpoint.headers:
        responses["304"] = {"description": "The client has the current bytes already."}
    operation = {
        "tags": [rule.endpoint.partition(".")[0]],
        "summary": endpoint.summary,
        "parameters": [*parameters(rule, endpoint)],
        "responses": responses,
    }
    if endpoint.access != "open":
        required = settings.keys("api_key_predict" if endpoint.access == "predict" else "api_key")
        operation["security"] = [{BEARER: []}] if required else [{}, {BEARER: []}]
    if endpoint.body:
        content = {name: media_type(its) for name, its in endpoint.body.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def parameters(rule: Rule, endpoint: Endpoint) -> Iterator[Json]:
    for name, its in endpoint.path.items():
        if name in rule.arguments:
            yield {"name": name, "in": "path", "required": True, **described_schema(its)}
    for name, schema in endpoint.query.model_json_schema().get("properties", {}).items():
        yield {"name": name, "in": "query", "required": False, "schema": never_null(schema)}
    for name, its in endpoint.headers.items():
        yield {"name": name, "in": "header", "required": False, **described_schema(its)}


def described_schema(of: Any) -> Json:
    """The schema of a type, and its description apart from it, where OpenAPI has it."""
    schema = TypeAdapter(of).json_schema()
    return {"description": schema.pop("description"), "schema": schema}


def headers(types: Types, required: bool = True) -> Json:
    return {name: {**described_schema(its), "required": required} for name, its in types.items()}


def success(endpoint: Endpoint) -> Json:
    content = {} if endpoint.answer is None else {JSON: {"schema": reference(endpoint.answer)}}
    content |= {name: {"schema": TEXT if name.startswith("text/") else BINARY} for name in endpoint.media_types}
    answer: Json = {
        "description": endpoint.summary,
        "headers": {**WITH_EVERY_ANSWER, **headers(endpoint.given), **headers(endpoint.sometimes, required=False)},
    }
    if endpoint.links:
        answer["links"] = {name_of(link.operation): as_openapi(link) for link in endpoint.links}
    return {"200": {**answer, "content": content}} if content else {"204": answer}


def as_openapi(link: Link) -> Json:
    return {
        "operationId": name_of(link.operation),
        **({"parameters": dict(link.parameters)} if link.parameters else {}),
        **({} if link.body is None else {"requestBody": link.body}),
    }


def error_responses(form: Errors) -> Iterator[tuple[str, Json]]:
    """Each error once, for all operations, and one for errors that are not listed."""
    content = {form.media_type: {"schema": reference(form.model)}}
    yield form.name, {"description": "What is wrong, and where.", "headers": WITH_EVERY_ANSWER, "content": content}
    for status in (400, 401, 403, 404, 409, 412, 413, 415, 422, 503):
        its_headers = {**WITH_EVERY_ANSWER, **headers(WITH_ERRORS.get(status, {}))}
        description = MEANINGS.get(status, TITLES[status])
        yield f"{form.name}{status}", {"description": description, "headers": its_headers, "content": content}


def media_type(content: Content) -> Json:
    if not content.models:
        return {"schema": BINARY}
    if content.files is not None:
        encoding = {content.files: {"contentType": ", ".join(content.file_types)}}
        return {"schema": form_of(content.models[0], content.files), "encoding": encoding}
    schemas = [reference(model) for model in content.models]
    examples = {name: {"value": value} for name, value in content.examples.items()}
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"schema": schema, **({"examples": examples} if examples else {})}


def form_of(model: type[BaseModel], files: str) -> Json:
    """A form's fields and files."""
    schema = model.model_json_schema()
    fields = {name: never_null(its) for name, its in schema.get("properties", {}).items()}
    return {
        **schema,
        "properties": {files: {"type": "array", "minItems": 1, "items": BINARY}, **fields},
        "required": [files, *schema.get("required", ())],
    }


def reference(model: type[BaseModel]) -> Json:
    return {"$ref": SCHEMAS + model.__name__}


def never_null(schema: Json) -> Json:
    """The schema of an optional parameter, without null: no text means null."""
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "default") or value is not None}
    if "anyOf" in kept:
        (its,) = (one for one in kept.pop("anyOf") if one != {"type": "null"})
        kept = {**kept, **its}
    return kept
