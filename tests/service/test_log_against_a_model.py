"""The service against a model of it in ten lines: a list of weights. Any order of loads, steps, rollbacks, pauses,
repeats and restarts has to leave both the same, of what is kept."""

import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model import TwoLayerNet, weights_file
from model.types import Parameters
from model.weights_file import Weights
from service.app import EXTENSION, create_app
from service.settings import Settings
from tests import oracle
from tests.conftest import Client
from tests.postgres import Postgres

INPUTS, CLASSES = 6, 3
LOOKED_AT = np.linspace(0, 1, INPUTS)[np.newaxis]


REHEARSE = st.sampled_from([0, 2])


def network(seed: int) -> Parameters:
    return TwoLayerNet(INPUTS, 4, CLASSES, "he", seed=seed, dtype=np.float32).params


class Log(RuleBasedStateMachine):
    wanted: dict[str, str] = {}  # noqa: RUF012  headers of a predict that wants the newest version

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[Client] = []
        self.folder = Path(tempfile.mkdtemp(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
        self.versions: list[Parameters] = []
        self.keys: dict[str, tuple[dict[str, Any], Any]] = {}
        self.is_paused = False

    def new_store(self) -> str:
        return f"sqlite:///{self.folder}/store.db"

    def teardown(self) -> None:
        for client in self.clients:
            client.close()
        shutil.rmtree(self.folder)

    @initialize(
        seed=st.integers(0, 9),
        snapshot_every=st.integers(1, 6),
        keep_versions=st.none() | st.integers(2, 8),  # of the oldest one, what it rehearsed is not known
        rehearse=REHEARSE,
    )
    def begin(self, seed: int, snapshot_every: int, keep_versions: int | None, rehearse: int) -> None:
        weights_file.save(self.folder / "weights.npz", Weights(network(seed)))
        self.settings = Settings(
            weights=self.folder / "weights.npz",
            store=self.new_store(),
            snapshot_every=snapshot_every,
            keep_versions=keep_versions,
            memory_size=5,
        )
        self.clients = [self.started(rehearse), self.started(rehearse)]
        self.versions = [network(seed)]
        self.posted: list[bytes] = []

    def started(self, rehearse: int) -> Client:
        return Client(create_app(self.settings.model_copy(update={"rehearse": rehearse})))

    @property
    def client(self) -> Client:
        """One worker, then the other."""
        self.clients.reverse()
        return self.clients[0]

    @property
    def oldest(self) -> int:
        """The oldest version that is kept, whose number the model leaves to the service."""
        oldest: int = self.client.get("/versions?limit=1000").json["versions"][-1]["model_version"]
        assert oldest <= max(1, len(self.versions) - (self.settings.keep_versions or len(self.versions)) + 1)
        return oldest

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
        if self.is_paused:
            assert answer.status_code == 409
            return
        assert answer.status_code == 200
        loss, _ = oracle.loss_and_gradient(self.versions[-1], x / 255, t.tolist())  # type: ignore[arg-type]
        assert answer.json["loss"] == pytest.approx(loss, rel=1e-4)
        _, gradient = oracle.loss_and_gradient(self.versions[-1], *self.learnt(x, t, answer.json["rehearsed"]))  # type: ignore[arg-type]
        self.versions.append({name: array - rate * gradient[name] for name, array in self.versions[-1].items()})
        if key is not None:
            self.keys[key] = (body, answer.json)
        self.forget_keys()

    def forget_keys(self) -> None:
        """Of versions that are no longer kept."""
        if self.settings.keep_versions is not None:
            oldest = self.oldest
            self.keys = {key: kept for key, kept in self.keys.items() if kept[1]["model_version"] >= oldest}

    def learnt(self, x: Any, t: Any, rehearsed: int) -> tuple[Any, list[int]]:
        """What the newest step learnt: what was posted, and remembered examples that had been posted before."""
        query = {"after": len(self.versions), "rehearsed": "true"}
        with np.load(io.BytesIO(self.client.get("/examples", query_string=query).data)) as page:
            images, labels, remembered = page["x"], page["t"], page["rehearsed"]
        assert (images[~remembered] == (x / np.float32(255)).astype(np.float32)).all()
        assert labels[~remembered].tolist() == t.tolist()
        assert remembered.sum() == rehearsed
        pairs = [image.tobytes() + bytes([label]) for image, label in zip(images, labels, strict=True)]
        assert {pair for pair, again in zip(pairs, remembered, strict=True) if again} <= set(self.posted)
        self.posted += [pair for pair, again in zip(pairs, remembered, strict=True) if not again]
        return images.astype(np.float64), labels.tolist()

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.keys)))
        body, first = self.keys[key]
        assert self.client.post("/train-step", json=body, headers={"Idempotency-Key": key}).json == first

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(self.oldest, len(self.versions)))
        assert self.client.post("/rollback", json={"model_version": version}).status_code == 200
        self.versions.append(self.versions[version - 1])
        self.forget_keys()

    @rule(pause=st.booleans())
    def pause_or_resume(self, pause: bool) -> None:
        answer = self.client.put("/learning", json={"state": "paused" if pause else "learning"})
        assert answer.status_code == 200
        if pause != self.is_paused:
            self.is_paused = pause
            self.versions.append(self.versions[-1])
            self.forget_keys()

    @rule(seed=st.integers(0, 9))
    def load(self, seed: int) -> None:
        assert self.client.put("/weights", data=weights_file.to_bytes(Weights(network(seed)))).status_code == 200
        self.versions.append(network(seed))
        self.forget_keys()

    @rule()
    def refused(self) -> None:
        assert self.client.post("/train-step", json={"images": [[2.0] * INPUTS], "labels": [0]}).status_code == 422
        assert self.client.post("/rollback", json={"model_version": len(self.versions) + 1}).status_code == 404

    @rule(rehearse=REHEARSE)
    def restart(self, rehearse: int) -> None:
        """One worker, perhaps with another setting, as while it is rolled out."""
        self.clients[0].close()
        self.clients[0] = self.started(rehearse)

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        version = data.draw(st.integers(self.oldest, len(self.versions)))
        self.same(version, f"?model_version={version}")

    @rule()
    def look_through(self) -> None:
        """Every record is whole, and every snapshot that is stored is one that a version has."""
        with self.client.app.extensions[EXTENSION].log.reading() as reader:
            assert reader.check() == len(self.versions)
            held = reader.session.run("SELECT DISTINCT snapshot_digest FROM versions WHERE snapshot_digest IS NOT NULL")
            assert sorted(held) == sorted(reader.session.run("SELECT digest FROM snapshots"))

    @invariant()
    def newest(self) -> None:
        if self.versions:
            self.same(len(self.versions), "", self.wanted)

    def same(self, version: int, query: str, headers: Mapping[str, str] | None = None) -> None:
        for _ in range(MOST_TRIES):  # PostgreSQL's news may take longer than X-Min-Model-Version waits: 503, try again
            response = self.client.post(f"/predict{query}", json={"images": LOOKED_AT.tolist()}, headers=headers)
            if headers is None or response.status_code != 503:
                break
        answer = response.json
        assert answer["model_version"] == version
        expected = oracle.probabilities(self.versions[version - 1], LOOKED_AT)  # type: ignore[arg-type]
        assert np.array(answer["probabilities"]) == pytest.approx(expected, abs=1e-4)


MOST_TRIES = 40

SETTINGS = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLog = Log.TestCase
TestLog.settings = settings(SETTINGS, max_examples=4)


@pytest.mark.long
def test_log_at_length() -> None:
    run_state_machine_as_test(Log, settings=SETTINGS)


@pytest.mark.postgres
def test_log_on_postgresql(postgres: Postgres) -> None:
    class LogOnPostgres(Log):
        def new_store(self) -> str:
            return postgres.new_database()

        @property
        def wanted(self) -> dict[str, str]:  # type: ignore[override]
            return {"X-Min-Model-Version": str(len(self.versions))}

    run_state_machine_as_test(LogOnPostgres, settings=settings(SETTINGS, max_examples=25))
