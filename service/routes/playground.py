"""GET /: the page to draw on."""

from flask import Blueprint, Response

from service.http.incoming import request
from service.http.static import page_file
from service.live.service import Service
from service.routes.endpoint import page as open_page


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("playground", __name__)

    @routes.get("/")
    @open_page
    def page() -> Response:
        return page_file("service", "playground", "index.html")

    @routes.get("/playground/<name>")
    @open_page
    def file(name: str) -> Response:
        return page_file("service", "playground", name)

    if service.settings.prefix:
        routes.before_app_request(with_a_slash)
    return routes


def with_a_slash() -> Response | None:
    """What the page loads stands beside it, so its own address has to end in a slash. werkzeug would redirect, too,
    but to an address with a scheme and a host: the wrong ones behind a proxy that is not trusted."""
    if request.environ.get("PATH_INFO"):
        return None
    return Response(status=308, headers={"Location": f"{request.root_path}/"})
