"""GET /versions."""

from flask import Blueprint, Response

from service.http.endpoint import NEXT_BEFORE, Endpoint, Link
from service.http.json_response import json_answer
from service.live.service import Service
from service.routes.new_version import version_fields
from service.schemas.answers import VersionsAnswer
from service.schemas.requests import VersionsQuery


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("versions", __name__)

    @routes.get("/versions")
    @Endpoint(
        "The log, newest first",
        VersionsAnswer,
        errors=(503,),
        links=(
            Link("learning.rollback", body={"model_version": "$response.body#/versions/0/model_version"}),
            Link("versions.versions", {"query.before": NEXT_BEFORE}),
        ),
    )
    def versions(query: VersionsQuery) -> Response:
        page, next_before = service.history.page(query.limit, query.before, query.source)
        return json_answer(VersionsAnswer, versions=[version_fields(one) for one in page], next_before=next_before)

    return routes
