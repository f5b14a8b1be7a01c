"""A log line and a metric for each request: what was requested, how long it took, the status. Never a body or a key."""

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

from service.metrics import counters
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_ID, MODEL_VERSION = "twolayernet.request_id", "twolayernet.model_version"
MODEL = "twolayernet.model"
"""In the environment of a request under /models/{name}/: the name."""

NO_ROUTE = "(none)"
VALID_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
LONGEST_PATH = 200
STANDARD_OUTPUT = 1
LOG_THREAD = "request-log"

BATCH_SECONDS = 0.2
MOST_LINES = 10_000
"""In memory. Beyond that, requests write lines themselves, and wait until standard output accepts them."""

BATCH_BYTES = select.PIPE_BUF
"""The most that is written to a pipe atomically, so that lines of several workers do not mix."""


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    return Logged(wsgi, line_for(settings))


def line_for(settings: Settings) -> Any:
    """The function that formats a line, or None where the settings turn the log off."""
    if settings.access_log == "off":
        return None
    terminal = settings.access_log == "auto" and sys.stdout is not None and sys.stdout.isatty()
    return text_line if settings.access_log == "text" or terminal else json_line


class Logged:
    """The WSGI application, with a line and a metric for each request, and an X-Request-ID in each answer."""

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
            if (model := environ.get(MODEL)) is not None:
                counters.count_request_of(model, status)
            if self.line is not None:
                self.log.add(self.line(environ, int(status), seconds))


durations = lru_cache(maxsize=1000)(counters.DURATIONS.labels)


def route_of(environ: "WSGIEnvironment") -> str:
    """The URL rule, without the values that a client put into the path. werkzeug keeps its request in `environ` until
    the answer has begun."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return NO_ROUTE if rule is None else str(rule.rule)


def request_id_of(environ: "WSGIEnvironment") -> str:
    """The client's X-Request-ID where it is safe to log, or a new one."""
    given = environ.get("HTTP_X_REQUEST_ID")
    return given if given is not None and VALID_ID.fullmatch(given) else f"{getrandbits(128):032x}"


def trace_id_of(environ: "WSGIEnvironment") -> str | None:
    """The trace ID in a `traceparent` header (W3C Trace Context)."""
    match = TRACEPARENT.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    return match[1] if match else None


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
    for name, value in (("model", environ.get(MODEL)), ("model_version", environ.get(MODEL_VERSION))):
        if value is not None:
            fields[name] = value
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def text_line(environ: "WSGIEnvironment", status: int, seconds: float) -> bytes:
    version = environ.get(MODEL_VERSION)
    of_version = "" if version is None else f" version {version}"
    line = f"{status} {environ['REQUEST_METHOD'][:20]} {shown_path(environ)} {seconds * 1000:.1f} ms{of_version}"
    return f"{line} {environ[REQUEST_ID]}\n".encode()


def shown_path(environ: "WSGIEnvironment") -> str:
    """Without the query, which may contain what must not be logged."""
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1", "replace")
    return ascii(path.decode("utf-8", "replace")[:LONGEST_PATH])[1:-1]


class RequestLog:
    """Lines for standard output, written in batches: each system call lets another thread take Python's lock.

    The first line starts a thread that waits for a moment and writes all lines that have come. Python waits for that
    thread when the process ends, so no line is lost. Granian does not wait for it: there, each line is written at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: list[bytes] = []
        self._writer: threading.Thread | None = None

    def add(self, line: bytes) -> None:
        if "granian" in sys.modules:
            write(line)
            return
        with self._lock:
            if self._writer is not None and not self._writer.is_alive():  # this is a fork: its parent writes these
                self._lines, self._writer = [], None
            self._lines.append(line)
            full = len(self._lines) > MOST_LINES
            if self._writer is None:
                self._writer = threading.Timer(BATCH_SECONDS, self._write_all)
                self._writer.name = LOG_THREAD
                with suppress(RuntimeError):  # the process is ending, and no thread can be started
                    self._writer.start()
                    return
                full = True
        if full:
            self._write_batch()

    def _write_all(self) -> None:
        while self._write_batch():
            pass

    def _write_batch(self) -> bool:
        """Returns whether there was anything to write."""
        with self._lock:
            lines, self._lines = self._lines, []
            if not lines:
                self._writer = None
        for batch in batches(lines):
            write(batch)
        return bool(lines)


def write(data: bytes) -> None:
    with suppress(OSError):  # standard output is closed: no reason to fail a request
        while data:
            data = data[os.write(STANDARD_OUTPUT, data) :]


def batches(lines: list[bytes]) -> Iterator[bytes]:
    """Whole lines, joined as far as `BATCH_BYTES` allow."""
    batch = b""
    for line in lines:
        if batch and len(batch) + len(line) > BATCH_BYTES:
            yield batch
            batch = b""
        batch += line
    if batch:
        yield batch
