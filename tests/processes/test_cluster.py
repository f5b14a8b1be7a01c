"""Three services of two workers each on one PostgreSQL server: what they promise together."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import requests

from tests.conftest import as_json, random_batch
from tests.postgres import Postgres
from tests.processes import stranger
from tests.processes.clients import LOOKED_AT, Clients, Seen
from tests.processes.conftest import MakeServer
from tests.processes.server import Server
from tests.processes.test_promises import check_nothing_lost, check_recomputed, check_to_the_bit

pytestmark = [pytest.mark.postgres, pytest.mark.long]


@pytest.fixture
def store(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def servers(make_server: MakeServer) -> list[Server]:
    return [make_server(workers=2, TWOLAYERNET_SNAPSHOT_EVERY="100").start() for _ in range(3)]


def test_serial_and_whole_across_services_and_seen_where_it_is_wanted(servers: list[Server]) -> None:
    seen = Seen()
    clients = [Clients(server, seen) for server in servers]
    for number, each in enumerate(clients):
        each.predict(1)
        each.train(clients=2, steps=100, first_mark=number * 10**6)
    for each in clients:
        each.finish()
    assert not seen.wrong, seen.wrong[:3]
    assert sorted(answer["model_version"] for answer in seen.acknowledged.values()) == list(range(2, 302))
    check_nothing_lost(servers[0], seen)
    check_recomputed(servers[1], seen)
    check_to_the_bit(servers[2])


def test_a_step_is_seen_everywhere_without_being_asked_for(servers: list[Server]) -> None:
    delays: list[float] = []
    body = as_json(LOOKED_AT)
    x, t = random_batch(1)
    for number in range(30):
        version = servers[number % 3].post("/train-step", as_json(x, t)).json()["model_version"]
        acknowledged = time.monotonic()
        others = [server for server in servers if server is not servers[number % 3]]
        for server in others:
            while True:
                asked = time.monotonic()
                if requests.post(f"{server.url}/predict", json=body, timeout=10).json()["model_version"] >= version:
                    break
            delays.append(asked - acknowledged)
    print(f"seen elsewhere after p50, p99: {np.percentile(delays, [50, 99]) * 1e3} ms")


def restart(postgres: Postgres, url: str) -> None:
    postgres.stop()
    time.sleep(random.uniform(0, 1.5))
    postgres.start()


def kill(postgres: Postgres, url: str) -> None:
    postgres.kill()
    time.sleep(random.uniform(0.5, 1.5))
    postgres.start()


def terminate(postgres: Postgres, url: str) -> None:
    for _ in range(5):
        postgres.terminate_connections(url)
        time.sleep(0.2)


@pytest.mark.parametrize("trouble", [restart, kill, terminate])
def test_nothing_is_lost_and_nothing_needs_a_restart(
    servers: list[Server], postgres: Postgres, store: str, trouble: Callable[[Postgres, str], None]
) -> None:
    seen = Seen()
    before = [server.workers() for server in servers]
    for round_ in range(3):
        clients = [Clients(server, seen, trouble=True) for server in servers]
        for number, each in enumerate(clients):
            each.predict(1)
            each.train(clients=2, steps=10**6, first_mark=(3 * round_ + number) * 10**6, largest=8)
        time.sleep(0.5)
        trouble(postgres, store)
        acknowledged, until = len(seen.acknowledged), time.monotonic() + 20
        while len(seen.acknowledged) < acknowledged + 20:
            assert time.monotonic() < until, "the services did not recover"
            time.sleep(0.05)
        for each in clients:
            each.stop()
        check_nothing_lost(servers[round_], seen)
    assert not seen.wrong, seen.wrong[:3]
    assert [server.workers() for server in servers] == before
    check_recomputed(servers[0], Seen())
    check_to_the_bit(servers[1])
    print(f"{trouble.__name__}: {len(seen.acknowledged)} acknowledged, {len(seen.unanswered)} refused or unanswered")


def test_the_same_key_on_three_services_at_the_same_time_counts_once(servers: list[Server]) -> None:
    for round_ in range(10):
        body = as_json(*random_batch(2, round_))
        with ThreadPoolExecutor(6) as pool:
            answers = set(pool.map(partial(answer_of, body=body, key=str(round_)), servers * 2))
        assert len(answers) == 1, answers
    assert len(stranger.listed_versions(servers[0])) == 11


def answer_of(server: Server, body: dict[str, Any], key: str) -> str:
    return server.post("/train-step", body, headers={"Idempotency-Key": key}).text
