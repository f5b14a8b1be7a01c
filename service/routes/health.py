"""GET /healthz, /readyz."""

from flask import Blueprint, Response, jsonify

from service.live.service import Service


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    def healthz() -> Response:
        """The process lives."""
        return jsonify(status="ok")

    @routes.get("/readyz")
    def readyz() -> Response:
        """It can serve: the store answers and this worker has the newest version. 503 with why, otherwise."""
        return jsonify(status="ready", model_version=service.replica.newest().version)

    return routes
