"""What every answer brings with it: headers for browsers, and a connection that can be used again.

A server that sends an error before the body was read would find the rest of the body where it expects the next request.
gunicorn discards 64 kB of it and closes the connection after more, Granian closes it at once, and neither announces it.
So the rest is read here, behind the answer: a client need not wait for the end of its own body to see the error.
"""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import ClosingIterator

from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PIECE_BYTES = 2**16
MOST_PIECES = 1024
"""64 MiB. After more than that, the server closes the connection."""

HEADERS = [("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin")]


def wrapped(wsgi: "WSGIApplication", _settings: Settings) -> "WSGIApplication":
    def with_headers(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        failed = False

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal failed
            failed = status[0] in "45"
            headers = headers + HEADERS
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        answer = wsgi(environ, start)
        return ClosingIterator(answer, partial(discard_body, environ)) if failed and has_body(environ) else answer

    return with_headers


def has_body(environ: "WSGIEnvironment") -> bool:
    return environ.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ


def discard_body(environ: "WSGIEnvironment") -> None:
    """Read what is left of it, within a bound."""
    try:
        for _ in range(MOST_PIECES):
            if not environ["wsgi.input"].read(PIECE_BYTES):
                return
    except Exception:  # the client has gone, or sends what is no body: the server closes the connection
        return
