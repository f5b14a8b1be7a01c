"""GET /versions."""

from flask import Blueprint, Response

from service.http.answers import versions_answer
from service.http.incoming import request
from service.http.queries import read_query
from service.live.service import Service
from service.schemas import VersionsQuery


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("versions", __name__)

    @routes.get("/versions")
    def versions() -> Response:
        query = read_query(request, VersionsQuery)
        with service.log.reading() as reader:
            found = reader.versions(query.limit + 1, query.before)
        page = found[: query.limit]
        next_before = page[-1].model_version if len(found) > query.limit else None
        return versions_answer(page, next_before)

    return routes
