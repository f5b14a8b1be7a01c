"""What the tests of the page share: services, and tabs that are open at them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from playwright.sync_api import Browser

from model import weights_file
from tests.browser.tab import Tab
from tests.processes.server import Server

KEY = "a key of the tests"


def newest(server: Server) -> int:
    version: int = server.get("/readyz").json()["model_version"]
    return version


def train_weights(folder: Path) -> None:
    """Into weights.npz, as `make serve` does."""
    command = [sys.executable, "-m", "service.cli", "train", "--quiet", "--out", "weights.npz"]
    subprocess.run(command, cwd=folder, check=True)


def forget_all(server: Server) -> None:
    """The predictions that wait for a label."""
    while predictions := server.get("/predictions?limit=100").json()["predictions"]:
        for prediction in predictions:
            requests.delete(f"{server.url}/predictions/{prediction['prediction_id']}", timeout=60).raise_for_status()


@pytest.fixture
def tabs(chromium: Browser) -> Iterator[list[Tab]]:
    """Those that a test opens: closed at its end, when nothing may have gone wrong."""
    opened: list[Tab] = []
    yield opened
    for tab in opened:
        tab.context.close()
    assert [mistake for tab in opened for mistake in tab.mistakes] == []


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make serve` trains and serves, with two workers."""
    folder = tmp_path_factory.mktemp("served")
    train_weights(folder)
    server = Server(folder).start()
    yield server
    server.kill()


@pytest.fixture
def nothing_waits(served: Server) -> None:
    """For a label: other tests on the same service leave predictions."""
    forget_all(served)


@pytest.fixture
def tab(chromium: Browser, tabs: list[Tab], served: Server) -> Callable[..., Tab]:
    def opened(server: Server = served, **options: Any) -> Tab:
        tabs.append(Tab(chromium, server.url + "/", **options))
        return tabs[-1]

    return opened


@pytest.fixture
def beside(served: Server) -> Iterator[Server]:
    """Another service on the same store: what it answers comes from no worker of the first one."""
    server = Server(served.folder, workers=1).start()
    yield server
    server.kill()


@pytest.fixture
def closed(tmp_path: Path, served: Server) -> Iterator[Server]:
    """Wants a key, stands under a prefix, has names of classes that are no markup, and is one process, which starts
    soonest."""
    weights = weights_file.load(served.folder / "weights.npz")
    weights_file.save(tmp_path / "weights.npz", replace(weights, label_names=tuple(f"<i>{n}</i>" for n in range(10))))
    server = Server(tmp_path, workers=1, TWOLAYERNET_API_KEY=KEY, TWOLAYERNET_PREFIX="/models/digits")
    server.url += "/models/digits"
    server.start()
    yield server
    server.kill()


def untrained(inputs: int, classes: int, hidden: int = 12, **fields: Any) -> weights_file.Weights:
    numbers = np.random.default_rng(1)
    shapes = {"W1": (inputs, hidden), "b1": (hidden,), "W2": (hidden, classes), "b2": (classes,)}
    params = {name: numbers.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return weights_file.Weights(params, **fields)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[[weights_file.Weights], Server]]:
    started: list[Server] = []

    def serving(weights: weights_file.Weights) -> Server:
        weights_file.save(tmp_path / "weights.npz", weights)
        started.append(Server(tmp_path, workers=1).start())
        return started[-1]

    yield serving
    for server in started:
        server.kill()
