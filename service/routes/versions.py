"""GET /versions."""

from flask import Blueprint, Response

from service.http.answers import json_answer
from service.http.operation import Link
from service.live.service import Service
from service.routes.answers import version_fields
from service.routes.endpoint import NEXT_BEFORE, Endpoint
from service.schemas import VersionsAnswer, VersionsQuery

NEW_VERSION = "$response.body#/model_version"
OF_NEW_VERSION = (
    Link("learning.rollback", body={"model_version": NEW_VERSION}),
    Link("weights.get_weights", {"query.model_version": NEW_VERSION}),
    Link("versions.versions", {"query.before": NEW_VERSION}),
    Link("inference.model_metadata_at_model_version", {"path.model_version": NEW_VERSION}),
)


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
        page, next_before = service.history.page(query.limit, query.before)
        return json_answer(VersionsAnswer, versions=[version_fields(one) for one in page], next_before=next_before)

    return routes
