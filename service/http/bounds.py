"""How much a worker takes on: so many requests that compute at once, so many that wait behind them, and so long.

The server has a thread for each of them and a few more, so that it queues nothing itself: what is one too many is
answered at once, and so is whoever asks whether the service lives.
"""

import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, request

from service.http.arriving import Arrivals
from service.http.problems import RETRY_AFTER_SECONDS, Problem
from service.settings import Settings, variable

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REFUSED = "twolayernet.refused"
NEVER_REFUSED = {"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
THREADS_TO_REFUSE = 4
"""Beyond those that work or wait: they refuse, and answer who asks for health and metrics."""


def server_threads(settings: Settings) -> int:
    """How many the HTTP server needs in each worker."""
    return settings.max_requests + THREADS_TO_REFUSE


def register(app: Flask, settings: Settings) -> None:
    app.config["MAX_IMAGES"] = settings.max_images

    @app.before_request
    def refuse() -> None:
        if (why := request.environ.get(REFUSED)) is not None:
            raise Problem(503, why, headers={"Retry-After": RETRY_AFTER_SECONDS})


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    return Bounded(wsgi, settings)


class Bounded:
    def __init__(self, app: "WSGIApplication", settings: Settings) -> None:
        self.app = app
        self.turns = Turns(settings.threads, settings.max_requests - settings.threads)
        self.seconds = settings.request_seconds
        self.arrivals = Arrivals(settings.request_seconds)
        self.too_many = (
            f"this worker has {settings.max_requests} requests, the most that {variable('max_requests')} lets it take "
            "at once: try again"
        )
        self.too_long = (
            f"no thread was free within {self.seconds:g} s, which {variable('request_seconds')} is: try again"
        )

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        self.arrivals.watch(environ)
        if environ["PATH_INFO"] in NEVER_REFUSED:
            return self.app(environ, start_response)
        try:
            self.turns.enter(self.seconds)
        except TooManyError:
            environ[REFUSED] = self.too_many
            return self.app(environ, start_response)
        except TooLongError:
            environ[REFUSED] = self.too_long
            return self.app(environ, start_response)
        try:
            return self.app(environ, start_response)
        finally:
            self.turns.leave()


class TooManyError(Exception):
    """As many wait as may."""


class TooLongError(Exception):
    """No turn came in time."""


class Turns:
    """For so many threads at once; those that wait get theirs in the order in which they came."""

    def __init__(self, at_once: int, may_wait: int) -> None:
        self._free = at_once
        self._may_wait = may_wait
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    def enter(self, seconds: float) -> None:
        """Raises TooManyError at once, and TooLongError after so many seconds."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            if len(self._waiting) >= self._may_wait:
                raise TooManyError
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=seconds):
            return
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                raise TooLongError

    def leave(self) -> None:
        """The turn goes to whoever waits longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1
