"""Exact, under load and under fire: steps are taken out and corrected while others are learnt and processes die."""

import os
import random
import signal
import threading
from typing import Any

import pytest
import requests

from model import weights_file
from model.weights_file import Weights
from tests.conftest import store_of_each_kind
from tests.processes import stranger
from tests.processes.clients import Clients, Seen
from tests.processes.conftest import MakeServer
from tests.processes.server import GUARD_SECONDS, Server
from tests.processes.test_promises import check_nothing_lost

store = store_of_each_kind


@pytest.fixture(params=["gunicorn", "granian"])
def http_server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Meddler:
    """A client that takes steps out, corrects them, adds classes, goes back and loads, each time with a key of its own.

    requests: what was sent, by key: the path and its body. answers: those that came, by key.
    """

    def __init__(self, server: Server, file: bytes, seed: int) -> None:
        self.server = server
        self.file = file
        self.random = random.Random(seed)
        self.requests: dict[str, tuple[str, Any]] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.refused = 0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.random.uniform(0, 0.2)):
            try:
                self.act()
            except requests.RequestException:
                continue
            except Exception as error:
                self.wrong.append(repr(error))

    def act(self) -> None:
        resume = {"state": "learning"}  # an alarm that acts twice pauses
        requests.put(f"{self.server.url}/learning", json=resume, timeout=GUARD_SECONDS)
        newest = self.server.get("/readyz").json()["model_version"]
        act = self.random.choices(["unlearn", "relabel", "rollback", "load", "classes"], [6, 3, 1, 0.1, 0.3])[0]
        version = self.random.randint(max(1, newest - 200), newest)
        body: Any = {"model_version": version}
        if act == "unlearn":
            body = {"model_versions": [version]} if self.random.random() < 0.8 else {"source": "tablet"}
        elif act == "relabel":
            row = self.server.get("/versions", params={"before": version + 1, "limit": 1}).json()["versions"][0]
            body["labels"] = [self.random.randrange(10) for _ in range(row["count"] or 1)]
        elif act == "classes":
            body = {}
        elif act == "rollback":
            body["model_version"] = max(1, newest - self.random.randrange(20))
        key = f"{act} {self.random.random()}"
        self.requests[key] = act, body
        answer = self.sent(key)
        if answer.status_code == 200:
            self.answers[key] = answer.json()
        elif answer.status_code == 422:  # not in force: then the key is free
            self.refused += 1
            del self.requests[key]
        elif answer.status_code != 503:
            self.wrong.append(answer.text)

    def sent(self, key: str) -> requests.Response:
        act, body = self.requests[key]
        headers = {"Idempotency-Key": key}
        if act == "load":
            url = f"{self.server.url}/weights"
            return requests.put(url, data=self.file, headers=headers, timeout=GUARD_SECONDS)
        return self.server.post(f"/{act}", body, headers=headers)

    def check(self) -> None:
        """What was answered is in the log, and is answered again; what was not is there once or not at all."""
        assert not self.wrong, self.wrong[:3]
        versions = {version["model_version"]: version for version in stranger.listed_versions(self.server)}
        for key, answer in self.answers.items():
            row = versions[answer["model_version"]]
            assert {**answer, **row} == answer
            assert self.sent(key).json() == answer
        for key in self.requests.keys() - self.answers.keys():
            again = self.sent(key)
            if again.status_code == 200:
                self.answers[key] = again.json()
            elif again.status_code == 422:
                del self.requests[key]
        made = [answer["model_version"] for answer in self.answers.values()]
        assert len(made) == len(set(made))


@pytest.mark.long
@pytest.mark.parametrize(("workers", "rounds", "steps"), [(2, 3, 40), (4, 5, 100)])
def test_unlearning_while_others_teach_and_processes_are_killed(
    make_server: MakeServer, weights: Weights, workers: int, rounds: int, steps: int
) -> None:
    """Each round with other settings; half of them kill one worker, the others every process."""
    seen = Seen()
    server = make_server(workers=workers)
    meddler = Meddler(server, weights_file.to_bytes(weights), rounds)
    for round_ in range(rounds):
        server.environment |= {
            "TWOLAYERNET_SNAPSHOT_EVERY": str(random.choice([5, 40, 500])),
            "TWOLAYERNET_MEMORY_SIZE": str(random.choice([20, 300])),
            "TWOLAYERNET_GRADIENT_NORM_LIMIT": str(random.choice([0.5, 5])),
            "TWOLAYERNET_ALARM": random.choice(["off", "rollback"]),
            "TWOLAYERNET_ALARM_FALSE_EVERY": "1000",
        }
        if server.process is None or server.process.poll() is not None:
            server.start()
        for state in ("paused", "learning"):
            requests.put(f"{server.url}/learning", json={"state": state}, timeout=GUARD_SECONDS)
        clients = Clients(server, seen, trouble=True)
        clients.predict(1)
        clients.train(clients=3, steps=10**6, first_mark=round_ * 10**6, largest=4)
        meddler.start()
        clients.wait_for_steps(random.randint(1, 2 * steps))
        if round_ % 2:
            os.kill(random.choice(server.workers()), signal.SIGKILL)
            clients.wait_for_steps(random.randint(0, steps))
        else:
            server.kill()
        clients.stop()
        meddler.stop()
        if server.process is None or server.process.poll() is not None:
            server.start()
        check_nothing_lost(server, seen)
        meddler.check()
    while sum(answer["kind"] in ("unlearn", "relabel") for answer in meddler.answers.values()) < 5:
        meddler.act()
    meddler.check()
    assert not seen.wrong, seen.wrong[:3]
    changed = check_to_the_bit(server)
    print(f"{len(seen.acknowledged)} steps, {len(meddler.answers)} changes, {meddler.refused} refused, {changed} exact")


def check_to_the_bit(server: Server) -> int:
    """Every version that changed steps, every tenth and the newest: how many there are."""
    kinds = {version["model_version"]: version["kind"] for version in stranger.listed_versions(server)}
    checked = 0
    for version, file in stranger.to_the_bit(server):
        if kinds[version] in ("unlearn", "relabel", "rollback", "grow") or version % 10 == 0 or version == len(kinds):
            assert server.get("/weights", params={"model_version": version}).content == file, (version, kinds[version])
            checked += kinds[version] in ("unlearn", "relabel")
    return checked
