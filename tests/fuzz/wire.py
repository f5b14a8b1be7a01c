"""Malformed requests on the sockets of a running service: what it answers, and whether it is the same service after."""

import socket
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from bench.load import cpu_seconds, memory_mib
from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from tests.conftest import CLASSES, FEATURES, random_batch
from tests.fuzz.malformed import Malformed
from tests.processes.server import Server

CLIENTS = 4
MOST_CPU_SECONDS, MOST_ANSWER_BYTES = 1.0, 16_000
MOST_GROWTH = 1.25
"""Of the memory, once the service is warm."""

REQUESTS_UNTIL_WARM = 5000
SLOWEST = 20
BY_THE_BOOK = 501
"""What RFC 9112 wants to be said to a transfer coding that is not known; gunicorn says it before the service is asked."""
PATIENCE_SECONDS, UNANSWERED_SECONDS = 30.0, 0.5


@dataclass
class Found:
    """statuses: how often each came, 0 for none; slowest: (seconds, request); longest: of the answers that are errors,
    (bytes, request)."""

    statuses: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    slowest: list[tuple[float, bytes]] = field(default_factory=list)
    longest: tuple[int, bytes] = (0, b"")

    def note(self, request: bytes, answers: list[tuple[int, int]], seconds: float) -> None:
        for status, length in answers or [(0, 0)]:
            if status >= 400:
                self.longest = max(self.longest, (length, request[:300]))
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status >= 500 and status != BY_THE_BOOK:
                self.wrong.append(f"{status} to {request[:3000]!r}")
        self.slowest = sorted([*self.slowest, (seconds, request)], key=lambda slow: -slow[0])[:SLOWEST]


def exchange(port: int, request: bytes, half_closes: bool) -> list[tuple[int, int]]:
    """The status and the bytes of each answer. half_closes: the server goes on when a client says that it sends no more, so
    that all is read until the server closes; else until the first answer, or a moment without one. Raises OSError."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)) as client:
        with suppress(OSError):  # it was answered before it was sent
            client.sendall(request)
            if half_closes:
                client.shutdown(socket.SHUT_WR)
        if not half_closes:
            client.settimeout(UNANSWERED_SECONDS)
        received = b""
        with suppress(ConnectionResetError):
            try:
                while piece := client.recv(2**18):
                    received += piece
                    if not half_closes and answers_in(received):
                        break
            except TimeoutError:
                if half_closes:
                    raise
    return answers_in(received)


def answers_in(received: bytes) -> list[tuple[int, int]]:
    """One answer after the other: its status, the bytes of its body; 0 for the pages with which gunicorn itself answers
    what is no HTTP, and which repeat it."""
    found = []
    while received.startswith(b"HTTP/1."):
        head, _, rest = received.partition(b"\r\n\r\n")
        status = int(head[9:12])
        length = [
            line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        if status >= 200:
            size = int(length[0]) if length else len(rest)
            found.append((status, 0 if status >= 400 and b"content-type: text/html" in head.lower() else size))
        received = rest[int(length[0]) :] if length else rest
    return found


def attack(requests: int, seed: int, http_server: str) -> list[str]:
    """Send so many to a service of two workers; what went wrong. Prints what it saw."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
        weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(28, 28)))
        server = Server(folder, workers=2, TWOLAYERNET_SERVER=http_server, TWOLAYERNET_ACCESS_LOG="off").start()
        try:
            return _attacked(server, requests, seed, http_server)
        finally:
            server.kill()


def _attacked(server: Server, requests: int, seed: int, http_server: str) -> list[str]:
    workers, found, numbers = server.workers(), Found(), count()
    half_closes = http_server == "gunicorn"
    lock = threading.Lock()

    def client(number: int, until: int) -> None:
        supply = Malformed(seed * CLIENTS + number)
        while next(numbers) < until:
            request = supply.next()
            began = time.monotonic()
            try:
                answers = exchange(server.port, request, half_closes)
            except OSError as error:
                with lock:
                    found.wrong.append(f"{error!r} at {request[:3000]!r}")
                continue
            with lock:
                found.note(request, answers, time.monotonic() - began)

    def all_clients(until: int, first: int) -> None:
        threads = [threading.Thread(target=client, args=(first + number, until)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_clients(min(requests // 4, REQUESTS_UNTIL_WARM), 0)
    before = sum(map(memory_mib, workers))
    all_clients(requests, CLIENTS * 1000)
    after = sum(map(memory_mib, workers))
    if server.workers() != workers:
        found.wrong.append(f"the workers were {workers} and are {server.workers()}: {server.log[-2000:]}")
        return found.wrong
    if "Traceback" in server.log:
        found.wrong.append(server.log[-5000:])
    slowest = max((cpu_of(server, request, half_closes), request[:300]) for _, request in found.slowest)
    if slowest[0] > MOST_CPU_SECONDS:
        found.wrong.append(f"{slowest[0]:.1f} s of CPU for {slowest[1]!r}")
    if found.longest[0] > MOST_ANSWER_BYTES:
        found.wrong.append(f"an answer of {found.longest[0]:,} bytes to {found.longest[1]!r}")
    if requests > 2 * REQUESTS_UNTIL_WARM and after > before * MOST_GROWTH:
        found.wrong.append(f"the workers' memory grew from {before:.0f} to {after:.0f} MiB")
    print(f"the costliest takes {slowest[0]:.2f} s of CPU: {slowest[1]!r}")
    print(f"the longest error has {found.longest[0]:,} bytes: {found.longest[1]!r}")
    x, _ = random_batch(1)
    newest = server.predict(x)["model_version"]
    print(
        f"{requests} requests on sockets of {http_server}: {dict(sorted(found.statuses.items()))} (0: closed without an answer); "
        f"the slowest takes {slowest[0]:.2f} s of CPU and took {found.slowest[0][0]:.2f} s; "
        f"memory of the workers {before:.0f} MiB, then {after:.0f}; the newest version is {newest}",
        flush=True,
    )
    return found.wrong


def cpu_of(server: Server, request: bytes, half_closes: bool) -> float:
    """CPU seconds of all processes, for the request alone."""
    assert server.process is not None
    before = cpu_seconds(server.process.pid)
    exchange(server.port, request, half_closes)
    return cpu_seconds(server.process.pid) - before
