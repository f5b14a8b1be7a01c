"""GET and PUT /learning, and the alarm."""

import io
from typing import Any

import numpy as np
import pytest

from model.types import IntArray
from service.app import EXTENSION, create_app
from service.live.drift_alarm import Watch
from service.settings import Settings
from service.store.rolling_figures import RollingFigures
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


def test_labels_that_come_later_count_with_what_the_served_version_answers_now(client: Client) -> None:
    answer = client.post("/predict?remember=true", json=as_json(X)).json
    assert client.get("/learning").json["windows"][0] | {"by_class": []} == {
        "examples": 100, "count": 0, "accuracy": None, "loss": None, "by_class": [],
    }  # fmt: skip
    for _ in range(20):
        client.post("/train-step", json=as_json(X, 9 - np.array(answer["labels"]), learning_rate=0.1))
    now = client.post("/predict", json=as_json(X)).json["labels"]
    assert now != answer["labels"]
    body = {"prediction_ids": answer["prediction_ids"], "labels": answer["labels"]}
    before = client.get("/learning").json["windows"][0]
    assert client.post("/train-step", json=body).json["accuracy"] == 1, "the answer's own figures are those of then"
    after = client.get("/learning").json["windows"][0]
    hits = sum(one == other for one, other in zip(now, answer["labels"], strict=True))
    assert after["count"] == before["count"] + 2
    assert after["accuracy"] * after["count"] == pytest.approx(before["accuracy"] * before["count"] + hits)


def label(client: Client, answer: dict[str, Any], labels: Any) -> Any:
    body = {"prediction_ids": answer["prediction_ids"], "labels": list(labels)}
    step = client.post("/train-step", json=body)
    assert step.status_code == 200, step.data
    return client.get("/learning").json


def test_what_was_listed_as_uncertain_and_what_pinned_versions_answered_are_counted_apart(client: Client) -> None:
    x, _ = random_batch(6)
    client.post("/train-step", json=as_json(X, T))
    served, listed = (client.post("/predict?remember=true", json=as_json(x[at : at + 2])).json for at in (0, 2))
    others = client.post("/predict?remember=true&model_version=1", json=as_json(x[4:])).json
    newest = client.post("/predict?remember=true&model_version=2", json=as_json(x[:1])).json
    assert len(client.get("/predictions").json["predictions"]) == 7, "which chooses none"
    learning = label(client, served, served["labels"])
    assert (learning["windows"][0]["count"], learning["chosen"]["count"]) == (4, 0)
    learning = label(client, newest, newest["labels"])
    assert (learning["windows"][0]["count"], learning["chosen"]["pinned"]["count"]) == (5, 0)
    learning = label(client, others, [(label + 1) % 10 for label in others["labels"]])
    assert (learning["windows"][0]["count"], learning["chosen"]["count"]) == (5, 0)
    assert learning["chosen"]["pinned"]["count"] == 2
    assert learning["chosen"]["pinned"]["accuracy"] == 0, "what version 1 answered"
    page = client.get("/predictions?order=uncertain").json["predictions"]
    assert {each["prediction_id"] for each in page} == set(listed["prediction_ids"])
    learning = label(client, listed, listed["labels"])
    assert (learning["windows"][0]["count"], learning["chosen"]["count"]) == (5, 2)
    text = client.get("/metrics").text
    for name in ("test_then_train", "chosen", "pinned"):
        assert f"twolayernet_{name}_accuracy_ratio" in text


def test_labels_of_several_kinds_in_one_step_are_each_counted_as_theirs(client: Client) -> None:
    ids = client.post("/predict?remember=true", json=as_json(random_batch(3)[0])).json["prediction_ids"]
    first = client.get("/predictions?order=uncertain&limit=1").json["predictions"][0]["prediction_id"]
    assert first in ids
    learning = label(client, {"prediction_ids": ids}, [0, 0, 0])
    assert (learning["windows"][0]["count"], learning["chosen"]["count"]) == (2, 1)


def test_the_confidence_of_answers_is_known_without_labels(settings: Settings) -> None:
    app = create_app(settings)
    client = Client(app)
    weights = client.get("/weights").data
    x, _ = random_batch(1200)
    sums = []
    for part in (x[:700], x[700:]):
        sums.append(probabilities(client, part).max(axis=1).sum())
        app.extensions[EXTENSION].answers._due = 0.0  # else the next addition comes five seconds later
        app.extensions[EXTENSION].answers.finish()
    unlabelled = Client(create_app(settings)).get("/learning").json["unlabelled"]
    assert unlabelled["since_version"] == 1
    assert unlabelled["first"] == unlabelled["last"]
    assert unlabelled["first"]["count"] == 1200
    assert unlabelled["first"]["confidence"] == pytest.approx(sum(sums) / 1200, rel=1e-6)
    assert unlabelled["first"]["refused"] is None
    assert "twolayernet_confidence_ratio" in client.get("/metrics").text
    client.put("/weights", data=weights)
    unlabelled = client.get("/learning").json["unlabelled"]
    assert (unlabelled["since_version"], unlabelled["first"]["count"]) == (2, 0)


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


IMAGES = np.kron(np.eye(10, dtype=np.uint8) * 255, np.ones((1, 79), np.uint8))[:, :784]
"""One for each class, which are learnt at once."""


def teach(client: Client, steps: int, turned_by: int = 0, **more: Any) -> int:
    """A step of ten images each, one for each class, with the labels turned by so many classes, until there is an event
    of the alarm. Returns the number of steps."""
    for n in range(steps):
        answer = step(client, IMAGES, (np.arange(10) + turned_by) % 10, learning_rate=0.3, **more)
        if answer.status_code == 409 or answered_alarm(client, answer.json["model_version"]):
            return n + 1
    return steps


def answered_alarm(client: Client, version: int) -> bool:
    newest = client.get("/versions?limit=1").json["versions"][0]
    return int(newest["model_version"]) > version


def alarmed(settings: Settings, act: str, **more: Any) -> Client:
    changed = {"alarm": act, "rehearse": 0, "snapshot_every": 20, **more}
    return Client(create_app(settings.model_copy(update=changed)))


def hits(client: Client) -> int:
    return int((probabilities(client, IMAGES).argmax(axis=1) == np.arange(10)).sum())


def test_an_alarm_pauses_where_an_earlier_version_is_better_and_can_be_undone(settings: Settings) -> None:
    client = alarmed(settings, "pause")
    assert teach(client, 60) == 60
    assert hits(client) == 10
    assert teach(client, 30, turned_by=1) < 10
    learning = client.get("/learning").json
    assert learning["state"] == "paused"
    assert "recognises" in learning["reason"]
    assert learning["alarm"]["changed"]["examples"] <= 40
    assert learning["reason"] in is_problem(client.post("/train-step", json=as_json(X, T)), 409)["detail"]
    assert [event["event"] for event in events(client)] == ["alarm"]
    client.put("/learning", json={"state": "learning"})
    assert step(client, IMAGES, np.arange(10)).status_code == 200
    assert client.get("/learning").json["alarm"]["changed"] is None, "somebody looked at it: the alarm begins anew"


def test_an_alarm_goes_back_to_the_best_and_pauses_when_it_goes_on(settings: Settings) -> None:
    client = alarmed(settings, "rollback")
    teach(client, 60)
    assert teach(client, 30, turned_by=1) < 10
    (event,) = events(client)
    assert (event["event"], event["kind"]) == ("alarm", "rollback")
    assert event["source_version"] in (20, 40, 60), "a snapshot"
    assert client.get("/weights").data == client.get(f"/weights?model_version={event['source_version']}").data
    assert hits(client) == 10
    assert client.get("/learning").json["state"] == "learning"
    assert "twolayernet_accuracy_changed 1.0" in client.get("/metrics").text
    assert teach(client, 30, turned_by=1) < 10
    learning = client.get("/learning").json
    assert learning["state"] == "paused"
    assert "second time" in learning["reason"]
    assert hits(client) == 10
    undone = event["model_version"] - 1
    assert client.post("/rollback", json={"model_version": undone}).json["source_version"] == undone
    assert client.get("/weights").data == client.get(f"/weights?model_version={undone}").data


def test_an_alarm_does_nothing_where_no_earlier_version_is_better(settings: Settings) -> None:
    """Other images come, which no version knows."""
    client = alarmed(settings, "rollback", rehearse=8)
    teach(client, 60)
    random = np.random.default_rng(0)
    for _ in range(8):
        x = random.integers(0, 256, (10, 784), dtype=np.uint8)
        assert step(client, x, random.integers(0, 10, 10), learning_rate=0.001).status_code == 200
    learning = client.get("/learning").json
    assert learning["state"] == "learning"
    assert 62 <= learning["alarm"]["changed"]["model_version"] <= 66
    assert events(client) == []


def test_labels_for_answers_of_before_do_not_hide_that_the_network_is_ruined(settings: Settings) -> None:
    client = alarmed(settings, "rollback", max_learning_rate=10)
    teach(client, 60)
    good = client.get("/weights").data
    client.put("/weights", data=good)
    answers = [client.post("/predict?remember=true", json=as_json(IMAGES)).json for _ in range(20)]
    for _ in range(5):
        step(client, IMAGES, (np.arange(10) + 1) % 10, learning_rate=5)
    assert hits(client) < 5
    for answer in answers:
        body = {"prediction_ids": answer["prediction_ids"], "labels": list(range(10)), "learning_rate": 0.0001}
        client.post("/train-step", json=body)
        if events(client):
            break
    (event,) = events(client)
    assert event["source_version"] == 62, "the load"
    assert hits(client) == 10


def test_the_alarm_does_not_go_back_past_what_a_client_loaded_or_went_back_to(settings: Settings) -> None:
    client = alarmed(settings, "rollback")
    teach(client, 60)
    client.post("/rollback", json={"model_version": 1})
    for _ in range(30):
        step(client, IMAGES, np.arange(10), learning_rate=0.000001)
    assert events(client) == []


@pytest.mark.parametrize("kind", ["chosen", "pinned"])
def test_what_was_chosen_raises_no_alarm(settings: Settings, kind: str) -> None:
    client = alarmed(settings, "rollback")
    teach(client, 60)
    query = "&model_version=1" if kind == "pinned" else ""
    for _ in range(20):
        answer = client.post(f"/predict?remember=true{query}", json=as_json(IMAGES)).json
        if kind == "chosen":
            client.get("/predictions?order=uncertain&limit=100")
        label(client, answer, [(n + 1) % 10 for n in range(10)])
    learning = client.get("/learning").json
    assert learning["windows"][1]["count"] == 600
    assert learning["alarm"]["changed"] is None
    assert events(client) == []


def test_no_alarm_is_raised_unless_it_is_set(client: Client) -> None:
    teach(client, 60)
    teach(client, 10, turned_by=1)
    assert events(client) == []
    learning = client.get("/learning").json
    assert learning["alarm"]["act"] == "off"
    assert learning["alarm"]["changed"] is not None, "it is reported all the same"


def test_no_number_of_pauses_hides_that_a_client_rolled_back(client: Client) -> None:
    for _ in range(3):
        step(client, X, T)
    assert client.post("/rollback", json={"model_version": 2}).json["model_version"] == 5
    for _ in range(51):
        for state in ("paused", "learning"):
            client.put("/learning", json={"state": state})
    assert step(client, X, T).status_code == 200
    with client.app.extensions[EXTENSION].log.reading() as reader:
        assert Watch.of(RollingFigures(reader.session).newest().watch).since == 5
    assert client.get("/learning").json["best_window_accuracy"] is None
