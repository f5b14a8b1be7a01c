"""The alarm under load: several workers learn at once, and one of them goes back."""

import threading
from typing import Any

import numpy as np
import pytest

from tests.conftest import as_json, random_batch
from tests.processes import stranger
from tests.processes.conftest import MakeServer
from tests.processes.server import Server
from tests.service.test_progress import IMAGES


@pytest.mark.long
def test_the_alarm_goes_back_under_load_and_the_log_stays_serial(make_server: MakeServer) -> None:
    server = make_server(workers=4, TWOLAYERNET_ALARM="rollback", TWOLAYERNET_SNAPSHOT_EVERY="25").start()
    acknowledged: list[int] = []
    predicted: dict[int, set[str]] = {}
    stop = threading.Event()
    looked_at = random_batch(3, 1)[0]

    def predict() -> None:
        while not stop.is_set():
            answer = server.post("/predict", as_json(looked_at)).json()
            predicted.setdefault(answer["model_version"], set()).add(str(answer["probabilities"]))

    def teach(steps: int, turned_by: int) -> None:
        for _ in range(steps):
            labels = (np.arange(10) + turned_by) % 10
            answer = server.post("/train-step", as_json(IMAGES, labels, learning_rate=0.2))
            if answer.status_code == 409:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.append(answer.json()["model_version"])

    predicting = threading.Thread(target=predict)
    predicting.start()
    for steps, turned_by in ((20, 0), (20, 1)):
        teaching = [threading.Thread(target=teach, args=(steps, turned_by)) for _ in range(4)]
        for thread in teaching:
            thread.start()
        for thread in teaching:
            thread.join()
    stop.set()
    predicting.join()
    versions = stranger.listed_versions(server)
    acts = [version for version in versions if version.get("event") == "alarm"]
    assert len(acts) in (1, 2), "back, and perhaps back with a pause"
    assert all("second time" in act["reason"] for act in acts[1:])
    assert len(set(acknowledged)) == len(acknowledged) == sum(version["kind"] == "train-step" for version in versions)
    assert all(len(answers) == 1 for answers in predicted.values()), "two answers from one version differ"
    check_recomputed(server, acts)
    assert len({server.get("/learning").text for _ in range(20)}) == 1, "the workers differ"


def check_recomputed(server: Server, acts: list[dict[str, Any]]) -> None:
    compared = {act["model_version"] for act in acts}
    for version, params in stranger.recomputed(server):
        if version in compared or version % stranger.ANCHORED == 0:
            for name, array in stranger.weights_of(server, version).items():
                assert array == pytest.approx(params[name], abs=1e-3), version
