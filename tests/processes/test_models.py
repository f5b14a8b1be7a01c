"""The promises hold for each of many models by itself, with several workers and through kill -9."""

import copy
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import as_json, behind_the_back, random_batch
from tests.postgres import Postgres
from tests.processes.clients import Clients, Seen
from tests.processes.conftest import MakeServer
from tests.processes.server import Server
from tests.processes.test_promises import check_nothing_lost, check_recomputed

X, T = random_batch(2)


@pytest.fixture(params=["gunicorn", pytest.param("granian", marks=pytest.mark.long)])
def http_server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.new_database()


ALL = 12
"""Requests that several workers share, each on a connection of its own."""


def model_of(server: Server, name: str) -> Server:
    """The server, as one sees it who knows this model only."""
    one = copy.copy(server)
    one.url = f"{server.url}/models/{name}"
    return one


def make(server: Server, name: str) -> None:
    answer = server.request("PUT", f"/models/{name}", json={"copy_of": "default"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("rounds", "count"), [(2, 3), pytest.param(5, 10, marks=pytest.mark.long)])
def test_no_model_loses_a_step_through_kill_9_of_all(make_server: MakeServer, rounds: int, count: int) -> None:
    """All models learn at once. Half of the rounds kill one worker, the other half every process."""
    server = make_server(TWOLAYERNET_MODELS="models", TWOLAYERNET_SNAPSHOT_EVERY="50").start()
    names = [f"pupil-{number}" for number in range(count)]
    seen = {name: Seen() for name in names}
    for name in names:
        make(server, name)
    for round_ in range(rounds):
        clients = {name: Clients(model_of(server, name), seen[name]) for name in names}
        for its_clients in clients.values():
            its_clients.train(clients=2, steps=10**6, first_mark=round_ * 10**6, largest=8)
        for its_clients in clients.values():
            its_clients.wait_for_steps(random.randint(1, 10))
        if round_ % 2:
            os.kill(random.choice(server.workers()), signal.SIGKILL)
        else:
            server.kill()
        for its_clients in clients.values():
            its_clients.stop()
        if not round_ % 2:
            for link in (server.folder / "models").glob("*"):  # none on PostgreSQL
                if link.is_symlink():
                    with behind_the_back(link.resolve()) as connection:
                        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            server.start()
        for name in names:
            check_nothing_lost(model_of(server, name), seen[name])
    for name in names:
        assert not seen[name].wrong, seen[name].wrong[:3]
        assert seen[name].acknowledged
    check_recomputed(model_of(server, names[0]), Seen())
    assert server.get("/readyz").json()["model_version"] == 1
    print(f"{rounds} kills, {sum(len(one.acknowledged) for one in seen.values())} acknowledged in {count} models")


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.long)])
def test_every_worker_knows_at_once_what_one_of_them_made_and_set_aside(
    make_server: MakeServer, store: str, rounds: int
) -> None:
    """On PostgreSQL, a predict learns a moment later of a model that was set aside; any other request does at once."""
    server = make_server(workers=4, TWOLAYERNET_MODELS="models").start()
    body, path = as_json(X), "predict" if store.startswith("sqlite") else "train-step"
    wanted = {} if store.startswith("sqlite") else {"X-Min-Model-Version": "2"}
    with ThreadPoolExecutor(ALL) as pool:
        for _ in range(rounds):
            make(server, "alice")
            assert server.post("/models/alice/train-step", as_json(X, T)).status_code == 200
            answers = list(pool.map(lambda _: server.post("/models/alice/predict", body, headers=wanted), range(ALL)))
            assert [answer.json()["model_version"] for answer in answers] == [2] * ALL
            assert server.request("DELETE", "/models/alice").status_code == 200
            answers = list(pool.map(lambda _: server.post(f"/models/alice/{path}", as_json(X, T)), range(ALL)))
            assert [answer.status_code for answer in answers] == [404] * ALL


def test_a_model_that_is_set_aside_while_it_learns_keeps_every_step(
    make_server: MakeServer, store: str, request: pytest.FixtureRequest
) -> None:
    """What is answered with 200 is in the store that was set aside, and nothing of it in the next one of that name."""
    server = make_server(TWOLAYERNET_MODELS="models").start()
    make(server, "alice")
    clients = Clients(model_of(server, "alice"))
    clients.train(clients=4, steps=10**6, largest=4)
    clients.wait_for_steps(20)
    set_aside = server.request("DELETE", "/models/alice").json()["store"]
    make(server, "alice")
    clients.stop()
    acknowledged = clients.seen.acknowledged
    if store.startswith("sqlite"):
        with behind_the_back(server.folder / "models" / set_aside) as connection:
            [[before]] = connection.execute("SELECT max(model_version) - 1 FROM versions")
    else:
        learnt = f"SELECT max(model_version) - 1 FROM {set_aside}.versions"
        [[before]] = request.getfixturevalue("postgres").run(learnt, store.rpartition("/")[2])
    after = model_of(server, "alice").get("/versions").json()["versions"][0]["model_version"] - 1
    assert before + after == len(acknowledged)
