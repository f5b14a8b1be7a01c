"""GET /: the page to draw on."""

from flask import Blueprint, Response

from service.http.static import packaged, page_file
from service.live.service import Service
from service.routes.endpoint import page as open_page


def blueprint(_service: Service) -> Blueprint:
    routes = Blueprint("playground", __name__)
    packaged("service", "playground")

    @routes.get("/")
    @open_page
    def page() -> Response:
        return page_file("service", "playground", "index.html")

    @routes.get("/playground/<name>")
    @open_page
    def file(name: str) -> Response:
        return page_file("service", "playground", name)

    return routes
