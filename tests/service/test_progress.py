"""GET and PUT /learning, and the alarm."""

import io
from typing import Any

import numpy as np
import pytest

from model.types import IntArray
from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch, store_of_each_kind
from tests.service.test_bad_input import is_problem

store = store_of_each_kind

X, T = random_batch(2)


def step(client: Client, x: np.ndarray, t: IntArray, **more: Any) -> Any:
    body = io.BytesIO()
    np.savez(body, x=x, t=t)
    return client.post("/train-step", data=body.getvalue(), content_type="application/x-npz", query_string=more)


def probabilities(client: Client, x: np.ndarray) -> np.ndarray:
    body = io.BytesIO()
    np.save(body, x)
    return np.array(
        client.post("/predict", data=body.getvalue(), content_type="application/x-npy").json["probabilities"]
    )


def events(client: Client) -> list[dict[str, Any]]:
    return [version for version in client.get("/versions").json["versions"] if "event" in version]


@pytest.mark.parametrize(("largest", "total"), [(7, 260), (900, 13_000)])
def test_the_windows_are_of_the_last_examples_whatever_steps_they_came_in(
    settings: Settings, largest: int, total: int
) -> None:
    client = Client(create_app(settings.model_copy(update={"rehearse": 0})))
    random = np.random.default_rng(2)
    labels, hits, losses = (np.empty(0) for _ in range(3))
    while len(labels) < total:
        x, t = random_batch(int(random.integers(1, largest + 1)), len(labels))
        answered = probabilities(client, x)
        labels = np.append(labels, t)
        hits = np.append(hits, answered.argmax(axis=1) == t)
        losses = np.append(losses, -np.log(answered[np.arange(len(t)), t]))
        assert step(client, x, t, learning_rate=0.1).status_code == 200
    client.post("/rollback", json={"model_version": 1})
    answer = Client(create_app(settings)).get("/learning").json
    assert answer == client.get("/learning").json
    assert answer["state"] == "learning"
    assert [window["examples"] for window in answer["windows"]] == [100, 1000, 10_000]
    for window in answer["windows"]:
        last = slice(-window["examples"], None)
        assert window["count"] == len(labels[last])
        assert window["accuracy"] == pytest.approx(hits[last].mean())
        assert window["loss"] == pytest.approx(losses[last].mean(), rel=1e-4)
        for label, figures in enumerate(window["by_class"]):
            of_class = labels[last] == label
            assert figures["label"] == label
            assert figures["count"] == of_class.sum()
            assert figures["accuracy"] == pytest.approx(hits[last][of_class].mean())
            assert figures["loss"] == pytest.approx(losses[last][of_class].mean(), rel=1e-4)


def test_labels_that_come_later_count_with_what_was_answered_then(client: Client) -> None:
    answer = client.post("/predict?remember=true", json=as_json(X)).json
    assert client.get("/learning").json["windows"][0] | {"by_class": []} == {
        "examples": 100, "count": 0, "accuracy": None, "loss": None, "by_class": [],
    }  # fmt: skip
    for _ in range(20):
        client.post("/train-step", json=as_json(X, 9 - T, learning_rate=0.1))
    body = {"prediction_ids": answer["prediction_ids"], "labels": answer["labels"]}
    before = client.get("/learning").json["windows"][0]
    client.post("/train-step", json=body)
    after = client.get("/learning").json["windows"][0]
    assert after["count"] == before["count"] + 2
    assert after["accuracy"] * after["count"] == pytest.approx(before["accuracy"] * before["count"] + 2)


def test_a_pause_is_everybody_s_and_an_event(settings: Settings) -> None:
    client, other = Client(create_app(settings)), Client(create_app(settings))
    client.post("/train-step", json=as_json(X, T))
    answer = client.put("/learning", json={"state": "paused", "reason": "the camera is being moved"})
    assert (answer.json["state"], answer.json["reason"]) == ("paused", "the camera is being moved")
    client.put("/learning", json={"state": "paused"})
    for each in (client, other, Client(create_app(settings))):
        problem = is_problem(each.post("/train-step", json=as_json(X, T)), 409)
        assert "paused: the camera is being moved" in problem["detail"]
        assert each.get("/learning").json["state"] == "paused"
        assert each.post("/predict", json=as_json(X)).json["model_version"] == 3
    assert other.post("/rollback", json={"model_version": 1}).json["model_version"] == 4
    assert other.put("/weights", data=client.get("/weights").data).json["model_version"] == 5
    is_problem(other.post("/train-step", json=as_json(X, T)), 409)
    assert other.put("/learning", json={"state": "learning"}).json["state"] == "learning"
    assert client.post("/train-step", json=as_json(X, T)).json["model_version"] == 7
    resumed, paused = events(client)
    assert (paused["model_version"], paused["event"], paused["reason"]) == (3, "pause", "the camera is being moved")
    assert (resumed["model_version"], resumed["event"]) == (6, "resume")


def test_a_pause_changes_no_weights_and_reads_as_a_rollback_to_the_version_before(client: Client) -> None:
    """So that whoever recomputes the log need not know of it."""
    client.post("/train-step", json=as_json(X, T))
    before = client.get("/weights").data
    client.put("/learning", json={"state": "paused"})
    assert client.get("/weights").data == before
    paused = client.get("/versions?limit=1").json["versions"][0]
    assert (paused["kind"], paused["source_version"]) == ("rollback", 2)


def test_what_was_learnt_before_a_pause_is_answered_again(client: Client) -> None:
    key = {"Idempotency-Key": "before"}
    first = client.post("/train-step", json=as_json(X, T), headers=key)
    client.put("/learning", json={"state": "paused"})
    assert client.post("/train-step", json=as_json(X, T), headers=key).data == first.data


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "off"}, {"state": 1}, {"state": "learning", "reason": "why"}, {"state": "paused", "until": 1}],
)
def test_a_state_that_makes_no_sense_is_422(client: Client, body: dict[str, Any]) -> None:
    is_problem(client.put("/learning", json=body), 422)
    assert client.get("/learning").json["state"] == "learning"


WINDOW = 50
IMAGES = np.kron(np.eye(10, dtype=np.uint8) * 255, np.ones((1, 79), np.uint8))[:, :784]
"""One for each class, which are learnt at once."""


def teach(client: Client, steps: int, turned_by: int = 0, first: int = 0) -> list[bool]:
    """A step of one image each, with the labels turned by so many classes; whether each was recognised before."""
    hits = []
    for n in range(first, first + steps):
        answer = step(client, IMAGES[n % 10 : n % 10 + 1], np.array([(n + turned_by) % 10]), learning_rate=0.3)
        if answer.status_code == 409:
            break
        hits.append(answer.json["accuracy"] == 1)
    return hits


def alarmed(settings: Settings, act: str) -> Client:
    changed = {"alarm": act, "alarm_examples": WINDOW, "alarm_points": 20, "rehearse": 0}
    return Client(create_app(settings.model_copy(update=changed)))


def first_fall(hits: list[bool]) -> tuple[int, int]:
    """After how many examples the alarm is due, and after how many its accuracy was at its best."""
    best, best_at = -1.0, 0
    for end in range(WINDOW, len(hits) + 1):
        accuracy = sum(hits[end - WINDOW : end]) / WINDOW
        if accuracy > best:
            best, best_at = accuracy, end
        if best - accuracy > 0.2:
            return end, best_at
    raise AssertionError("it did not fall")


def test_an_alarm_pauses_at_the_step_that_is_due_and_can_be_undone(settings: Settings) -> None:
    client = alarmed(settings, "pause")
    hits = teach(client, 80)
    hits += teach(client, 60, turned_by=1)
    assert first_fall(hits)[0] == len(hits)
    learning = client.get("/learning").json
    assert learning["state"] == "paused"
    assert "fell to" in learning["reason"]
    assert learning["reason"] in is_problem(client.post("/train-step", json=as_json(X, T)), 409)["detail"]
    assert [event["event"] for event in events(client)] == ["alarm"]
    client.put("/learning", json={"state": "learning"})
    assert len(teach(client, 40, turned_by=1)) == 40, "somebody looked at it: the alarm begins anew"


def test_an_alarm_goes_back_to_the_best_and_can_be_undone(settings: Settings) -> None:
    client = alarmed(settings, "rollback")
    hits = teach(client, 80)
    before = client.get("/learning").json
    for n in range(WINDOW):
        if not events(client):
            hits += teach(client, 1, turned_by=1, first=n)
    due, best = first_fall(hits)
    assert due == len(hits)
    (event,) = events(client)
    assert event["event"] == "alarm"
    assert event["kind"] == "rollback"
    assert event["model_version"] == due + 2
    assert event["source_version"] == best + 1 == before["alarm"]["best_version"]
    given = client.get("/weights").data
    assert given == client.get(f"/weights?model_version={best + 1}").data
    after = client.get("/learning").json
    assert after["state"] == "learning"
    assert after["best_window_accuracy"] == before["best_window_accuracy"]
    assert len(teach(client, WINDOW - 1, turned_by=1)) == WINDOW - 1
    assert len(events(client)) == 1, "it counts afresh after its own act"
    teach(client, 1, turned_by=1)
    assert len(events(client)) == 2
    undone = client.post("/rollback", json={"model_version": due + 1}).json
    assert client.get("/weights").data == client.get(f"/weights?model_version={due + 1}").data
    assert undone["source_version"] == due + 1


def test_no_alarm_is_raised_unless_it_is_set(client: Client) -> None:
    teach(client, 80)
    teach(client, 60, turned_by=1)
    assert events(client) == []
    assert client.get("/learning").json["alarm"]["act"] == "off"
