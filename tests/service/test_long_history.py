"""What a request costs SQLite does not grow with the number of versions and predictions: its instructions are counted."""

from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from service.store import sqlite
from service.store.predictions import CHECKED
from tests.conftest import Client, as_json, random_batch

BODY = as_json(*random_batch(1))
IMAGES = {name: value for name, value in BODY.items() if name != "labels"}


@pytest.fixture
def instructions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the SQL that this process has run, in one element."""
    counted = [0]

    def count() -> None:
        counted[0] += 1

    def counting(path: Path) -> sqlite.Connection:
        connection = connect(path)
        connection.set_progress_handler(count, 1)
        return connection

    connect = sqlite.connect
    monkeypatch.setattr(sqlite, "connect", counting)
    return counted


def test_requests_cost_the_same_with_a_long_history(instructions: list[int], client: Client) -> None:
    def step() -> None:
        assert client.post("/train-step", json=BODY).status_code == 200

    def remember() -> None:
        assert client.post("/predict?remember=true", json=IMAGES).status_code == 200

    def label_one() -> None:
        id_ = client.post("/predict?remember=true", json=IMAGES).json["prediction_ids"][0]
        assert client.post("/train-step", json={"prediction_ids": [id_], "labels": [1]}).status_code == 200

    def read(path: str) -> Callable[[], None]:
        def get() -> None:
            assert client.get(path).status_code == 200

        return get

    requests = [step, remember, label_one, read("/versions?limit=5"), read("/predictions?limit=5"), read("/readyz")]

    def costs() -> list[float]:
        """Of each request, the median of a few: now and then, one does what others need not do."""
        found = []
        for request in requests:
            each = []
            for _ in range(9):
                before = instructions[0]
                request()
                each.append(instructions[0] - before)
            found.append(median(each))
        return found

    for _ in range(CHECKED):
        remember()
    costs()
    short = costs()
    for _ in range(300):
        step()
        remember()
    long = costs()
    # Indexes become deeper.
    assert all(after <= 1.2 * before + 20 for before, after in zip(short, long, strict=True)), (short, long)
