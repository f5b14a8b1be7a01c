"""The service on HTTP servers that others keep: what it relies on there, the same on each of them.

Slow clients are the proxy's to deal with (tests/deployment).
"""

import gzip
import http.client
import json
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import as_json, random_batch, untrained
from tests.processes.conftest import MakeServer
from tests.processes.server import Server

X, T = random_batch(1)
BODY = json.dumps(as_json(X)).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
LESSON = json.dumps(as_json(X, T)).encode()
STEP = HEAD.replace(b"/predict", b"/train-step") + b"Content-Length: %d\r\n\r\n" % len(LESSON) + LESSON


@pytest.fixture(scope="module", params=["gunicorn", pytest.param("granian", marks=pytest.mark.long)])
def http_server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    return make_server(workers=1).start()


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory, http_server: str) -> Iterator[Server]:
    """One for all tests that leave the model as it is."""
    yield from started(tmp_path_factory.mktemp("unchanged"), http_server)


def started(folder: Path, http_server: str, **environment: str) -> Iterator[Server]:
    untrained(folder)
    server = Server(folder, workers=1, TWOLAYERNET_SERVER=http_server, **environment).start()
    yield server
    server.kill()


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


def test_more_connections_than_threads_are_all_answered_again_and_again(unchanged: Server) -> None:
    clients = [socket.create_connection(("127.0.0.1", unchanged.port), timeout=20) for _ in range(60)]
    for _ in range(3):
        for client in clients:
            client.sendall(REQUEST)
        assert {answer_of(client)[0] for client in clients} == {200}
    for client in clients:
        client.close()


def test_requests_sent_ahead_are_answered_in_their_order(unchanged: Server) -> None:
    with connected(unchanged) as client:
        client.sendall(REQUEST + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + REQUEST)
        assert b"labels" in answer_of(client)[2]
        assert json.loads(answer_of(client)[2]) == {"status": "ok"}
        assert b"labels" in answer_of(client)[2]


def test_a_body_in_chunks_and_a_body_in_drips_are_read(unchanged: Server) -> None:
    expected = unchanged.predict(X)
    with connected(unchanged) as client:
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


def test_a_large_body_waits_for_the_word_to_go_on(unchanged: Server) -> None:
    body = json.dumps(as_json(np.repeat(X, 2000, axis=0))).encode()
    with connected(unchanged) as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        status, _, answer = answer_of(client)
        assert (status, len(json.loads(answer)["labels"])) == (200, 2000)


BROKEN = {
    "no HTTP": b"GARBAGE\r\n\r\n",
    "a length that is no number": HEAD + b"Content-Length: many\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a chunk without a size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a length over the limit": HEAD + b"Content-Length: 99999999999\r\n\r\n",
    "multipart without a boundary": HEAD.replace(b"application/json", b"multipart/form-data")
    + b"Content-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_http_is_refused_and_the_worker_goes_on(unchanged: Server, kind: str) -> None:
    workers = unchanged.workers()
    with connected(unchanged) as client:
        client.sendall(BROKEN[kind])
        assert client.recv(65536)[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4")
    assert unchanged.predict(X)["model_version"] == 1
    assert unchanged.workers() == workers


@pytest.mark.parametrize("path", ["/predict", "/train-step"])
def test_a_body_that_ends_early_changes_nothing(unchanged: Server, path: str) -> None:
    body = json.dumps(as_json(X, T)).encode()
    with connected(unchanged) as client:
        client.sendall(
            HEAD.replace(b"/predict", path.encode()) + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body
        )
        client.shutdown(socket.SHUT_WR)
        status, _, problem = answer_of(client)
    assert status == 400
    assert (
        f"the body has {len(body)} bytes, but its Content-Length says {len(body) + 1}" in json.loads(problem)["detail"]
    )
    assert unchanged.predict(X)["model_version"] == 1


@pytest.mark.long
@pytest.mark.parametrize("http_server", ["gunicorn", "granian"])
def test_either_server_teaches_and_answers(server: Server) -> None:
    assert server.post("/train-step", as_json(X, T)).json()["model_version"] == 2
    assert server.predict(X)["model_version"] == 2
    assert server.stop() == 0


ANSWERED_EARLY = {
    "413": ("/predict", b" " * 3_000_000, "application/json", 413),
    "404 over the limit": ("/nowhere", b" " * 3_000_000, "application/json", 404),
    "415": ("/predict", b" " * 900_000, "text/plain", 415),
    "404": ("/nowhere", b" " * 900_000, "application/json", 404),
    "401 for a version": ("/predict?model_version=99", b" " * 900_000, "application/json", 401),
    "405": ("/versions", b" " * 900_000, "application/json", 405),
    "401": ("/train-step", b" " * 900_000, "application/json", 401),
    "422 for the query": ("/predict?colour=red", b" " * 900_000, "application/json", 422),
    "401 for 30 times the limit": ("/train-step", b" " * 30_000_000, "application/json", 401),
}
LIMITED = {"TWOLAYERNET_API_KEY": "secret", "TWOLAYERNET_MAX_BODY_BYTES": "1000000"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory, http_server: str) -> Iterator[Server]:
    """One with a key and a limit, for all tests that leave the model as it is."""
    yield from started(tmp_path_factory.mktemp("limited"), http_server, **LIMITED)


def test_a_body_in_chunks_over_the_limit_is_413_and_changes_nothing(limited: Server) -> None:
    padded = LESSON + b" " * 1_000_000 + b"GARBAGE" * 100
    with connected(limited) as client:
        client.sendall(HEAD.replace(b"/predict", b"/train-step") + b"Authorization: Bearer secret\r\n")
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(padded), padded))
        status, _, problem = answer_of(client)
    assert (status, "1000000" in json.loads(problem)["detail"]) == (413, True)
    assert limited.predict(X)["model_version"] == 1


def next_requests_are_answered(server: Server) -> None:
    """After each error that needs no look at its body, on the same connection, or on another if it was said to end."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as client:

        def asked(path: str, body: Any, content_type: str) -> tuple[int, dict[str, Any]]:
            client.request("POST", path, body, {"Content-Type": content_type})
            answer = client.getresponse()
            return answer.status, json.loads(answer.read())

        for kind, (path, body, content_type, status) in ANSWERED_EARLY.items():
            for data in (body, (body[at : at + 65536] for at in range(0, len(body), 65536))):
                assert asked(path, data, content_type)[0] == status, kind
                assert "labels" in asked("/predict", BODY, "application/json")[1], kind


def test_a_connection_goes_on_after_an_early_error_or_says_that_it_ends(limited: Server) -> None:
    next_requests_are_answered(limited)


def test_a_length_over_the_limit_is_refused_without_a_wait_for_the_body(limited: Server) -> None:
    for length in (1_000_001, 99_999_999_999):
        with connected(limited) as client:
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % length)
            assert answer_of(client)[0] == 413


def test_a_packed_body_may_come_in_chunks(unchanged: Server) -> None:
    packed = gzip.compress(BODY)
    with connected(unchanged) as client:
        client.sendall(HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed))
        assert json.loads(answer_of(client)[2]) == unchanged.predict(X)


def test_an_address_that_is_in_use_is_one_clear_line(unchanged: Server, make_server: MakeServer) -> None:
    other = make_server(TWOLAYERNET_PORT=str(unchanged.port), TWOLAYERNET_STORE="sqlite:///other.db")
    assert other.launch().wait(timeout=120) == 4
    [line] = [line for line in other.log.splitlines() if "in use" in line]
    assert f"can't listen on 127.0.0.1:{unchanged.port}" in line
    assert not (other.folder / "other.db").exists()


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_stopping_worker_answers_what_kept_connections_have_sent(
    server: Server, signal_: signal.Signals, http_server: str
) -> None:
    """More of them than there are threads: each has its step acknowledged or refused, none is cut off. Granian promises
    that for a reload only."""
    if http_server == "granian":
        signal_ = signal.SIGHUP
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(5)]
    for client in clients:
        client.sendall(REQUEST)
        assert answer_of(client)[0] == 200
    for client in clients:
        client.sendall(STEP)
    assert server.process is not None
    server.process.send_signal(signal_)
    assert [answer_of(client)[0] for client in clients] == [200] * 5
    for client in clients:
        client.close()
    if signal_ == signal.SIGTERM:
        assert server.process.wait(40) == 0
        server.start()
    assert server.predict(X)["model_version"] == 6
    assert server.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("http_server", ["gunicorn"])
def test_the_application_runs_on_waitress(make_server: MakeServer) -> None:
    server = make_server(workers=0, **LIMITED)
    server.start([sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{server.port}", "service.wsgi:app"])
    step = server.post("/train-step", as_json(X, T), headers={"Authorization": "Bearer secret"})
    assert step.json()["model_version"] == 2
    assert server.predict(X)["model_version"] == 2
    with connected(server) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
        assert json.loads(answer_of(client)[2]) == server.predict(X)
    next_requests_are_answered(server)


@pytest.mark.long
def test_a_server_that_can_t_start_is_one_clear_line(make_server: MakeServer) -> None:
    server = make_server(TWOLAYERNET_WEIGHTS="nowhere.npz")
    assert server.launch().wait(timeout=120) == 4
    assert "nowhere.npz does not exist" in server.log
    assert "Traceback" not in server.log
