"""An error that is answered before its body was read, and what becomes of the connection then.

A client, or a proxy, that is still sending would take the answer for a broken connection, or the rest of the body for
its next request. So the rest is read first, within the limit. Where there is more, the connection ends, and the answer
says so; behind it some of the rest is read, for a client that sends all before it looks for an answer.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

DISCARDED_LIMITS = 4
"""How many times the limit is read, and forgotten, behind an answer."""

PIECE_BYTES = 2**16
PATIENCE_SECONDS = 2.0
LONGEST_LENGTH = 18
"""Digits of a Content-Length. Python itself reads no more than 4,300."""


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    return ErrorsAfterTheBody(wsgi, settings.max_body_bytes)


class ErrorsAfterTheBody:
    """most_bytes: what is read of a body before an error is answered."""

    def __init__(self, app: "WSGIApplication", most_bytes: int) -> None:
        self.app = app
        self.most_bytes = most_bytes

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        unread = 0

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal unread
            if status[0] in "45":
                unread = left_after(environ, self.most_bytes)
                if unread:
                    headers = headers + closing(environ, start_response)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        answer = self.app(environ, start)
        if unread:
            return followed_by_the_rest(answer, environ, unread, DISCARDED_LIMITS * self.most_bytes)
        return answer


def left_after(environ: "WSGIEnvironment", most_bytes: int) -> int:
    """Read the rest of the body, if that is at most so much; else how many bytes there are still to come, or more."""
    stated = environ.get("CONTENT_LENGTH", "")
    if stated.isascii() and stated.isdecimal():
        if len(stated) > LONGEST_LENGTH or int(stated) > most_bytes:
            return int(stated[:LONGEST_LENGTH])
        most_bytes = int(stated)
    elif not environ.get("wsgi.input_terminated"):
        return 0
    try:
        read = discard(environ, most_bytes + 1)
    except Exception:  # each server has its own for what it can't read: where a next request would begin is unknown
        return 1
    return read if read > most_bytes else 0


def discard(environ: "WSGIEnvironment", count: int) -> int:
    """Read so many bytes, unless the body ends before; how many there were."""
    left = count
    with patience(environ):
        while left and (piece := environ["wsgi.input"].read(min(left, PIECE_BYTES))):
            left -= len(piece)
    return count - left


@contextmanager
def patience(environ: "WSGIEnvironment") -> Iterator[None]:
    """Whoever sends nothing for a while holds no thread: gunicorn gives its socket away, others have a limit of their
    own or a proxy before them."""
    socket = environ.get("gunicorn.socket")
    if socket is not None:
        socket.settimeout(PATIENCE_SECONDS)
    try:
        yield
    finally:
        if socket is not None:
            socket.settimeout(None)


def closing(environ: "WSGIEnvironment", start_response: "StartResponse") -> list[tuple[str, str]]:
    """Have the server end the connection, by the header that is returned or by a word to it.

    The header is the server's own, says PEP 3333: gunicorn passes over one that an application gives, but lets itself
    be told; Granian takes it; others answer with a 500, and go on with the connection once the rest was read.
    """
    tell = getattr(getattr(start_response, "__self__", None), "force_close", None)
    if tell is not None:
        tell()
    return [("Connection", "close")] if environ.get("SERVER_SOFTWARE", "").lower().startswith("granian") else []


def followed_by_the_rest(
    answer: Iterable[bytes], environ: "WSGIEnvironment", unread: int, most_bytes: int
) -> Iterator[bytes]:
    """The answer, and then the body that it did not wait for, unless that is too much to be waited for at all."""
    try:
        yield from answer
        if unread <= most_bytes:
            discard(environ, most_bytes)
    except Exception:  # the client has gone, or what it sends is no body: the connection ends anyhow
        return
    finally:
        if hasattr(answer, "close"):
            answer.close()
