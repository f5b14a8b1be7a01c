from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.weights import Weights
from tests.processes.server import Server

MakeServer = Callable[..., Server]


@pytest.fixture
def http_server() -> str:
    """Which HTTP server `make_server` starts; a module that wants others makes this anew."""
    return "gunicorn"


@pytest.fixture
def make_server(tmp_path: Path, weights: Weights, http_server: str) -> Iterator[MakeServer]:
    """Servers over one store in one folder; none outlives the test."""
    made: list[Server] = []

    def make(workers: int = 2, **environment: str) -> Server:
        made.append(Server(tmp_path, workers, **{"TWOLAYERNET_SERVER": http_server, **environment}))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
