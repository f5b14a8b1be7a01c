"""Workers and weights are replaced under load, and no client on a kept connection sees more of it than a new version."""

import http.client
import json
import os
import signal
import threading
import time
from contextlib import closing

import numpy as np
import pytest
import requests

from model import TwoLayerNet, weights_file
from model.functions import softmax
from model.weights_file import Weights
from tests.conftest import CLASSES, FEATURES, as_json
from tests.processes.clients import LOOKED_AT
from tests.processes.conftest import MakeServer
from tests.processes.server import GUARD_SECONDS, Server

pytestmark = pytest.mark.long

REQUESTS = int(os.environ.get("TEST_REQUESTS", "3000"))
CLIENTS = 8
BODY = json.dumps(as_json(LOOKED_AT)).encode()


class KeptConnections:
    """Clients that predict, each on one connection for as long as the service keeps it. seen: (version, probabilities)."""

    def __init__(self, server: Server) -> None:
        self.port = server.port
        self.seen: list[tuple[int, list[list[float]]]] = []
        self.failed: list[str] = []
        self.connections = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        while not self._over.is_set():
            self.connections += 1
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=GUARD_SECONDS)) as client:
                self._ask_on(client)

    def _ask_on(self, client: http.client.HTTPConnection) -> None:
        while not self._over.is_set():
            try:
                client.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
                answer = client.getresponse()
                body = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failed.append(repr(error))
                return
            if answer.status != 200:
                self.failed.append(f"{answer.status} {body}")
            else:
                self.seen.append((body["model_version"], body["probabilities"]))
            if answer.will_close:
                return

    def __enter__(self) -> "KeptConnections":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> bool:
        return len(self.seen) < REQUESTS and not self.failed


def test_no_request_is_lost_or_mixed_while_workers_are_replaced(make_server: MakeServer) -> None:
    server = make_server(workers=2).start()
    assert server.process is not None
    expected, reloads, workers = server.predict(LOOKED_AT), 0, set(server.workers())
    with KeptConnections(server) as clients:
        while clients.go_on() or reloads < 2:
            before = set(server.workers())
            server.process.send_signal(signal.SIGHUP)
            reloads += 1
            server.wait_for(lambda before=before: len(server.workers()) == 2 and not before & set(server.workers()))  # type: ignore[misc]
            workers |= set(server.workers())
    assert clients.failed == []
    assert len(workers) >= 2 + 2 * reloads
    assert all(answer == (1, expected["probabilities"]) for answer in clients.seen)
    print(f"{len(clients.seen)} answers on {clients.connections} connections through {reloads} reloads")


@pytest.mark.parametrize("http_server", ["gunicorn", "granian"])
def test_no_answer_is_lost_or_mixed_while_weights_are_put_in(make_server: MakeServer, weights: Weights) -> None:
    others = [TwoLayerNet(FEATURES, hidden, CLASSES, "he", seed=hidden, dtype=np.float32) for hidden in (50, 70)]
    files = [weights_file.to_bytes(Weights(other.params, image_shape=(28, 28))) for other in others]
    server = make_server(workers=2).start()
    served: dict[int, int] = {}
    with KeptConnections(server) as clients, requests.Session() as session:
        while clients.go_on():
            for number, data in enumerate(files):
                answer = session.put(f"{server.url}/weights", data=data, timeout=GUARD_SECONDS)
                assert answer.status_code == 200, answer.text
                served[answer.json()["model_version"]] = number
                time.sleep(0.02)
    assert clients.failed == []
    assert list(served) == list(range(2, 2 + len(served)))
    networks = [weights.network(), *(weights_file.from_bytes(data).network() for data in files)]
    expected = [np.asarray(softmax_of(network)) for network in networks]
    for version, probabilities in clients.seen:
        of_version = expected[0] if version == 1 else expected[1 + served[version]]
        np.testing.assert_allclose(probabilities, of_version, rtol=1e-4, atol=1e-7)
    print(f"{len(clients.seen)} answers from {len({version for version, _ in clients.seen})} versions of {len(served)}")


def softmax_of(network: TwoLayerNet) -> np.ndarray:
    return softmax(network.predict((LOOKED_AT / 255).astype(np.float32)))
