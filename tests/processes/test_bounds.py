"""What a worker takes on has bounds: more than that is answered, and nobody waits without an end."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import as_json, random_batch
from tests.processes.conftest import MakeServer
from tests.processes.server import Server
from tests.processes.test_servers import BODY, HEAD, REQUEST, answer_of

X, T = random_batch(1)
MOST = 4
HEALTH = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics")


@pytest.fixture(params=["gunicorn", pytest.param("granian", marks=pytest.mark.long)])
def http_server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def begun(server: Server, clients: ExitStack, part: bytes = REQUEST[:-10]) -> socket.socket:
    """A client that has sent all of a request but its end."""
    client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
    client.sendall(part)
    return client


def test_one_request_too_many_is_told_at_once_and_all_others_are_answered(
    make_server: MakeServer, clients: ExitStack
) -> None:
    server = make_server(workers=1, TWOLAYERNET_MAX_REQUESTS=str(MOST), TWOLAYERNET_THREADS="2").start()
    waiting = [begun(server, clients) for _ in range(MOST)]
    time.sleep(0.2)
    for _ in range(3):
        began = time.monotonic()
        answer = server.post("/train-step", as_json(X, T))
        assert time.monotonic() - began < 2
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "TWOLAYERNET_MAX_REQUESTS" in answer.json()["detail"]
        assert server.post("/v2/models/twolayernet/infer", {}).json().keys() == {"error"}
        assert {path: server.get(path).status_code for path in HEALTH} == dict.fromkeys(HEALTH, 200)
    for client in waiting:  # whoever has a turn to compute, has it until its body is there
        client.sendall(REQUEST[-10:])
    assert [answer_of(client)[0] for client in waiting] == [200] * MOST
    assert server.predict(X)["model_version"] == 1


@pytest.mark.long
def test_a_flood_is_answered_to_the_last_request(make_server: MakeServer, clients: ExitStack) -> None:
    server = make_server(workers=1, TWOLAYERNET_MAX_REQUESTS=str(MOST)).start()
    flood = [begun(server, clients, REQUEST) for _ in range(40)]
    statuses = [answer_of(client)[0] for client in flood]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= MOST
    assert server.predict(X)["model_version"] == 1


@pytest.mark.long
def test_no_request_waits_for_a_thread_without_an_end(
    make_server: MakeServer, clients: ExitStack, http_server: str
) -> None:
    server = make_server(workers=1, TWOLAYERNET_REQUEST_SECONDS="0.4", TWOLAYERNET_THREADS="1").start()
    slow = begun(server, clients)
    time.sleep(0.1)
    answer = server.post("/predict", as_json(X))
    if http_server == "gunicorn":  # where the slow one's thread is taken back, too: either may be first
        assert answer.status_code in (200, 503)
    else:
        assert answer.status_code == 503
        assert "TWOLAYERNET_REQUEST_SECONDS" in answer.json()["detail"]
        assert answer.headers["Retry-After"] == "1"
    slow.close()


@pytest.mark.long
def test_a_body_that_comes_in_drips_is_given_up(make_server: MakeServer, clients: ExitStack, http_server: str) -> None:
    if http_server != "gunicorn":
        pytest.skip("only gunicorn gives its socket away")
    server = make_server(workers=1, TWOLAYERNET_REQUEST_SECONDS="0.4", TWOLAYERNET_THREADS="1").start()
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY)
    for head in (HEAD + b"Content-Length: 5000\r\n\r\n", chunked):
        client = begun(server, clients, head)
        began = time.monotonic()
        client.settimeout(0.05)
        answer = b""
        while not answer:
            assert time.monotonic() - began < 5
            client.sendall(b" ")
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue
        client.settimeout(20)
        while piece := client.recv(65536):
            answer += piece
        assert b" 408 " in answer[:20]
        assert "TWOLAYERNET_REQUEST_SECONDS" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    assert server.predict(X)["model_version"] == 1


@pytest.mark.long
def test_a_body_that_nobody_waits_for_has_no_longer_time(make_server: MakeServer, clients: ExitStack) -> None:
    """Of a request that is refused, and of one that has no use for a body."""
    server = make_server(workers=1, TWOLAYERNET_REQUEST_SECONDS="1", TWOLAYERNET_API_KEY="secret").start()
    heads = [
        HEAD.replace(b"/predict", path) + b"Content-Length: 1000000\r\n\r\n" for path in (b"/train-step", b"/healthz")
    ]
    drips = [begun(server, clients, head) for head in heads * 3]
    began = time.monotonic()
    ended: set[int] = set()
    while len(ended) < len(drips):
        assert time.monotonic() - began < 8
        for at, drip in enumerate(drips):
            try:
                drip.sendall(b" " * 30_000)
            except OSError:
                ended.add(at)
        time.sleep(0.1)
    assert server.predict(X)["labels"]
