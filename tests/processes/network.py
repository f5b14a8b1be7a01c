"""A network that can be cut: a TCP proxy in front of a server."""

import contextlib
import select
import socket
import threading
import time

from tests.postgres import free_port


class Network:
    """Passes bytes on between clients of its port and a server's, until it is told otherwise.

    stalled: it takes bytes and passes none on; refused: new connections are closed at once; cut_at: a text from a client
    at which the connection breaks, once, `after` it was passed on or before; for_good: and no other one can be made;
    trips: how often a client that writes has waited for the server.
    """

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self.stalled = False
        self.refused = False
        self.cut_at: bytes | None = None
        self.after = False
        self.for_good = False
        self.trips = 0
        self._server_port = server_port
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.settimeout(0.1)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed = True

    def _accept(self) -> None:
        with self._listener:
            while not self._closed:
                with contextlib.suppress(TimeoutError):
                    client, _ = self._listener.accept()
                    if self.refused:
                        client.close()
                    else:
                        threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        writes, answered = False, True
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._server_port)) as server:
            while not self._closed:
                for source in select.select([client, server], [], [], 0.1)[0]:
                    while self.stalled and not self._closed:
                        time.sleep(0.01)
                    data = source.recv(65536)
                    writes = writes or b"FOR UPDATE" in data
                    self.trips += writes and source is client and answered
                    answered = source is server
                    cut = source is client and self.cut_at is not None and self.cut_at in data
                    if cut:
                        self.cut_at, self.refused = None, self.for_good
                    if not data or (cut and not self.after):
                        return
                    (server if source is client else client).sendall(data)
                    if cut:
                        time.sleep(0.05)  # for the server to do what it was told
                        return


class Pooler(Network):
    """As a pooler in transaction mode: each transaction of a client goes to another connection of the server."""

    def _serve(self, client: socket.socket) -> None:
        address = ("127.0.0.1", self._server_port)
        with client, socket.create_connection(address) as first, socket.create_connection(address) as second:
            ready = {first: False, second: False}
            current, other = first, second
            while not self._closed:
                sources = [first, second] if sum(ready.values()) == 1 else [client, first, second]
                for source in select.select(sources, [], [], 0.1)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if source is client:
                        for server in [current] if all(ready.values()) else [first, second]:
                            server.sendall(data)
                        continue
                    if source is current:
                        client.sendall(data)
                    if data.endswith(b"Z\0\0\0\5I"):
                        ready[source] = True
                        if all(ready.values()):
                            current, other = other, current
