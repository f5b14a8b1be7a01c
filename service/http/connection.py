"""Headers for browsers on every answer, and a connection that can be used again after an error.

If an error is sent before the body was read, the server finds the rest of the body where it expects the next request.
gunicorn discards 64 kB of it and closes the connection after more, Granian closes it at once, and neither announces it.
So the rest is read here, after the answer: a client sees the error before it has sent its whole body.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import ClosingIterator, get_input_stream

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PIECE_BYTES = 2**16
MOST_PIECES = 1024
"""64 MiB. After more than that, the server closes the connection."""

HEADERS = [("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin")]


def wrapped(wsgi: "WSGIApplication") -> "WSGIApplication":
    def with_headers(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        failed = False

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal failed
            failed = status[0] in "45"
            headers = headers + HEADERS
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        unterminated = has_body(environ) and not environ.get("wsgi.input_terminated")
        if unterminated:  # the server of `flask run`: a read beyond Content-Length waits until the client leaves
            environ["wsgi.input"] = get_input_stream(environ)
        answer = wsgi(environ, start)
        if not (failed and has_body(environ)):
            return answer
        if unterminated:  # it reads the rest itself before it closes the answer, and waits in the same way
            return ClosingIterator(chain(answer, discarded_body(environ)), getattr(answer, "close", None))
        return ClosingIterator(answer, partial(discard_body, environ))

    return with_headers


def discarded_body(environ: "WSGIEnvironment") -> Iterator[bytes]:
    """Nothing, once the body has been discarded."""
    discard_body(environ)
    yield from ()


def has_body(environ: "WSGIEnvironment") -> bool:
    return environ.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ


def discard_body(environ: "WSGIEnvironment") -> None:
    """Read the rest of the body, within a bound."""
    with suppress(Exception):  # the client has gone, or its body is badly framed: the server closes the connection
        for _ in range(MOST_PIECES):
            if not environ["wsgi.input"].read(PIECE_BYTES):
                return
