"""What tests share: a small network, settings in a folder of their own, an app and a client in this process."""

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from flask import Flask

from model import TwoLayerNet, weights_file
from model.datasets import Dataset, packaged_digits
from model.training import Trainer, TrainingOptions
from model.types import IntArray
from model.weights_file import Weights
from service.app import EXTENSION, MODELS, create_app
from service.settings import Settings
from tests.postgres import Postgres

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else training would not end with Ctrl-C

ROWS, COLUMNS, CLASSES = 28, 28, 10
FEATURES = ROWS * COLUMNS


def pytest_configure() -> None:
    """The developer's own settings are not the tests'. Temporary folders are in memory where there is room for them."""
    for name in [name for name in os.environ if name.startswith("TWOLAYERNET_")]:
        del os.environ[name]
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server, for tests that are marked so."""
    server = Postgres()
    yield server
    server.remove()


@cache
def untrained_weights() -> tuple[Weights, bytes]:
    """An untrained 784-50-10 network, and its file."""
    network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
    for array in network.params.values():
        array.flags.writeable = False
    made = Weights(network.params, image_shape=(ROWS, COLUMNS))
    return made, weights_file.to_bytes(made)


def untrained(folder: Path) -> Weights:
    """That network, in the file weights.npz of a folder."""
    made, data = untrained_weights()
    (folder / "weights.npz").write_bytes(data)
    return made


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return untrained(tmp_path)


@cache
def digits() -> Dataset:
    """The packaged digits, read once."""
    return packaged_digits()


@contextmanager
def made_once(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A path of that name, which the first process makes for all; the others wait for it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / name


@pytest.fixture(scope="session")
def trained_by_default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights.npz that `make serve` trains, and what `train` printed, stdout and stderr."""
    with made_once(tmp_path_factory, "trained-by-default") as folder:
        if not folder.exists():
            folder.mkdir()
            with open(folder / "stdout", "w") as stdout, open(folder / "stderr", "w") as stderr:
                command = [sys.executable, "-m", "service.cli", "train"]
                subprocess.run(command, cwd=folder, stdout=stdout, stderr=stderr, check=True)
        return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """A network that has learnt the packaged digits."""
    with made_once(tmp_path_factory, "trained.npz") as path:
        if not path.exists():
            trainer = Trainer(digits(), TrainingOptions(drawn=0, distort=0))
            for _ in trainer.epochs():
                pass
            weights_file.save(path, trainer.weights())
        return weights_file.load(path)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of the store in `settings`. A module whose tests hold for every database has
    `store = store_of_each_kind`."""
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_of_each_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    url = request.getfixturevalue("postgres").new_database()
    yield url
    for app in [app for app in Client.apps if app.extensions[EXTENSION].settings.store == url]:
        app.extensions[EXTENSION].close()


@pytest.fixture
def settings(tmp_path: Path, weights: Weights, store: str) -> Settings:
    return Settings(weights=tmp_path / "weights.npz", store=store)


@pytest.fixture
def app(settings: Settings) -> Flask:
    return create_app(settings)


def behind_the_back(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    """A store's database, opened beside the service, each statement a transaction, and closed at the end."""
    return closing(sqlite3.connect(path, isolation_level=None))


class Client:
    """Requests to an app in this process; answers' `json` may be indexed."""

    apps: ClassVar[weakref.WeakSet[Flask]] = weakref.WeakSet()

    def __init__(self, app: Flask) -> None:
        self.apps.add(app)
        self.app = app
        self._client = app.test_client()

    def close(self) -> None:
        """Let the stores go."""
        self.app.extensions[MODELS].close()
        self.app.extensions[EXTENSION].close()

    def get(self, path: str, **options: Any) -> Any:
        return self.open("get", path, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self.open("post", path, **options)

    def put(self, path: str, **options: Any) -> Any:
        return self.open("put", path, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self.open("delete", path, **options)

    def open(self, method: str, path: str, **options: Any) -> Any:
        """The whole answer is read, and its file closed, as a server does it."""
        return self._client.open(path, method=method.upper(), buffered=True, **options)


@pytest.fixture
def client(app: Flask) -> Client:
    return Client(app)


@pytest.fixture(scope="module")
def clients_of_the_module() -> Iterator[list[Client]]:
    """The last one is the one in use."""
    clients: list[Client] = []
    yield clients
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def shared_weights() -> bytes:
    """The file that `shared_client`'s service begins with; a module that wants another makes this anew."""
    return untrained_weights()[1]


@pytest.fixture
def shared_client(
    request: pytest.FixtureRequest,
    clients_of_the_module: list[Client],
    shared_weights: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Client:
    """For modules whose tests change little, as `client = shared_client`: one client for as many tests as leave the
    model as it was. The next test after one that taught it gets a new one, as do those that ask for `settings`."""
    if {"app", "settings"} & set(request.fixturenames):
        request.getfixturevalue("settings").weights.write_bytes(shared_weights)
        return Client(request.getfixturevalue("app"))
    if not clients_of_the_module or clients_of_the_module[-1].get("/readyz").json["model_version"] > 1:
        folder = tmp_path_factory.mktemp("shared")
        (folder / "weights.npz").write_bytes(shared_weights)
        settings = Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/store.db")
        clients_of_the_module.append(Client(create_app(settings)))
    return clients_of_the_module[-1]


def random_batch(count: int, seed: int = 0) -> tuple[np.ndarray, IntArray]:
    """Images of bytes, (count, 784), and labels."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, FEATURES), dtype=np.uint8), random.integers(0, CLASSES, count)


def as_json(x: np.ndarray, t: IntArray | None = None, **more: Any) -> dict[str, Any]:
    """A request body of images of bytes."""
    labels: dict[str, Any] = {} if t is None else {"labels": t.tolist()}
    return {"images": x.tolist(), "pixel_max": 255, **labels, **more}
