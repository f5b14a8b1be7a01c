"""A worker is a fork of a process that may have read the log long ago: what it inherits is not the newest version."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch
from tests.postgres import Postgres

X, T = random_batch(2)


def in_a_fork(call: Callable[[], Any]) -> Any:
    """What a call gives in a fork of this process."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(write, json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read, "rb") as pipe:
        return json.loads(pipe.read())


def asked(client: Client) -> list[int]:
    """The statuses of a predict and of a readiness probe."""
    return [client.post("/predict", json=as_json(X)).status_code, client.get("/readyz").status_code]


def begun(settings: Settings) -> Client:
    """The process that forks, which asks nothing after its start, and one that has gone on to version 3."""
    parent, other = Client(create_app(settings)), Client(create_app(settings))
    for _ in range(2):
        assert other.post("/train-step", json=as_json(X, T)).status_code == 200
    other.close()
    return parent


@pytest.mark.postgres
def test_a_worker_that_is_replaced_while_the_database_is_away_serves_nothing_old(
    settings: Settings, postgres: Postgres
) -> None:
    parent = begun(settings.model_copy(update={"store": postgres.new_database()}))
    postgres.stop()
    try:
        assert in_a_fork(lambda: asked(parent)) == [503, 503]
    finally:
        postgres.start()
    assert in_a_fork(lambda: parent.post("/predict", json=as_json(X)).json["model_version"]) == 3
    parent.close()


def test_a_worker_that_is_replaced_after_the_store_s_file_was_removed_serves_nothing_old(settings: Settings) -> None:
    parent = begun(settings)
    path = Path(settings.store.removeprefix("sqlite:///"))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    assert in_a_fork(lambda: asked(parent)) == [503, 503]
    parent.close()


@pytest.mark.postgres
def test_the_start_leaves_no_thread_behind_that_could_hold_a_lock_in_a_fork(
    settings: Settings, postgres: Postgres
) -> None:
    before = set(threading.enumerate())
    client = Client(create_app(settings.model_copy(update={"store": postgres.new_database()})))
    assert set(threading.enumerate()) <= before  # one of an earlier test may end meanwhile
    client.close()
