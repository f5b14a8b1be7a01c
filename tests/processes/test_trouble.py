"""Stores that can't be used: each is said in one clear line, and nothing false is served."""

import os
import resource
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service.app import create_app
from service.errors import StartupError, StoreError
from service.settings import Settings
from tests.conftest import Client, as_json, behind_the_back, random_batch, untrained
from tests.processes.conftest import MakeServer
from tests.processes.server import Server

X, T = random_batch(8)


def learn(server: Server, steps: int) -> None:
    for seed in range(steps):
        assert server.post("/train-step", as_json(*random_batch(4, seed))).status_code == 200


def refused(settings: Settings) -> str:
    """What a service that does not start has to say: one line."""
    with pytest.raises((StartupError, StoreError)) as error:
        create_app(settings)
    [line] = str(error.value).splitlines()
    return line


def overwrite(path: Path, at: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a service that has learnt a little and is stopped: one file."""
    folder = tmp_path_factory.mktemp("learnt")
    untrained(folder)
    settings = Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/store.db", snapshot_every=10)
    client = Client(create_app(settings))
    for seed in range(25):
        assert client.post("/train-step", json=as_json(*random_batch(4, seed))).status_code == 200
    client.close()
    with behind_the_back(file_of(settings)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file_of(settings)


@pytest.fixture
def stopped(settings: Settings, learnt: Path) -> Settings:
    """Of a service with a copy of that store."""
    shutil.copy(learnt, file_of(settings))
    return settings.model_copy(update={"snapshot_every": 10})


def file_of(settings: Settings) -> Path:
    return settings.weights.with_name("store.db")


def test_a_store_of_a_newer_release_is_refused(stopped: Settings, make_server: MakeServer) -> None:
    """By the command, too: in one line, with exit code 4."""
    with behind_the_back(file_of(stopped)) as connection:
        connection.execute("UPDATE store SET schema_version = 99")
    said = refused(stopped)
    assert "created by a newer release: its schema is 99" in said
    server = make_server()
    server.launch()
    assert server.ended() == 4
    assert f"twolayernet: {said}" in server.log.splitlines()
    assert "Traceback" not in server.log


def test_a_database_of_something_else_is_refused_and_not_touched(stopped: Settings) -> None:
    path = file_of(stopped)
    path.unlink()
    with behind_the_back(path) as connection:
        connection.execute("CREATE TABLE accounts (name TEXT)")
    assert "the database is not a store: it has the tables accounts" in refused(stopped)
    with behind_the_back(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("accounts",)]


def test_a_store_for_another_network_shape_is_refused(stopped: Settings) -> None:
    network = TwoLayerNet(784, 60, 10, seed=0, dtype=np.float32)
    weights_file.save(stopped.weights, Weights(network.params))
    assert "is for a 784-50-10 network, but" in refused(stopped)
    stopped.weights.unlink()
    assert Client(create_app(stopped)).get("/readyz").json["model_version"] == 26


def test_a_damaged_weights_file_is_refused(stopped: Settings) -> None:
    stopped.weights.write_bytes(b"PK")
    assert "weights.npz: not a .npz file" in refused(stopped)


@pytest.mark.parametrize("what", ["torn", "header", "tree", "not a database"])
def test_a_corrupt_database_is_refused(stopped: Settings, what: str) -> None:
    path = file_of(stopped)
    size = path.stat().st_size
    if what == "torn":
        os.truncate(path, size // 2)
    elif what == "header":
        overwrite(path, 0, os.urandom(100))
    elif what == "tree":
        overwrite(path, 4096, os.urandom(4096 * 3))
    else:
        path.write_bytes(b"nothing" * 1000)
    assert "corrupt" in refused(stopped)


def test_a_step_that_is_not_what_was_written_is_never_served(stopped: Settings) -> None:
    """The newest steps have other pixels in the same structure: only the checksum can tell."""
    with behind_the_back(file_of(stopped)) as connection:
        connection.execute("UPDATE versions SET pixels = zeroblob(length(pixels)) WHERE model_version = 24")
    assert "version 24 is corrupt" in refused(stopped)


def test_a_snapshot_that_is_not_what_was_written_is_never_served(stopped: Settings) -> None:
    with behind_the_back(file_of(stopped)) as connection:
        of_20 = "WHERE digest = (SELECT snapshot_digest FROM versions WHERE model_version = 20)"
        [data] = connection.execute(f"SELECT weights FROM snapshots {of_20}").fetchone()
        damaged = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]
        connection.execute(f"UPDATE snapshots SET weights = ? {of_20}", [damaged])
    assert "the snapshot of version 20 is corrupt" in refused(stopped)


@pytest.mark.long
def test_a_full_disk_refuses_steps_with_503_while_predict_goes_on(make_server: MakeServer) -> None:
    """The limit on a file's size stands for a full disk: a write fails in the same way. Then there is room again."""
    server = make_server(workers=2).start()
    learn(server, 3)
    for pid in server.workers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    refusals = 0
    versions = {4}
    for _ in range(30):
        answer = server.post("/train-step", as_json(X, T))
        if answer.status_code == 503:
            refusals += 1
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["Retry-After"]
            assert server.predict(X)["model_version"] == max(versions)
        else:
            versions.add(answer.json()["model_version"])
    assert refusals > 5
    for pid in server.workers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    answer = server.post("/train-step", as_json(X, T))
    assert answer.json()["model_version"] == max(versions) + 1


@pytest.mark.long
def test_a_store_that_somebody_else_holds_refuses_steps_with_503_while_predict_goes_on(make_server: MakeServer) -> None:
    server = make_server(workers=2).start()
    holder = sqlite3.connect(server.folder / "store.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    answer = server.post("/train-step", as_json(X, T))
    assert answer.status_code == 503
    assert "locked" in answer.json()["detail"]
    assert server.predict(X)["model_version"] == 1
    holder.execute("ROLLBACK")
    holder.close()
    assert server.post("/train-step", as_json(X, T)).json()["model_version"] == 2


def test_a_store_that_becomes_corrupt_while_it_is_served_is_not_served_from(settings: Settings) -> None:
    client = Client(create_app(settings))
    for seed in range(3):
        assert client.post("/train-step", json=as_json(*random_batch(4, seed))).status_code == 200
    with behind_the_back(file_of(settings)) as connection:
        connection.execute("UPDATE versions SET pixels = zeroblob(length(pixels)) WHERE model_version = 3")
    for answer in (client.post("/predict?model_version=3", json=as_json(X)), client.get("/weights?model_version=3")):
        assert answer.status_code == 503
        assert "version 3 is corrupt" in answer.json["detail"]
    assert client.post("/predict", json=as_json(X)).json["model_version"] == 4


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_store_on_a_read_only_disk_is_served_and_refuses_steps(
    stopped: Settings, make_server: MakeServer, tmp_path_factory: Any
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not mount: {mounted.stderr}")
    try:
        shutil.copy(file_of(stopped), disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        server = make_server(TWOLAYERNET_STORE=f"sqlite:///{disk}/store.db").start()
        answer = server.post("/train-step", as_json(X, T))
        assert answer.status_code == 503
        assert "Read-only file system" in answer.json()["detail"]
        assert server.predict(X)["model_version"] == 26
        assert server.get("/weights?model_version=7").status_code == 200
        server.stop()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
