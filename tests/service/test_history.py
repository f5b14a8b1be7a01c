"""Rollback, weights in and out, examples out: history is only ever appended to, and can be taken apart by anyone."""

import io
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy.engine import make_url

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service.app import create_app
from service.live import history
from service.schemas.answers import VersionAnswer
from service.settings import Settings
from service.store.log import MOST_SNAPSHOTS_FOLDED, StepLog
from tests.conftest import Client, as_json, behind_the_back, random_batch
from tests.service.test_bad_input import is_problem

X, _ = random_batch(3, seed=9)


def arrays(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data)) as loaded:
        return dict(loaded)


def learn(client: Client, steps: int) -> None:
    for seed in range(steps):
        assert client.post("/train-step", json=as_json(*random_batch(2, seed))).status_code == 200


def predict(client: Client, version: int | None = None) -> Any:
    answer = client.post("/predict" if version is None else f"/predict?model_version={version}", json=as_json(X))
    assert answer.status_code == 200, answer.data
    return answer.json


def weights_of_seed(seed: int, hidden: int = 50) -> bytes:
    return weights_file.to_bytes(Weights(TwoLayerNet(784, hidden, 10, "he", seed=seed, dtype=np.float32).params))


def test_any_version_can_be_asked_for(client: Client) -> None:
    answers = [predict(client)]
    for seed in range(6):
        client.post("/train-step", json=as_json(*random_batch(2, seed)))
        answers.append(predict(client))
    for answer in answers * 2:
        assert predict(client, answer["model_version"]) == answer


def test_a_rollback_is_a_new_version_with_the_old_weights(client: Client) -> None:
    learn(client, 4)
    wanted = predict(client, 3)
    answer = client.post("/rollback", json={"model_version": 3})
    assert answer.status_code == 200
    VersionAnswer.model_validate(answer.json, extra="forbid")
    assert (answer.json["model_version"], answer.json["kind"], answer.json["source_version"]) == (6, "rollback", 3)
    assert predict(client) == {**wanted, "model_version": 6}
    assert predict(client, 5)["probabilities"] != wanted["probabilities"]
    kinds = [version["kind"] for version in client.get("/versions").json["versions"]]
    assert kinds == ["rollback", *["train-step"] * 4, "load"]


def test_a_page_is_bounded_by_what_its_versions_list(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_NUMBERS_LISTED", 3)
    learn(client, 7)  # 2…8, of two images each
    for body in ({"model_versions": [2, 3, 4, 5]}, {"model_versions": [6, 7]}):  # 9, 10
        assert client.post("/unlearn", json=body).status_code == 200
    for _ in range(2):  # 11, 12
        assert client.post("/relabel", json={"model_version": 8, "labels": [1, 2]}).status_code == 200
    pages, before = [], ""
    while True:
        answer = client.get(f"/versions?limit=4{before}").json
        pages.append([version["model_version"] for version in answer["versions"]])
        if answer["next_before"] is None:
            break
        before = f"&before={answer['next_before']}"
    assert pages == [[12], [11], [10], [9], [8, 7, 6, 5], [4, 3, 2, 1]]


def test_learning_goes_on_from_a_rollback(client: Client, settings: Settings) -> None:
    learn(client, 3)
    client.post("/rollback", json={"model_version": 2})
    learn(client, 2)
    answer = predict(client)
    assert predict(Client(create_app(settings))) == answer
    assert predict(client, 7) == answer


@pytest.mark.parametrize("version", [2, 99, 10**18])
def test_a_version_that_does_not_exist_is_404_and_says_which_there_are(client: Client, version: int) -> None:
    for answer in (
        client.post("/rollback", json={"model_version": version}),
        client.get(f"/weights?model_version={version}"),
        client.post(f"/predict?model_version={version}", json=as_json(X)),
    ):
        assert "the store has 1 to 1" in is_problem(answer, 404)["detail"]


@pytest.mark.parametrize(
    "body", [{}, {"model_version": 0}, {"model_version": "1"}, {"model_version": 1, "x": 1}, [], 2**70]
)
def test_a_bad_rollback_is_refused(client: Client, body: object) -> None:
    is_problem(client.post("/rollback", json=body), 422)
    is_problem(client.post("/rollback", data="model_version=1", content_type="text/plain"), 415)


def test_weights_come_out_as_a_file_that_can_be_served_again(client: Client, weights: Weights) -> None:
    learn(client, 2)
    answer = client.get("/weights")
    assert answer.headers["X-Model-Version"] == "3"
    assert weights_file.from_bytes(answer.data).image_shape == (28, 28)
    again = client.get("/weights", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    first = client.get("/weights?model_version=1")
    assert first.headers["ETag"] != answer.headers["ETag"]
    assert all((arrays(first.data)[name] == weights.params[name]).all() for name in weights.params)


def test_weights_put_in_are_a_new_version(client: Client) -> None:
    learn(client, 1)
    answer = client.put("/weights", data=weights_of_seed(5))
    assert answer.status_code == 200, answer.data
    assert (answer.json["model_version"], answer.json["kind"]) == (3, "load")
    assert predict(client)["model_version"] == 3
    served = arrays(client.get("/weights").data)
    assert (served["W1"] == arrays(weights_of_seed(5))["W1"]).all()
    learn(client, 1)
    client.post("/rollback", json={"model_version": 2})
    assert predict(client)["probabilities"] == predict(client, 2)["probabilities"]


def test_weights_with_other_hidden_units_may_be_put_in_and_survive_a_restart(
    client: Client, settings: Settings
) -> None:
    client.put("/weights", data=weights_of_seed(5, hidden=20))
    learn(client, 2)
    answer = predict(client)
    assert predict(Client(create_app(settings))) == answer


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (TwoLayerNet(783, 50, 10).params, "input size is 783: that of the served model is 784"),
        (TwoLayerNet(784, 50, 9).params, "output size is 9: that of the served model is 10"),
        ({**TwoLayerNet(784, 50, 10).params, "b1": np.zeros(49)}, "b1 has shape (49,)"),
        ({**TwoLayerNet(784, 50, 10).params, "b1": np.full(50, 1e38)}, "too large to compute with"),
    ],
)
def test_weights_that_would_not_do_are_refused(client: Client, params: dict[str, np.ndarray], message: str) -> None:
    stream = io.BytesIO()
    np.savez(stream, **params)  # type: ignore[arg-type]
    assert message in is_problem(client.put("/weights", data=stream.getvalue()), 422)["detail"]
    is_problem(client.put("/weights", data=b"not weights"), 422)
    is_problem(client.put("/weights"), 422)
    assert predict(client)["model_version"] == 1


def test_examples_come_out_as_they_were_learnt(client: Client) -> None:
    batches = [random_batch(count, count) for count in (2, 3, 4)]
    for x, t in batches[:2]:
        client.post("/train-step", json=as_json(x, t))
    client.post("/rollback", json={"model_version": 1})
    client.post("/train-step", json={"images": (batches[2][0] / 255).tolist(), "labels": batches[2][1].tolist()})
    found = arrays(client.get("/examples").data)
    assert found["x"].dtype == np.float32
    assert found["x"] == pytest.approx(np.concatenate([x / 255 for x, _ in batches]), abs=1e-7)
    assert found["t"].tolist() == np.concatenate([t for _, t in batches]).tolist()
    assert found["model_version"].tolist() == [2, 2, 3, 3, 3, 5, 5, 5, 5]


def test_examples_come_in_pages_of_whole_steps(client: Client) -> None:
    learn(client, 5)
    pages, after = [], 0
    while True:
        found = arrays(client.get(f"/examples?after={after}&limit=5").data)
        if not len(found["t"]):
            break
        pages.append(found["model_version"].tolist())
        after = pages[-1][-1]
    assert pages == [[2, 2, 3, 3], [4, 4, 5, 5], [6, 6]]
    assert arrays(client.get("/examples?limit=1").data)["model_version"].tolist() == [2, 2]
    assert arrays(client.get("/examples?after=6").data)["x"].shape == (0, 784)


def test_a_repeated_key_gets_the_first_answer_and_changes_nothing(client: Client) -> None:
    body = as_json(*random_batch(2))
    key = {"Idempotency-Key": "lesson 1"}
    first = client.post("/train-step", json=body, headers=key)
    learn(client, 2)
    again = client.post("/train-step", json=body, headers=key)
    assert (again.status_code, again.data) == (200, first.data)
    assert predict(client)["model_version"] == 4
    other = client.post("/train-step", json={**body, "learning_rate": 0.5}, headers=key)
    assert "lesson 1" in is_problem(other, 409)["detail"]
    assert predict(client)["model_version"] == 4


def test_a_key_is_free_again_after_a_refused_request(client: Client) -> None:
    key = {"Idempotency-Key": "k"}
    is_problem(client.post("/train-step", json={}, headers=key), 422)
    assert client.post("/train-step", json=as_json(*random_batch(1)), headers=key).status_code == 200


@pytest.mark.parametrize("key", ["", " ", "x" * 256])
def test_a_key_that_is_empty_or_too_long_is_refused(client: Client, key: str) -> None:
    answer = client.post("/train-step", json=as_json(*random_batch(1)), headers={"Idempotency-Key": key})
    assert is_problem(answer, 422)["errors"][0]["loc"] == ["Idempotency-Key"]


@pytest.mark.parametrize("every", [1, 3, 100])
def test_snapshots_change_nothing_that_can_be_seen(settings: Settings, every: int) -> None:
    client = Client(create_app(settings.model_copy(update={"snapshot_every": every})))
    learn(client, 8)
    answer = predict(client)
    plain = settings.model_copy(update={"store": settings.store + ".plain", "snapshot_every": 1000})
    learn(other := Client(create_app(plain)), 8)
    assert [predict(other, version) for version in range(1, 10)] == [
        predict(client, version) for version in range(1, 10)
    ]
    assert predict(Client(create_app(settings))) == answer


def test_retention_folds_old_versions_and_all_that_is_listed_can_be_reached(settings: Settings) -> None:
    settings = settings.model_copy(update={"snapshot_every": 4, "keep_versions": 6})
    client = Client(create_app(settings))
    learn(client, 30)
    listed = [version["model_version"] for version in client.get("/versions").json["versions"]]
    assert listed == list(range(31, 19, -1))  # folded at 28, up to the snapshot at or before 28 - 6 + 1
    fresh = Client(create_app(settings))
    for version in listed:
        assert predict(fresh, version) == predict(client, version)
        assert fresh.get(f"/weights?model_version={version}").status_code == 200
    assert "the store has 20 to 31" in is_problem(fresh.get("/weights?model_version=19"), 404)["detail"]
    assert arrays(client.get("/examples").data)["model_version"].min() == 20
    assert fresh.post("/rollback", json={"model_version": 20}).status_code == 200
    assert predict(client)["probabilities"] == predict(fresh, 32)["probabilities"]


def test_a_long_history_is_folded_bit_by_bit_once_few_versions_are_kept(settings: Settings) -> None:
    learn(Client(create_app(settings.model_copy(update={"snapshot_every": 2}))), 60)
    client = Client(create_app(settings.model_copy(update={"snapshot_every": 5, "keep_versions": 3})))
    before = predict(client)
    oldest = [1]
    for seed in range(20):
        client.post("/train-step", json=as_json(*random_batch(1, seed)))
        oldest.append(client.get("/versions?limit=1000").json["versions"][-1]["model_version"])
    assert max(np.diff(oldest)) == 2 * MOST_SNAPSHOTS_FOLDED
    assert predict(client) != before
    again = Client(create_app(settings))
    assert predict(again) == predict(client)
    assert again.get(f"/weights?model_version={oldest[-1]}").status_code == 200
    assert checked(settings) == 81


def checked(settings: Settings) -> int:
    """All of the log, as `restore` and `store copy` look through it."""
    with closing(StepLog.at(settings.store)) as log, log.reading() as reader:
        return reader.check()


def test_a_step_costs_little_more_on_the_disk_than_its_pixels(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"snapshot_every": 10_000})))

    def size() -> int:
        with behind_the_back(Path(make_url(settings.store).database or "")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            [(pages,)] = connection.execute("PRAGMA page_count")
        return int(pages) * 4096

    before = size()
    for seed in range(60):
        client.post("/train-step", json=as_json(*random_batch(32, seed)))
    assert size() - before <= 1.1 * 60 * 32 * 784
