"""The service against a model of it in ten lines: a list of weights. Any order of loads, steps, rollbacks, repeats and
restarts has to leave both the same."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from model import TwoLayerNet
from model import weights as weights_file
from model.online import OnlineOptimizer
from model.types import Parameters
from model.weights import Weights
from service.app import create_app
from service.settings import Settings
from tests import oracle
from tests.conftest import Client

INPUTS, CLASSES = 6, 3
LOOKED_AT = np.linspace(0, 1, INPUTS)[np.newaxis]


OPTIMIZERS = st.sampled_from(["sgd", "adagrad"])


@dataclass(frozen=True)
class State:
    """A version: its parameters, and what AdaGrad remembers."""

    params: Parameters
    squares: Parameters | None = None


def stepped(state: State, gradient: dict[str, Any], rate: float, optimizer: str) -> State:
    if optimizer == "sgd":
        return State({name: array - rate * gradient[name] for name, array in state.params.items()})
    before = state.squares or dict.fromkeys(gradient, np.zeros(()))
    squares = {name: before[name] + array**2 for name, array in gradient.items()}
    steps = {name: array / (np.sqrt(squares[name]) + 1e-7) for name, array in gradient.items()}
    return State({name: array - rate * steps[name] for name, array in state.params.items()}, squares)


def network(seed: int) -> Parameters:
    return TwoLayerNet(INPUTS, 4, CLASSES, "he", seed=seed, dtype=np.float32).params


@dataclass(frozen=True)
class Worker:
    client: Client
    optimizer: OnlineOptimizer


class Log(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.versions: list[State] = []
        self.keys: dict[str, tuple[dict[str, Any], Any]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(seed=st.integers(0, 9), snapshot_every=st.integers(1, 6), optimizer=OPTIMIZERS)
    def begin(self, seed: int, snapshot_every: int, optimizer: OnlineOptimizer) -> None:
        weights_file.save(self.folder / "weights.npz", Weights(network(seed)))
        self.settings = Settings(
            weights=self.folder / "weights.npz",
            store=f"sqlite:///{self.folder}/store.db",
            snapshot_every=snapshot_every,
            optimizer=optimizer,
        )
        self.clients = [self.started(optimizer), self.started(optimizer)]
        self.versions = [State(network(seed))]

    def started(self, optimizer: OnlineOptimizer) -> Worker:
        settings = self.settings.model_copy(update={"optimizer": optimizer})
        return Worker(Client(create_app(settings)), optimizer)

    @property
    def client(self) -> Client:
        """One worker, then the other."""
        self.clients.reverse()
        return self.clients[0].client

    @rule(
        seed=st.integers(0, 99),
        count=st.integers(1, 4),
        rate=st.sampled_from([0.01, 0.3]),
        key=st.none() | st.sampled_from(["a", "b"]),
    )
    def step(self, seed: int, count: int, rate: float, key: str | None) -> None:
        random = np.random.default_rng(seed)
        x, t = random.integers(0, 256, (count, INPUTS), dtype=np.uint8), random.integers(0, CLASSES, count)
        body = {"images": x.tolist(), "pixel_max": 255, "labels": t.tolist(), "learning_rate": rate}
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = self.client.post("/train-step", json=body, headers=headers)
        if key in self.keys:
            first_body, first_answer = self.keys[key]
            assert answer.status_code == (200 if body == first_body else 409)
            assert body != first_body or answer.json == first_answer
            return
        assert answer.status_code == 200
        loss, gradient = oracle.loss_and_gradient(self.versions[-1].params, x / 255, t.tolist())  # type: ignore[arg-type]
        assert answer.json["loss"] == pytest.approx(loss, rel=1e-4)
        self.versions.append(stepped(self.versions[-1], gradient, rate, self.clients[0].optimizer))
        if key is not None:
            self.keys[key] = (body, answer.json)

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.keys)))
        body, first = self.keys[key]
        assert self.client.post("/train-step", json=body, headers={"Idempotency-Key": key}).json == first

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(1, len(self.versions)))
        assert self.client.post("/rollback", json={"model_version": version}).status_code == 200
        self.versions.append(self.versions[version - 1])

    @rule(seed=st.integers(0, 9))
    def load(self, seed: int) -> None:
        assert self.client.put("/weights", data=weights_file.to_bytes(Weights(network(seed)))).status_code == 200
        self.versions.append(State(network(seed)))

    @rule()
    def refused(self) -> None:
        assert self.client.post("/train-step", json={"images": [[2.0] * INPUTS], "labels": [0]}).status_code == 422
        assert self.client.post("/rollback", json={"model_version": len(self.versions) + 1}).status_code == 404

    @rule(optimizer=OPTIMIZERS)
    def restart(self, optimizer: OnlineOptimizer) -> None:
        """One worker, perhaps with another optimiser, as while a new setting is rolled out."""
        self.clients[0] = self.started(optimizer)

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(1, len(self.versions)))
        self.same(version, f"?model_version={version}")

    @invariant()
    def newest(self) -> None:
        if self.versions:
            self.same(len(self.versions), "")

    def same(self, version: int, query: str) -> None:
        answer = self.client.post(f"/predict{query}", json={"images": LOOKED_AT.tolist()}).json
        assert answer["model_version"] == version
        expected = oracle.probabilities(self.versions[version - 1].params, LOOKED_AT)  # type: ignore[arg-type]
        assert np.array(answer["probabilities"]) == pytest.approx(expected, abs=1e-4)


TestLog = Log.TestCase
TestLog.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
