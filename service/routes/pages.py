"""Pages for browsers, and what they load: / (the playground), /docs and /openapi.json."""

import mimetypes
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, current_app, send_from_directory

import service
from model.weights_file import Weights
from service.http.authentication import rights
from service.http.endpoint import JSON, page
from service.http.openapi import Json, document
from service.http.parsing import read_query
from service.http.request import request
from service.http.request_log import MODEL
from service.live.service import Service
from service.schemas.fields import Request

DESCRIPTION = """A two-layer network that keeps learning while it is served. Every step that was answered with 200 is
durable, visible to all workers at once, applied in one order, and can be taken back. Bodies may be compressed:
Content-Encoding gzip or deflate."""

PLAYGROUND, DOCS = (Path(service.__file__).parent / name for name in ("playground", "swagger"))
SWAGGER = Path(str(files("flask_swagger_ui") / "dist"))
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " + (
    "frame-ancestors 'none'; style-src 'self'; img-src 'self' data: blob:"
)
"""Our pages load nothing from another host, and run no script that is not in a file of ours."""

Sizes = tuple[int, int, tuple[int, int] | None]
"""Inputs, classes, the shape of an image."""

mimetypes.add_type("text/javascript", ".js")  # whatever the system's table says


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("pages", __name__)
    own_inputs = service.replica.known().weights.input_size

    @routes.get("/")
    @page
    def playground() -> Response:
        return file_in(PLAYGROUND, "index.html")

    @routes.get("/playground/network.json")
    @page
    def network() -> Response:
        """What the page asks for again and again: what is served, and what this request's key opens."""
        may_predict, may_teach = rights()
        model = service.replica.newest()
        weights = model.weights
        known = {
            "store": service.log.store_id,
            "model": request.environ.get(MODEL),
            "model_version": model.version,
            "may": {"predict": may_predict, "teach": may_teach},
            "input_size": weights.input_size,
            "image_shape": weights.image_shape,
            "classes": weights.output_size,
            "label_names": weights.label_names if may_predict else None,
        }
        return Response(orjson.dumps(known), mimetype=JSON, headers={"Cache-Control": "no-store"})

    @routes.get("/playground/<name>")
    @page
    def playground_file(name: str) -> Response:
        return file_in(PLAYGROUND, name)

    @routes.get("/docs")
    @page
    def docs() -> Response:
        return file_in(DOCS, "index.html")

    @routes.get("/docs/<name>")
    @page
    def docs_file(name: str) -> Response:
        return file_in(DOCS if name == "start.js" else SWAGGER, name)

    @routes.get("/openapi.json")
    @page
    def openapi() -> Response:
        read_query(request, Request)
        sizes = sizes_of(service.replica.newest().weights)
        text = described(request.root_path, MODEL in request.environ, sizes)
        answer = Response(text, mimetype=JSON, headers={"Cache-Control": "no-cache"})
        answer.add_etag()
        answer.make_conditional(request)
        return answer

    @lru_cache(maxsize=4)
    def described(root: str, of_a_model: bool, sizes: Sizes) -> bytes:
        """root: the path at which the client sees the service, or the model there."""
        whole = document(current_app, DESCRIPTION, service.settings, root, of_a_model)
        put_sizes(whole["components"]["schemas"], sizes)
        if sizes[0] != own_inputs:
            drop_examples(whole["paths"])
        put_largest_rate(whole, service.settings.max_learning_rate)
        return orjson.dumps(whole)

    return routes


def file_in(folder: Path, name: str) -> Response:
    """With an ETag, which a browser asks about each time: a new release has files of the same names."""
    answer = send_from_directory(folder, name)
    if name.endswith(".html"):
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def sizes_of(served: Weights) -> Sizes:
    return served.input_size, served.output_size, served.image_shape


def put_sizes(schemas: Json, sizes: Sizes) -> None:
    """The sizes of the served network."""
    inputs, classes, shape = sizes
    schemas["FlatImage"] |= exactly(inputs)
    schemas["OneHot"] |= exactly(classes)
    schemas["Label"] |= {"maximum": classes - 1}
    if shape is not None:
        rows, columns = shape
        schemas["Rows"] |= exactly(rows)
        schemas["Row"] |= exactly(columns)


def drop_examples(paths: Json) -> None:
    """Those of bodies: they are for the default model's network."""
    for operations in paths.values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.pop("examples", None)


def put_largest_rate(schema: Any, largest: float) -> None:
    """In each learning rate of a request: no other number has to be above 0."""
    if isinstance(schema, dict) and schema.get("exclusiveMinimum") == 0:
        schema["maximum"] = largest
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        put_largest_rate(part, largest)


def exactly(count: int) -> Json:
    return {"minItems": count, "maxItems": count}
