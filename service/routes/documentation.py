"""GET /openapi.json, /docs: what there is, for programs and to try."""

from functools import lru_cache
from typing import Any

import orjson
from flask import Blueprint, Response, current_app

from model.weights import Weights
from service.http.incoming import request
from service.http.openapi import document
from service.http.operation import JSON, Json
from service.http.queries import read_query
from service.http.static import kept, packaged, page_file
from service.live.service import Service
from service.routes.endpoint import page
from service.schemas import Request

DESCRIBED = """A two-layer network that keeps learning while it is served. Every step that was answered with 200 is
durable, seen by all workers at once, applied in one order, and can be taken back. Bodies may be packed:
Content-Encoding gzip or deflate."""

OURS, SWAGGER = ("service", "swagger"), ("flask_swagger_ui", "dist")


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("documentation", __name__)
    for package in (SWAGGER, OURS):
        packaged(*package)  # now: an environment that is removed under a running service takes nothing away

    @lru_cache(maxsize=4)
    def described(root: str) -> bytes:
        """root: where the service is mounted, as the client sees it."""
        served = service.replica.newest().weights
        whole = {**document(current_app, DESCRIBED, service.settings), "servers": [{"url": root or "/"}]}
        put_sizes(whole["components"]["schemas"], served)
        put_largest_rate(whole, service.settings.max_learning_rate)
        return orjson.dumps(whole)

    @routes.get("/openapi.json")
    @page
    def openapi() -> Response:
        read_query(request, Request)
        return kept(described(request.root_path), JSON)

    @routes.get("/docs")
    @page
    def docs() -> Response:
        return page_file(*OURS, "index.html")

    @routes.get("/docs/<name>")
    @page
    def file(name: str) -> Response:
        """start.js is ours, all else the package's that shows the document."""
        return page_file(*(OURS if name == "start.js" else SWAGGER), name)

    return routes


def put_sizes(schemas: Json, served: Weights) -> None:
    """What the served network takes and gives: the sizes are the same in all versions of a store."""
    schemas["FlatImage"] |= exactly(served.input_size)
    schemas["OneHot"] |= exactly(served.output_size)
    schemas["Label"] |= {"maximum": served.output_size - 1}
    if served.image_shape is not None:
        rows, columns = served.image_shape
        schemas["Rows"] |= exactly(rows)
        schemas["Row"] |= exactly(columns)


def put_largest_rate(schema: Any, largest: float) -> None:
    """Wherever a request names a learning rate, the one number that has to be above 0."""
    if isinstance(schema, dict) and schema.get("exclusiveMinimum") == 0:
        schema["maximum"] = largest
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        put_largest_rate(part, largest)


def exactly(count: int) -> Json:
    return {"minItems": count, "maxItems": count}
