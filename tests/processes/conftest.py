from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.weights import Weights
from tests.processes.server import Server

MakeServer = Callable[..., Server]


@pytest.fixture
def make_server(tmp_path: Path, weights: Weights) -> Iterator[MakeServer]:
    """Servers over one store in one folder; none outlives the test."""
    made: list[Server] = []

    def make(workers: int = 2, **environment: str) -> Server:
        made.append(Server(tmp_path, workers, **environment))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
