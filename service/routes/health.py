"""GET /healthz, /readyz."""

from typing import Any

from flask import Blueprint, Response, jsonify

from service.http.incoming import request
from service.http.queries import read_query
from service.live.service import Service
from service.schemas import Request


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        """The process lives."""
        read_query(request, Request)
        return jsonify(status="ok")

    @routes.get("/readyz")
    def readyz() -> Response:
        """It can predict, from the newest version or, on PostgreSQL, from one that is as old as it says. 503 with why,
        otherwise."""
        read_query(request, Request)
        said: dict[str, Any] = {"status": "ready", "model_version": service.replica.newest().version}
        if service.log.is_replaced():
            said["store"] = "removed or replaced: nothing more is learnt"
        if (seconds := service.log.staleness()) is not None:
            said["staleness"] = round(seconds, 1)
        return jsonify(said)

    return routes
