"""More clients than threads: their requests wait in the server's own queue, and each client gets its turn."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.processes.server import Server
from tests.processes.test_servers import REQUEST, answer_of, started

AHEAD = 200
"""Requests that a client sends at once."""


@pytest.fixture(scope="module", params=["gunicorn", pytest.param("granian", marks=pytest.mark.long)])
def http_server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, http_server: str) -> Iterator[Server]:
    yield from started(tmp_path_factory.mktemp("bounds"), http_server)


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(server: Server, clients: ExitStack) -> socket.socket:
    return clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))


def test_a_flood_is_answered_to_the_last_request(server: Server, clients: ExitStack) -> None:
    flood = [connected(server, clients) for _ in range(100)]
    for client in flood:
        client.sendall(REQUEST)
    assert [answer_of(client)[0] for client in flood] == [200] * 100


def test_clients_that_send_many_requests_ahead_do_not_hold_up_another(server: Server, clients: ExitStack) -> None:
    """Told by how many of theirs are left when the other one has its answers."""
    greedy = [connected(server, clients) for _ in range(4)]
    other = connected(server, clients)
    for client in greedy:
        client.sendall(REQUEST * AHEAD)
    for client in greedy:
        assert answer_of(client)[0] == 200  # they are being served
    for _ in range(3):
        other.sendall(REQUEST)
        assert answer_of(other)[0] == 200
    for client in greedy:
        client.setblocking(False)
    answered = sum(received(client).count(b"HTTP/1.1 200") for client in greedy)
    assert answered < 4 * (AHEAD - 1)


def received(client: socket.socket) -> bytes:
    """What is there now."""
    pieces = b""
    try:
        while piece := client.recv(2**20):
            pieces += piece
    except BlockingIOError:
        pass
    return pieces
