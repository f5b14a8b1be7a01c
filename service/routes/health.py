"""GET /healthz, /readyz."""

from typing import Any

from flask import Blueprint, Response, jsonify

from service.live.service import Service
from service.routes.endpoint import Endpoint
from service.schemas import HealthAnswer, ReadyAnswer


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    @Endpoint("Whether the process lives", HealthAnswer, access="open")
    def healthz() -> Response:
        return jsonify(status="ok")

    @routes.get("/readyz")
    @Endpoint("Whether it can serve", ReadyAnswer, errors=(503,), access="open")
    def readyz() -> Response:
        """It can predict, from the newest version or, on PostgreSQL, from one that is as old as it says. 503 with why,
        otherwise."""
        said: dict[str, Any] = {"status": "ready", "model_version": service.replica.newest().version}
        if service.log.is_replaced():
            said["store"] = "removed or replaced: nothing more is learnt"
        if (seconds := service.log.staleness()) is not None:
            said["staleness"] = round(seconds, 1)
        return jsonify(said)

    return routes
