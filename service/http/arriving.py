"""How long the body of a request may take to arrive.

A server's threads wait for a body without a limit, or with one from each piece to the next, which a client that sends
a byte now and then never reaches. gunicorn gives its socket away: one thread of each worker looks after those that are
being read, and ends the reading of one that takes too long. Other servers have limits of their own, or a proxy before
them.
"""

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from service.http.problems import Problem
from service.settings import variable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LOOKED_AFTER_EVERY = 0.5


class Arrivals:
    """The bodies that are being read just now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._reading: dict[int, tuple[float, socket.socket]] = {}
        self._watcher: threading.Thread | None = None

    def watch(self, environ: "WSGIEnvironment") -> None:
        """From now on the request's body is read with a limit, where that can be."""
        if (client := environ.get("gunicorn.socket")) is not None:
            environ["wsgi.input"] = Arriving(environ["wsgi.input"], self, client)

    def begun(self, client: socket.socket, until: float) -> None:
        """until: when it has to be there."""
        with self._lock:
            self._reading[id(client)] = until, client
            if self._watcher is None:  # not before a server has forked
                self._watcher = threading.Thread(target=self._look_after, name="arrivals", daemon=True)
                self._watcher.start()

    def ended(self, client: socket.socket) -> None:
        with self._lock:
            del self._reading[id(client)]

    def _look_after(self) -> None:
        while True:
            time.sleep(min(LOOKED_AFTER_EVERY, self.seconds))
            now = time.monotonic()
            with self._lock:
                for until, client in self._reading.values():
                    if now > until:
                        end_reading(client)


def end_reading(client: socket.socket) -> None:
    """Whoever reads from it is told that nothing more comes; an answer can still be sent."""
    try:
        client.shutdown(socket.SHUT_RD)
    except OSError:  # the client has gone
        return


class Arriving:
    """wsgi.input, with a limit for all that is read of it, from the first time on."""

    def __init__(self, stream: Any, arrivals: Arrivals, client: socket.socket) -> None:
        self._stream = stream
        self._arrivals = arrivals
        self._client = client
        self._until: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, size: int = -1) -> bytes:
        """Raises Problem, 408, when it took too long, and from then on."""
        if self._until is None:
            self._until = time.monotonic() + self._arrivals.seconds
        elif time.monotonic() > self._until:
            raise self._too_slow()
        self._arrivals.begun(self._client, self._until)
        try:
            data: bytes = self._stream.read(size)
        except Exception:
            if time.monotonic() <= self._until:
                raise
        finally:
            self._arrivals.ended(self._client)
        if time.monotonic() > self._until:
            raise self._too_slow()
        return data

    def _too_slow(self) -> Problem:
        return Problem(
            408,
            f"the body took longer than {self._arrivals.seconds:g} s to arrive, which {variable('request_seconds')} is",
        )
