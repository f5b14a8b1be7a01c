"""How the worker process treats its clients: slow ones, broken ones, many at once."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.conftest import as_json, random_batch
from tests.processes.conftest import MakeServer
from tests.processes.server import Server

X, T = random_batch(1)
BODY = json.dumps(as_json(X)).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    return make_server(workers=1).start()


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        yield client


def answer_of(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer, and nothing read beyond it."""
    with client.makefile("rb", buffering=0) as stream:
        lines: list[str] = []
        while (line := stream.readline().rstrip()) or not lines:
            assert line or lines, "the connection was closed without an answer"
            lines.append(line.decode())
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        body = b""
        while len(body) < int(headers["content-length"]):
            body += stream.read(int(headers["content-length"]) - len(body))
        return int(lines[0].split()[1]), headers, body


def test_clients_that_stop_in_the_middle_of_a_request_hold_up_nobody(server: Server) -> None:
    with connected(server) as first, connected(server) as second, connected(server) as third:
        for slow, sent in ((first, REQUEST[:20]), (second, REQUEST[:200]), (third, REQUEST[:-1])):
            slow.sendall(sent)
        time.sleep(0.05)
        for _ in range(20):
            started = time.monotonic()
            server.predict(X)
            assert time.monotonic() - started < 1
        third.sendall(REQUEST[-1:])
        assert answer_of(third)[0] == 200


def test_a_client_that_does_not_read_its_answers_holds_up_nobody(server: Server) -> None:
    with connected(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(100):
            client.sendall(b"GET /weights HTTP/1.1\r\nHost: test\r\n\r\n")
        for _ in range(10):
            server.predict(X)


def test_more_connections_than_threads_are_all_answered_again_and_again(server: Server) -> None:
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(60)]
    for _ in range(3):
        for client in clients:
            client.sendall(REQUEST)
        assert {answer_of(client)[0] for client in clients} == {200}
    for client in clients:
        client.close()


def test_requests_sent_ahead_are_answered_in_their_order(server: Server) -> None:
    with connected(server) as client:
        client.sendall(REQUEST + b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n" + REQUEST)
        assert b"labels" in answer_of(client)[2]
        assert json.loads(answer_of(client)[2]) == {"status": "ok"}
        assert b"labels" in answer_of(client)[2]


def test_a_body_in_chunks_and_a_body_in_drips_are_read(server: Server) -> None:
    expected = server.predict(X)
    with connected(server) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(BODY), 700):
            piece = BODY[at : at + 700]
            client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.sendall(b"0\r\n\r\n")
        assert json.loads(answer_of(client)[2]) == expected
        for at in range(0, len(REQUEST), 400):
            client.sendall(REQUEST[at : at + 400])
            time.sleep(0.002)
        assert json.loads(answer_of(client)[2]) == expected


def test_a_large_body_waits_for_the_word_to_go_on(server: Server) -> None:
    body = json.dumps(as_json(np.repeat(X, 2000, axis=0))).encode()
    with connected(server) as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        status, _, answer = answer_of(client)
        assert (status, len(json.loads(answer)["labels"])) == (200, 2000)


BROKEN = {
    "no HTTP": (b"GARBAGE\r\n\r\n", 400),
    "a length that is no number": (HEAD + b"Content-Length: many\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
    "chunks and a length": (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "a chunk without a size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", 400),
    "a coding that is not known": (HEAD + b"Transfer-Encoding: rot13\r\n\r\n", 501),
    "a header that is too long": (HEAD + b"X: " + b"x" * 10_000 + b"\r\n\r\n", 431),
    "a path that is too long": (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", 414),
    "a length over the limit": (HEAD + b"Content-Length: 99999999999\r\n\r\n", 413),
    "multipart without a boundary": (
        HEAD.replace(b"application/json", b"multipart/form-data") + b"Content-Length: 2\r\n\r\n{}",
        422,
    ),
}


@pytest.mark.parametrize(("request_", "status"), BROKEN.values(), ids=BROKEN)
def test_broken_http_is_answered_with_a_problem_and_the_worker_goes_on(
    server: Server, request_: bytes, status: int
) -> None:
    workers = server.workers()
    with connected(server) as client:
        client.sendall(request_)
        found, headers, body = answer_of(client)
    assert (found, headers["content-type"]) == (status, "application/problem+json"), body
    assert json.loads(body)["status"] == status
    assert server.predict(X)["model_version"] == 1
    assert server.workers() == workers


@pytest.mark.parametrize("path", ["/predict", "/train-step"])
def test_a_body_that_ends_early_changes_nothing(server: Server, path: str) -> None:
    body = json.dumps(as_json(X, T)).encode()
    with connected(server) as client:
        client.sendall(
            HEAD.replace(b"/predict", path.encode()) + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body
        )
        client.shutdown(socket.SHUT_WR)
        status, _, problem = answer_of(client)
    assert status == 400
    assert (
        f"the body has {len(body)} bytes, but its Content-Length says {len(body) + 1}" in json.loads(problem)["detail"]
    )
    assert server.predict(X)["model_version"] == 1


def test_a_stopping_worker_answers_what_an_open_connection_still_brings(server: Server) -> None:
    with connected(server) as client:
        client.sendall(REQUEST)
        assert answer_of(client)[1]["connection"] == "keep-alive"
        client.sendall(REQUEST[:-1])
        assert server.process is not None
        server.process.terminate()
        time.sleep(0.2)
        client.sendall(REQUEST[-1:])
        status, headers, _ = answer_of(client)
        assert (status, headers["connection"]) == (200, "close")
    assert server.stop() == 0
