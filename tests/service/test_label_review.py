"""GET /labels and GET /examples/{model_version}/{index}/image."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import weights_file
from model.types import IntArray
from model.weights_file import Weights
from service.app import create_app
from service.live.label_review import Learnt, grouped
from service.settings import Settings
from service.store.records import Version
from tests.conftest import Client, as_json, digits, random_batch, store_of_each_kind
from tests.service.test_bad_input import is_problem

store = store_of_each_kind
X, T = random_batch(4)
WRONG = [3, 11, 12, 20]
COUNT = 24


@pytest.fixture
def knowing(settings: Settings, trained: Weights) -> Client:
    """A service that knows the digits."""
    assert settings.weights is not None
    weights_file.save(settings.weights, trained)
    return Client(create_app(settings))


def lessons(client: Client) -> tuple[np.ndarray, IntArray, IntArray]:
    """Digits that it recognises, their true labels, and labels of which those at WRONG are wrong."""
    test = digits().test
    known = client.post("/predict", json={"images": test.images[:200].tolist(), "pixel_max": 255}).json
    sure = np.max(known["probabilities"], axis=1) > 0.99
    chosen = np.flatnonzero(sure & (known["labels"] == test.labels[:200]))[:COUNT]
    true = test.labels[chosen].astype(int)
    labels = true.copy()
    labels[WRONG] = (labels[WRONG] + 4) % 10
    return test.images[chosen], true, labels


def teach(client: Client, x: np.ndarray, t: IntArray, **more: Any) -> int:
    answer = client.post("/train-step", json=as_json(x, t, **more))
    assert answer.status_code == 200, answer.data
    return int(answer.json["model_version"])


def labels(client: Client, query: str = "?limit=1000") -> list[dict[str, Any]]:
    answer = client.get(f"/labels{query}")
    assert answer.status_code == 200, answer.data
    found: list[dict[str, Any]] = answer.json["labels"]
    return found


def places(client: Client) -> set[tuple[int, int]]:
    return {(label["model_version"], label["index"]) for label in labels(client)}


def test_the_wrong_ones_come_first_whoever_posted_them_and_in_whatever_batch(knowing: Client) -> None:
    x, true, t = lessons(knowing)
    for start in range(0, COUNT, 4):
        teach(knowing, x[start : start + 4], t[start : start + 4], learning_rate=0.01)
    found = labels(knowing, "?order=suspicious&limit=4")
    assert {4 * (one["model_version"] - 2) + one["index"] for one in found} == set(WRONG)
    everything = labels(knowing)
    assert everything[:4] == found
    assert len(labels(knowing, "")) == len(everything) == COUNT
    assert [one["probability"] for one in everything] == sorted(one["probability"] for one in everything)
    for one in found:
        at = 4 * (one["model_version"] - 2) + one["index"]
        assert (one["label"], one["predicted"]) == (t[at], true[at])
    page = {version["model_version"]: version for version in knowing.get("/versions").json["versions"]}
    assert all(one["created_at"] == page[one["model_version"]]["created_at"] for one in everything)


def test_the_probability_is_the_mean_of_before_the_step_and_now(knowing: Client) -> None:
    x, _, t = lessons(knowing)
    versions = [teach(knowing, x[at : at + 1], t[at : at + 1], learning_rate=0.05) for at in range(8)]
    by_version = {one["model_version"]: one for one in labels(knowing)}
    for at, version in enumerate(versions):
        pictures = {"images": x[at : at + 1].tolist(), "pixel_max": 255}
        before, now = (
            knowing.post(f"/predict{query}", json=pictures).json["probabilities"][0][t[at]]
            for query in (f"?model_version={version - 1}", "")
        )
        assert by_version[version]["probability"] == pytest.approx(np.sqrt(before * now), rel=1e-3)


def test_so_it_is_after_the_first_step(client: Client) -> None:
    before = client.post("/predict", json=as_json(X[:1])).json["probabilities"][0][1]
    teach(client, X[:1], np.array([1]), learning_rate=0.1)
    now = client.post("/predict", json=as_json(X[:1])).json["probabilities"][0][1]
    assert labels(client)[0]["probability"] == pytest.approx(np.sqrt(before * now), rel=1e-4)


def test_few_large_images_are_judged_at_once() -> None:
    version = Version(2, "train-step", 0.0)
    steps = [Learnt(version, np.empty((100, 2**20), np.uint8), np.zeros(100, np.intp), np.zeros(100))]
    small = [Learnt(version, np.empty((5, 2**20), np.uint8), np.zeros(5, np.intp), np.zeros(5)) for _ in range(10)]
    assert [len(group) for group in grouped(iter(steps + small))] == [1, 3, 3, 3, 1]


def test_of_a_prediction_it_is_that_of_the_version_before_the_step(client: Client) -> None:
    then = client.post("/predict?remember=true", json=as_json(X[:1])).json
    for _ in range(5):
        teach(client, X[:1], np.array([1]), learning_rate=0.1)
    before = client.post("/predict", json=as_json(X[:1])).json["probabilities"][0][1]
    body = {"prediction_ids": then["prediction_ids"], "labels": [1], "learning_rate": 0.1}
    version = client.post("/train-step", json=body).json["model_version"]
    now = client.post("/predict", json=as_json(X[:1])).json["probabilities"][0][1]
    (found,) = [one for one in labels(client) if one["model_version"] == version]
    assert found["probability"] == pytest.approx(np.sqrt(before * now), rel=1e-4)


def test_what_is_not_in_force_is_not_listed(client: Client) -> None:
    assert labels(client) == []
    for _ in range(3):
        teach(client, X[:2], T[:2])
    assert places(client) == {(2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (4, 1)}
    client.post("/rollback", json={"model_version": 2})
    assert places(client) == {(2, 0), (2, 1)}
    teach(client, X[:1], T[:1])
    assert places(client) == {(2, 0), (2, 1), (6, 0)}
    client.put("/learning", json={"state": "paused"})
    client.put("/learning", json={"state": "learning"})
    assert places(client) == {(2, 0), (2, 1), (6, 0)}
    client.put("/weights", data=client.get("/weights").data)
    assert labels(client) == []
    client.post("/rollback", json={"model_version": 4})
    assert places(client) == {(2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (4, 1)}


def test_what_was_unlearned_is_not_listed_and_what_was_relabelled_has_its_new_label(client: Client) -> None:
    versions = [teach(client, X[at : at + 2], T[at : at + 2], source=f"tablet-{at}") for at in (0, 1, 2)]
    unlearned = client.post("/unlearn", json={"model_versions": versions[:1]})
    assert unlearned.status_code == 200, unlearned.data
    assert {one["source"] for one in labels(client)} == {"tablet-1", "tablet-2"}
    new = [(int(T[1]) + 1) % 10, int(T[2])]
    assert client.post("/relabel", json={"model_version": versions[1], "labels": new}).status_code == 200
    found = {one["index"]: one for one in labels(client) if one["model_version"] == versions[1]}
    assert [found[index]["label"] for index in (0, 1)] == new
    now = client.post("/predict", json=as_json(X[1:2])).json["probabilities"][0][new[0]]
    assert found[0]["probability"] == pytest.approx(now, rel=1e-5)  # what it was before the step is not known
    client.post("/rollback", json={"model_version": versions[2]})
    assert places(client) == {(version, index) for version in versions for index in (0, 1)}
    assert {one["label"] for one in labels(client) if one["model_version"] == versions[1]} == set(T[1:3].tolist())


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_the_newest_ten_thousand_are_looked_at(client: Client) -> None:
    x, t = random_batch(5000)
    for _ in range(3):
        stream = io.BytesIO()
        np.savez(stream, x=x, t=t)
        answer = client.post("/train-step?rehearse=0", data=stream.getvalue(), content_type="application/x-npz")
        assert answer.status_code == 200, answer.data
    found = labels(client)
    assert len(found) == 1000
    assert {one["model_version"] for one in found} == {3, 4}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "order=newest", "order=", "before=3"])
def test_a_query_out_of_bounds_is_named(client: Client, query: str) -> None:
    problem = is_problem(client.get(f"/labels?{query}"), 422)
    assert problem["errors"][0]["loc"] == ["query", query.partition("=")[0]]


def test_each_example_is_a_png_whether_in_force_or_not(client: Client) -> None:
    floats = np.random.default_rng(1).random(784).astype(np.float32)
    teach(client, X, T)
    client.post("/train-step", json={"images": [floats.tolist()], "labels": [1]})
    client.post("/rollback", json={"model_version": 1})
    for place, pixels in ((("2", "0"), X[0]), (("2", "3"), X[3]), (("3", "0"), np.rint(floats * 255))):
        answer = client.get("/examples/{}/{}/image".format(*place))
        assert (answer.status_code, answer.mimetype) == (200, "image/png")
        assert answer.headers["Cache-Control"] == "no-store"
        image = np.asarray(Image.open(io.BytesIO(answer.data)))
        assert image.shape == (28, 28)
        assert (image.ravel() == pixels).all()


@pytest.mark.parametrize(
    "place", ["1/0", "2/4", f"2/{2**63}", f"2/{'9' * 19}", "2/-1", "2/x", "2/%D9%A3", "0/0", "3/0", f"{2**63}/0", "x/0"]
)
def test_what_there_is_not_is_404(client: Client, place: str) -> None:
    teach(client, X, T)
    is_problem(client.get(f"/examples/{place}/image"), 404)
