"""GET /healthz, /readyz."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from service.http.endpoint import Endpoint
from service.http.request import request
from service.http.request_log import MODEL
from service.live.service import Service
from service.schemas.answers import HealthAnswer, ReadyAnswer

MOST_NAMED = 100


def blueprint(service: Service, in_trouble: Callable[[], list[str]]) -> Blueprint:
    """in_trouble: the names of models that can't be opened."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    @Endpoint("Whether the process is alive", HealthAnswer, access="open")
    def healthz() -> Response:
        return jsonify(status="ok")

    @routes.get("/readyz")
    @Endpoint("Whether it can serve", ReadyAnswer, errors=(503,), access="open")
    def readyz() -> Response:
        """200 if it can predict: from the newest version or, on PostgreSQL, from one that is stale by `staleness`."""
        answer: dict[str, Any] = {"status": "ready", "model_version": service.replica.newest().version}
        if service.log.database.is_replaced():
            answer["store"] = "removed or replaced: it learns nothing more"
        if (seconds := service.log.database.staleness()) is not None:
            answer["staleness"] = round(seconds, 1)
        if MODEL not in request.environ and (names := in_trouble()):
            answer["models_in_trouble"] = names[:MOST_NAMED]
        return jsonify(answer)

    return routes
