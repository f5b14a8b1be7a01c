"""/predict?remember=true, /predictions, and /train-step with prediction_ids."""

import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.engine import make_url

from service.app import EXTENSION, create_app
from service.settings import Settings
from service.store import write_lock
from tests.conftest import Client, as_json, behind_the_back, random_batch, store_of_each_kind
from tests.service.test_bad_input import is_problem

store = store_of_each_kind
on_sqlite = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""Of tests that look into the file."""

X, T = random_batch(4)


def remembered(client: Client, x: np.ndarray = X) -> dict[str, Any]:
    answer = client.post("/predict?remember=true", json=as_json(x))
    assert answer.status_code == 200, answer.data
    found: dict[str, Any] = answer.json
    return found


def learn(client: Client, ids: Sequence[str], labels: Sequence[int], **more: Any) -> Any:
    return client.post("/train-step", json={"prediction_ids": ids, "labels": labels, **more})


def waiting(client: Client, query: str = "") -> list[str]:
    return [entry["prediction_id"] for entry in client.get(f"/predictions{query}").json["predictions"]]


def newest(client: Client) -> int:
    return int(client.get("/readyz").json["model_version"])


def examples(client: Client, after: int) -> Any:
    return np.load(io.BytesIO(client.get(f"/examples?after={after}").data))


def test_a_label_that_comes_later_is_learnt_and_measured_on_what_was_answered_then(client: Client) -> None:
    answer = remembered(client)
    for _ in range(5):
        client.post("/train-step", json=as_json(X, T, learning_rate=0.1))
    labels = [0, *T[1:].tolist()]
    step = learn(client, answer["prediction_ids"], labels, learning_rate=0.01)
    then = np.array(answer["probabilities"])
    assert step.status_code == 200, step.data
    assert step.json["model_version"] == 7
    assert step.json["count"] == 4
    assert step.json["loss"] == pytest.approx(-np.log(then[np.arange(4), labels]).mean(), rel=1e-5)
    assert step.json["accuracy"] == (then.argmax(axis=1) == labels).mean()
    listed = client.get("/versions?limit=1").json["versions"][0]
    assert (listed["loss"], listed["accuracy"]) == (step.json["loss"], step.json["accuracy"])
    learnt = examples(client, 6)
    assert (np.rint(learnt["x"] * 255) == X).all()
    assert learnt["t"].tolist() == labels


def test_an_image_is_remembered_as_the_network_took_it(client: Client) -> None:
    floats = np.random.default_rng(1).random(784).astype(np.float32)
    one = client.post("/predict?remember=true", json={"image": floats.tolist()}).json["prediction_ids"]
    other = remembered(client, X[:1])["prediction_ids"]
    assert learn(client, [*one, *other], [3, 4]).status_code == 200
    learnt = examples(client, 1)["x"]
    assert (learnt[0] == floats).all()
    assert (learnt[1] == (X[0] / 255).astype(np.float32)).all()


def test_each_id_is_learnt_once_and_what_can_t_be_is_named_and_changes_nothing(client: Client) -> None:
    first, second, third, fourth = remembered(client)["prediction_ids"]
    assert learn(client, [first, second], [1, 2]).status_code == 200
    forgotten = client.delete(f"/predictions/{fourth}")
    assert (forgotten.status_code, forgotten.data, forgotten.content_type) == (204, b"", None)
    problem = is_problem(learn(client, [third, first, "nobody-knows", fourth], [1, 2, 3, 4]), 409)
    assert [error["loc"] for error in problem["errors"]] == [["prediction_ids", at] for at in (1, 2, 3)]
    for error, name in zip(problem["errors"], (first, "nobody-knows", fourth), strict=True):
        assert name in error["msg"]
    assert "already learnt, by version 2" in problem["errors"][0]["msg"]
    assert newest(client) == 2
    assert waiting(client) == [third]
    many = is_problem(learn(client, [f"no-{n}" for n in range(1000)], [0] * 1000), 409)
    assert len(many["errors"]) == 100  # as many as an answer has room for
    assert "(and 999 more)" in many["detail"]


def test_what_was_learnt_can_be_learnt_again_once_it_is_no_longer_in_force(client: Client) -> None:
    first, second = remembered(client)["prediction_ids"][:2]
    image = client.get(f"/predictions/{first}/image").data
    assert learn(client, [first, second], [1, 2]).json["model_version"] == 2
    is_problem(client.get(f"/predictions/{first}/image"), 404)
    client.post("/rollback", json={"model_version": 1})
    again = learn(client, [first], [3])
    assert again.status_code == 200, again.json
    assert client.get("/examples/4/0/image").data == image
    problem = is_problem(learn(client, [second, first], [1, 2]), 409)
    assert "by version 4" in problem["detail"]
    client.post("/unlearn", json={"model_versions": [4]})
    assert learn(client, [first], [5]).json["model_version"] == 6
    client.post("/rollback", json={"model_version": 2})  # which contains the first step that learnt it
    assert "by version 2" in is_problem(learn(client, [first], [1]), 409)["detail"]
    assert not {first, second} & set(waiting(client))


def test_a_thousand_are_one_step_and_more_are_refused_with_the_bound(client: Client) -> None:
    x, t = random_batch(1000)
    ids = remembered(client, x)["prediction_ids"]
    assert len(set(ids)) == 1000
    assert "1000" in is_problem(learn(client, [*ids, "one-more"], [*t.tolist(), 0]), 422)["detail"]
    assert (
        "1000" in is_problem(client.post("/predict?remember=true", json=as_json(np.tile(X, (251, 1)))), 422)["detail"]
    )
    assert learn(client, ids, t.tolist()).json["count"] == 1000
    assert newest(client) == 2


def test_a_repeat_with_its_key_gets_the_first_answer(client: Client) -> None:
    body = {"prediction_ids": remembered(client)["prediction_ids"], "labels": T.tolist()}
    first = client.post("/train-step", json=body, headers={"Idempotency-Key": "later"})
    assert client.post("/train-step", json=body, headers={"Idempotency-Key": "later"}).data == first.data
    is_problem(client.post("/train-step", json=body), 409)
    assert newest(client) == 2


def test_of_many_workers_that_want_an_id_one_gets_it(settings: Settings) -> None:
    """Two processes' worth of the service, in this one."""
    clients = [Client(create_app(settings)) for _ in range(2)]
    ids = remembered(clients[0], random_batch(20)[0])["prediction_ids"]

    def try_all(seed: int) -> list[int]:
        client = Client(clients[seed % 2].app)
        return [learn_at_last(client, id_) for id_ in np.random.default_rng(seed).permutation(ids).tolist()]

    with ThreadPoolExecutor(4) as pool:
        codes = [code for found in pool.map(try_all, range(4)) for code in found]
    assert codes.count(200) == 20
    assert codes.count(409) == 60
    assert newest(clients[1]) == 21
    assert len(examples(clients[0], 0)["t"]) == 20


def learn_at_last(client: Client, id_: str) -> int:
    """The status, once the service has found the time."""
    while (status := int(learn(client, [id_], [1]).status_code)) == 503:
        continue
    return status


@pytest.mark.parametrize("order", ["newest", "uncertain"])
def test_pages_show_each_waiting_prediction_once_and_in_order(client: Client, order: str) -> None:
    answers = [remembered(client, random_batch(14)[0]) for _ in range(2)]  # of the same margins
    ids = answers[0]["prediction_ids"] + answers[1]["prediction_ids"]
    two_best = [np.sort(np.array(p, np.float32).astype(float))[-2:] for each in answers for p in each["probabilities"]]
    place = {"newest": lambda at: -at, "uncertain": lambda at: (two_best[at][1] - two_best[at][0], -at)}[order]
    expected = [ids[at] for at in sorted(range(28), key=place)]
    found: list[str] = []
    before = ""
    while True:
        page = client.get(f"/predictions?order={order}&limit=5{before}").json
        found += [entry["prediction_id"] for entry in page["predictions"]]
        if page["next_before"] is None:
            break
        assert client.delete(f"/predictions/{found[-1]}").status_code == 204  # the place stays, though it has gone
        before = f"&before={page['next_before']}"
    assert found == expected
    entry = client.get("/predictions?limit=1").json["predictions"][0]
    assert entry.keys() == {"prediction_id", "created_at", "label", "probabilities", "model_version", "expires_at"}
    assert entry["label"] == (answers[0]["labels"] + answers[1]["labels"])[ids.index(entry["prediction_id"])]


def test_its_image_is_a_png_and_what_is_deleted_has_gone(client: Client) -> None:
    (id_,) = remembered(client, X[:1])["prediction_ids"]
    png = client.get(f"/predictions/{id_}/image")
    assert png.mimetype == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(png.data))).ravel() == X[0]).all()
    assert client.delete(f"/predictions/{id_}").status_code == 204
    is_problem(client.delete(f"/predictions/{id_}"), 404)
    is_problem(client.get(f"/predictions/{id_}/image"), 404)
    assert waiting(client) == []


@on_sqlite
def test_what_has_expired_is_gone(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"remember_days": 1e-9})))
    (id_,) = remembered(client, X[:1])["prediction_ids"]
    assert waiting(client) == waiting(client, "?order=uncertain") == []
    is_problem(client.get(f"/predictions/{id_}/image"), 404)
    problem = is_problem(learn(client, [id_], [1]), 409)
    assert id_ in problem["errors"][0]["msg"]
    client.post("/train-step", json=as_json(X, T))
    with behind_the_back(store_of(settings)) as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (0,)


@on_sqlite
def test_one_that_was_kept_while_the_clock_was_ahead_keeps_no_other_on_the_disk(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(create_app(settings))
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + 100 * 86_400)
        (ahead,) = remembered(client, X[:1])["prediction_ids"]
    remembered(client)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + 8 * 86_400)
        client.post("/train-step", json=as_json(X, T))
    with behind_the_back(store_of(settings)) as connection:
        assert connection.execute("SELECT prediction_id FROM predictions").fetchall() == [(ahead,)]


def test_what_is_over_the_size_goes_the_oldest_first(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"remember_bytes": 2**16})))
    ids = [id_ for _ in range(30) for id_ in remembered(client)["prediction_ids"]]
    kept = waiting(client, "?limit=1000")
    assert 50 < len(kept) < 2**16 // 784
    assert kept == ids[: -len(kept) - 1 : -1]


def store_of(settings: Settings) -> Path:
    return Path(make_url(settings.store).database or "")


@on_sqlite
def test_an_image_that_was_changed_on_the_disk_is_not_learnt(client: Client, settings: Settings) -> None:
    ids = remembered(client)["prediction_ids"]
    with behind_the_back(store_of(settings)) as connection:
        connection.execute("UPDATE predictions SET pixels = zeroblob(784) WHERE number = 2")
    is_problem(learn(client, ids[1:2], [1]), 503)
    assert learn(client, ids[:1], [1]).status_code == 200


@on_sqlite
@pytest.mark.parametrize("order", ["newest", "uncertain"])
def test_one_that_is_damaged_hides_no_other_and_can_be_deleted(client: Client, settings: Settings, order: str) -> None:
    ids = [id_ for _ in range(3) for id_ in remembered(client)["prediction_ids"]]
    before = waiting(client, f"?order={order}")
    with behind_the_back(store_of(settings)) as connection:
        connection.execute("UPDATE predictions SET pixels = zeroblob(784) WHERE number = 2")
    expected = [id_ for id_ in before if id_ != ids[1]]
    assert waiting(client, f"?order={order}") == expected
    pages, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/predictions?order={order}&limit=2{cursor and f'&before={cursor}'}").json
        pages += [one["prediction_id"] for one in page["predictions"]]
        cursor = page["next_before"]
    assert pages == expected
    assert client.delete(f"/predictions/{ids[1]}").status_code == 204
    is_problem(client.delete(f"/predictions/{ids[1]}"), 404)


@on_sqlite
def test_a_shorter_time_to_wait_is_of_those_that_wait_already(settings: Settings) -> None:
    remembered(Client(create_app(settings.model_copy(update={"remember_days": 3650}))))
    client = Client(create_app(settings.model_copy(update={"remember_days": 1e-9})))
    client.post("/train-step", json=as_json(X, T))
    with behind_the_back(store_of(settings)) as connection:
        assert connection.execute("SELECT count(*) FROM predictions").fetchone() == (0,)


def test_what_would_be_forgotten_at_once_is_not_remembered(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"remember_bytes": 2**16})))
    many = client.post("/predict?remember=true", json=as_json(np.zeros((70, 784), np.uint8)))
    assert "70 images take" in is_problem(many, 422)["detail"]
    assert len(remembered(client)["prediction_ids"]) == len(X)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"labels": [1], "images": X[:1].tolist()}, "images"),
        ({"labels": [1], "pixel_max": 255}, "pixel_max"),
        ({"labels": [1, 2]}, "2 labels for 1 images"),
        ({"labels": [10]}, "the label is 10"),
        ({}, "labels"),
        ({"labels": [1], "prediction_ids": []}, "prediction_ids"),
        ({"labels": [1], "prediction_ids": [7]}, "prediction_ids.0"),
        ({"labels": [1, 1], "prediction_ids": ["twice", "twice"]}, "twice"),
    ],
)
def test_a_body_that_makes_no_sense_is_422(client: Client, body: dict[str, Any], said: str) -> None:
    ids = remembered(client, X[:1])["prediction_ids"]
    assert said in is_problem(client.post("/train-step", json={"prediction_ids": ids, **body}), 422)["detail"]
    assert waiting(client) == ids


@pytest.mark.parametrize(
    "path", ["/predictions?order=best", "/predictions?before=x", "/predictions?before=%C3%A4", "/predictions?limit=0"]
)
def test_a_query_that_makes_no_sense_is_422(client: Client, path: str) -> None:
    is_problem(client.get(path), 422)


def test_what_stands_behind_a_cursor_is_422(client: Client) -> None:
    remembered(client)
    cursor = client.get("/predictions?limit=1").json["next_before"]
    assert client.get(f"/predictions?before={cursor}").status_code == 200
    is_problem(client.get(f"/predictions?before={cursor}$$$"), 422)


@pytest.mark.parametrize(("order", "other"), [("newest", "uncertain"), ("uncertain", "newest")])
def test_a_cursor_of_one_order_is_refused_in_the_other(client: Client, order: str, other: str) -> None:
    remembered(client)
    cursor = client.get(f"/predictions?limit=1&order={order}").json["next_before"]
    assert client.get(f"/predictions?before={cursor}&order={order}").status_code == 200
    problem = is_problem(client.get(f"/predictions?before={cursor}&order={other}"), 422)
    expected = "not a valid cursor: pass next_before from a previous page of the same order"
    assert problem["errors"] == [{"loc": ["query", "before"], "msg": expected}]


def test_only_a_predict_remembers_and_only_when_it_is_asked_to(client: Client) -> None:
    assert "prediction_ids" not in client.post("/predict?remember=false", json=as_json(X)).json
    is_problem(client.post("/accuracy?remember=true", json=as_json(X, T)), 422)
    is_problem(client.post("/predict?remember=yes", json=as_json(X)), 422)
    assert waiting(client) == []


@on_sqlite
def test_what_is_listed_as_uncertain_is_marked_or_not_listed(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked() -> int:
        with behind_the_back(store_of(settings)) as connection:
            return int(connection.execute("SELECT count(chosen) FROM predictions").fetchone()[0])

    monkeypatch.setattr(write_lock, "WAIT_SECONDS", 0)
    remembered(client)
    uncertain = "/predictions?order=uncertain&limit=2"
    with client.app.extensions[EXTENSION].log.writing():
        is_problem(client.get(uncertain), 503)
    for site in ("cross-site", "same-site"):
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert "link" in is_problem(client.get(uncertain, headers=link), 403)["detail"]
        assert client.get("/predictions", headers=link).status_code == 200
    assert marked() == 0
    typed = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert len(client.get(uncertain, headers=typed).json["predictions"]) == marked() == 2
    with client.app.extensions[EXTENSION].log.writing():
        assert client.get(uncertain).status_code == 200
        is_problem(client.get("/predictions?order=uncertain&limit=3"), 503)
