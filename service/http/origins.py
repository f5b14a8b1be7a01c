"""Requests that a browser sends for a page of another origin.

Any page can make its reader's browser post a form to any address, including services on the reader's own machine, and
no preflight comes first. So a request that the browser marks as another origin's is refused, unless the settings name
that origin. A client that sends no mark is not a browser. A link that a person follows is allowed to show something,
unless that changes something.
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

from flask import Flask, Request
from flask_cors import CORS

from service.http.problems import Problem
from service.http.request import this_request
from service.settings import Settings, is_loopback, listed, normal_origin

LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]
"""Names that no stranger can point here; health checks use them."""

REQUEST_HEADERS = ["Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key", "If-Match", "If-None-Match"]
REQUEST_HEADERS += ["X-Min-Model-Version", "X-Request-ID", "traceparent", "Inference-Header-Content-Length"]
ANSWER_HEADERS = ["ETag", "Retry-After", "X-Model-Version", "X-Model-Staleness", "X-Oldest-Model-Version"]
ANSWER_HEADERS += ["X-Request-ID", "Inference-Header-Content-Length"]
PREFLIGHT_SECONDS = 600
OWN_SITES = ("same-origin", "none")
"""Of Sec-Fetch-Site."""


def register(app: Flask, settings: Settings) -> None:
    hosts = listed(settings.trusted_hosts)
    expected = (*hosts, *LOOPBACK)
    allowed = frozenset(listed(settings.allowed_origins))
    is_behind_a_proxy = settings.trusted_proxies > 0
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
        request = this_request()
        environ = request.environ
        host = environ.get("HTTP_HOST", "")
        is_local = not is_behind_a_proxy and listens_on_loopback(environ.get("SERVER_NAME", ""))
        if (hosts or is_local) and not is_expected(host, expected):
            raise Problem(
                400,
                f"unexpected Host {host[:100]!r}: expected {', '.join(LOOPBACK)} or a name in "
                "TWOLAYERNET_TRUSTED_HOSTS",
            )
        if is_foreign(request, allowed, is_behind_a_proxy):
            raise Problem(
                403,
                "the request comes from a page of another origin, which may neither change nor read anything here: "
                "add the origin to TWOLAYERNET_ALLOWED_ORIGINS to allow it",
            )


@lru_cache(maxsize=16)
def listens_on_loopback(server_name: str) -> bool:
    """By the address of the socket, which gunicorn and Granian pass as the server's name. False behind a Unix socket,
    and where a server passes a name of its own."""
    return is_loopback(server_name)


@lru_cache(maxsize=256)
def is_expected(host: str, names: tuple[str, ...]) -> bool:
    """Whether a Host header, with any port, is one of the names, or ends with one that begins with a dot."""
    name = re.sub(r":[0-9]*\Z", "", host.lower()).removesuffix(".")
    return any(name == one or (one[0] == "." and f".{name}".endswith(one)) for one in names)


def is_foreign(request: Request, allowed: frozenset[str], scheme_is_known: bool) -> bool:
    """Whether the browser says that a page of another origin made the request."""
    environ = request.environ
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE")
    if (origin is None and site is None) or origin in allowed:
        return False
    if site is not None:
        is_link = (environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST")) == ("navigate", "document")
        return site not in OWN_SITES and not (is_link and request.method in ("GET", "HEAD"))
    return not is_own(origin or "", request, scheme_is_known)


def refuse_link() -> None:
    """For a GET that changes something. Raises Problem for one that a browser makes for a page of another origin, which
    may only have a link."""
    environ = this_request().environ
    is_navigation = environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
    if is_navigation and environ.get("HTTP_SEC_FETCH_SITE") not in (*OWN_SITES, None):
        raise Problem(403, "the request follows a link of another origin, and would change something: open it yourself")


def is_own(origin: str, request: Request, scheme_is_known: bool) -> bool:
    """By host and port, and by the scheme where it is known: a proxy that is not trusted may have ended TLS."""
    try:
        own = normal_origin(origin)
        scheme = request.scheme if scheme_is_known else urlsplit(own).scheme
        return own == normal_origin(f"{scheme}://{request.host}")
    except ValueError:
        return False
