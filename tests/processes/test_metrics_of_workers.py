"""/metrics is the sum over all workers, whichever is asked, and whatever became of them."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import random_batch
from tests.processes.conftest import MakeServer
from tests.processes.server import Server
from tests.service.test_metrics import value

X, _ = random_batch(1)


def predictions(server: Server) -> float:
    labels = {"method": "POST", "endpoint": "/predict", "status": "200"}
    return value(server.get("/metrics").text, "http_requests_total", **labels)


def workers_that_answer(server: Server, count: int) -> None:
    """Each request has a connection of its own, so that all workers get some."""
    for _ in range(count):
        server.predict(X)


def test_the_counts_of_all_workers_are_one_and_outlive_a_worker(make_server: MakeServer) -> None:
    server = make_server(workers=2).start()
    workers_that_answer(server, 30)
    assert {predictions(server) for _ in range(6)} == {30}
    folder = folder_of(server)
    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)
    server.wait_for(lambda: victim not in server.workers() and len(server.workers()) == 2)
    assert predictions(server) == 30
    workers_that_answer(server, 5)
    assert {predictions(server) for _ in range(4)} == {35}
    server.stop()
    assert not folder.exists()


def folder_of(server: Server) -> Path:
    pid = server.workers()[0]
    with open(f"/proc/{pid}/environ", "rb") as environment:
        assert environment.read()
    found = Path("/dev/shm").glob(f"twolayernet-metrics-*/*_{pid}.db")
    return max(found, key=lambda path: path.stat().st_mtime).parent  # an older one is of a process with the same number


@pytest.mark.long
@pytest.mark.parametrize(
    "command",
    [
        "-m service.cli serve --server granian",
        "-m gunicorn service.wsgi:app --workers 2 --bind 127.0.0.1:{port}",
        "-m granian --interface wsgi --workers 2 --port {port} service.wsgi:app",
        "-m waitress --listen 127.0.0.1:{port} service.wsgi:app",
    ],
)
def test_any_server_s_workers_count_together(make_server: MakeServer, command: str) -> None:
    server = make_server(workers=2)
    server.launch([sys.executable, *command.format(port=server.port).split()])
    server.wait_for(server.answers)
    workers_that_answer(server, 30)
    assert {predictions(server) for _ in range(6)} == {30}
