import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.weights_file import Weights
from tests.processes.server import Server

MakeServer = Callable[..., Server]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On a disk, as a store is: the others' are in memory."""
    with tempfile.TemporaryDirectory(prefix="processes-") as folder:
        yield Path(folder)


@pytest.fixture
def http_server() -> str:
    """Which HTTP server `make_server` starts; a module that wants others makes this anew."""
    return "gunicorn"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of the store that `make_server`'s services share; a module that wants others makes this anew."""
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def make_server(tmp_path: Path, weights: Weights, http_server: str, store: str) -> Iterator[MakeServer]:
    """Servers over one store in one folder; none outlives the test."""
    made: list[Server] = []

    def make(workers: int = 2, **environment: str) -> Server:
        made.append(
            Server(tmp_path, workers, **{"TWOLAYERNET_SERVER": http_server, "TWOLAYERNET_STORE": store, **environment})
        )
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
