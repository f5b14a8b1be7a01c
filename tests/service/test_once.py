"""Idempotency-Key and If-Match: a change that is made once, or not at all."""

import io
from typing import Any

import numpy as np
import pytest

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from tests.conftest import FEATURES, Client, as_json, random_batch, store_of_each_kind
from tests.service.drawing import drawn, encoded
from tests.service.test_bad_input import is_problem

store = store_of_each_kind

X, T = random_batch(2)


def weights_of_seed(seed: int, features: int = FEATURES) -> bytes:
    return weights_file.to_bytes(Weights(TwoLayerNet(features, 20, 10, "he", seed=seed, dtype=np.float32).params))


def newest(client: Client) -> int:
    return int(client.get("/readyz").json["model_version"])


CHANGES: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "train-step": ("post", "/train-step", [{"json": as_json(X, T)}, {"json": as_json(X, T, learning_rate=0.01)}]),
    "rollback": ("post", "/rollback", [{"json": {"model_version": 1}}, {"json": {"model_version": 2}}]),
    "load": ("put", "/weights", [{"data": weights_of_seed(1)}, {"data": weights_of_seed(2)}]),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_repeat_gets_the_first_answer_and_another_body_is_409(client: Client, kind: str) -> None:
    method, path, (first, other) = CHANGES[kind]
    client.post("/train-step", json=as_json(X, T))
    headers = {"Idempotency-Key": "once"}
    answer = getattr(client, method)(path, headers=headers, **first)
    assert answer.json["model_version"] == 3
    for _ in range(2):
        assert getattr(client, method)(path, headers=headers, **first).data == answer.data
        is_problem(getattr(client, method)(path, headers=headers, **other), 409)
    assert newest(client) == 3


def test_a_key_is_of_one_kind_of_request(client: Client) -> None:
    headers = {"Idempotency-Key": "k"}
    assert client.post("/train-step", json=as_json(X, T), headers=headers).status_code == 200
    is_problem(client.post("/rollback", json={"model_version": 1}, headers=headers), 409)
    is_problem(client.post("/train-step?learning_rate=0.1", json=as_json(X, T), headers=headers), 409)
    assert newest(client) == 2


def form(boundary: str, *parts: tuple[str, bytes]) -> dict[str, Any]:
    body = b""
    for name, value in parts:
        file = b'; filename="a.png"\r\nContent-Type: image/png' if value[:4] == b"\x89PNG" else b""
        body += b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (
            boundary.encode(),
            name.encode(),
            file,
        )
        body += value + b"\r\n"
    body += b"--%s--\r\n" % boundary.encode()
    return {"data": body, "content_type": f"multipart/form-data; boundary={boundary}"}


def test_a_boundary_made_anew_is_no_other_request_and_no_boundary_hides_one(client: Client) -> None:
    picture = encoded(drawn(7))
    headers = {"Idempotency-Key": "form"}
    first = client.post("/train-step", headers=headers, **form("one", ("image", picture), ("labels", b"7")))
    assert first.json["model_version"] == 2
    again = client.post("/train-step", headers=headers, **form("another", ("image", picture), ("labels", b"7")))
    assert again.data == first.data
    # A digest of the body without its boundary took this one, whose label is its boundary, for the one before.
    other = client.post("/train-step", headers=headers, **form("1", ("image", picture), ("labels", b"1")))
    is_problem(other, 409)
    assert newest(client) == 2


def test_a_repeat_is_answered_though_the_body_is_nothing_to_today_s_model(client: Client) -> None:
    """The answer to a request that was taken is in the log, whatever the network is by now."""
    headers = {"Idempotency-Key": "before"}
    body = {"data": b"--x--", "content_type": "multipart/form-data; boundary=x"}
    first = client.post("/train-step", json=as_json(X, T), headers=headers)
    assert client.post("/train-step", json=as_json(X, T), headers=headers).data == first.data
    is_problem(client.post("/train-step", headers=headers, **body), 409)


def test_weights_are_put_only_onto_the_version_that_was_looked_at(client: Client) -> None:
    tag = client.get("/weights").headers["ETag"]
    client.post("/train-step", json=as_json(X, T))
    problem = is_problem(client.put("/weights", data=weights_of_seed(1), headers={"If-Match": tag}), 412)
    assert problem["errors"][0]["loc"] == ["If-Match"]
    assert newest(client) == 2
    tag = client.get("/weights").headers["ETag"]
    assert client.put("/weights", data=weights_of_seed(1), headers={"If-Match": tag}).json["model_version"] == 3
    assert client.put("/weights", data=weights_of_seed(2), headers={"If-Match": "*"}).json["model_version"] == 4
    is_problem(client.put("/weights", data=weights_of_seed(2), headers={"If-Match": '"a", "b"'}), 412)
    tag = client.get("/weights").headers["ETag"]
    is_problem(client.put("/weights", data=weights_of_seed(2), headers={"If-Match": f"W/{tag}"}), 412)
    either = {"If-Match": f'"another", {tag}'}
    assert client.get("/weights", headers=either).status_code == 200
    assert client.get("/weights", headers={"If-Match": "*"}).status_code == 200
    assert client.put("/weights", data=weights_of_seed(2), headers=either).json["model_version"] == 5


def test_a_step_and_a_rollback_are_made_to_the_version_that_they_name_alone(client: Client) -> None:
    tag = client.get("/weights").headers["ETag"]
    ids = client.post("/predict?remember=true", json=as_json(X)).json["prediction_ids"]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("/train-step", as_json(X, T)),
        ("/rollback", {"model_version": 1}),
        ("/train-step", {"prediction_ids": ids, "labels": T.tolist()}),
    ]
    for version, (path, body) in enumerate(changes, start=2):
        for other in ('"another"', '"a", "b"', f"W/{tag}", "no tag"):
            problem = is_problem(client.post(path, json=body, headers={"If-Match": other}), 412)
            assert problem["errors"][0]["loc"] == ["If-Match"]
        made = client.post(path, json=body, headers={"If-Match": tag, "Idempotency-Key": path + str(version)})
        assert made.json["model_version"] == version
        again = client.post(path, json=body, headers={"If-Match": tag, "Idempotency-Key": path + str(version)})
        assert again.json == made.json  # though the version that it names is no more the newest
        is_problem(client.post(path, json=body, headers={"If-Match": tag}), 412)
        tag = client.get("/weights").headers["ETag"]
    assert client.post("/train-step", json=as_json(X, T), headers={"If-Match": "*"}).json["model_version"] == 5


def test_a_file_that_was_given_out_can_be_put_in(client: Client) -> None:
    given = client.get("/weights").data
    assert client.put("/weights", data=given).status_code == 200


def test_a_network_that_is_too_large_is_refused_before_it_is_unpacked(client: Client) -> None:
    stream = io.BytesIO()
    hidden = 25_000
    np.savez_compressed(
        stream, W1=np.zeros((784, hidden), np.float32), b1=np.zeros(hidden, np.float32),
        W2=np.zeros((hidden, 10), np.float32), b2=np.zeros(10, np.float32),
    )  # fmt: skip
    assert len(stream.getvalue()) < 2**18
    assert "more than the limit" in is_problem(client.put("/weights", data=stream.getvalue()), 422)["detail"]
    assert newest(client) == 1
