"""What is said and counted of each request: its name, how long it took, what became of it. Neither body nor key."""

import os
import re
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from random import getrandbits
from typing import TYPE_CHECKING, Any

import orjson

from service import metrics
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_ID, MODEL_VERSION = "twolayernet.request_id", "twolayernet.model_version"
NO_ROUTE = "(none)"
SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
LONGEST_PATH = 200
STANDARD_OUTPUT = 1
LOG_THREAD = "request-log"

LINES_WAIT_SECONDS = 0.2
MOST_LINES_WAITING = 10_000
"""Where standard output takes none, further requests wait for it."""

PIECE_BYTES = select.PIPE_BUF
"""What is written into a pipe in one piece, and does not mix with what another worker writes."""


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    return Observed(wsgi, line_for(settings))


def line_for(settings: Settings) -> Any:
    """What makes a line of a request, or None for no lines."""
    if settings.access_log == "off":
        return None
    terminal = settings.access_log == "auto" and sys.stdout is not None and sys.stdout.isatty()
    return text_line if settings.access_log == "text" or terminal else json_line


class Observed:
    def __init__(self, app: "WSGIApplication", line: Any) -> None:
        self.app = app
        self.line = line
        self.log = RequestLog()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        began = time.perf_counter()
        request_id = environ[REQUEST_ID] = request_id_of(environ)
        status, route = "500", NO_ROUTE

        def start(line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status, route
            status, route = line[:3], route_of(environ)
            headers = [*headers, ("X-Request-ID", request_id)]
            return start_response(line, headers, exc_info) if exc_info else start_response(line, headers)

        try:
            return self.app(environ, start)
        finally:
            seconds = time.perf_counter() - began
            method = environ["REQUEST_METHOD"]
            durations(method if method in METHODS else "other", route, status).observe(seconds)
            if self.line is not None:
                self.log.add(self.line(environ, int(status), seconds))


durations = lru_cache(maxsize=1000)(metrics.DURATIONS.labels)


def route_of(environ: "WSGIEnvironment") -> str:
    """As it is registered, without what a client put in it; werkzeug has its request in the
    environment until the answer has begun."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return NO_ROUTE if rule is None else str(rule.rule)


def request_id_of(environ: "WSGIEnvironment") -> str:
    """The client's, where it can stand in a log, or a new one."""
    given = environ.get("HTTP_X_REQUEST_ID")
    return given if given is not None and SANE_ID.fullmatch(given) else f"{getrandbits(128):032x}"


def trace_id_of(environ: "WSGIEnvironment") -> str | None:
    """Of W3C's Trace Context."""
    found = TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    return found[1] if found else None


def json_line(environ: "WSGIEnvironment", status: int, seconds: float) -> bytes:
    fields = {
        "time": datetime.now(UTC),
        "method": environ["REQUEST_METHOD"][:20],
        "path": shown_path(environ),
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
        "request_id": environ[REQUEST_ID],
        "client": environ.get("REMOTE_ADDR"),
    }
    if (trace := trace_id_of(environ)) is not None:
        fields["trace_id"] = trace
    if (version := environ.get(MODEL_VERSION)) is not None:
        fields["model_version"] = version
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def text_line(environ: "WSGIEnvironment", status: int, seconds: float) -> bytes:
    version = environ.get(MODEL_VERSION)
    told = "" if version is None else f" version {version}"
    line = f"{status} {environ['REQUEST_METHOD'][:20]} {shown_path(environ)} {seconds * 1000:.1f} ms{told}"
    return f"{line} {environ[REQUEST_ID]}\n".encode()


def shown_path(environ: "WSGIEnvironment") -> str:
    """Without the query, in which a client might have put what is not for a log."""
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1", "replace")
    return ascii(path.decode("utf-8", "replace")[:LONGEST_PATH])[1:-1]


class RequestLog:
    """Lines for standard output, written together: each call of the system lets another thread have Python's lock.

    The first line starts a thread that waits for a moment and writes all that have come. Python waits for it at the end
    of the process, so that no line is lost. Granian does not let it wait: there, each line is written at once. Lines of
    several workers stay whole.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._is_written = False

    def add(self, line: bytes) -> None:
        if "granian" in sys.modules:
            write(line)
            return
        with self._lock:
            self._waiting.append(line)
            begin, full = not self._is_written, len(self._waiting) > MOST_LINES_WAITING
            self._is_written = True
        if begin:
            writer = threading.Timer(LINES_WAIT_SECONDS, self._write)
            writer.name = LOG_THREAD
            try:
                writer.start()
            except RuntimeError:  # the process is ending
                self._write()
        elif full:
            self._write_waiting()

    def _write(self) -> None:
        while self._write_waiting():
            pass

    def _write_waiting(self) -> bool:
        """False where there was nothing to write."""
        with self._lock:
            lines, self._waiting = self._waiting, []
            self._is_written = bool(lines)
        for piece in pieces(lines):
            write(piece)
        return bool(lines)


def write(piece: bytes) -> None:
    with suppress(OSError):  # nobody listens any more: no reason to fail a request
        while piece:
            piece = piece[os.write(STANDARD_OUTPUT, piece) :]


def pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Whole lines, as many together as a pipe takes in one piece."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) > PIECE_BYTES:
            yield piece
            piece = b""
        piece += line
    if piece:
        yield piece
