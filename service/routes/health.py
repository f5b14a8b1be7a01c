"""GET /healthz, /readyz."""

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
        """It can serve: the store answers and this worker has the newest version. 503 with why, otherwise."""
        read_query(request, Request)
        replaced = {"store": "removed or replaced: nothing more is learnt"} if service.log.is_replaced() else {}
        return jsonify(status="ready", model_version=service.replica.newest().version, **replaced)

    return routes
