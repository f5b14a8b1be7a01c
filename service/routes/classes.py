"""POST /classes."""

from functools import partial

from flask import Blueprint, Response

from service.http.json_response import json_answer
from service.live.service import Service
from service.routes.new_version import NewVersionEndpoint, once, version_fields
from service.schemas.answers import ClassesAnswer
from service.schemas.requests import ClassRequest


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("classes", __name__)
    has_names = service.replica.known().weights.label_names is not None

    @routes.post("/classes")
    @NewVersionEndpoint(
        "A new version with one class more",
        ClassesAnswer,
        examples={"next": {"label_name": "α"} if has_names else {}},
        errors=(409, 412, 503),
    )
    def add_class(body: ClassRequest) -> Response:
        version = once(service, partial(service.learner.grow, body.label_name))
        return json_answer(ClassesAnswer, **version_fields(version), classes=version.classes)

    return routes
