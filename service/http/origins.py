"""Pages of other origins: what somebody's browser sends on behalf of a page that the service did not give out.

A page can have its reader's browser post a form to any address, one on the reader's own machine included, and no
preflight asks first. So what a browser marks as another origin's is refused, unless the settings name the origin. Who
sends no mark is no browser. A link that a person follows is no request of the page's: it may be shown, nothing else.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, Request, request
from flask_cors import CORS
from werkzeug.exceptions import SecurityError

from service.http.problems import Problem
from service.lists import listed, normal_origin
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READING = ("GET", "HEAD")

LOOPBACK = ["127.0.0.1", "localhost"]
"""Where health checks ask. No name that a stranger could point here."""

REQUEST_HEADERS = ["Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key", "If-Match", "If-None-Match"]
REQUEST_HEADERS += ["X-Min-Model-Version", "X-Request-ID", "traceparent", "Inference-Header-Content-Length"]
ANSWER_HEADERS = ["ETag", "Retry-After", "X-Model-Version", "X-Model-Staleness", "X-Oldest-Model-Version"]
ANSWER_HEADERS += ["X-Request-ID", "Inference-Header-Content-Length"]
PREFLIGHT_SECONDS = 600


def register(app: Flask, settings: Settings) -> None:
    hosts = listed(settings.trusted_hosts)
    if hosts:
        app.config["TRUSTED_HOSTS"] = [*hosts, *LOOPBACK]
    allowed = frozenset(listed(settings.allowed_origins))
    if allowed:
        CORS(
            app,
            origins=[re.compile(rf"{re.escape(origin)}\Z") for origin in allowed],
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
            methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            max_age=PREFLIGHT_SECONDS,
            vary_header=True,
        )

    @app.before_request
    def refuse_other_origins() -> None:
        if hosts and isinstance(request.routing_exception, SecurityError):
            named = request.environ.get("HTTP_HOST", "")[:100]
            raise Problem(400, f"the Host {named!r} is none of those that TWOLAYERNET_TRUSTED_HOSTS names")
        if is_foreign(request, allowed):
            raise Problem(
                403,
                "this comes from a page of another origin, which may neither change nor read anything here: "
                "TWOLAYERNET_ALLOWED_ORIGINS names those that may",
            )


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    return HostInLowerCase(wsgi) if settings.trusted_hosts else wsgi


class HostInLowerCase:
    """Names of hosts have no case, and may end in the dot of the root."""

    def __init__(self, app: "WSGIApplication") -> None:
        self.app = app

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        name, colon, port = environ.get("HTTP_HOST", "").lower().partition(":")
        environ["HTTP_HOST"] = name.removesuffix(".") + colon + port
        return self.app(environ, start_response)


def is_foreign(request: Request, allowed: frozenset[str]) -> bool:
    """Whether a page of another origin makes it, by the browser's own word."""
    environ = request.environ
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if origin is None and site is None and request.method not in READING:
        origin = origin_of(environ.get("HTTP_REFERER"))  # all that old browsers say of a form that was sent
    if origin is None and site is None:
        return False
    if origin in allowed:
        return False
    if site is not None:
        return site not in ("same-origin", "none") and not is_a_link_followed(request)
    return not is_own(origin or "", request)


def origin_of(referer: str | None) -> str | None:
    if referer is None:
        return None
    try:
        parts = urlsplit(referer)
    except ValueError:
        return "null"
    return f"{parts.scheme}://{parts.netloc}"


def is_a_link_followed(request: Request) -> bool:
    headers = request.headers
    return (
        request.method in READING
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
    )


def is_own(origin: str, request: Request) -> bool:
    """By the host and port alone: behind a proxy that is not believed, the scheme is not known."""
    try:
        of_origin = urlsplit(normal_origin(origin))
        return of_origin.netloc == urlsplit(normal_origin(f"{of_origin.scheme}://{request.host}")).netloc
    except ValueError:
        return False
