"""What crosses processes: predictions that are remembered and learnt while workers are killed."""

import os
import random
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
import requests

from tests.conftest import as_json, behind_the_back, random_batch
from tests.processes import stranger
from tests.processes.conftest import MakeServer
from tests.processes.server import GUARD_SECONDS, Server


@pytest.mark.long
def test_each_prediction_is_learnt_once_whoever_is_killed_when(make_server: MakeServer) -> None:
    """Images are told apart by their first pixels. Every id is posted by several clients until one gets a 200 or it is
    said to be learnt; in the end the log has each of them once, and those that were not posted still wait."""
    server = make_server(workers=3).start()
    remembered: dict[str, bytes] = {}
    stop = threading.Event()
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def remember(seed: int) -> None:
        n = 0
        while not stop.is_set():
            x, _ = random_batch(3, seed * 10**6 + n)
            n += 1
            ids = attempt(server, "/predict?remember=true", as_json(x))
            if ids is not None and ids.status_code == 200:
                with lock:
                    remembered.update(zip(ids.json()["prediction_ids"], (row.tobytes()[:8] for row in x), strict=True))

    def label(seed: int) -> None:
        source = random.Random(seed)
        while not stop.is_set():
            with lock:
                ids = list(remembered)
            if not ids:
                continue
            id_ = source.choice(ids[-30:])
            answer = attempt(server, "/train-step", {"prediction_ids": [id_], "labels": [0]})
            if answer is not None:
                outcomes[str(answer.status_code)] += 1
                if answer.status_code in (200, 409):
                    learnt.add(id_)

    learnt: set[str] = set()
    threads = [threading.Thread(target=remember, args=(seed,)) for seed in range(2)]
    threads += [threading.Thread(target=label, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for round_ in range(6):
        goal = sum(outcomes.values()) + random.randint(5, 30)
        server.wait_for(lambda goal=goal: sum(outcomes.values()) >= goal)  # type: ignore[misc]
        if round_ % 2:
            os.kill(random.choice(server.workers()), signal.SIGKILL)
        else:
            server.kill()
            server.start()
    stop.set()
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {"200", "409", "503"}
    assert min(outcomes["200"], outcomes["409"]) > 10

    check_each_once(server, remembered, learnt)


def check_each_once(server: Server, remembered: dict[str, bytes], learnt: set[str]) -> None:
    """remembered: the beginning of each image; learnt: ids of which an answer said so."""
    posted = Counter(
        np.rint(x[0] * 255).astype(np.uint8).tobytes()[:8] for x, _, _ in stranger.all_examples(server).values()
    )
    assert max(posted.values()) == 1, "learnt twice"
    assert {remembered[id_] for id_ in learnt} <= set(posted)
    with behind_the_back(server.folder / "store.db") as connection:
        waiting = {row[0] for row in connection.execute("SELECT prediction_id FROM predictions WHERE learnt IS NULL")}
    lost = {id_ for id_, image in remembered.items() if id_ not in waiting and image not in posted}
    assert not lost, "answered with 200, and gone"
    assert {image for id_, image in remembered.items() if id_ in waiting}.isdisjoint(posted)
    answers = {requests.get(f"{server.url}/learning", timeout=GUARD_SECONDS).text for _ in range(10)}
    assert len(answers) == 1
    assert server.get("/learning").json()["windows"][2]["count"] == min(10_000, len(stranger.all_examples(server)))


def attempt(server: Server, path: str, body: object) -> requests.Response | None:
    try:
        return server.post(path, body)
    except requests.RequestException:
        time.sleep(0.02)
        return None
