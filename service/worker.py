"""The gunicorn worker: threads that stand in for each other.

gunicorn's own threaded worker hands each request from the thread that waits at the sockets to a thread of its pool, and
the connection back again. For a request of 100 µs that costs more than the request itself: about twenty futex calls,
and a fight for the GIL. Here the thread on watch at the sockets answers what it finds there. Only when it is still at
it after PATIENCE seconds, or says that it is about to wait, does another thread take the watch, so that a slow client,
a step that waits for its turn or a large picture holds up nobody else.

The main thread keeps time: it tells gunicorn that the worker lives, takes its signals, and sees to the change of watch.
"""

import os
import select
import selectors
import socket
import struct
import threading
import time
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn import http, util
from gunicorn.http import errors, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.workers import base

from service.problems import MEDIA_TYPE, Problem
from service.waiting import call_before_waiting

PATIENCE = 0.005
HEARTBEAT = 1.0
STALLED_SECONDS = 30
"""A client that neither sends nor takes a byte for so long is given up."""
LINGER = 0.5
"""How long a stopping worker keeps idle connections, for a request that may be under way."""

STATUS_OF = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
    errors.ExpectationFailed: 417,
    errors.ForbiddenProxyRequest: 403,
    errors.ConfigurationProblem: 500,
}


class SizedBody:
    """A request's body of known length, received in one piece, without gunicorn's copies on the way."""

    def __init__(self, unreader: Any, length: int) -> None:
        self.unreader = unreader
        self.left = length
        self.failed = False
        """Read by gunicorn: where the next request would begin is not known."""

    def read(self, size: int = -1) -> bytes | bytearray:
        """Less than was asked for only when the client closed the connection. Raises OSError."""
        size = self.left if size < 0 else min(size, self.left)
        if size == 0:
            return b""
        self.failed = True
        data: bytes | bytearray = self.unreader.take_buffered()
        if len(data) > size:
            self.unreader.unread(data[size:])
            data = data[:size]
        elif len(data) < size:
            data = self._received(data, size)
        self.left -= size
        self.failed = len(data) < size
        return data

    def _received(self, begun: bytes | bytearray, size: int) -> bytearray:
        whole = bytearray(size)
        whole[: len(begun)] = begun
        have = len(begun)
        with memoryview(whole) as view:
            while have < size:
                count = self.unreader.sock.recv_into(view[have:], size - have, socket.MSG_WAITALL)
                if not count:
                    break
                have += count
        del whole[have:]
        return whole


class OnePieceResponse(wsgi.Response):
    """Sends the head together with the first piece of the body."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._head = b""

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
            self._head = "".join(lines).encode("latin-1")
            self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        head, self._head = self._head, b""
        self.sock.sendall(head + data if head else data)

    def close(self) -> None:
        super().close()
        if self._head:
            self.sock.sendall(self._head)


class Connection:
    """polled: whether the poller watches it; no other thread has to do with one that is not."""

    __slots__ = ("client", "idle_since", "parser", "polled", "server", "sock")

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.parser = http.get_parser(cfg, sock, client)
        self.idle_since = time.monotonic()
        self.polled = False


class StandInWorker(base.Worker):
    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise SystemExit("twolayernet: TLS is for the proxy in front: this worker speaks plain HTTP")

    def run(self) -> None:
        self._poller = selectors.DefaultSelector()
        self._nudged, self._nudge = os.pipe()
        self._poller.register(self._nudged, selectors.EVENT_READ)
        for listener in self.sockets:
            listener.setblocking(False)
        self._listening = False
        self._connections: set[Connection] = set()
        self._tidy_at = 0.0

        self._guard = threading.Lock()
        """Over who is on watch, and what is polled."""
        self._watch = threading.Semaphore(1)
        self._on_watch: object = None
        self._off_watch = self.cfg.threads
        self._serving: Connection | None = None
        self._answered = 0
        self._seen: tuple[Connection | None, int] = (None, 0)
        self._asleep = False
        self._over = False
        threads = [threading.Thread(target=self._stand_by, daemon=True) for _ in range(self.cfg.threads)]
        for thread in threads:
            thread.start()
        while self.alive and self.ppid == os.getppid():
            self._tick()
        self.alive = False
        give_up = time.monotonic() + self.cfg.graceful_timeout
        os.write(self._nudge, b".")
        while (self._connections or self._listening) and time.monotonic() < give_up:
            self._tick()
            os.write(self._nudge, b".")
        self._over = True
        os.write(self._nudge, b".")
        for _ in threads:
            self._watch.release()
        for thread in threads:
            thread.join(PATIENCE * 20)

    # What the main thread does

    def _tick(self) -> None:
        """Wait a moment, or until there is something to look after; then see to the change of watch."""
        self.notify()
        self._asleep = self._serving is None and self._seen == (None, self._answered) and self.alive
        if self._asleep and self._serving is not None:  # begun between the two looks
            self._asleep = False
        select.select([self.PIPE[0]], [], [], HEARTBEAT if self._asleep else PATIENCE)
        self._asleep = False
        self._drain(self.PIPE[0])
        with self._guard:
            now = (self._serving, self._answered)
            if now == self._seen:
                self._relieve()
            self._seen = now

    def _relieve(self) -> None:
        """Let another thread on watch, if one is free, and leave the connection that is being served to its own."""
        if self._serving is not None and self._off_watch > 0:
            self._stop_polling(self._serving)
            self._on_watch = self._serving = None
            self._watch.release()

    @staticmethod
    def _drain(pipe: int) -> None:
        try:
            while os.read(pipe, 4096):
                pass
        except BlockingIOError:
            pass

    # What the threads do

    def _stand_by(self) -> None:
        while True:
            self._watch.acquire()
            if self._over:
                return
            watch = object()
            with self._guard:
                self._on_watch = watch
                self._off_watch -= 1
            call_before_waiting(partial(self._step_aside, watch))
            self._keep_watch(watch)
            with self._guard:
                self._off_watch += 1

    def _step_aside(self, watch: object) -> None:
        with self._guard:
            if self._on_watch is watch:
                self._relieve()

    def _keep_watch(self, watch: object) -> None:
        while not self._over:
            self._listen(self.alive and len(self._connections) < self.cfg.worker_connections)
            for key, _ in self._poller.select(HEARTBEAT):
                if isinstance(key.data, Connection):
                    if not self._serve(key.data, watch):
                        return
                elif key.fd == self._nudged:
                    os.read(self._nudged, 4096)
                else:
                    self._accept(key.fileobj)
            now = time.monotonic()
            if now >= self._tidy_at or not self.alive:
                self._tidy_at = now + HEARTBEAT
                self._close_idle(now - (self.cfg.keepalive if self.alive else LINGER))

    def _listen(self, wanted: bool) -> None:
        if wanted != self._listening:
            for listener in self.sockets:
                if wanted:
                    self._poller.register(listener, selectors.EVENT_READ)
                else:
                    self._poller.unregister(listener)
            self._listening = wanted

    def _accept(self, listener: Any) -> None:
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # no file descriptor is free
            self.log.error("a connection can't be accepted: %s", error.strerror)
            time.sleep(PATIENCE)
            return
        sock.setblocking(True)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", STALLED_SECONDS, 0))
        connection = Connection(self.cfg, sock, client, listener.getsockname())
        self._connections.add(connection)
        self._poll(connection)

    def _poll(self, connection: Connection) -> None:
        self._poller.register(connection.sock, selectors.EVENT_READ, connection)
        connection.polled = True

    def _stop_polling(self, connection: Connection) -> None:
        if connection.polled:
            self._poller.unregister(connection.sock)
            connection.polled = False

    def _close_idle(self, before: float) -> None:
        for connection in [each for each in self._connections if each.polled and each.idle_since < before]:
            self._stop_polling(connection)
            self._connections.discard(connection)
            util.close(connection.sock)

    def _serve(self, connection: Connection, watch: object) -> bool:
        """Answer what has come on a connection; whether this thread is still on watch after that."""
        self._serving = connection
        if self._asleep:
            self._asleep = False
            os.write(self.PIPE[1], b".")
        keep = self._answer(connection)
        if keep:
            connection.idle_since = time.monotonic()
        else:
            with self._guard:
                self._stop_polling(connection)
            util.close_graceful(connection.sock)
            self._connections.discard(connection)
        with self._guard:
            self._answered += 1
            if still := self._on_watch is watch:
                self._serving = None
            elif keep:
                self._poll(connection)
        return still

    def _answer(self, connection: Connection) -> bool:
        """Answer the requests that have come; whether more may come on this connection."""
        request = None
        parser = connection.parser
        try:
            while True:
                request = next(parser)
                if not self._respond(request, connection):
                    return False
                if getattr(request.body, "left", 1) and not parser.finish_body(time.monotonic() + STALLED_SECONDS):
                    return False
                if not parser.unreader.buf.tell():
                    return True
        except (StopIteration, OSError) as error:  # OSError: the client is gone or stalled
            self.log.debug("Closing connection. %s", error)
        except Exception as error:
            self.handle_error(request, connection.sock, connection.client, error)
        return False

    def _respond(self, request: Any, connection: Connection) -> bool:
        """Let the application answer a request; whether the connection stays open."""
        if isinstance(request.body.reader, LengthReader):
            request.body = SizedBody(request.unreader, request.body.reader.length)
        began = time.perf_counter()
        response, environ = wsgi.create(
            request, connection.sock, connection.client, connection.server, self.cfg, response_class=OnePieceResponse
        )
        environ["wsgi.multithread"] = True
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False

        def start_response(*arguments: Any) -> Any:
            if not self.alive or not self.cfg.keepalive:
                response.force_close()
            return response.start_response(*arguments)

        pieces = self.wsgi(environ, start_response)
        try:
            for piece in pieces:
                response.write(piece)
            response.close()
        finally:
            self.log.access(response, request, environ, timedelta(seconds=time.perf_counter() - began))
            if hasattr(pieces, "close"):
                pieces.close()
        return not response.should_close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """What is no HTTP is answered as every other error is, with a problem document."""
        if isinstance(exc, errors.ParseException):
            status = next((status for kind, status in STATUS_OF.items() if isinstance(exc, kind)), 400)
            problem = Problem(status, f"this is not a request that can be read: {exc}")
            self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", exc)
        else:
            problem = Problem(500, "an error that was not foreseen: the service's log says more")
            self.log.exception("Error handling a request")
        body = problem.response().get_data()
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\nConnection: close\r\n"
            f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError:
            self.log.debug("Failed to send error message.")
