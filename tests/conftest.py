"""What tests share: a small network, settings in a folder of their own, an app and a client in this process."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask

from model import TwoLayerNet
from model import weights as weights_file
from model.types import IntArray
from model.weights import Weights
from service.app import EXTENSION, create_app
from service.settings import Settings
from tests.postgres import Postgres

ROWS, COLUMNS, CLASSES = 28, 28, 10
FEATURES = ROWS * COLUMNS


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server, for tests that are marked so."""
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """An untrained 784-50-10 network, also in the file weights.npz."""
    return untrained(tmp_path)


def untrained(folder: Path) -> Weights:
    """That network, in that file of a folder."""
    network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
    made = Weights(network.params, image_shape=(ROWS, COLUMNS))
    weights_file.save(folder / "weights.npz", made)
    return made


@pytest.fixture
def settings(tmp_path: Path, weights: Weights) -> Settings:
    return Settings(weights=tmp_path / "weights.npz", store=f"sqlite:///{tmp_path}/store.db")


@pytest.fixture
def app(settings: Settings) -> Flask:
    return create_app(settings)


def behind_the_back(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    """A store's database, opened beside the service, each statement a transaction, and closed at the end."""
    return closing(sqlite3.connect(path, isolation_level=None))


class Client:
    """Requests to an app in this process; answers' `json` may be indexed."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._client = app.test_client()

    def close(self) -> None:
        """Let the store go."""
        self.app.extensions[EXTENSION].close()

    def get(self, path: str, **options: Any) -> Any:
        return self._client.get(path, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self._client.post(path, **options)

    def put(self, path: str, **options: Any) -> Any:
        return self._client.put(path, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self._client.delete(path, **options)


@pytest.fixture
def client(app: Flask) -> Client:
    return Client(app)


def random_batch(count: int, seed: int = 0) -> tuple[np.ndarray, IntArray]:
    """Images of bytes, (count, 784), and labels."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, FEATURES), dtype=np.uint8), random.integers(0, CLASSES, count)


def as_json(x: np.ndarray, t: IntArray | None = None, **more: Any) -> dict[str, Any]:
    """A request body of images of bytes."""
    labels: dict[str, Any] = {} if t is None else {"labels": t.tolist()}
    return {"images": x.tolist(), "pixel_max": 255, **labels, **more}
