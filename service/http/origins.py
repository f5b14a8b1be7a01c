"""Pages of other origins: what somebody's browser sends on behalf of a page that the service did not give out.

A page can have its reader's browser post a form to any address, one on the reader's own machine included, and no
preflight asks first. So what a browser marks as another origin's is refused, unless the settings name the origin. Who
sends no mark is no browser. A link that a person follows is no request of the page's: it may be shown, nothing else.
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

from flask import Flask, Request, request
from flask_cors import CORS

from service.http.problems import Problem
from service.settings import Settings, is_loopback, listed, normal_origin

READING = ("GET", "HEAD")

LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]
"""Where health checks ask. No name that a stranger could point here."""

REQUEST_HEADERS = ["Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key", "If-Match", "If-None-Match"]
REQUEST_HEADERS += ["X-Min-Model-Version", "X-Request-ID", "traceparent", "Inference-Header-Content-Length"]
ANSWER_HEADERS = ["ETag", "Retry-After", "X-Model-Version", "X-Model-Staleness", "X-Oldest-Model-Version"]
ANSWER_HEADERS += ["X-Request-ID", "Inference-Header-Content-Length"]
PREFLIGHT_SECONDS = 600


def register(app: Flask, settings: Settings) -> None:
    hosts = listed(settings.trusted_hosts)
    expected = (*hosts, *LOOPBACK)
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
        environ = request.environ
        named = environ.get("HTTP_HOST", "")
        local = settings.trusted_proxies == 0 and listens_on_loopback(environ.get("SERVER_NAME", ""))
        if (hosts or local) and not is_expected(named, expected):
            raise Problem(
                400,
                f"the Host {named[:100]!r} is not expected here: only {', '.join(LOOPBACK)} and what "
                "TWOLAYERNET_TRUSTED_HOSTS names",
            )
        if is_foreign(request, allowed, scheme_is_known=settings.trusted_proxies > 0):
            raise Problem(
                403,
                "this comes from a page of another origin, which may neither change nor read anything here: "
                "TWOLAYERNET_ALLOWED_ORIGINS names those that may",
            )


@lru_cache(maxsize=16)
def listens_on_loopback(server_name: str) -> bool:
    """By the address of the socket, which gunicorn and Granian give as the server's name: with a server that is started
    by hand, the settings need not know it. Behind a Unix socket, or where a server gives a name of its own, False."""
    return is_loopback(server_name)


@lru_cache(maxsize=256)
def is_expected(host: str, names: tuple[str, ...]) -> bool:
    """Whether a Host header is one of the names, or under one that begins with a dot, with any port."""
    name = re.sub(r":[0-9]*\Z", "", host.lower()).removesuffix(".")
    return any(name == one or (one[0] == "." and f".{name}".endswith(one)) for one in names)


def is_foreign(request: Request, allowed: frozenset[str], scheme_is_known: bool) -> bool:
    """Whether a page of another origin makes it, by the browser's own word."""
    environ = request.environ
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if (origin is None and site is None) or origin in allowed:
        return False
    if site is not None:
        return site not in ("same-origin", "none") and not is_a_link_followed(request)
    return not is_own(origin or "", request, scheme_is_known)


def is_a_link_followed(request: Request) -> bool:
    headers = request.headers
    return (
        request.method in READING
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
    )


def is_own(origin: str, request: Request, scheme_is_known: bool) -> bool:
    """By the host and port, and the scheme where it is known: a proxy that is not believed may have taken TLS off."""
    try:
        own = normal_origin(origin)
        scheme = request.scheme if scheme_is_known else urlsplit(own).scheme
        return own == normal_origin(f"{scheme}://{request.host}")
    except ValueError:
        return False
